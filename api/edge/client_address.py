"""The address that a request comes from: that of its connection, or the one that a trusted proxy names."""

import ipaddress
import os
from functools import cache
from typing import Any, cast

from starlette.types import Scope


def client_address(scope: Scope) -> str:
    """The client's address; an IPv6 address counts by its /64, since one client has all of those."""
    client = scope.get("client")
    host = client[0] if client else ""
    trusted = _trusted_proxies(os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1"))
    if host in trusted:
        named = [value for name, value in scope["headers"] if name == b"x-forwarded-for" and value.strip()]
        if named:
            host, _ = trusted.get_trusted_client_address(b", ".join(named).decode("latin-1"))
    return _one_clients(host)


def _one_clients(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


@cache
def _trusted_proxies(addresses: str) -> Any:
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    return ProxyHeadersMiddleware(cast(Any, None), addresses).trusted_hosts
