"""Without Triton the tests of its kernels are skipped, and fail in a run of everything."""

import importlib.util

import pytest
from needs_triton import require_triton


@pytest.mark.parametrize(
    ("setting", "ends"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_kernels_are_left_out_in_silence_nowhere(setting, ends, monkeypatch):
    monkeypatch.setenv("CI", setting)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ends, match="Triton"):
        require_triton()
