"""One message, sent once: signed by the Standard Webhooks specification, to an address that was looked at.

A success is a 2xx whose whole answer was read: up to where it says that it ends, within `MOST_BYTES` and within
`SECONDS` for all of it, from the connection on. Whatever comes after that end is not read. An answer that ends before
it is whole is a failure, since nobody knows what its sender meant; so is one that trickles, and every redirect.
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

from api.notifications.delivery_queue import Result, Work
from api.notifications.targets import Reached, Targets
from models.consents.webhooks import Outcome, message_id, payload_of
from models.vocabulary.refusals import TargetRefused

#: For all of it but the name: connecting, sending, and the whole answer.
SECONDS: Final = 15.0
MOST_BYTES: Final = 64 * 1024
_USER_AGENT: Final = "school-privacy-manager-webhooks/1"
#: What is under way when the time is up or the process ends is broken off at once.
_TIMEOUTS: Final = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), SECONDS)}

Headers = list[tuple[str, str]]


class Sender:
    """Sends messages. It knows no proxy, follows nothing, keeps no cookie and no connection."""

    def __init__(self, targets: Targets, tls: ssl.SSLContext | None = None, seconds: float = SECONDS) -> None:
        self._targets = targets
        self._tls = tls or httpcore2.default_ssl_context()
        self._seconds = seconds

    async def send(self, work: Work) -> Result:
        """Sends the message of `work`, and says what came of it. Raises nothing but what cancels it."""
        answer: _Answer | None = None
        body = json.dumps(payload_of(work.event, work.taken.client_id), ensure_ascii=False, separators=(",", ":"))
        begun = time.monotonic()
        try:
            reached = await self._targets.reached(work.url)
            async with asyncio.timeout(self._seconds):
                answer = await self._posted(reached, _headers(work, body), body.encode())
                outcome = answer.outcome
        except TargetRefused:
            outcome = Outcome.TARGET_REFUSED
        except (TimeoutError, httpcore2.TimeoutException):
            outcome = Outcome.TOO_SLOW
        except (httpcore2.NetworkError, OSError):
            outcome = Outcome.NOT_CONNECTED
        except httpcore2.ProtocolError:
            outcome = Outcome.ANSWER_BROKEN
        taken = round(1000 * (time.monotonic() - begun))
        if answer is None:
            return Result(outcome, taken)
        return Result(outcome, taken, answer.status, answer.retry_after)

    async def _posted(self, reached: Reached, headers: Headers, body: bytes) -> "_Answer":
        # A pool for this one message: a connection that was made for one name is never used for another.
        async with (
            httpcore2.AsyncConnectionPool(
                ssl_context=self._tls, max_keepalive_connections=0, network_backend=_Pinned(reached)
            ) as pool,
            pool.stream(
                "POST", reached.target.url, headers=_encoded(headers), content=body, extensions=_TIMEOUTS
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
    """What is known of an answer; what it says is not kept."""

    def __init__(self, response: httpcore2.Response, outcome: Outcome) -> None:
        self.outcome = outcome
        self.status = response.status
        asked = [value for name, value in response.headers if name.lower() == b"retry-after"]
        # In seconds; an HTTP date would be by the receiver's clock.
        in_seconds = len(asked) == 1 and asked[0].isdigit() and len(asked[0]) < 8
        self.retry_after = timedelta(seconds=int(asked[0])) if in_seconds else None


class _Pinned(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that were looked at, whatever name it is asked for."""

    def __init__(self, reached: Reached) -> None:
        self._reached = reached
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore calls it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        for address in self._reached.addresses[:-1]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore2.ConnectError:
                continue
        last = self._reached.addresses[-1]
        return await self._network.connect_tcp(last, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _outcome(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if 300 <= status < 400:
        return Outcome.REDIRECTED
    return Outcome.GONE if status == 410 else Outcome.REFUSED


def _headers(work: Work, body: str) -> Headers:
    """Signed with each secret that signs now, at the time of this attempt."""
    name, now = message_id(work.event), work.now.astimezone(UTC)
    return [
        ("content-type", "application/json"),
        ("user-agent", _USER_AGENT),
        ("webhook-id", name),
        ("webhook-timestamp", str(int(now.timestamp()))),
        ("webhook-signature", signatures(work.secrets, name, now, body)),
    ]


def signatures(secrets: Iterable[str], name: str, now: datetime, body: str) -> str:
    """The signature by each secret, parted by spaces, as the specification has it."""
    return " ".join(Webhook(secret).sign(name, now, body) for secret in secrets)


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]
