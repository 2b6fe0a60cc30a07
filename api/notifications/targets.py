"""Where webhooks may go: to a host on the internet by its name, over TLS, and to nothing that only we could reach.

Who subscribes chooses where this service connects to. So the URL is taken apart strictly, every address that its name
stands for must be on the public internet, and the connection goes to an address that was looked at: a name that stands
for another one a moment later leads nowhere. It is looked at when somebody subscribes, and again for each delivery.
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

#: A name that takes longer to look up leads nowhere.
LOOKUP_SECONDS: Final = 5.0
#: So many of its addresses are tried.
MOST_ADDRESSES: Final = 4
#: Names that are looked up at once, each once however many ask for it: a name server that says nothing holds one up.
_LOOKUPS: Final = 64
#: Names that one connection has looked up at once.
MOST_OF_ONE: Final = 2
PORTS: Final = frozenset({443, 8443})

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
#: RFC 3986, with nothing left out that it wants in a URL of this kind: no user, no fragment, no `\`, ASCII only.
_PATH: Final = r"(?P<path>/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
_QUERY: Final = r"(?P<query>\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
_REST: Final = rf"(?::(?P<port>[1-9][0-9]{{0,4}}))?{_PATH}{_QUERY}"
#: A name of at least two labels, of which the last is no number: what is an address in any notation is no name.
_PUBLIC: Final = re.compile(
    rf"(?P<scheme>https)://(?P<host>(?:{_LABEL}\.)+(?!0x)(?:[a-z]{{2,63}}|xn--[a-z0-9-]{{0,57}}[a-z0-9])){_REST}",
    re.IGNORECASE | re.ASCII,
)
_LOOPBACK: Final = re.compile(rf"(?P<scheme>https?)://(?P<host>127\.0\.0\.1|localhost|\[::1\]){_REST}", re.ASCII)
#: Names that stand for something else on each network. Their addresses would be refused too, as long as they are what
#: they are meant to be.
_LOCAL_NAMES: Final = frozenset(
    {"localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "private", "arpa", "onion"}
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: What is on no public internet, or leads elsewhere: IANA's special-purpose registries, multicast, and the addresses
#: at which platforms tell machines their secrets. In full, since Python's own idea of it differs between versions.
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
#: Of IPv6 nothing else is handed out: IPv4 in disguise, NAT64, unique local and link-local addresses are outside it.
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart."""

    scheme: str
    #: As the URL has it, in small letters.
    host: str
    port: int
    #: With the query.
    path: str
    is_loopback: bool

    @property
    def url(self) -> str:
        usual = {"https": 443, "http": 80}[self.scheme]
        return f"{self.scheme}://{self.host}{'' if self.port == usual else f':{self.port}'}{self.path}"


@dataclass(frozen=True, slots=True)
class Reached:
    """A target, and addresses of it that were looked at: it is connected to at these alone."""

    target: Target
    addresses: tuple[str, ...]


#: The addresses that a name stands for, as text. Raises `OSError` when it stands for none.
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


def target_of(url: str, *, loopback: bool) -> Target:
    """The URL, taken apart. With `loopback` this machine is a target too, also without TLS. Raises `TargetRefused`."""
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
    """Whether anybody on the internet reaches this address, and reaches there what we would."""
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
    """Looks targets up. `loopback` as for `target_of`."""

    def __init__(self, *, loopback: bool, lookup: Lookup | None = None) -> None:
        self.loopback = loopback
        self._lookup = lookup or self._look_up
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="webhook-names")
        self._asked: dict[tuple[str, int], asyncio.Future[Sequence[str]]] = {}
        #: For whom so many are looked up, also once they have given up waiting.
        self._of: Counter[str] = Counter()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def is_busy_for(self, whose: str) -> bool:
        """Whether as many names are looked up for them as may be, or for all: one slow name server holds up few."""
        return self._of[whose] >= MOST_OF_ONE or len(self._asked) >= _LOOKUPS

    async def reached(self, url: str, whose: str = "") -> Reached:
        """The target and where it is. Raises `TargetRefused` when any address of it is one that nothing goes to."""
        target = target_of(url, loopback=self.loopback)
        addresses: Sequence[str]
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                addresses = await self._addresses(target.host.strip("[]"), target.port, whose)
        except (OSError, UnicodeError):
            # A deadline that passed is an `OSError` too.
            addresses = ()
        if not addresses or not all(self._may_go(target, address) for address in addresses):
            # The same for a name that nobody knows: who asks does not learn here which names are known inside.
            raise TargetRefused(f"{target.host} is not a host on the internet, or its name was not answered in time.")
        return Reached(target, tuple(addresses[:MOST_ADDRESSES]))

    def _may_go(self, target: Target, address: str) -> bool:
        if target.is_loopback:
            return address in ("127.0.0.1", "::1")
        return is_public(address)

    async def _addresses(self, host: str, port: int, whose: str) -> Sequence[str]:
        """Of those who ask for one name at once, one looks it up; who gives up leaves it to the others."""
        asked = self._asked.get((host, port))
        if asked is None:
            asked = self._asked[host, port] = asyncio.ensure_future(self._lookup(host, port))
            self._of[whose] += 1
            asked.add_done_callback(lambda done: self._forget(host, port, whose, done))
        return await asyncio.shield(asked)

    def _forget(self, host: str, port: int, whose: str, done: "asyncio.Future[Sequence[str]]") -> None:
        del self._asked[host, port]
        self._of[whose] -= 1
        if not self._of[whose]:
            del self._of[whose]
        if not done.cancelled():
            done.exception()

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        # Not in the threads of everybody: a name server that says nothing would hold up all else that is done there.
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))
