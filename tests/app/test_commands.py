"""The command under a view gives the numbers of the view, of the same text."""

import base64
import itertools
import json
import shlex

import numpy as np
import pytest
from freeatten_app.server.analyses import Analyses
from freeatten_app.server.answers import answering
from freeatten_app.server.models import Models
from freeatten_app.server.texts import Texts
from freeatten_app.tabs import entropy, losses, maps, stages
from freeatten_cli.main import app
from typer.testing import CliRunner
from waiting import job_ended

LENGTH = 96
GIVEN = {"kind": "given", "name": "", "content": ""}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Of a folder whose texts are longer than what is read: there is more than one to draw."""
    folder = tmp_path_factory.mktemp("texts") / "texts"
    folder.mkdir()
    for name in range(3):
        lines = (f"file {name}, line {at} of it: {at * 7 % 97}\n" for at in range(60))
        (folder / f"{name}.txt").write_text("".join(lines))
    made = Analyses(Models((), local=True), Texts(str(folder)), "cpu")
    yield made
    made.close()


@pytest.fixture(scope="module")
def id(server):
    job = server.jobs.get(server.start(server.asked("lssar-p15", GIVEN, LENGTH, 2)))
    return job_ended(job).answer["id"]


def ask(server, name, **given):
    offered = [each for tab in (maps, entropy, losses, stages) for each in tab.functions(server)]
    return answering({each.__name__: each for each in offered}[name])(given)


def typed(command):
    """What the command prints as JSON."""
    done = CliRunner().invoke(app, [*shlex.split(command)[1:], "--json"])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_of_a_curve(server, id):
    curves = ask(server, "curves", id=id, statistic="largest")
    values = np.array([head["values"] for head in curves["heads"]])
    found = typed(curves["command"])["variants"][0]
    means = [head["largest"] for head in found["heads"]]
    np.testing.assert_allclose(means, values.mean(axis=1), rtol=1e-4)
    one = typed(curves["heads"][7]["command"])
    assert (one["layer"], one["head"]) == (curves["heads"][7]["layer"], curves["heads"][7]["head"])
    positions = np.searchsorted(curves["positions"], one["positions"])
    assert len(positions) == 64
    edges = [index * LENGTH // 64 for index in range(65)]
    wanted = [values[7, a:b].mean() for a, b in itertools.pairwise(edges)]
    np.testing.assert_allclose(one["variants"][0]["by_position"], wanted, rtol=1e-4)


def test_of_the_loss(server, id):
    job = ask(server, "start_losses", id=id)["job"]
    told = job_ended(server.jobs.get(job)).answer
    losses_shown = np.frombuffer(base64.b64decode(told["loss"]), "<f4")
    found = typed(ask(server, "loss_command", id=id)["command"])
    assert (found["label"], found["unit"]) == ("loss", "nats per token")
    (entry,) = found["variants"]
    assert entry["loss"] == pytest.approx(losses_shown.mean(), rel=1e-5)
    rows = LENGTH - 1
    edges = [index * rows // 64 for index in range(65)]
    wanted = [losses_shown[a:b].mean() for a, b in itertools.pairwise(edges)]
    np.testing.assert_allclose(entry["by_position"], wanted, rtol=1e-4)


def test_of_a_row(server, id):
    place = {"layer": 1, "head": 2}
    row = ask(server, "stages", id=id, **place, position=60, power=3, last=40)
    found = typed(row["command"])
    assert found["visible"] == 40
    np.testing.assert_allclose(found["weight"], row["stages"][3][1], rtol=1e-5)


def test_of_a_map(server, id):
    bounds = {"layer": 1, "head": 2, "q0": 40, "q1": 60, "k0": 20, "k1": 50}
    cells = ask(server, "cells", ids=[id], **bounds)["lines"]
    found = typed(ask(server, "view_command", ids=[id], **bounds)["command"])
    weights = np.array(found["weights"])
    for _, query, _, key, _, cell, weight in cells:
        assert cell == 1
        assert weights[query - 40, key - 20] == pytest.approx(weight, rel=1e-3)  # four digits
