"""Text, and two checkpoints trained on it in a moment, that the tests of the terminal share."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminal import COLOR_SETTINGS, QUICK, freeatten, prose


@pytest.fixture(autouse=True)
def no_color_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COLOR_SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight texts of some 800 tokens each."""
    folder = tmp_path_factory.mktemp("text") / "books"
    folder.mkdir()
    for index in range(8):
        (folder / f"{index}.txt").write_text(prose(index, 800))
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, books: Path) -> dict[str, Path]:
    """Checkpoint folders of two variants with one tokenizer."""
    folder = tmp_path_factory.mktemp("trained")
    folders = {"lssar:p=15": folder / "lssar", "softmax": folder / "softmax"}
    for variant, out in folders.items():
        words = ["--variant", variant, "--text", books, "--out", out]
        done = freeatten("train", *words, "--corpus", folder / "corpus", *QUICK)
        assert done.code == 0, done.err
    return folders


@pytest.fixture
def model(trained: dict[str, Path]) -> Path:
    """The checkpoint folder that most tests compare."""
    return trained["lssar:p=15"]
