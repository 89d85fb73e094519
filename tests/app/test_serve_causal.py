"""`freeatten-viz serve` with models of the transformers library."""

from __future__ import annotations

import base64
import json
from importlib import import_module

import causal
import numpy as np
import pytest
import torch
from freeatten_app.server.analyses import Analyses
from freeatten_app.server.answers import answering
from freeatten_app.server.comparisons import Comparisons
from freeatten_app.server.models import Models
from freeatten_app.server.texts import Texts
from freeatten_app.tabs import compare, entropy, forecasts, maps, setup, stages
from freeatten_cli.main import app
from typer.testing import CliRunner
from waiting import job_ended

from freeatten_core import load_causal_model
from freeatten_core.analysis import capture
from freeatten_core.ops.operator import attention_weights
from freeatten_core.results.stored import stored_model_comparisons

LENGTH = 64
OWN = {
    "kind": "own",
    "name": "mine.txt",
    "content": "".join(f"line {number} of a text that is long enough.\n" for number in range(400)),
}
GIVEN = {"kind": "given", "name": "", "content": ""}
ASKED = {"checkpoint": "softmax", "text": GIVEN, "length": LENGTH, "seed": 0}
forecast_module = import_module("freeatten_core.analysis.forecast")  # the name is also a function


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("others")
    names = ("llama", "mistral", "gemma3", "bloom", "gpt2")
    return {name: causal.save(root / name, causal.network(name)) for name in names}


