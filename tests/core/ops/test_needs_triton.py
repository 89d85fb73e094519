"""Without Triton, or what its kernels run on, their tests are skipped, and fail in a run of
everything."""

import importlib.util

import pytest
import torch
from needs_triton import require_kernels, require_triton

each_end = pytest.mark.parametrize(
    ("setting", "ends"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)


@pytest.mark.parametrize("require", [require_triton, require_kernels])
@each_end
def test_kernels_are_left_out_in_silence_nowhere(require, setting, ends, monkeypatch):
    monkeypatch.setenv("CI", setting)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ends, match="Triton, which is made for Linux alone, is not installed"):
        require()


@each_end
def test_nor_are_they_where_nothing_runs_them(setting, ends, monkeypatch):
    monkeypatch.setenv("CI", setting)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: "there")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ends, match="no GPU, and Triton was imported without its interpreter"):
        require_kernels()
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    require_kernels()
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    require_kernels()
