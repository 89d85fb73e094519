"""`freeatten-viz serve`: bounds, checked arguments, sentences, and a login on every route."""

import asyncio
import base64
import http.client
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace as Namespace

import numpy as np
import pytest
import torch
from bounds import started, turns
from freeatten_app import serve
from freeatten_app.main import app
from freeatten_app.server import guard, jobs, memory
from freeatten_app.server.analyses import Analyses
from freeatten_app.server.answers import BUG, GoneError, answering
from freeatten_app.server.cache import BoundedCache
from freeatten_app.server.comparisons import Comparisons, fitting_lengths
from freeatten_app.server.models import Models
from freeatten_app.server.texts import MOST_CHARACTERS, Texts, TextSource
from freeatten_app.tabs import about, compare, maps, retrieval, setup, stages, use, words
from typer.testing import CliRunner
from waiting import job_ended

from freeatten_core import attention_weights, load_checkpoint, loss_by_length
from freeatten_core.analysis import AttentionMap, capture, thumbnails
from freeatten_core.basics.assets import assets
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.files import expanded
from freeatten_core.data.documents import Document, stdlib_documents
from freeatten_core.data.selection import select_texts
from freeatten_core.measures.comparison import Comparison
from freeatten_core.ops.definitions import staged
from freeatten_core.ops.definitions.own_function import find
from freeatten_core.results.stored import read_result, stored_comparisons
from freeatten_core.variants.variant import MODIFIERS

LENGTH = 128
WORDS = "".join(f"word {number} follows {number - 1}.\n" for number in range(80))
ROOT = Path(__file__).resolve().parent.parent
COMMAND = """
import sys
sys.path.insert(0, "tests")
import conftest
from freeatten_app.main import main
main()
"""

FREEING = """
import os
import sys
from pathlib import Path
from freeatten_app.server import memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

getattr(memory, sys.argv[1])()
bytes(range(256)) * 100_000  # the first large block that is freed: glibc maps no smaller one now
blocks = [bytes(range(256)) * 40_000 for _ in range(12)]
kept = resident()
del blocks[:-1]  # the last one lies above the others
print(kept - resident())
"""
"""What a process has back of 11 blocks of 10 MB, after a function of `memory`."""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(WORDS)
    return path


@pytest.fixture(scope="module")
def server(path):
    made = Analyses(Models((), local=True), Texts(str(path)), "cpu")
    yield made
    made.close()


GIVEN = {"kind": "given", "name": "", "content": ""}
REQUEST = {"checkpoint": "softmax", "text": GIVEN, "length": 64, "seed": 0}


YARN = ("softmax", "softmax+yarn")


def own(content, name=""):
    return {"kind": "own", "name": name, "content": content}


LONG = own(
    "".join(f"line {number} of it: {number * 7 % 97}\n" for number in range(130)), "mine.txt"
)


def ask(server, name, **given):
    """What the page gets from a function."""
    modules = setup, maps, stages
    offered = [each for module in modules for each in module.functions(server)]
    offered += compare.functions(Comparisons(server))
    return answering({each.__name__: each for each in offered}[name])(given)


def analysed(server, checkpoint="lssar-p15", text=GIVEN, length=LENGTH):
    """The id of a finished analysis."""
    asked = server.asked(checkpoint, text, length, 0)
    return finished(server, server.start(asked))["id"]


def finished(server, name):
    """The answer of a job that ends well."""
    job = ended(server, name)
    assert job.error == ""
    return job.answer


def ended(server, name):
    return job_ended(server.jobs.get(name))


# The cache


def test_a_cache_drops_what_was_used_longest_ago():
    cache = BoundedCache(entries=2, size=100)
    cache.put("a", 1, 10)
    cache.put("b", 2, 10)
    assert cache.get("a") == 1
    cache.put("c", 3, 10)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]
    assert (len(cache), cache.bytes) == (2, 20)


def test_a_cache_is_bounded_in_bytes_and_keeps_its_newest():
    cache = BoundedCache(entries=9, size=100)
    for key in "abcd":
        cache.put(key, key, 40)
        assert cache.bytes <= 100
    cache.put("large", 0, 1000)
    assert (len(cache), cache.get("large")) == (1, 0)
    cache.put("large", 1, 50)
    assert cache.bytes == 50


# Analyses


def test_numbers_are_the_librarys(server):
    name = analysed(server)
    checkpoint = load_checkpoint("lssar-p15")
    tokens, _ = server.texts.tokens(
        server.asked("x", GIVEN, LENGTH, 0).text, checkpoint.tokenizer, LENGTH, 0
    )
    found = capture(checkpoint, tokens)
    vectors = (each[None, None] for each in found.head(2, 1))
    expected = attention_weights(*vectors, found.variant)[0, 0]
    row = ask(server, "row", id=name, layer=2, head=1, query=100)
    weights = np.frombuffer(base64.b64decode(row["weights"]), dtype="<f4")
    assert row["zeros"]
    np.testing.assert_allclose(weights, expected[100, :101], rtol=1e-4, atol=1e-7)
    region = ask(server, "region", id=name, layer=2, head=1, q0=0, q1=64, k0=0, k1=64, cells=64)
    codes = np.frombuffer(base64.b64decode(region["codes"]), dtype=np.uint8).reshape(64, 64)
    own_codes = server.map(name, 2, 1).region(0, 64, 0, 64, 64).codes
    assert (codes == own_codes).all()


