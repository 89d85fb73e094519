"""What other pages show of a link to the app: Gradio's own page speaks of Gradio."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Preview"]

TITLE = "freeatten"
SENTENCE = (
    "How does attention behave as the context grows? Measure it and see it, for softmax and the "
    "softplus attentions."
)
THEIRS = re.compile(rb'\s*<meta\s+(?:property="og:|name="twitter:)[^>]*>')
OURS = f"""
<meta property="og:title" content="{TITLE}" />
<meta property="og:type" content="website" />
<meta property="og:description" content="{SENTENCE}" />
<meta name="description" content="{SENTENCE}" />
<meta name="twitter:card" content="summary" />
""".encode()


class Preview:
    """Middleware that puts this app's name in the head of the page, and no picture of another's."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            await self.app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def held(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                await _send_named(start, body, send)

        await self.app(scope, receive, held)


async def _send_named(start: Message, body: bytes, send: Send) -> None:
    headers = dict(start["headers"])
    if headers.get(b"content-type", b"").startswith(b"text/html"):
        body = THEIRS.sub(b"", body).replace(b"<head>", b"<head>" + OURS, 1)
        kept = [pair for pair in start["headers"] if pair[0] != b"content-length"]
        start["headers"] = [*kept, (b"content-length", str(len(body)).encode())]
    await send(start)
    await send({"type": "http.response.body", "body": body})
