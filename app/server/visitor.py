"""Whose request is answered: somebody's at this machine, or anybody else's.

A server on loopback is reached from elsewhere when a proxy on this machine passes requests on, or
when a page of another site has a name that resolves to 127.0.0.1. Neither makes a visitor local.
"""

from __future__ import annotations

import ipaddress
from contextvars import ContextVar
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Scope

__all__ = ["comes_from_here", "is_local", "is_loopback", "seen"]

FORWARDED = {
    b"cf-connecting-ip",
    b"client-ip",
    b"fastly-client-ip",
    b"forwarded",
    b"true-client-ip",
    b"via",
}
"""What proxies add; and all that begin as in `FORWARDED_PREFIXES`."""
FORWARDED_PREFIXES = (
    b"x-forwarded",
    b"x-real-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-original-",
    b"x-envoy-",
    b"x-scheme",
    b"x-script-name",
    b"tailscale-",
)

_is_local: ContextVar[bool] = ContextVar("is_local", default=True)
"""True where no request is answered: what the command itself asks for."""


def is_local() -> bool:
    """Whether the request that is answered may come from this machine alone.

    Jobs and threads of a request have its context. On a server that listens on more than loopback
    nobody is local, which this does not know.
    """
    return _is_local.get()


def seen(scope: Scope) -> None:
    """Notes whose request it is, for all that runs in its context."""
    _is_local.set(comes_from_here(scope))


def comes_from_here(scope: Scope) -> bool:
    """Whether nothing in a request speaks of another machine or another site."""
    headers = list(scope["headers"])
    if scope.get("http_version") == "1.0":  # no browser's, and what nginx makes of its visitors'
        return False
    if any(name in FORWARDED or name.startswith(FORWARDED_PREFIXES) for name, _ in headers):
        return False
    hosts = _values(headers, b"host")
    origins = _values(headers, b"origin")
    return len(hosts) == 1 and all(map(_is_loopback_url, [f"//{hosts[0]}", *origins]))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]


def _is_loopback_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.username is None and is_loopback(parts.hostname or "")
    except ValueError:
        return False