def test_an_own_text_is_read_from_its_start_and_whole(server):
    name = analysed(server, text=own("one two three\nfour", "mine.txt"), length=2048)
    tokens = ask(server, "tokens", id=name)["tokens"]
    assert "".join(tokens) == "one two three\nfour"
    assert server.get(name).text == "mine.txt"


def test_an_id_belongs_to_what_was_asked(server, path):
    first = server.asked("softmax", own("a text"), 64, 0)
    other = server.asked("softmax", own("another text"), 64, 0)
    again = server.asked("softmax", own("a text"), 64, 0)
    ids = [finished(server, server.start(asked))["id"] for asked in (first, other, again)]
    assert ids[0] != ids[1]
    assert ids[0] == ids[2]
    second = Analyses(Models((), local=True), Texts(str(path)), "cpu")
    assert finished(second, second.start(first))["id"] != ids[0]  # a digest does not give it away
    second.close()


def test_what_is_dropped_is_gone_and_comes_again(server):
    name = analysed(server)
    server.kept = BoundedCache(server.kept.entries, server.kept.size)
    assert ask(server, "tokens", id=name) == {"gone": True}
    assert ask(server, "region", id=name, layer=0, head=0, q0=0, q1=9, k0=0, k1=9, cells=9) == {
        "gone": True
    }
    assert analysed(server) == name
    assert len(ask(server, "tokens", id=name)["tokens"]) == LENGTH


@pytest.mark.parametrize("longest", [LENGTH, 16])
def test_a_map_that_two_ask_for_at_once_is_made_once(path, monkeypatch, longest):
    monkeypatch.setattr("freeatten_app.server.analyses.BUILT_AT_ONCE", longest)
    fresh = Analyses(Models((), local=True), Texts(str(path)), "cpu")
    name = analysed(fresh)
    both, made, make = threading.Barrier(2), [], AttentionMap.of
    with ThreadPoolExecutor(2) as pool:

        def slow(*given, **options):
            made.append(given)
            with suppress(threading.BrokenBarrierError):
                both.wait(0.5)  # for another that makes it too
            return make(*given, **options)

        monkeypatch.setattr(AttentionMap, "of", slow)
        found = list(pool.map(lambda _: fresh.map(name, 0, 0, far_view=False), range(2)))
    assert len(made) == 1
    assert found[0] is found[1]
    fresh.close()


def test_analyses_and_maps_stay_in_bounds(path):
    small = Analyses(Models((), local=True), Texts(str(path)), "cpu", entries=3, size=3_000_000)
    name = analysed(small)
    for layer in range(5):
        for head in range(3):
            if ask(small, "open_map", id=name, layer=layer, head=head) == {"gone": True}:
                name = analysed(small)
            assert len(small.kept) <= 3
            assert small.kept.bytes <= 3_000_000
    small.close()


def test_jobs_wait_are_cancelled_and_are_bounded(server, monkeypatch):
    free = threading.Event()

    def slow(*_, advance, **__):
        free.wait(20)
        advance(1, 2)
        raise AssertionError("it should have been cancelled")

    monkeypatch.setattr("freeatten_core.analysis.capture", slow)
    names = [ask(server, "start", **REQUEST)["job"] for _ in range(jobs.AT_ONCE)]
    told = [
        ask(server, "start", **REQUEST | {"text": own(f"text {at}")})
        for at in range(2 * jobs.MOST_WAITING)
    ]
    names += [each["job"] for each in told if "job" in each]
    assert "the server is busy" in told[-1]["error"]
    assert len(names) <= jobs.MOST_WAITING + 2 * jobs.AT_ONCE
    for name in names:
        assert ask(server, "cancel", job=name) == {}
    free.set()
    for name in names:
        ended(server, name)
        assert ask(server, "progress", job=name)["state"] == "cancelled"


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


glibc_alone = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc",
    reason="app/server/memory.py asks glibc's malloc; with another C library it does nothing",
)


@glibc_alone
def test_freed_memory_is_handed_back():
    blocks = [bytes(range(256)) * 8 for _ in range(50_000)]
    del blocks[:-1]  # the last one lies above the others, which glibc keeps for it
    kept = resident()
    memory.release_memory()
    assert kept - resident() > 50_000_000


@glibc_alone
def test_large_blocks_go_back_as_they_are_freed():
    """In a process of its own: where much is free already, blocks are taken from that."""
    run = (sys.executable, "-c", FREEING)
    handed_back = [
        int(subprocess.run([*run, each], capture_output=True, check=True, timeout=60).stdout)
        for each in ("map_large_blocks", "release_memory")
    ]
    assert handed_back[0] > 100_000_000
    assert handed_back[1] < 20_000_000  # so it is with glibc alone


