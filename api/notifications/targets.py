"""Targets of webhooks: hosts on the public internet, by name, over TLS; never one that only this service can reach.

A subscriber chooses the URL to which this service connects (server-side request forgery). So the URL is parsed
strictly, every address that its name resolves to must be public, and the connection goes to an address that was
checked: a name that resolves to another address a moment later (DNS rebinding) leads nowhere. Targets are checked when
a partner subscribes, and again for each delivery.
"""

import asyncio
import ipaddress
import re
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from models.vocabulary.refusals import TargetRefused

#: The timeout of a name lookup, in seconds; a name that takes longer is refused.
LOOKUP_SECONDS: Final = 5.0
#: Addresses of a target that are tried.
MOST_ADDRESSES: Final = 4
#: Concurrent lookups, one a name however many callers wait for it; a silent name server occupies one of them.
_LOOKUPS: Final = 64
#: Concurrent lookups of one connection.
MOST_OF_ONE: Final = 2
PORTS: Final = frozenset({443, 8443})

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
#: The grammar of RFC 3986 for a URL with host and path: no user, no fragment, no `\`, ASCII only.
_PATH: Final = r"(?P<path>/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
_QUERY: Final = r"(?P<query>\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
_REST: Final = rf"(?::(?P<port>[1-9][0-9]{{0,4}}))?{_PATH}{_QUERY}"
#: A name of at least two labels, of which the last is no number, so that no notation of an address matches.
_PUBLIC: Final = re.compile(
    rf"(?P<scheme>https)://(?P<host>(?:{_LABEL}\.)+(?!0x)(?:[a-z]{{2,63}}|xn--[a-z0-9-]{{0,57}}[a-z0-9])){_REST}",
    re.IGNORECASE | re.ASCII,
)
_LOOPBACK: Final = re.compile(rf"(?P<scheme>https?)://(?P<host>127\.0\.0\.1|localhost|\[::1\]){_REST}", re.ASCII)
#: Top-level names that resolve to something else on each network. Their addresses are normally refused as well; this
#: list refuses them also where they resolve to public ones.
_LOCAL_NAMES: Final = frozenset(
    {"localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "private", "arpa", "onion"}
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Networks that are not public: IANA's special-purpose registries, multicast, and the metadata addresses at which cloud
#: platforms give machines their secrets. Listed in full, since `ipaddress.is_global` differs between Python versions.
_REFUSED: Final = tuple(
    ipaddress.ip_network(net)
    for net in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
#: The only IPv6 network that is allocated: IPv4-mapped, NAT64, unique local and link-local addresses are outside it.
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URL."""

    scheme: str
    #: The host of the URL, in lower case.
    host: str
    port: int
    #: The path with the query.
    path: str
    is_loopback: bool

    @property
    def url(self) -> str:
        default_port = {"https": 443, "http": 80}[self.scheme]
        return f"{self.scheme}://{self.host}{'' if self.port == default_port else f':{self.port}'}{self.path}"


@dataclass(frozen=True, slots=True)
class ResolvedTarget:
    """A target, and its checked addresses: connections go to these alone."""

    target: Target
    addresses: tuple[str, ...]


#: A lookup by host and port: the addresses, as text. Raises `OSError` for a name without addresses.
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


def target_of(url: str, *, loopback: bool) -> Target:
    """Parses a URL. With `loopback` this machine is a target too, also without TLS. Raises `TargetRefused`."""
    local = _LOOPBACK.fullmatch(url) if loopback else None
    parts = local or _PUBLIC.fullmatch(url)
    if len(url) > 1000 or parts is None:
        raise TargetRefused("A URL as in https://hooks.example.nl/path: by a host's full name, with nothing before it.")
    host = parts["host"].lower()
    scheme = parts["scheme"].lower()
    port = int(parts["port"] or {"https": 443, "http": 80}[scheme])
    if local is None:
        if len(host) > 253 or host.rsplit(".", 1)[1] in _LOCAL_NAMES:
            raise TargetRefused(f"{host} is not the name of a host on the internet.")
        if port not in PORTS:
            raise TargetRefused(f"The port must be one of {', '.join(map(str, sorted(PORTS)))}.")
    if port > 65535:
        raise TargetRefused("There is no such port.")
    return Target(scheme, host, port, (parts["path"] or "/") + (parts["query"] or ""), local is not None)


def is_public(address: str) -> bool:
    """Whether the address is on the public internet, so that it is the same host for everybody."""
    try:
        parsed: Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and (parsed.scope_id is not None or parsed not in _GLOBAL_UNICAST):
        return False
    if any(parsed.version == net.version and parsed in net for net in _REFUSED):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


class Targets:
    """Resolves targets, with a bounded number of lookups. `loopback` as for `target_of`."""

    def __init__(self, *, loopback: bool, lookup: Lookup | None = None) -> None:
        self.loopback = loopback
        self._lookup = lookup or self._look_up
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="webhook-names")
        self._lookups: dict[tuple[str, int], asyncio.Future[Sequence[str]]] = {}
        #: Lookups in progress by connection, also those whose callers have given up waiting.
        self._lookups_of: Counter[str] = Counter()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def is_busy_for(self, client_id: str) -> bool:
        """Whether the limit of lookups is reached, of this connection or of all: a slow name server delays few."""
        return self._lookups_of[client_id] >= MOST_OF_ONE or len(self._lookups) >= _LOOKUPS

    async def resolve(self, url: str, client_id: str = "") -> ResolvedTarget:
        """The target with its checked addresses. Raises `TargetRefused` when any of them is not public, or none is
        found within `LOOKUP_SECONDS`. `client_id` is the connection that the lookup counts for."""
        target = target_of(url, loopback=self.loopback)
        addresses: Sequence[str]
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                addresses = await self._addresses(target.host.strip("[]"), target.port, client_id)
        except (OSError, UnicodeError):
            # `TimeoutError` is an `OSError`.
            addresses = ()
        if not addresses or not all(self._is_allowed(target, address) for address in addresses):
            # The same text for an unknown name, so that callers cannot find out which names exist on the inner network.
            raise TargetRefused(f"{target.host} is not a host on the internet, or its name was not answered in time.")
        return ResolvedTarget(target, tuple(addresses[:MOST_ADDRESSES]))

    def _is_allowed(self, target: Target, address: str) -> bool:
        if target.is_loopback:
            return address in ("127.0.0.1", "::1")
        return is_public(address)

    async def _addresses(self, host: str, port: int, client_id: str) -> Sequence[str]:
        """Shares one lookup among all concurrent callers of a name; a cancelled caller does not cancel it."""
        lookup = self._lookups.get((host, port))
        if lookup is None:
            lookup = self._lookups[host, port] = asyncio.ensure_future(self._lookup(host, port))
            self._lookups_of[client_id] += 1
            lookup.add_done_callback(lambda done: self._end_lookup(host, port, client_id, done))
        return await asyncio.shield(lookup)

    def _end_lookup(self, host: str, port: int, client_id: str, done: "asyncio.Future[Sequence[str]]") -> None:
        del self._lookups[host, port]
        self._lookups_of[client_id] -= 1
        if not self._lookups_of[client_id]:
            del self._lookups_of[client_id]
        if not done.cancelled():
            done.exception()

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        # A pool of its own: in the default pool a silent name server would delay all other work in threads.
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))
