"""What every request passes: which routes there are, a limit on its size, a policy for the page.

Gradio brings many routes that this app has no use for (uploads, files, the queue, its editor):
what is closed needs no further care.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from . import visitor

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "unknown"]

MOST_BYTES = 8_000_000
"""Of a request: a pasted text in JSON, where one character can take six bytes, and some more."""
MOST_PATH_BYTES = 250
"""No file system has a name for more, and Gradio would ask it."""
FUNCTIONS = "/gradio_api/component_server"
OPEN = {
    "/",
    "/preview.png",
    "/login",
    "/login/",
    "/logout",
    "/config",
    "/theme.css",
    "/favicon.ico",
}
OPEN_BELOW = (
    "/assets/",
    "/static/",
    FUNCTIONS,
    "/gradio_api/login_check",
    "/gradio_api/startup-events",
)
NOTHING = "there is nothing here"
HEADERS = {
    "content-security-policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; base-uri 'self'; "
        "form-action 'self'; object-src 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class _TooLargeError(Exception):
    """More has arrived than a request may have."""


class Guard:
    """Middleware around the whole server, so that no route is left out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the app speaks through no socket
            await send({"type": "websocket.close", "code": 1008})
            return
        path = scope["path"]
        if not (path in OPEN or path.startswith(OPEN_BELOW)) or _is_long(path):
            await _refuse(send, 404, NOTHING)
            return
        if path.startswith(FUNCTIONS) and scope["method"] == "POST" and not _is_json(scope):
            await _refuse(send, 415, "the call must be application/json")
            return
        visitor.seen(scope)
        size = 0
        has_begun = False

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MOST_BYTES:
                raise _TooLargeError
            return message

        async def guarded(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        try:
            if _declared(scope) > MOST_BYTES:
                raise _TooLargeError
            await self.app(scope, limited, guarded)
        except _TooLargeError:
            if has_begun:
                raise
            await _refuse(guarded, 413, "the request is too large")


def unknown(_request: Request, _error: Exception) -> Response:
    """The answer where Gradio finds no component of the number that a request names.

    What a function of this app does not find it says itself (see `answers`).
    """
    from starlette.responses import JSONResponse

    return JSONResponse({"detail": NOTHING}, 404)


def _is_long(path: str) -> bool:
    return len(path.encode("utf-8", "replace")) > MOST_PATH_BYTES


def _is_json(scope: Scope) -> bool:
    """Whether a call is of the one type that a page of another site cannot send unasked."""
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    return [each.split(b";")[0].strip().lower() for each in types] == [b"application/json"]


def _declared(scope: Scope) -> int:
    """The length that the request says it has."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _refuse(send: Send, status: int, reason: str) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": reason}).encode()})