def test_an_abandoned_job_ends(monkeypatch):
    job = jobs.Job()
    job.advance(1, 2)
    assert job.share == 0.5
    monkeypatch.setattr(jobs, "ABANDONED", -1)
    with pytest.raises(jobs.CancelledError):
        job.advance(1, 2)


def test_pictures_of_heads_are_the_librarys(server):
    name = analysed(server)
    told = ask(server, "thumbnails", id=name)
    expected = thumbnails(server.get(name).capture)
    assert (told["side"], told["rows"], len(told["heads"])) == (64, 2, 15)
    for each in told["heads"]:
        codes = base64.b64decode(each["codes"])
        assert codes == expected.codes[each["layer"]][each["head"]].tobytes()
    server.kept = BoundedCache(server.kept.entries, server.kept.size)
    assert ask(server, "thumbnails", id=name) == {"gone": True}


# Modifiers


def test_a_modifier_changes_what_is_seen(server):
    plain, scaled = (analysed(server, name, length=1024, text=LONG) for name in YARN)
    assert str(server.get(scaled).capture.variant) == "softmax+yarn"
    keys = [server.get(name).capture.head(0, 0)[1] for name in (plain, scaled)]
    assert not torch.allclose(*keys)
    given = {"ids": [scaled], "layer": 0, "head": 0, "q0": 0, "q1": 9, "k0": 0, "k1": 9}
    assert "--checkpoint softmax+yarn " in ask(server, "view_command", **given)["command"]


def test_under_a_window_the_page_is_told_what_is_seen(server):
    length, window, query = 1024, 512, 900
    name = analysed(server, "softmax+window", length=length, text=LONG)
    found = server.get(name)
    assert set(found.facts()["windows"].values()) == {window}
    place = {"layer": 0, "head": 0}
    assert ask(server, "open_map", id=name, **place)["window"] == window
    told = ask(server, "row", id=name, **place, query=query)["weights"]
    weights = np.frombuffer(base64.b64decode(told), dtype="<f4")
    vectors = (each.double()[None, None] for each in found.capture.head(0, 0))
    wanted = staged.stages(*vectors, "softmax", window=window).weights[0, 0, query]
    np.testing.assert_allclose(weights, wanted[: query + 1], rtol=1e-3, atol=1e-7)
    region = {"q0": query, "q1": query + 1, "k0": 380, "k1": 400}
    lines = ask(server, "cells", ids=[name], **place, **region)["lines"]
    assert [line[3] for line in lines] == list(range(query + 1 - window, 400))
    assert {each["reach"] for each in ask(server, "thumbnails", id=name)["heads"]} == {32}
    row = ask(server, "stages", id=name, **place, position=query, power=None, last=None)
    assert row["count"] == window


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("softmax+yorn", "unknown modifier 'yorn'; did you mean 'yarn'?"),
        ("softmax+yarn:x=1", "yarn"),
        ("softmax+yarn+yarn", "a modifier appears once at most"),
        ("softmax+", "unknown modifier ''"),
        ("softmx+yarn", "no checkpoint 'softmx'"),
    ],
)
def test_a_wrong_modifier_is_told(server, source, told):
    job = ended(server, ask(server, "start", **REQUEST | {"checkpoint": source})["job"])
    assert (job.state, told in job.error) == ("failed", True)


def test_the_page_offers_every_modifier(server):
    choices = ask(server, "choices")
    assert [name for name, _ in choices["modifiers"]] == list(MODIFIERS)
    assert "softmax+yarn" in choices["suggestions"]
    for source in choices["suggestions"]:
        assert str(server.models.row(source).variant).endswith(source[source.index("+") :])


def test_a_folder_given_with_the_command_takes_modifiers_too(tmp_path):
    folder = tmp_path / "c++"
    shutil.copytree(assets() / "checkpoints" / "relu", folder)
    public = Models((str(folder),), local=False)
    assert str(public.row("c++ (folder)").variant) == "relu"
    assert str(public.row("c++ (folder)+yarn").variant) == "relu+yarn"
    with pytest.raises(UsageError, match="not open to this page"):
        public.row(f"{folder}+yarn")


def test_a_function_of_ones_own_comes_with_the_command_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("freeatten_core.ops.definitions.own_function._allowed", {})
    file = tmp_path / "mine.py"
    file.write_text("def f(query, key, value): return value\n")
    folder = tmp_path / "mine"
    shutil.copytree(assets() / "checkpoints" / "softmax", folder)
    local = Models((), local=True)
    with pytest.raises(UsageError, match="Python code"):
        find(local.row(f"softmax+swap:to={file}:f").variant.computes)
    with pytest.raises(UsageError, match="no checkpoint"):
        local.row(f"{folder}@{file}:f")
    with pytest.raises(UsageError, match=r"computes softmax, not mine\.py:f"):
        Models((f"{folder}@{file}:f",), local=True)
    config = json.loads((folder / "config.json").read_text())
    config |= {"variant": "mine.py:f", "function_sha256": sha256(file.read_bytes()).hexdigest()}
    (folder / "config.json").write_text(json.dumps(config))
    named = Models((f"{folder}@{file}:f",), local=False)
    assert str(named.row("mine (folder)+logn").variant) == "mine.py:f+logn"
    assert named.option("mine (folder)") == "mine (folder)"  # no path of this machine
    here = Models((f"{folder}@{file}:f",), local=True)
    assert here.option(f"{folder}+logn") == f"{folder}@{file}:f+logn"
    assert here.option("softmax+yarn") == "softmax+yarn"


