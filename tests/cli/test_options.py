"""Options that several commands share have the same bounds in all of them."""

import json

import pytest
import typer
from freeatten_cli.main import app
from freeatten_cli.options import SEEDS
from terminal import QUICK, freeatten, refusal

COMMANDS = typer.main.get_command(app).commands
SEEDED = sorted(
    name for name, command in COMMANDS.items() if "seed" in {each.name for each in command.params}
)
NEEDED = {"train": ["--variant", "lssa", "--out", "nowhere"]}


def test_many_commands_have_a_seed():
    assert {"compare", "map", "retrieve", "stability", "train"} <= set(SEEDED)


@pytest.mark.parametrize("command", SEEDED)
@pytest.mark.parametrize("seed", [SEEDS, -1, 10**40])
def test_a_seed_that_no_generator_takes_is_refused_with_its_value(command, seed):
    sentence = refusal(2, command, *NEEDED.get(command, []), "--seed", str(seed))
    assert "--seed" in sentence
    assert str(seed) in sentence


def test_the_largest_seed_trains(books, tmp_path):
    out = tmp_path / "model"
    words = ["--variant", "lssa", "--text", books, "--out", out, "--seed", str(SEEDS - 1)]
    assert freeatten("train", *words, *QUICK).code == 0
    assert json.loads((out / "config.json").read_text())["seed"] == SEEDS - 1
