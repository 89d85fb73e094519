"""`freeatten-viz serve` in an environment that would open it, move it or keep it closed."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from queue import Empty
from threading import Event
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from bounds import LIMIT, ended
from freeatten_app import serve
from freeatten_app.main import app
from freeatten_app.server import environment
from freeatten_app.tabs import compare, comparison_view
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
PLANT = "import sys; sys.path.insert(0, 'tests'); import conftest\n"
"""From a checkout, the packages have their names through it."""
COMMAND = f"{PLANT}from freeatten_app.main import main; main()"
HOSTILE = {
    "ALL_PROXY": "socks5://127.0.0.1:1",
    "http_proxy": "http://[127.0.0.1",
    "NO_PROXY": "[::1]",
    "SSL_CERT_FILE": "/nowhere/certificates.pem",
    "SSL_CERT_DIR": "/nowhere",
    "SSLKEYLOGFILE": "/nowhere/keys",
    "WEB_CONCURRENCY": "many",
    "SYSTEM": "spaces",
    "SPACE_ID": "owner/name",
    "GRADIO_SHARE": "true",
    "GRADIO_ALLOWED_PATHS": "/",
    "GRADIO_SERVER_NAME": "0.0.0.0",
    "GRADIO_SERVER_PORT": "7",
    "GRADIO_ROOT_PATH": "/elsewhere",
    "GRADIO_TEMP_DIR": "/proc/nothing",
    "GRADIO_NUM_WORKERS": "2",
    "GRADIO_MCP_SERVER": "true",
    "GRADIO_SSR_MODE": "true",
    "GRADIO_WATCH_DIRS": "/",
    "GRADIO_DEBUG": "yes",
}


class Started:
    """A server in a process of its own, without a standard output."""

    def __init__(self, folder):
        self.scratch, self.errors = folder / "scratch", folder / "stderr"
        self.scratch.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        told = folder / "told"
        os.mkfifo(told)
        browser = folder / "browser"
        browser.write_text(f'#!/bin/sh\necho "$1" > {told}\n')
        browser.chmod(0o755)
        words = [sys.executable, "-c", COMMAND, "serve", "--port", str(self.port)]
        kept = {
            name: os.environ[name] for name in ("HOME", "OMP_NUM_THREADS") if name in os.environ
        }
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *words],
                cwd=ROOT,
                env=kept | HOSTILE | {"BROWSER": str(browser), "TMPDIR": str(self.scratch)},
                stderr=errors,
            )
        self.address = line_of(told)

    def get(self, path=""):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.address + path, timeout=20) as answer:
            return answer.read().decode()


def line_of(fifo):
    """What is written into it first."""
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ready, _, _ = select.select([reading], [], [], LIMIT)
        return os.read(reading, 1000).decode().strip() + "/" if ready else ""
    finally:
        os.close(reading)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    found = Started(tmp_path_factory.mktemp("started"))
    yield found
    found.process.kill()
    found.process.wait(LIMIT)


@pytest.fixture
def ending(tmp_path):
    """A server for a test that ends it."""
    found = Started(tmp_path)
    yield found
    found.process.kill()
    found.process.wait(LIMIT)


# One server, and all that would have stopped it


def test_it_starts_and_opens_the_browser(started):
    assert started.address == f"http://127.0.0.1:{started.port}/", started.errors.read_text()
    assert "freeattenApp" in started.get()


def test_it_is_where_the_command_says_and_nowhere_else(started):
    assert json.loads(started.get("config"))["root"] == started.address.rstrip("/")
    with pytest.raises(ConnectionRefusedError):  # as all addresses but 127.0.0.1 would
        socket.create_connection(("127.0.0.2", started.port), timeout=20).close()


@pytest.mark.parametrize("route", ["gradio_api/file=/etc/passwd", "gradio_api/mcp/", "file=/etc"])
def test_it_opens_no_files_and_no_tools(started, route):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        started.get(route)


def test_sigterm_ends_it_and_nothing_is_left(ending):
    assert list(ending.scratch.iterdir()), "it should have a folder of its own there"
    ending.process.send_signal(signal.SIGTERM)
    assert ending.process.wait(LIMIT) == 0
    assert ending.errors.read_text() == "\nstopped\n"
    assert list(ending.scratch.iterdir()) == []


# What is taken out, and what comes back


def test_of_gradios_variables_two_stay_with_values_of_our_own():
    with patch.dict(os.environ, HOSTILE):
        environment.settle()
        left = {name: value for name, value in os.environ.items() if name.startswith("GRADIO_")}
        assert "SYSTEM" not in os.environ
    assert left.pop("GRADIO_ANALYTICS_ENABLED") == "False"
    assert Path(left.pop("GRADIO_TEMP_DIR")).is_dir()
    assert left == {}


def test_proxies_and_certificates_are_the_users_again_for_the_hub():
    with patch.dict(os.environ, HOSTILE | {"no_proxy": "mine"}):
        del os.environ["PATH"]
        before = dict(os.environ)
        with environment.direct():
            assert os.environ["no_proxy"] == "*"
            assert "SSL_CERT_FILE" not in os.environ
            assert os.environ["PATH"]
        assert dict(os.environ) == before


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_a_second_one_interrupts(number):
    before = signal.getsignal(number)
    with environment.stop_signals() as came:
        signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert [came.get_nowait(), came.get_nowait()] == [number, number]
    assert signal.getsignal(number) is before


AT_EVERY_LINE = """
import signal, sys
from types import SimpleNamespace
from freeatten_app import serve
from freeatten_app.server import environment
from freeatten_app.tabs import compare, comparison_view

