"""Calls of `freeatten` as a user makes them, inside this process or as one of their own."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from freeatten_cli.main import app
from typer.testing import CliRunner

CONFTEST = Path(__file__).resolve().parent.parent / "conftest.py"
BOOTSTRAP = f"""
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
runpy.run_path({str(CONFTEST)!r})
from freeatten_cli.start import main
sys.argv[0] = "freeatten"
"""
PROCESS = [sys.executable, "-c", BOOTSTRAP + "main()"]
"""The start of a command line that runs `freeatten` in a process of its own."""
WORDS = shlex.split(
    """the a small grey cat dog boat river house morning evening sees finds keeps leaves under
    over beside behind old new quiet bright window garden letter stone and then while"""
)
SIZES = shlex.split("--length 32 --width 32 --layers 1 --heads 1 --vocab 320 --batch 4")
QUICK = [*SIZES, *shlex.split("--lr 1e-2 --steps 12 --evaluate-every 4 --save-every 4")]
"""Options of `freeatten train` that are done in a fraction of a second."""
SHORT = """
import torch

def attention(query, key, value):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -torch.inf).softmax(-1) @ value

def short(query, key, value):
    if query.shape[2] > 64:
        raise RuntimeError("no more than 64 tokens")
    return attention(query, key, value)

def broken(query, key, value):
    index = torch.arange(query.shape[2])[:, None]
    return attention(query, key, value).masked_fill(index >= 80, torch.nan)
"""
"""A file of functions that fail, or are not finite, only on texts longer than a probe."""
COLOR_SETTINGS = ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "GITHUB_ACTIONS")
"""What a machine may have set for its own terminal."""
COLORS = re.compile(r"\x1b\[[0-9;]*m")


def prose(seed: int, words: int) -> str:
    """Words in rows, the same for the same seed."""
    draw = random.Random(seed)
    return "\n".join(" ".join(draw.choices(WORDS, k=8)) for _ in range(words // 8)) + "\n"


@dataclass(frozen=True)
class Done:
    """How a call ended."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """Standard output, all of it, as JSON."""
        return json.loads(self.out, parse_constant=_not_json)

    @property
    def sentence(self) -> str:
        """What the one panel on standard error says."""
        lines = COLORS.sub("", self.err).splitlines()
        assert sum(line.startswith("╭") for line in lines) == 1, self.err
        return " ".join(line.strip("│ ") for line in lines if line.startswith("│"))


def freeatten(
    *words: str | Path,
    stdin: str | bytes | None = None,
    columns: int = 500,
    env: Mapping[str, str | None] | None = None,
) -> Done:
    """`freeatten WORDS`; an exception that is not an exit comes through as it is."""
    words = tuple(map(str, words))
    settings = {"COLUMNS": str(columns)} | dict.fromkeys(COLOR_SETTINGS)
    with patch.object(sys, "argv", ["freeatten", *words]):
        done = CliRunner().invoke(
            app,
            list(words),
            input=stdin,
            env=settings | dict(env or {}),
            catch_exceptions=False,
            prog_name="freeatten",
        )
    return Done(done.exit_code, done.stdout, done.stderr)


def refusal(code: int, *words: str | Path, stdin: str | bytes | None = None) -> str:
    """What a refused call says: one panel on standard error, and nothing else anywhere."""
    done = freeatten(*words, stdin=stdin)
    assert (done.code, done.out) == (code, ""), done
    assert "Traceback" not in done.err
    return done.sentence


def process_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in COLOR_SETTINGS}
    return kept | {"COLUMNS": "80"}


def listing(folder: Path) -> list[str]:
    """Everything in a folder, hidden files included."""
    return sorted(path.name for path in folder.iterdir())


def _not_json(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")
