"""Sends one message once: signed by the Standard Webhooks specification, to an address that was checked.

A success is a 2xx whose body was read to its declared end, within `MOST_BYTES` and within `SECONDS`, counted from the
connection on. Bytes after that end are not read. A truncated body is a failure, since its sender's intent is unknown;
so are a body that trickles beyond `SECONDS`, and every redirect.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpcore2
from standardwebhooks import Webhook

from api.notifications.delivery_queue import OutgoingMessage, Result
from api.notifications.targets import ResolvedTarget, Targets
from models.consents.webhooks import Outcome, message_id, payload_of
from models.vocabulary.refusals import TargetRefused

#: The timeout of one attempt in seconds: connecting, sending and reading the answer, without the name lookup.
SECONDS: Final = 15.0
MOST_BYTES: Final = 64 * 1024
_USER_AGENT: Final = "school-privacy-manager-webhooks/1"
#: httpcore's own timeouts, by which also a cancelled attempt (its time is up, or the process ends) is aborted at once.
_TIMEOUTS: Final = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), SECONDS)}

Headers = list[tuple[str, str]]


class Sender:
    """Sends messages, without proxies, redirects, cookies or kept connections."""

    def __init__(self, targets: Targets, tls: ssl.SSLContext | None = None, seconds: float = SECONDS) -> None:
        self._targets = targets
        self._tls = tls or httpcore2.default_ssl_context()
        self._seconds = seconds

    async def send(self, outgoing: OutgoingMessage) -> Result:
        """Sends a message, and returns the result of the attempt. Raises nothing but `CancelledError`."""
        answer: _Answer | None = None
        body = json.dumps(
            payload_of(outgoing.event, outgoing.leased.client_id), ensure_ascii=False, separators=(",", ":")
        )
        begun = time.monotonic()
        try:
            resolved = await self._targets.resolve(outgoing.url)
            async with asyncio.timeout(self._seconds):
                answer = await self._post(resolved, _headers(outgoing, body), body.encode())
                outcome = answer.outcome
        except TargetRefused:
            outcome = Outcome.TARGET_REFUSED
        except (TimeoutError, httpcore2.TimeoutException):
            outcome = Outcome.TOO_SLOW
        except (httpcore2.NetworkError, OSError):
            outcome = Outcome.NOT_CONNECTED
        except httpcore2.ProtocolError:
            outcome = Outcome.ANSWER_BROKEN
        milliseconds = round(1000 * (time.monotonic() - begun))
        if answer is None:
            return Result(outcome, milliseconds)
        return Result(outcome, milliseconds, answer.status, answer.retry_after)

    async def _post(self, resolved: ResolvedTarget, headers: Headers, body: bytes) -> "_Answer":
        # A pool for each message: a connection to the address of one name must never serve another name.
        async with (
            httpcore2.AsyncConnectionPool(
                ssl_context=self._tls, max_keepalive_connections=0, network_backend=_PinnedBackend(resolved)
            ) as pool,
            pool.stream(
                "POST", resolved.target.url, headers=_encoded(headers), content=body, extensions=_TIMEOUTS
            ) as response,
        ):
            read = 0
            try:
                async for part in response.aiter_stream():
                    read += len(part)
                    if read > MOST_BYTES:
                        return _Answer(response, Outcome.ANSWER_TOO_LONG)
            except (httpcore2.NetworkError, httpcore2.ProtocolError):
                return _Answer(response, Outcome.ANSWER_BROKEN)
            return _Answer(response, _outcome(response.status))


class _Answer:
    """The outcome, status and `Retry-After` of an answer; its body is not kept."""

    def __init__(self, response: httpcore2.Response, outcome: Outcome) -> None:
        self.outcome = outcome
        self.status = response.status
        values = [value for name, value in response.headers if name.lower() == b"retry-after"]
        # Only a number of seconds counts; an HTTP date would be by the receiver's clock.
        in_seconds = len(values) == 1 and values[0].isdigit() and len(values[0]) < 8
        self.retry_after = timedelta(seconds=int(values[0])) if in_seconds else None


class _PinnedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that were checked, whatever host name httpcore asks for."""

    def __init__(self, resolved: ResolvedTarget) -> None:
        self._resolved = resolved
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore calls it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        for address in self._resolved.addresses[:-1]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore2.ConnectError:
                continue
        last = self._resolved.addresses[-1]
        return await self._network.connect_tcp(last, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _outcome(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if 300 <= status < 400:
        return Outcome.REDIRECTED
    return Outcome.GONE if status == 410 else Outcome.REFUSED


def _headers(outgoing: OutgoingMessage, body: str) -> Headers:
    """The headers of a message, with a signature by each signing secret at the time of this attempt."""
    name, now = message_id(outgoing.event), outgoing.now.astimezone(UTC)
    return [
        ("content-type", "application/json"),
        ("user-agent", _USER_AGENT),
        ("webhook-id", name),
        ("webhook-timestamp", str(int(now.timestamp()))),
        ("webhook-signature", signatures(outgoing.secrets, name, now, body)),
    ]


def signatures(secrets: Iterable[str], name: str, now: datetime, body: str) -> str:
    """The signatures by each secret, separated by spaces (Standard Webhooks, `webhook-signature`)."""
    return " ".join(Webhook(secret).sign(name, now, body) for secret in secrets)


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]
