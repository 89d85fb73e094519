"""`freeatten-viz serve`: the instrument in a browser."""

from __future__ import annotations

import webbrowser
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Annotated

import typer

from freeatten_core.basics.errors import UsageError

from .server import environment, gradio_import, memory
from .server.address import check_port, in_url, shown
from .server.environment import say
from .server.visitor import is_loopback

if TYPE_CHECKING:
    import gradio as gr

    from .server.analyses import Analyses

__all__ = [
    "check_device",
    "check_text",
    "launch",
    "login_of",
    "open_browser",
    "run",
    "serve",
    "warm",
]

WARM_SECONDS = 10
"""How long the end waits for the result that is being made: a library that is at work in a thread
when Python ends would abort the process."""
WAKE_SECONDS = 0.5
"""How often the main thread looks for a signal: one that came while another thread held Python has
woken nobody."""
UPLOAD_BYTES = "1kb"
"""Gradio's own upload has no use here: texts come with the calls, within their own bounds."""


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="A shipped name, folder or hub name to look into; repeatable."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="A file or folder to look at, beside the built-in texts.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    auth: Annotated[str | None, typer.Option(help="USER:PASS that a visitor must know.")] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="A hub repository, owner/name, that visitors from elsewhere may have downloaded; "
            "repeatable."
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Open the instrument in a browser. Ctrl-C stops it."""
    from .server.analyses import Analyses
    from .server.models import Models, hub_names
    from .server.texts import Texts

    login = login_of(auth)
    allowed = hub_names(allow or ())
    check_text(text)
    check_device(device)
    check_port(host, port)
    local = is_loopback(host)
    models = Models(tuple(checkpoint or ()), local=local, allowed=allowed)
    analyses = Analyses(models, Texts(text, local=local), device)
    run(analyses, host, port, login, browser=browser)


def run(
    analyses: Analyses, host: str, port: int, login: tuple[str, str] | None, *, browser: bool
) -> None:
    """Serves until Ctrl-C or SIGTERM."""
    try:
        with suppress(KeyboardInterrupt), environment.stop_signals() as signals:
            environment.settle()
            _listen(analyses, host, port, login, browser=browser, signals=signals)
        say("\nstopped", error=True)
    finally:
        analyses.close()


def _listen(
    analyses: Analyses,
    host: str,
    port: int,
    login: tuple[str, str] | None,
    *,
    browser: bool,
    signals: SimpleQueue[int],
) -> None:
    with environment.without_collection():
        app = launch(analyses, host, port, login)
    ending = Event()
    warming = Thread(target=warm, args=(ending,), daemon=True)
    try:
        address = f"http://{shown(host)}:{port}"
        say(f"freeatten is at {address} (Ctrl-C stops it)")
        warming.start()
        if browser:
            open_browser(address)
        _wait(signals)
    finally:
        ending.set()
        app.close(verbose=False)
        if warming.is_alive():
            warming.join(WARM_SECONDS)


def _wait(signals: SimpleQueue[int]) -> None:
    """Returns at the first signal."""
    while True:
        with suppress(Empty):
            signals.get(timeout=WAKE_SECONDS)
            return


def open_browser(address: str) -> None:
    """Opens the page, or says that somebody else must."""
    try:
        is_open = webbrowser.open(address)
    except (webbrowser.Error, OSError, ValueError):  # what the variable BROWSER can cause
        is_open = False
    if not is_open:
        say("no browser could be opened; open the address yourself", error=True)


def launch(analyses: Analyses, host: str, port: int, login: tuple[str, str] | None) -> gr.Blocks:
    """Starts listening, and returns the app, which `close` stops."""
    memory.map_large_blocks()
    with environment.direct():
        return _launched(analyses, host, port, login)


def _launched(analyses: Analyses, host: str, port: int, login: tuple[str, str] | None) -> gr.Blocks:
    with gradio_import.shorter():
        import gradio as gr
    from starlette.middleware import Middleware

    from .page import MARK, build, markup
    from .server.front import Front
    from .server.guard import Guard, unknown

    app, component = build(analyses)
    front = Middleware(Front, page=markup(component), mark=MARK)
    app.launch(
        server_name=in_url(host),
        server_port=port,
        auth=login,
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        app_kwargs={
            "middleware": [Middleware(Guard), front],
            "exception_handlers": {KeyError: unknown},
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
        max_file_size=UPLOAD_BYTES,
        footer_links=[],
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        run_history=False,
        enable_monitoring=False,
        ssl_verify=False,  # it asks its own page, which has no certificate
        ssr_mode=False,
        mcp_server=False,
    )
    return app


def warm(ending: Event) -> None:
    """Makes the first screen while the browser starts, then the results that it leads to.

    Args:
        ending: set where the server ends, which the results that are left are not made for.
    """
    from .tabs import compare, comparison_view

    compare.comparison(comparison_view.FIRST)
    for each in compare.results()["results"]:
        if ending.is_set():
            return
        compare.comparison(each["id"])


def login_of(text: str | None) -> tuple[str, str] | None:
    """`USER:PASS` as a pair.

    Raises:
        UsageError: it is not one.
    """
    if text is None:
        return None
    user, _, password = text.partition(":")
    if not user or not password:
        raise UsageError("--auth needs a name and a password, as in --auth me:secret")
    return user, password


def check_text(text: str | None) -> None:
    """Whether the text that the page is to offer is there.

    Raises:
        UsageError: it is not.
    """
    if text is None or text in ("stdlib", "prose"):
        return
    from freeatten_core.basics.files import expanded  # with it comes torch

    if not text or not expanded(text).exists():
        raise UsageError(
            f"no text at {text or repr(text)}: it must be a file, a folder, stdlib or prose"
        )


def check_device(device: str) -> None:
    """The name of a device; whether there is one shows when it is needed.

    Raises:
        UsageError: another name.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device is {device!r}; it can be auto, cpu or cuda")
