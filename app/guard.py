"""What every request passes: which routes there are, a limit on its size, a policy for the page.

Gradio brings many routes that this app has no use for (uploads, files, the queue, its editor):
what is closed needs no further care.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 8_000_000
"""Of a request: a pasted text in JSON, where one character can take six bytes, and some more."""
OPEN = {"/", "/login", "/login/", "/logout", "/config", "/theme.css", "/favicon.ico"}
OPEN_BELOW = (
    "/assets/",
    "/static/",
    "/gradio_api/component_server",
    "/gradio_api/login_check",
    "/gradio_api/startup-events",
)
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
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not (scope["path"] in OPEN or scope["path"].startswith(OPEN_BELOW)):
            await _refuse(send, 404, "there is nothing here")
            return
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