def signalled(turn):
    lines, sent = 0, False
    def send(*_):
        nonlocal sent
        signal.setitimer(signal.ITIMER_REAL, 0)
        if not sent:  # a second signal would interrupt
            sent = True
            signal.raise_signal(signal.SIGTERM)
    def trace(frame, event, _argument):
        nonlocal lines
        if frame.f_code is send.__code__:
            return None
        lines += event == "line"
        if event == "line" and lines == turn:
            sys.settrace(None)
            send()
        return trace
    def launch(*_):
        sys.settrace(trace)
        return SimpleNamespace(close=lambda verbose: sys.settrace(None))
    serve.launch = launch
    analyses = SimpleNamespace(close=lambda: None)
    signal.signal(signal.SIGALRM, send)
    signal.setitimer(signal.ITIMER_REAL, 2)  # ends the turn in which no line is the one
    serve.run(analyses, "127.0.0.1", 1, None, browser=False)
    return lines

environment.say = serve.say = lambda *_, **__: None
serve.warm = lambda ending: None  # which the end waits for, as the next test says
turns = 0
while signalled(turns + 1) > turns:
    turns += 1
print(turns)
"""


def test_a_signal_ends_the_server_at_whatever_line_it_comes():
    done = ended(
        [sys.executable, "-c", PLANT + AT_EVERY_LINE],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert int(done.stdout) > 5


class WakesNobody:
    """In the place of a queue: its signal is put as somebody waits already, and found by whoever
    asks anew, as where Python's handler runs once the wait is over."""

    def __init__(self):
        self.limits = []

    def get(self, timeout=None):
        self.limits.append(timeout)
        if timeout is None:
            pytest.fail("nothing ends this wait")
        if len(self.limits) < 3:
            raise Empty
        return signal.SIGTERM


def test_a_signal_that_wakes_nobody_is_found_all_the_same():
    queue = WakesNobody()
    serve._wait(queue)
    assert queue.limits == [serve.WAKE_SECONDS] * 3
    assert serve.WAKE_SECONDS <= 1


def test_the_end_waits_for_the_result_that_is_being_made(monkeypatch):
    """A library at work in a thread when Python ends aborts the process."""
    made = []

    def launch(*_):
        signal.raise_signal(signal.SIGTERM)
        return SimpleNamespace(close=lambda **_: None)

    def warm(ending):
        if ending.wait(serve.WARM_SECONDS):
            made.append("the result")

    monkeypatch.setattr(serve, "launch", launch)
    monkeypatch.setattr(serve, "warm", warm)
    with patch.dict(os.environ):
        serve.run(SimpleNamespace(close=lambda: None), "127.0.0.1", 1, None, browser=False)
    assert made == ["the result"]


def test_results_that_nobody_waits_for_are_not_made(monkeypatch):
    made = []
    monkeypatch.setattr(compare, "comparison", made.append)
    ending = Event()
    ending.set()
    serve.warm(ending)
    assert made == [comparison_view.FIRST]


def test_a_fault_is_shown_though_a_signal_came(monkeypatch):
    def launch(*_):
        signal.raise_signal(signal.SIGTERM)
        raise AttributeError("a fault")

    monkeypatch.setattr(serve, "launch", launch)
    with patch.dict(os.environ), pytest.raises(AttributeError, match="a fault"):
        serve.run(SimpleNamespace(close=lambda: None), "127.0.0.1", 1, None, browser=False)


# Standard streams


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_get_a_place(closed):
    code = (
        "import os, sys; from freeatten_app.server import environment as e; e.open_streams();"
        "held = os.pipe(); print('x'); print('x', file=sys.stderr); sys.stdin.read(0);"
        "sys.exit(min(held))"
    )
    done = ended(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", f"{PLANT}{code}"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode >= 3, done.stderr


def test_what_nobody_reads_stops_nothing(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        environment.say("freeatten is at http://127.0.0.1:7860")
        environment.say("once more")


@pytest.mark.parametrize("browser", ["/nowhere/browser", "'", "'%s"])
def test_a_browser_that_is_none_is_told(browser):
    code = (
        f"{PLANT}from freeatten_app.serve import open_browser; open_browser('http://127.0.0.1:1')"
    )
    done = ended(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"BROWSER": browser, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
    )
    assert done.stderr == "no browser could be opened; open the address yourself\n"
    assert done.returncode == 0


def test_the_version_is_the_projects():
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.stdout.startswith("freeatten-viz ")