# Comparisons


def compared(server, **changes):
    asked = {"checkpoints": ["softmax", "lssar-p15"], "text": LONG, "longest": 8192, "seed": 0}
    return ask(server, "start_comparison", **asked | changes)


def test_an_own_text_is_compared_at_the_lengths_that_fit(server):
    name = finished(server, compared(server)["job"])["id"]
    result = Comparisons(server).get(name)
    assert result["lengths"] == [512, 1024]
    checkpoint = load_checkpoint("softmax")
    documents = [Document("mine.txt", LONG["content"])]
    drawn = select_texts(documents, checkpoint.tokenizer, 1024, 4, 0).texts
    expected = loss_by_length(checkpoint, [text.tokens for text in drawn], [512, 1024])
    np.testing.assert_allclose(result["variants"][0]["loss"], expected[0], atol=1e-4)
    told = ask(server, "made_comparison", id=name)
    assert told["command"] == (
        "freeatten compare --checkpoint softmax --checkpoint lssar-p15 --len 1024 "
        "--text mine.txt --seed 0"
    )
    assert told["title"] == "Trained on 512 tokens, asked to read 1,024: which attention breaks?"
    assert told["answer"].endswith("One text has no interval, and so no verdict; two are needed.")
    assert [line["verdict"] for line in told["main"]["lines"]] == ["", ""]
    assert told["main"]["tables"][0]["rows"][0][0] == "Softmax (standard)"


def test_the_answer_says_how_many_files_repeat_another(tmp_path):
    for name, text in {"a": "one two ", "again": "one two ", "b": "three four "}.items():
        (tmp_path / f"{name}.txt").write_text(text * 1000, encoding="utf-8")
    server = Analyses(Models((), local=True), Texts(str(tmp_path)), "cpu")
    asked = {"text": {"kind": "given", "name": "", "content": ""}, "longest": 512}
    name = finished(server, compared(server, checkpoints=["softmax"], **asked)["job"])["id"]
    result = Comparisons(server).get(name)
    assert (result["texts"], result["text"]["files"], result["text"]["repeats"]) == (2, 3, 1)
    said = "3 files in all; 1 of them repeats another's text and is left out."
    assert ask(server, "made_comparison", id=name)["answer"].endswith(said)


def test_a_modifier_that_loses_to_a_window_is_told_for_one_text_too(server):
    rows = ["softmax", "softmax+pi"]
    told = ask(
        server, "made_comparison", **finished(server, compared(server, checkpoints=rows)["job"])
    )
    plain, scaled = told["main"]["lines"]
    assert scaled["verdict"] == ""
    worse = float(re.fullmatch(r"S\xa0.+, W\xa0\+([\d.]+)", scaled["controls"])[1])
    assert worse > 1  # interpolated positions cost more than nats
    assert "W\xa0" in plain["controls"]


def test_a_comparison_stops_at_the_length_asked_for(server):
    name = finished(server, compared(server, longest=512, checkpoints=["softmax+yarn"])["job"])
    told = ask(server, "made_comparison", **name)
    assert told["answer"].startswith("Read at 512 tokens only")
    assert [line["label"] for line in told["main"]["lines"]] == ["Softmax + YaRN"]


def test_a_text_too_short_to_compare_is_told_by_the_library(server):
    job = ended(server, compared(server, text=own("far too short", "note.txt"))["job"])
    assert job.error == (
        "the text is too short: note.txt has 4 tokens and 513 are needed; give a longer text"
    )


def test_a_comparison_can_be_cancelled(server, monkeypatch):
    free = threading.Event()

    def endless(*_, watch, **__):
        free.wait(20)
        for _ in turns():
            watch.advance(1.0)

    monkeypatch.setattr(
        "freeatten_core.measures.comparison.compare", lambda _, watch: endless(watch=watch)
    )
    name = compared(server, seed=7)["job"]
    assert ask(server, "cancel", job=name) == {}
    free.set()
    assert ended(server, name).state == "cancelled"


def test_comparisons_do_not_hold_up_analyses(server, monkeypatch):
    free = threading.Event()
    result = {"lengths": [], "variants": []}

    def slow(*_):
        free.wait(20)
        return Comparison(result, {})

    monkeypatch.setattr("freeatten_core.measures.comparison.compare", slow)
    names = [compared(server, seed=10 + at)["job"] for at in range(jobs.AT_ONCE + 1)]
    assert analysed(server, length=32)
    assert ask(server, "progress", job=names[-1])["state"] == "waiting"
    free.set()
    assert all(ended(server, name).state == "done" for name in names)


