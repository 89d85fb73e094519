"""Where the page is served: the host, and a port that is free."""

from __future__ import annotations

import errno
import socket

from freeatten_core.basics.errors import UsageError, reason_of

__all__ = ["check_port", "in_url", "shown"]

MOST_PORTS = 100


def check_port(host: str, port: int) -> None:
    """Whether the server can listen there.

    Raises:
        UsageError: the port is taken (the message names the next that is free), or the address
            is none of this machine.
    """
    try:
        if _are_free(host, port):
            return
    except (OSError, UnicodeError) as error:  # the second: a name that no host can have
        raise UsageError(f"cannot listen on {host}:{port}: {reason_of(error)}") from None
    after = range(port + 1, min(port + MOST_PORTS, 65536))
    free = next((each for each in after if _are_free(host, each)), None)
    proposal = "" if free is None else f"; --port {free} is free"
    raise UsageError(f"port {port} is taken{proposal}")


def _are_free(host: str, port: int) -> bool:
    """The port there, and on the one address where Gradio tries it first."""
    return _is_free(host, port) and _is_free("127.0.0.1", port)


def _is_free(host: str, port: int) -> bool:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def shown(host: str) -> str:
    """An address that a browser on this machine can open."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else in_url(host)


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
