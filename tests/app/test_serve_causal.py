"""`freeatten-viz serve` with models of the transformers library."""

from __future__ import annotations

import base64

import causal
import numpy as np
import pytest
import torch
from freeatten_app.server.analyses import Analyses
from freeatten_app.server.answers import answering
from freeatten_app.server.comparisons import Comparisons
from freeatten_app.server.models import Models
from freeatten_app.server.texts import Texts
from freeatten_app.tabs import compare, entropy, maps, setup, stages
from waiting import job_ended

from freeatten_core import load_causal_model
from freeatten_core.analysis import capture
from freeatten_core.basics.errors import UsageError
from freeatten_core.ops.operator import attention_weights

LENGTH = 64
GIVEN = {"kind": "given", "name": "", "content": ""}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("others")
    names = ("llama", "mistral", "bloom")
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
    offered = [
        each for module in (setup, maps, stages, entropy) for each in module.functions(server)
    ]
    offered += compare.functions(Comparisons(server))
    return answering({each.__name__: each for each in offered}[name])(given)


def ended(server, checkpoint):
    asked = server.asked(str(checkpoint), GIVEN, LENGTH, 0)
    return job_ended(server.jobs.get(server.start(asked)))


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


def test_comparisons_are_refused(servers, folders):
    server, name = servers[True], str(folders["llama"])
    with pytest.raises(UsageError, match="does not say what it was trained on"):
        Comparisons(server)._request(
            type("Asked", (), {"checkpoints": [name], "text": None, "longest": 1024})(),
            lambda *_: None,
        )