def test_a_comparison_is_gone_and_is_no_analysis(server):
    for name in ("unknown", analysed(server)):
        assert ask(server, "made_comparison", id=name) == {"gone": True}
    made = finished(server, compared(server, longest=512)["job"])["id"]
    assert ask(server, "tokens", id=made) == {"gone": True}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"checkpoints": []}, "list of 1 to 8 names"),
        ({"checkpoints": ["softmax"] * 9}, "list of 1 to 8 names"),
        ({"checkpoints": "softmax"}, "list of 1 to 8 names"),
        ({"checkpoints": [3]}, "a checkpoint is 3; it must be text"),
        ({"longest": 10**6}, "longest is 1000000"),
        ({"longest": None}, "longest is None"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"text": own(" ")}, "the text is empty"),
    ],
)
def test_a_wrong_comparison_is_told(server, wrong, told):
    assert told in compared(server, **wrong)["error"]


def test_training_lengths_without_a_common_one_are_told():
    rows = [Namespace(model=Namespace(train_length=length)) for length in (500, 513)]
    with pytest.raises(UsageError, match="trained at 500 and 513 tokens, and no length up to"):
        fitting_lengths(rows, [], 1024)


def test_a_file_called_like_a_source_is_still_a_file(server):
    for name in ("stdlib", "prose", "-"):
        asked = server.asked("softmax", own("words", name), 64, 0)
        assert server.texts.option(asked.text) == f"./{name}"


# Retrieval


def test_stored_retrieval_is_shown_as_it_is_stored():
    folder = assets() / "results"
    paths = [*folder.glob("retrieve/*.json"), *folder.glob("tasks/*.json")]
    stored = {path.stem: json.loads(path.read_text()) for path in sorted(paths)}
    stored = {name: each for name, each in stored.items() if each.get("task") == name}
    shown = {
        "copy": "Does it copy 64 tokens",
        "recall": "Does it find one of 16 pairs",
        "mqar": "Does it find one of 16 two-token pairs",
        "forgetting": "Does it find the last value",
        "passkey": "Does it find 5 digits",
        "flip-flop": "Does it hold a written bit",
    }
    told = retrieval.retrieval()["results"]
    assert set(stored) == set(shown)
    for each, name in zip(told, stored, strict=True):
        assert each["title"].startswith(shown[name])
        key = "gain" if name == "copy" else "accuracy"
        row, scale = stored[name]["variants"][0], 1 if name == "copy" else 100
        drawn = each["figures"]["data"][0]["y"]
        assert drawn == pytest.approx([scale * value for value in row[key]])
        assert len(each["lines"]) == len(each["tables"][0]["rows"]) == len(stored[name]["variants"])
        assert each["reading"].endswith(".")
        assert "freeatten retrieve" in each["provenance"]
    assert len(told[1]["tables"][1]["header"]) == len(stored["recall"]["distances"])
    assert [each["command"] for each in told] == [each["command"] for each in stored.values()]
    assert told[0]["grid"] is None
    (row, *_), data = stored["recall"]["variants"], told[1]["grid"]["figures"]["data"]
    assert len(data) == len(stored["recall"]["variants"])
    drawn = [[part["accuracy"] for part in parts] for parts in row["by_distance"]]
    assert [*map(list, zip(*data[0]["z"], strict=True))] == drawn


def test_measures_of_use_are_shown_as_they_are_stored():
    folder = assets() / "results"
    field = json.loads((folder / "inside" / "field.json").read_text())
    runs = read_result(folder / "rows" / "runs.json")["runs"]
    told = {each["name"]: each for each in use.use()["results"]}
    assert {"rows-code", "rows-books", "field", "knee", "effective", "languages"} <= set(told)
    drawn = [list(line["y"]) for line in told["field"]["figures"]["data"]]
    wanted = [[100 * share for share in row["share"]] for row in field["variants"]]
    assert drawn == [pytest.approx(each) for each in wanted]
    (alone,) = (run for run in runs if run["variant"] == "off-by-one")
    (line,) = (line for line in told["rows-books"]["values"] if line[0] == "off-by-one")
    row = alone["books"]
    wanted = [row["loss"][0], row["loss"][-1], row["delta"][-1]]
    assert line[2:5] == pytest.approx(wanted)
    assert line[5:] == [row["sliding_delta"], row["window_delta"]]
    for each in told.values():
        assert all(len(values) == len(each["header"]) for values in each["values"])
        assert each["reading"].endswith(".")
        assert "`" not in each["provenance"]


