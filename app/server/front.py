"""What the address answers: the app's page, and to other pages what a link to it is."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Front"]

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
<meta name="twitter:card" content="summary_large_image" />
""".encode()
HEAD = b"<head>"
PICTURE = "/preview.png"
PICTURE_FILE = Path(__file__).parent.parent / "pages" / "preview.png"
"""The first screen of the program as it is shipped, 1200 × 630: the same for everybody, and nothing
of what is served, so that who shows a link can fetch it before any login."""


class Front:
    """Middleware that answers the address with this app's page, or with Gradio's login.

    Both have this app's name and picture in their head, where Gradio's speaks of Gradio.
    """

    def __init__(self, app: ASGIApp, page: str, mark: str) -> None:
        """Args: mark: in Gradio's answer to a visitor who needs no login, or has logged in."""
        self.app = app
        self._page, self._mark = page.encode(), mark.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PICTURE:
            await _send_picture(send)
            return
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
                page = self._page if self._mark in body else THEIRS.sub(b"", body)
                await _send_named(start, page, _address(scope), send)

        await self.app(scope, receive, held)


def _address(scope: Scope) -> str:
    """Where the picture is, as the visitor names this server: other pages need it whole."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    proxies: str = headers.get(b"x-forwarded-proto") or scope["scheme"]
    scheme = proxies.partition(",")[0].strip()
    return f"{scheme}://{headers.get(b'host', '')}{PICTURE}"


async def _send_picture(send: Send) -> None:
    picture = PICTURE_FILE.read_bytes()
    headers = [(b"content-type", b"image/png"), (b"content-length", str(len(picture)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": picture})


async def _send_named(start: Message, body: bytes, picture: str, send: Send) -> None:
    """Args: body: a page, or whatever else was answered, as it is then."""
    headers = dict(start["headers"])
    if headers.get(b"content-type", b"").startswith(b"text/html"):
        named = f'<meta property="og:image" content="{html.escape(picture)}" />\n'.encode()
        body = body.replace(HEAD, HEAD + OURS + named, 1)
        kept = [pair for pair in start["headers"] if pair[0] != b"content-length"]
        start["headers"] = [*kept, (b"content-length", str(len(body)).encode())]
    await send(start)
    await send({"type": "http.response.body", "body": body})
