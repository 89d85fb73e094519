"""`freeatten train --gpus`: the same command in several processes."""

import json
import os
import runpy
import sys

import pytest
import torch
from bounds import ended
from terminal import CONFTEST, QUICK, process_environment

from freeatten_core.models.format import CURVE


@pytest.fixture
def run(tmp_path):
    """A call by the name of the package, which a checkout has only by a link."""
    links = tmp_path / "links"
    links.mkdir()
    root = CONFTEST.parents[1]
    for name, folder in runpy.run_path(str(CONFTEST))["FOLDERS"].items():
        (links / name).symlink_to(root / folder)
    paths = {"PYTHONPATH": os.pathsep.join([str(links), str(root)])}

    def call(*words):
        program = [sys.executable, "-m", "freeatten_cli", *map(str, words)]
        environment = process_environment() | paths
        return ended(program, capture_output=True, text=True, env=environment)

    return call


def test_two_processes_train_one_model_and_one_of_them_speaks(run, books, tmp_path):
    out = tmp_path / "two"
    words = ["--variant", "lssa", "--text", books, "--out", out, "--gpus", 2, *QUICK]
    done = run("train", *words, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("train 12/12") == 1
    assert done.stderr.count("saved ") == 1
    curve = json.loads((out / CURVE).read_text())
    assert curve["ranks"] == 2
    assert [entry["step"] for entry in curve["curve"]] == [4, 8, 12]


def test_what_is_wrong_is_said_once_with_the_exit_code_of_one_process(run, tmp_path):
    words = ["--variant", "lssa", "--text", "nowhere", "--out", tmp_path / "two", "--gpus=2"]
    done = run("train", *words, "--device", "cpu")
    assert done.returncode == 2
    assert done.stderr.count("nowhere") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said_once(run, books, tmp_path):
    words = ["--variant", "lssa", "--text", books, "--out", tmp_path / "two", "--gpus", 2]
    done = run("train", *words, "--device", "cuda")
    assert done.returncode == 2
    assert done.stderr.count("torch sees no GPU here") == 1