def test_the_shares_of_ceilings_have_a_chart_and_curves_are_shown_where_rows_keep_them(monkeypatch):
    full = read_result(assets() / "results" / "rows" / "full.json")
    told = {each["name"]: each for each in use.use()["results"]}
    assert "learning-full" not in told
    shares = told["ceiling"]
    assert len(shares["figures"]["data"]) == len(shares["lines"]) == len(shares["values"])
    curve = {"step": [500, 1000], "loss": [4.0, 3.0], "validation": [4.1, 3.1]}
    kept = full | {"runs": [run | {"curve": curve} for run in full["runs"]]}

    def stored(folder):
        return {"full": kept} if folder.name == "rows" else {}

    monkeypatch.setattr("freeatten_core.results.stored.stored_results", stored)
    told = {each["name"]: each for each in use.use()["results"]}
    curves = told["learning-full"]
    assert [trace["y"] for trace in curves["figures"]["data"]] == [[4.1, 3.1]] * 7
    assert len(curves["lines"]) == 7
    assert curves["values"][:2] == [["softmax", 500, 4.1], ["softmax", 1000, 3.1]]
    assert curves["tables"][0]["rows"][0] == ["softmax", "3.100"]


# Arguments


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"length": 1}, "length is 1"),
        ({"length": 10**9}, "length is 1000000000"),
        ({"length": "9"}, "length is '9'"),
        ({"length": True}, "whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"checkpoint": ["x"]}, "must be text"),
        ({"checkpoint": "x" * 500}, "500 characters"),
        ({"text": None}, "text is None"),
        ({"text": {"kind": "given"}}, "must have kind, name, content"),
        ({"text": {"kind": "/etc/passwd", "name": "", "content": ""}}, "it can be given, stdlib"),
        ({"text": own("  \n")}, "the text is empty"),
        ({"text": own("a", "b" * 300)}, "300 characters"),
        ({"text": own("a" * (MOST_CHARACTERS + 1))}, "at most 1,000,000"),
        ({"extra": 1}, "does not fit"),
    ],
)
def test_a_wrong_request_is_told(server, wrong, told):
    answer = ask(server, "start", **(REQUEST | wrong))
    assert told in answer["error"]
    assert list(answer) == ["error"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"layer": 5}, "layer is 5"),
        ({"layer": -1}, "layer is -1"),
        ({"head": 1.5}, "head is 1.5"),
        ({"head": "0"}, "head is '0'"),
        ({"q1": 0}, "empty"),
        ({"q1": LENGTH + 1}, "outside"),
        ({"k0": 9, "k1": 3}, "reversed"),
        ({"k0": None}, "key range"),
        ({"cells": 10**6}, "cells is 1000000"),
        ({"id": 3}, "must be text"),
    ],
)
def test_a_wrong_region_is_told(server, wrong, told):
    right = {"id": analysed(server), "layer": 0, "head": 0, "cells": 9}
    right |= {"q0": 0, "q1": 9, "k0": 0, "k1": 9}
    assert told in ask(server, "region", **(right | wrong))["error"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"position": LENGTH}, "position is"),
        ({"power": 65}, "65"),
        ({"power": "3"}, "'3'"),
        ({"last": 0}, "last is 0"),
        ({"last": 70}, "last is 70"),
    ],
)
def test_a_wrong_row_is_told(server, wrong, told):
    right = {"id": analysed(server), "layer": 0, "head": 0, "position": 50}
    right |= {"power": None, "last": None}
    assert told in ask(server, "stages", **(right | wrong))["error"]


@pytest.mark.parametrize("checkpoint", ["relu", "lssar-p15+swap:to=sigmoid"])
def test_a_power_is_left_out_where_there_is_nothing_to_sharpen(server, checkpoint):
    asked = {"id": analysed(server, checkpoint)}
    asked |= {"layer": 0, "head": 0, "position": 50, "last": None}
    plain = ask(server, "stages", **asked, power=None)
    assert plain["sharpens"] is False
    assert plain["own"] is None
    assert ask(server, "stages", **asked, power=3) == plain


@pytest.mark.parametrize("given", [None, 3, "x", [1], {"unknown": 1}])
def test_a_call_of_another_form_is_told(given):
    def function(name: str) -> dict[str, str]:
        return {"name": name}

    assert "the call" in answering(function)(given)["error"]


def test_a_bug_is_logged_and_not_told(caplog):
    def function():
        raise KeyError("a secret path")

    assert answering(function)([]) == {"error": BUG}
    assert "a secret path" in caplog.text


def test_gone_is_an_answer():
    def function():
        raise GoneError

    assert answering(function)({}) == {"gone": True}


def test_the_command_of_a_pasted_text_reads_the_file_that_the_page_saves(server):
    name = analysed(server, text=own("部分 " * 300, ""))
    given = {"ids": [name], "layer": 0, "head": 0, "q0": 0, "q1": 9, "k0": 0, "k1": 9}
    command = ask(server, "view_command", **given)["command"]
    assert command.endswith("--text - --seed 0 < pasted-text.txt")
    assert ask(server, "choices")["pasted"] == "pasted-text.txt"
    tokens = ask(server, "tokens", id=name)["tokens"]
    assert "�" not in "".join(tokens)
    assert "⟨部 1/3⟩" in tokens


