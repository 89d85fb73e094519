"""Who is local, what a visitor from elsewhere may look into, and unknown numbers and names."""

import http.client
import inspect
import json
import shutil
import socket
from contextlib import contextmanager
from itertools import product

import pytest
from freeatten_app import serve
from freeatten_app.server import guard, visitor
from freeatten_app.server.analyses import Analyses
from freeatten_app.server.answers import BUG, answering
from freeatten_app.server.models import Models, hub_names
from freeatten_app.server.texts import Texts, TextSource
from freeatten_app.tabs import entropy, finds, forecasts, losses, maps, setup, stages, words
from waiting import job_ended

from freeatten_core.basics.assets import assets
from freeatten_core.basics.errors import UsageError

ALLOWED = "owner/allowed"
TEXT = {"kind": "own", "name": "", "content": "one two three four five six"}
FROM_ELSEWHERE = [
    {"host": "example.org"},
    {"host": "freeatten.example.org:7860"},
    {"host": "10.0.0.7"},
    {"host": "127.0.0.1.example.org"},
    {"host": "localhost.example.org"},
    {"host": "me@127.0.0.1"},
    {"host": ""},
    {"host": "[::1"},
    {"forwarded": "for=192.0.2.60"},
    {"x-forwarded-for": "192.0.2.60"},
    {"x-forwarded-for": ""},
    {"x-forwarded-for": "127.0.0.1"},
    {"X-Forwarded-Host": "example.org"},
    {"x-forwarded-proto": "https"},
    {"x-forwarded-prefix": "/freeatten"},
    {"x-real-ip": "192.0.2.60"},
    {"via": "1.1 proxy"},
    {"cf-connecting-ip": "192.0.2.60"},
    {"origin": "https://example.org"},
    {"origin": "null"},
]
FROM_HERE = [
    {},
    {"host": "localhost:8000"},
    {"host": "127.0.0.1"},
    {"host": "127.9.9.9:1"},
    {"host": "[::1]:7860"},
    {"origin": "http://localhost:7860"},
    {"accept-language": "en", "cookie": "x=y"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint that the command names."""
    folder = tmp_path_factory.mktemp("private") / "named"
    shutil.copytree(assets() / "checkpoints" / "relu", folder)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    models = Models((str(folder),), local=True, allowed=(ALLOWED,))
    made = Analyses(models, Texts(None, local=True), "cpu")
    yield made
    made.close()


class Served:
    """A server on loopback, asked as a browser or a proxy asks it."""

    def __init__(self, port, component, jobs):
        self.port, self.component, self.jobs = port, component, jobs

    def send(self, method, path, body=None, headers=None):
        """The status and the text of an answer."""
        to = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            to.request(method, path, body, headers or {})
            answer = to.getresponse()
            return answer.status, answer.read().decode()
        finally:
            to.close()

    def post(self, body, headers=None):
        kind = {"content-type": "application/json"}
        path = "/gradio_api/component_server/"
        return self.send("POST", path, json.dumps(body), kind | (headers or {}))

    def ask(self, name, headers=None, **given):
        body = {"session_hash": "s", "component_id": self.component, "fn_name": f"ask_{name}"}
        status, text = self.post(body | {"data": given}, headers)
        assert status == 200, text
        return json.loads(text)

    def analysed(self, checkpoint, headers=None):
        """How an analysis ends."""
        asked = {"checkpoint": checkpoint, "text": TEXT, "length": 32, "seed": 0}
        name = self.ask("start", headers, **asked)["job"]
        job_ended(self.jobs.get(name))
        return self.ask("progress", headers, job=name)


@pytest.fixture(scope="module")
def served(server):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = serve.launch(server, "127.0.0.1", port, None)
    component = next(id for id, block in app.blocks.items() if hasattr(block, "ask_start"))
    yield Served(port, component, server.jobs)
    app.close(verbose=False)


@contextmanager
def elsewhere():
    """Within, a request through a proxy is answered."""
    token = visitor._is_local.set(False)
    try:
        yield
    finally:
        visitor._is_local.reset(token)


# Who is local


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("x.org", False)],
)
def test_what_is_only_this_machine(host, local):
    assert visitor.is_loopback(host) is local


@pytest.mark.parametrize("headers", FROM_HERE)
def test_a_browser_at_this_machine_may_name_folders(served, headers):
    assert served.ask("choices", headers)["folders"] is True


@pytest.mark.parametrize("headers", FROM_ELSEWHERE)
def test_a_visitor_through_a_proxy_or_of_another_site_may_not(served, headers):
    assert served.ask("choices", headers)["folders"] is False


def test_behind_a_proxy_the_pages_addresses_are_the_visitors(served):
    headers = {"host": "example.org", "x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https"}
    status, text = served.send("GET", "/config", headers=headers)
    assert (status, json.loads(text)["root"]) == (200, "https://example.org")


def test_neither_two_hosts_nor_an_old_protocol_are_a_browsers():
    one = {"headers": [(b"host", b"127.0.0.1")], "http_version": "1.1"}
    assert visitor.comes_from_here(one)
    assert not visitor.comes_from_here(one | {"headers": one["headers"] * 2})
    assert not visitor.comes_from_here(one | {"headers": []})
    assert not visitor.comes_from_here(one | {"http_version": "1.0"})  # nginx, unless told


def test_on_other_addresses_nobody_is_local(folder):
    public = Models((str(folder),), local=False)
    assert not public.local
    assert list(public.configured) == ["named (folder)"]


# What a visitor from elsewhere may look into


def test_whether_a_folder_exists_is_not_told(served, folder):
    there, missing = folder.parent, folder.parent / "missing"
    for kind in ("", "+yarn", "+x/y"):
        told = [
            served.analysed(f"{path}{kind}", FROM_ELSEWHERE[0])["error"].replace(str(path), "PATH")
            for path in (there, missing)
        ]
        assert "not open to this page" in told[0]
        assert told[0].replace("private0", "") == told[1].replace("private0", "")


def test_what_one_visitor_may_see_another_does_not_get_from_the_cache(served, folder):
    assert served.analysed(str(folder))["state"] == "done"
    refused = served.analysed(str(folder), FROM_ELSEWHERE[9])
    assert (refused["state"], "not open to this page" in refused["error"]) == ("failed", True)


def test_what_the_command_names_is_open_to_all_and_its_folder_is_told_here_alone(served, folder):
    for headers, name in ((None, str(folder)), (FROM_ELSEWHERE[0], "named (folder)")):
        assert served.ask("choices", headers)["models"][-1]["id"] == name
        told = served.analysed(name, headers)
        assert (told["state"], told["variant"]) == ("done", "relu")
        given = {"ids": [told["id"]], "layer": 0, "head": 0, "q0": 0, "q1": 4, "k0": 0, "k1": 4}
        command = served.ask("view_command", headers, **given)["command"]
        assert (str(folder) in command) is (headers is None)


def test_a_visitor_from_elsewhere_has_only_listed_repositories_downloaded(server, monkeypatch):
    asked = []

    def load(source):
        asked.append(source)
        raise UsageError(f"{source} in /home/somebody/.cache is none")

    monkeypatch.setattr(server.models, "_load", load)
    with elsewhere():
        for other in ("owner/other", "owner/allowed2", "Owner/allowed", f"{ALLOWED}/x"):
            with pytest.raises(UsageError, match=r"not open to this page: .*--allow"):
                server.models.get(other)
        with pytest.raises(UsageError, match="'owner/allowed' cannot be used") as told:
            server.models.row(f"{ALLOWED}+yarn")
        assert ALLOWED in server.models.suggestions()
    assert "/home" not in str(told.value)
    with pytest.raises(UsageError, match="/home"):
        server.models.get("owner/other")  # here, as before
    assert asked == [ALLOWED, "owner/other"]


def test_a_listed_repository_is_not_the_folder_of_its_name(server, tmp_path, monkeypatch):
    (tmp_path / ALLOWED).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with elsewhere(), pytest.raises(UsageError, match="not open to this page"):
        server.models.get(ALLOWED)


def test_a_text_that_cannot_be_read_is_told_without_its_folder(tmp_path):
    texts = Texts(str(tmp_path / "missing.txt"), local=True)
    analyses = Analyses(Models((), local=True), texts, "cpu")
    source = analyses.asked("softmax", TEXT | {"kind": "given"}, 9, 0).text
    with elsewhere(), pytest.raises(UsageError, match=r"missing\.txt cannot be used") as told:
        texts.documents(source)
    assert str(tmp_path) not in str(told.value)
    analyses.close()


@pytest.mark.parametrize(
    "name", ["", "model", "/srv/model", "~/model", "a/b/c", "./model", "a/b@x"]
)
def test_what_is_no_repository_cannot_be_allowed(name):
    with pytest.raises(UsageError, match="it must be a Hugging Face repository, owner/name"):
        hub_names([ALLOWED, name])
    assert hub_names([ALLOWED, ALLOWED]) == (ALLOWED,)


# Unknown numbers, names, types and routes


@pytest.mark.parametrize("component", [10**9, -1, 0, 2**70])
def test_an_unknown_component_is_not_there_and_no_bug(served, component, caplog):
    body = {"session_hash": "s", "component_id": component, "fn_name": "ask_choices", "data": {}}
    assert served.post(body) == (404, json.dumps({"detail": guard.NOTHING}, separators=(",", ":")))
    assert caplog.text == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"component_id": "x"},
        {"component_id": None},
        {"fn_name": 3},
        {"session_hash": None},
        {"fn_name": "__class__"},
        {"fn_name": "unknown"},
    ],
)
def test_a_wrong_call_is_the_visitors_fault(served, wrong):
    right = {"session_hash": "s", "component_id": served.component, "fn_name": "ask_choices"}
    assert served.post(right | {"data": {}} | wrong)[0] in (400, 404)


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data; boundary=x", "text/plain", "application/x-www-form-urlencoded", ""],
)
def test_a_call_is_of_the_type_that_no_form_of_another_site_can_send(served, kind):
    part = 'Content-Disposition: form-data; name="component_id"\r\n\r\nx'
    for body in ("{}", f"--x\r\n{part}\r\n--x--\r\n"):
        path = "/gradio_api/component_server"
        assert served.send("POST", path, body, {"content-type": kind})[0] == 415


@pytest.mark.parametrize("name", ["x" * 256, "%00", "%2e%2e/%2e%2e/etc/passwd", "%c3%a9" * 200])
def test_a_file_that_cannot_be_is_not_there(served, name):
    for folder in ("static", "assets"):
        assert served.send("GET", f"/{folder}/{name}")[0] in (403, 404)


NONSENSE = [
    None,
    True,
    -1,
    10**30,
    0.5,
    float("nan"),
    "",
    "0",
    "\0",
    "\ud800",
    [],
    {},
    [[]],
    [None],
]


@pytest.fixture(scope="module")
def analysis(served):
    return served.analysed("softmax")["id"]


@pytest.mark.parametrize("offered", [setup, forecasts, maps, losses, finds, entropy, stages, words])
def test_every_argument_of_every_function_is_checked(server, analysis, offered):
    given = {"id": analysis, "ids": [analysis], "job": "unknown", "statistic": "entropy"}
    given |= {"layer": 0, "head": 0, "query": 3, "position": 3, "power": None, "last": None}
    given |= {"q0": 0, "q1": 4, "k0": 0, "k1": 4, "cells": 9, "layers": None}
    given |= {
        "result": "stdlib-16x",
        "digest": server.texts.documents(TextSource("stdlib"))[0].sha256,
    }
    given |= {"checkpoint": "softmax", "text": TEXT, "length": 4, "seed": 0, "state": ""}
    for function in offered.functions(server.texts if offered is words else server):
        right = {name: given[name] for name in inspect.signature(function).parameters}
        assert "error" not in answering(function)(right)
        for name, value in product(right, NONSENSE):
            told = answering(function)(right | {name: value}).get("error", "")
            assert told != BUG, (function.__name__, name, value)


def test_what_is_gone_is_said_by_every_function_that_needs_it(server):
    given = {"ids": ["unknown"], "id": "unknown", "layer": 0, "head": 0, "query": 0}
    given |= {"q0": 0, "q1": 9, "k0": 0, "k1": 9, "cells": 9, "state": ""}
    for function in maps.functions(server):
        known = {name: given[name] for name in inspect.signature(function).parameters}
        assert answering(function)(known) == {"gone": True}