@pytest.fixture(scope="module")
def servers(folders, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text("".join(f"word {number} follows {number - 1}.\n" for number in range(80)))
    configured = (str(folders["llama"]), str(folders["bloom"]))
    made = {
        local: Analyses(Models(configured, local=local), Texts(str(path), local=local), "cpu")
        for local in (True, False)
    }
    yield made
    for each in made.values():
        each.close()


def ask(server, name, **given):
    modules = (setup, maps, stages, entropy, forecasts)
    offered = [each for module in modules for each in module.functions(server)]
    offered += compare.functions(Comparisons(server))
    return answering({each.__name__: each for each in offered}[name])(given)


def ended(server, checkpoint, layers=None):
    asked = server.asked(str(checkpoint), GIVEN, LENGTH, 0, layers)
    return job_ended(server.jobs.get(server.start(asked)))


def foreseen(server, checkpoint, layers=None):
    told = ask(server, "start_forecast", checkpoint=checkpoint, length=LENGTH, layers=layers)
    job = job_ended(server.jobs.get(told["job"]))
    return job.error or job.answer


def test_a_layer_of_a_model_of_others_is_looked_into(servers, folders):
    server, name = servers[True], str(folders["llama"])
    told = ended(server, name).answer
    assert (told["variant"], told["layers"], told["heads"]) == (name, [1], 4)
    assert (told["trained"], told["declared"]) == (None, causal.DECLARED)

    model = load_causal_model(name)
    found = capture(model, server.get(told["id"]).capture.tokens).layers[1]
    wanted = attention_weights(found.query[None], found.key[None], "softmax", **found.options)[0, 2]
    place = {"id": told["id"], "layer": 1, "head": 2}
    row = ask(server, "row", **place, query=40)["weights"]
    got = torch.from_numpy(np.frombuffer(base64.b64decode(row), "<f4").copy())
    torch.testing.assert_close(got, wanted[40, :41], atol=1e-4, rtol=1e-3)

    assert {head["layer"] for head in ask(server, "heads", id=told["id"])["heads"]} == {1}
    assert len(ask(server, "curves", id=told["id"], statistic="entropy")["heads"]) == 4
    shown = ask(server, "stages", **place, position=40, power=None, last=None)
    assert shown["count"] == 41
    assert ask(server, "open_map", **place)["trainLength"] is None


def test_one_layer_or_all_are_read_and_every_layer_is_told_with_its_window(servers, folders):
    server, name = servers[True], str(folders["gemma3"])
    of = {"heads": 4, "keys": 2}
    told = [{"layer": 0, "window": causal.WINDOW, **of}, {"layer": 1, "window": None, **of}]
    for layers, read in ((None, [1]), (0, [0]), ("all", [0, 1])):
        found = ended(server, name, layers).answer
        assert (found["layers"], found["attention"]) == (read, told)
        words = ask(server, "curves", id=found["id"], statistic="entropy")["command"].split()
        assert words[words.index("--statistic") :][2:4] == (
            ["--len", str(LENGTH)] if layers is None else ["--layers", str(layers)]
        )
    assert ended(server, name, 5).error == "layer is 5; it must be from 0 to 1"
    assert "the layer is 'some'" in ask(server, "start", **ASKED | {"layers": "some"})["error"]


def test_what_a_model_takes_is_told_before_it_is_read(servers, folders, monkeypatch):
    server, name = servers[True], str(folders["gemma3"])
    monkeypatch.setattr(server.models, "get", lambda *_: pytest.fail("it was read"))
    found = foreseen(server, name)
    assert found["attention"] == [
        {"layer": layer, "heads": 4, "keys": 2, "window": window}
        for layer, window in enumerate([causal.WINDOW, None])
    ]
    assert (found["unasked"], found["fits"]) == (1, True)
    assert found["about"] == (
        "32,096 parameters, 2 layers, 1 of them with a window, declared for 128 tokens"
    )
    assert found["takes"].startswith(f"Looking into layer 1 over {LENGTH} tokens takes about 1 s")
    assert "Looking into all 2 layers" in foreseen(server, name, "all")["takes"]
    assert foreseen(server, "softmax")["attention"] == []  # of this project: it is shipped

    monkeypatch.setattr(forecast_module, "available_bytes", lambda _: 20_000_000)
    found = foreseen(server, name)
    assert not found["fits"]
    assert found["takes"].endswith("needs 0.1 GB of memory, weights included, and 0.0 GB are free")


def test_nothing_is_foreseen_for_a_visitor_from_elsewhere_of_what_was_not_named(servers, folders):
    server = servers[False]
    assert foreseen(server, "llama (folder)")["attention"] != []
    for name in (folders["mistral"], folders["llama"], "someone/model", "gpt2"):
        assert "is not open to this page" in foreseen(server, str(name))


def test_a_visitor_from_elsewhere_has_what_the_command_names_and_no_folder(servers, folders):
    server = servers[False]
    job = ended(server, "llama (folder)")
    assert job.error == ""
    assert job.answer["variant"] == "llama (folder)"
    for name in ("mistral", "llama"):
        assert "is not open to this page" in ended(server, folders[name]).error
    said = ended(server, "bloom (folder)").error
    assert "cannot be used" in said
    assert str(folders["bloom"].parent) not in said


def test_what_cannot_be_looked_into_is_said_in_a_sentence(servers, folders):
    said = ended(servers[True], folders["bloom"]).error
    assert "does not have its attention made by the library's interface" in said


def test_a_model_has_its_modifiers_or_says_why_not(servers, folders):
    job = ended(servers[False], "llama (folder)+swap:to=lssa")
    assert (job.error, job.answer["variant"]) == ("", "llama (folder)+swap:to=lssa")
    said = ended(servers[True], f"{folders['llama']}+align").error
    assert "align is fitted for models of this project only" in said


def scored(server, *names, text=OWN, longest=1024):
    asked = {"checkpoints": list(names), "text": text, "longest": longest, "seed": 0}
    job = job_ended(server.jobs.get(ask(server, "start_comparison", **asked)["job"]))
    return job.error or ask(server, "made_comparison", id=job.answer["id"])


def test_models_of_others_are_scored_on_an_own_text_beside_ours(servers, folders):
    server, name = servers[True], str(folders["llama"])
    told = scored(server, name, "softmax")
    assert told["command"] == (
        f"freeatten compare --checkpoint {name} --checkpoint softmax --len 1024 "
        f"--restart {causal.DECLARED} --text mine.txt --seed 0"
    )
    bits, nats, delta = told["main"]["tables"]
    assert bits["caption"].startswith("Bits per byte")
    lengths = ["128 tokens", "256 tokens", "512 tokens", "1,024 tokens"]
    assert [each["header"] for each in (bits, nats, delta)] == [lengths] * 3
    assert [len(each["rows"]) for each in (bits, nats, delta)] == [2, 2, 2]
    assert "bits per byte" in told["answer"]
    assert all(float(line["loss"].split()[-1]) > 0 for line in told["main"]["lines"])


def test_what_a_page_scores_is_what_its_command_measures(servers, folders, tmp_path, monkeypatch):
    server, name = servers[True], str(folders["bloom"])  # without maps, and scored all the same
    told = scored(server, name)
    assert len(told["main"]["tables"]) == 2
    (tmp_path / "mine.txt").write_text(OWN["content"], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = told["command"].split()[1:]
    done = CliRunner().invoke(app, [*words, "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)["variants"][0]
    assert told["main"]["tables"][0]["rows"][0][1:] == [f"{loss:.3f}" for loss in row["loss"]]


def test_lengths_end_where_positions_do(servers, folders):
    assert scored(servers[True], str(folders["gpt2"])) == (
        f"{folders['gpt2']} has 128 positions and cannot read 512 tokens"
    )


def test_a_visitor_from_elsewhere_compares_what_the_command_names(servers, folders):
    told = scored(servers[False], "llama (folder)")
    assert str(folders["llama"]) not in str(told)
    assert "is not open to this page" in scored(servers[False], str(folders["mistral"]))


def test_stored_results_of_models_of_others_are_listed_and_shown(servers):
    server = servers[True]
    listed = {each["id"]: each["label"] for each in ask(server, "results")["results"]}
    for name in stored_model_comparisons():
        assert listed[name] == f"Models that people have, {name.removeprefix('models/')}"
        told = compare.comparison(name)
        assert "dequantised" in told["provenance"]
        assert told["main"]["figures"]