def test_cells_of_several_maps_name_their_model_and_tokens(server):
    names = [analysed(server, "softmax"), analysed(server)]
    place = {"layer": 1, "head": 2, "q0": 4, "q1": 9, "k0": 0, "k1": 9}
    lines = ask(server, "cells", ids=names, **place)["lines"]
    assert {model for model, *_ in lines} == {"softmax", "lssar:p=15"}
    tokens = ask(server, "tokens", id=names[0])["tokens"]
    seen = [(query, key) for _, query, _, key, *_ in lines]
    visible = [(query, key) for query in range(4, 9) for key in range(query + 1)]
    assert seen == 2 * visible
    for _, query, query_token, key, key_token, cell, _ in lines:
        assert (query_token, key_token, cell) == (tokens[query], tokens[key], 1)
    assert "error" in ask(server, "page", ids=names, layer=1, head=2, state="q" * 501)


def test_a_text_is_found_by_its_digest_and_its_words_with_it(server, path, tmp_path):
    digest = Document(path.name, path.read_text()).sha256
    name = analysed(server, text={"kind": "found", "name": digest, "content": ""})
    found = server.get(name)
    assert found.text == path.name
    whole = server.texts.tokens(TextSource("given"), found.capture.tokenizer, LENGTH, 0)[0]
    assert found.capture.tokens.equal(whole)
    place = {"ids": [name], "layer": 0, "head": 0, "q0": 0, "q1": 9, "k0": 0, "k1": 9}
    assert ask(server, "view_command", **place)["command"].endswith(f"--text {path} --seed 0")
    assert Texts(str(path), local=False).option(TextSource("found", digest)) == path.name

    changed = tmp_path / "changed.txt"
    changed.write_text(path.read_text() + "\n")
    other = Texts(str(changed))
    assert not other.has(digest)
    with pytest.raises(UsageError, match=f"no text here has the digest {digest[:12]}"):
        other.by_digest(digest)
    for digest in ("../etc/passwd", "0" * 63, 7):
        with pytest.raises(UsageError, match="the digest is "):
            TextSource.of({"kind": "found", "name": digest, "content": ""}, {})


def test_a_stored_result_tells_which_of_its_texts_are_here(server):
    offered = words.functions(server.texts)
    tell = answering(offered[0])
    manifest = stored_comparisons()["stdlib-16x"]["text"]["manifest"]
    here = {each.name: each.sha256 for each in stdlib_documents()}
    found = tell({"result": "stdlib-16x"})
    assert found["of"] == len(manifest)
    expected = sorted(digest for digest in manifest.values() if digest in here.values())
    assert sorted(each["digest"] for each in found["texts"]) == expected
    assert all(here[each["name"]] == each["digest"] for each in found["texts"])
    assert "it can be" in tell({"result": "none"})["error"]


def test_a_command_quotes_the_name_of_a_text(server):
    name = analysed(server, text=own(WORDS, "my; rm -rf $HOME.txt"))
    given = {"ids": [name], "layer": 0, "head": 0, "q0": 0, "q1": 9, "k0": 0, "k1": 9}
    command = ask(server, "view_command", **given)["command"]
    assert command.endswith("--text 'my; rm -rf $HOME.txt' --seed 0")
    assert "error" in ask(server, "view_command", **(given | {"q0": "0; x"}))
    assert "error" in ask(server, "view_command", **(given | {"ids": [name] * 9}))


# Checkpoints and cards


def test_other_machines_cannot_name_folders(tmp_path):
    public = Models((str(tmp_path / "mine"),), local=False)
    for source in (str(tmp_path), "../..", "/etc", "~", "tests/app", ".", "a/b/c"):
        with pytest.raises(UsageError, match="not open to this page"):
            public.get(source)
    assert public.get("softmax").name == "softmax"
    with pytest.raises(UsageError, match=r"'mine \(folder\)' cannot be used") as told:
        public.get("mine (folder)")  # allowed, and not there
    assert str(tmp_path) not in str(told.value)


def test_other_machines_see_no_folders(path, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(assets() / "checkpoints" / "relu", folder)
    public = Models((str(folder),), local=False)
    last = public.choices()[-1]
    assert last == {"id": "mine (folder)", "label": "mine (folder)", "first": True, "asks": True}
    assert str(public.get("mine (folder)").config.variant) == "relu"
    texts = Texts(str(path), local=False)
    source = TextSource("given")
    assert texts.option(source) == path.name
    assert texts.tokens(source, public.get("softmax").tokenizer, 9, 0)[1] == path.name


def test_a_shipped_name_is_not_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "softmax").mkdir()
    monkeypatch.chdir(tmp_path)
    assert expanded("softmax").is_dir()
    assert str(Models((), local=True).get("softmax").config.variant) == "softmax"


def test_a_card_can_neither_run_nor_fetch():
    card = "---\nx: 1\n---\n# T\n<script>a</script> <img src=x> ![p](http://x/y) [l](javascript:a)"
    text = about.markdown(card)
    assert "<h1>T</h1>" in text
    assert not any(word in text for word in ("<script", "<img", "x: 1", 'href="javascript'))


# The command


def viz(*words):
    return CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "300"})


