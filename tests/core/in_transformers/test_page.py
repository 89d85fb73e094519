"""The page on the transformers library: its code runs, on a tiny model."""

import re
from pathlib import Path

import causal
import pytest
from tiny import prose

PAGE = Path(__file__).resolve().parents[3] / "docs" / "transformers.md"


def test_the_code_of_the_page_swaps_trains_and_compares(tmp_path, monkeypatch, capsys):
    folder = causal.save(tmp_path / "model", causal.network("llama"))
    for name in ("train.txt", "test.txt"):
        (tmp_path / name).write_text(prose(seed=1, words=900))
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    for said, here in (
        ('"HuggingFaceTB/SmolLM2-135M"', repr(str(folder))),
        ("LENGTH = 512", "LENGTH = 32"),
        ("max_steps=200", "max_steps=4, use_cpu=True, disable_tqdm=True"),
    ):
        assert said in code
        code = code.replace(said, here)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(PAGE), "exec"), {})
    told = [line for line in capsys.readouterr().out.splitlines() if " [" in line]
    names, losses = zip(*(line.split(" ", 1) for line in told), strict=True)
    assert names == ("sdpa", "freeatten:lssar:p=15")
    for each in losses:
        assert [float(loss) for loss in each.strip("[]").split(",")] == pytest.approx(
            [6] * 3, abs=3
        )
