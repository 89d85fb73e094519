"""Pages that are opened in the tests' browser."""

import socket

import pytest
from chromium import started_chromium
from freeatten_app.serve import launch
from freeatten_app.server.analyses import Analyses
from freeatten_app.server.models import Models
from freeatten_app.server.texts import Texts
from pages import READY, ask, wait

LOCAL = ("file:", "data:", "blob:")
NO_FRAMES = "window.requestAnimationFrame = () => 0;"


# one for the folder, which is a Python package for that
chromium = pytest.fixture(scope="package")(started_chromium)


@pytest.fixture
def visit(chromium):
    """Opens a page; at the end nothing may be in its console and nothing may have left.

    Pages are tabs of one browser, which has the scripts already; `apart`, and what a tab cannot
    have for itself, are a browser of another visitor.
    """
    pages, contexts, complaints, requests = [], [], [], []

    def open_page(
        path,
        state="",
        *,
        ready="freeatten.page.ready",
        frames=True,
        width=1280,
        height=800,
        color_scheme="light",
        apart=False,
        **options,
    ):
        address = path if isinstance(path, str) else path.as_uri()
        if apart or options:
            context = chromium.browser().new_context(**options)
            contexts.append(context)
        else:
            context = chromium.context(address)
        page = context.new_page()
        pages.append(page)
        page.set_default_timeout(10_000)
        page.set_default_navigation_timeout(1000 * READY)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=color_scheme)
        if not frames:
            page.add_init_script(NO_FRAMES)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address + (f"#{state}" if state else ""))
        ask(page, ready)
        return page

    open_page.complaints = complaints
    open_page.homes = list(LOCAL)
    with chromium.watched():
        yield open_page
        if not chromium.was_ended:
            for page in (one for one in pages if not one.is_closed()):
                ask(page, "localStorage.clear()")  # the theme that was chosen
                page.close()
            for context in contexts:
                context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(tuple(open_page.homes))] == []


@pytest.fixture(scope="package")
def served(tmp_path_factory):
    """The analyses of a server, and its address."""
    text = tmp_path_factory.mktemp("text") / "words.txt"
    text.write_text("".join(f"word {number} follows {number - 1}.\n" for number in range(300)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    analyses = Analyses(Models((), local=True), Texts(str(text)), "cpu")
    app = launch(analyses, "127.0.0.1", port, None)
    yield analyses, f"http://127.0.0.1:{port}/"
    app.close(verbose=False)
    analyses.close()


@pytest.fixture
def opened(served, visit):
    """Opens the app and waits until a condition holds."""
    _, address = served
    visit.homes.append(address)

    def opened(state, condition, **options):
        page = visit(address, state, ready="true", **options)
        wait(page, f"window.freeattenApp?.ready && ({condition})", limit=READY)
        return page

    return opened