def test_a_taken_port_is_told_with_the_next():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = viz("serve", "--no-browser", "--port", port)
        other = viz("serve", "--no-browser", "--host", "127.0.0.2", "--port", port)
    for each in (done, other):
        assert each.exit_code == 2
        assert f"port {port} is taken; --port " in each.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--auth", "me"], "a name and a password"),
        (["--text", "/nowhere/at/all"], "no text at /nowhere/at/all"),
        (["--text", ""], "no text at ''"),
        (
            ["--allow", "/srv/model"],
            "--allow is '/srv/model'; it must be a Hugging Face repository",
        ),
        (["--device", "tpu"], "device is 'tpu'"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["--host", "ä..b"], "cannot listen on ä..b"),
    ],
)
def test_a_wrong_call_is_told(words, told):
    done = viz("serve", "--no-browser", "--port", "7999", *words)
    assert done.exit_code == 2
    assert told in done.stderr


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_command_prints_its_address_and_stops_on_ctrl_c(port):
    words = [sys.executable, "-c", COMMAND, "serve", "--no-browser", "--port", str(port)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT.parent)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with started(words, **pipes, cwd=ROOT.parent, env=environment) as process:
        line = process.stdout.readline()
        assert line == f"freeatten is at http://127.0.0.1:{port} (Ctrl-C stops it)\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            assert b"freeattenApp" in answer.read()
            assert "default-src 'self'" in answer.headers["content-security-policy"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err.strip() == "stopped"
    assert out == ""


# The routes


class Visitor:
    """Requests with cookies."""

    def __init__(self, address):
        self.address = address
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    def send(self, path, body=None, kind="application/json"):
        """The status and the text of an answer."""
        request = urllib.request.Request(
            self.address + path, data=body, headers={"content-type": kind} if body else {}
        )
        try:
            with self.opener.open(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def call(self, component, name, given):
        body = {"session_hash": "s", "component_id": component, "fn_name": name, "data": given}
        return self.send("gradio_api/component_server/", json.dumps(body).encode())


@pytest.fixture(scope="module")
def locked(server):
    """A served app with a login: its address, and the number of its component."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    served = serve.launch(server, "127.0.0.1", port, ("me", "secret"))
    component = next(id for id, block in served.blocks.items() if hasattr(block, "ask_start"))
    yield f"http://127.0.0.1:{port}/", component
    served.close(verbose=False)


def test_nothing_answers_without_a_login(locked):
    address, component = locked
    stranger = Visitor(address)
    assert stranger.call(component, "ask_choices", {})[0] == 401
    assert "ask_choices" not in stranger.send("")[1]
    assert stranger.send("config")[0] == 401


def test_before_a_login_other_pages_can_show_the_program_and_nothing_of_the_users(locked, path):
    address, _ = locked
    page = Visitor(address).send("")[1]
    assert '<meta property="og:title" content="freeatten" />' in page
    assert f'<meta property="og:image" content="{address}preview.png" />' in page
    shipped = (Path(serve.__file__).parent / "pages" / "preview.png").read_bytes()
    with urllib.request.urlopen(f"{address}preview.png?of=anything", timeout=20) as answer:
        assert answer.read() == shipped  # the program's own picture, whatever is served
    for secret in (path.name, str(path.parent), "me", "secret"):
        assert not re.search(rf"\b{re.escape(secret)}\b", page.replace("<meta", ""))


def test_a_login_opens_the_functions(locked):
    address, component = locked
    visitor = Visitor(address)
    form = urllib.parse.urlencode({"username": "me", "password": "wrong"}).encode()
    assert visitor.send("login", form, "application/x-www-form-urlencoded")[0] == 400
    form = urllib.parse.urlencode({"username": "me", "password": "secret"}).encode()
    assert visitor.send("login", form, "application/x-www-form-urlencoded")[0] == 200
    status, text = visitor.call(component, "ask_choices", {})
    assert status == 200
    offered = [each["id"] for each in json.loads(text)["texts"]]
    assert offered == ["given", "stdlib", "prose", "writing"]
    assert visitor.call(component, "asked", {})[0] == 404


def test_a_request_that_is_too_large_is_refused(locked):
    address, _ = locked
    server = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=20)
    server.putrequest("POST", "/gradio_api/component_server/")
    server.putheader("content-type", "application/json")
    server.putheader("content-length", str(guard.MOST_BYTES + 1))
    server.endheaders()
    assert server.getresponse().status == 413
    server.close()


def test_a_request_that_hides_its_size_is_refused():
    async def reads_all(_scope, receive, _send):
        for _ in turns():
            await receive()

    async def more():
        return {"type": "http.request", "body": b"x" * 1_000_000, "more_body": True}

    async def send(message):
        sent.append(message)

    sent: list[dict] = []
    scope = {"type": "http", "path": "/login", "headers": []}
    asyncio.run(guard.Guard(reads_all)(scope, more, send))
    assert [message.get("status") for message in sent] == [413, None]


@pytest.mark.parametrize(
    "route", ["gradio_api/upload", "gradio_api/file=/etc/passwd", "gradio_api/queue/join", "docs"]
)
def test_routes_without_a_use_are_closed(locked, route):
    assert Visitor(locked[0]).send(route)[0] == 404
    assert Visitor(locked[0]).send(route, b"{}")[0] == 404
