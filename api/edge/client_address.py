"""The address that a request comes from: that of its connection, or the one that a trusted proxy names."""

import ipaddress
import os
from functools import cache
from typing import Any, Final, cast

from starlette.types import Scope

#: Characters of a name that is no address, as a proxy may give it.
_LONGEST_NAME: Final = 64


def client_address(scope: Scope) -> str:
    """The key for limits of the address that the request comes from."""
    client = scope.get("client")
    host = client[0] if client else ""
    trusted = _trusted_proxies(os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1"))
    if host in trusted:
        named = [value for name, value in scope["headers"] if name == b"x-forwarded-for" and value.strip()]
        if named:
            host, _ = trusted.get_trusted_client_address(b", ".join(named).decode("latin-1"))
    return source_of(host)


def source_of(host: str) -> str:
    """The key of an address for limits: the address itself, or for IPv6 its /48 network, which one party holds."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:_LONGEST_NAME]
    if address.version == 4:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((host, 48), strict=False))


@cache
def _trusted_proxies(addresses: str) -> Any:
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    return ProxyHeadersMiddleware(cast(Any, None), addresses).trusted_hosts
