"""`tests/measure/captured_errors.py`: what a model gives its attention, and of which models."""

import importlib.util
from pathlib import Path

import pytest
import tiny

ROOT = Path(__file__).resolve().parents[3]
LENGTH = 24


@pytest.fixture(scope="module")
def script():
    path = ROOT / "tests" / "measure" / "captured_errors.py"
    spec = importlib.util.spec_from_file_location("captured_errors", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def captured(script, tmp_path):
    """What is captured of a small model, by its variant."""
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "one.py").write_text(tiny.prose(3, 100))

    def of(variant):
        source = tiny.save(tmp_path / "model", tiny.model(variant))
        return script.captured(str(source), tmp_path / "text", LENGTH, "cpu")

    return of


def test_every_head_of_every_layer_has_its_error(script, captured):
    layers = captured("lssar:p=3")
    assert [[tuple(each.shape) for each in layer] for layer in layers] == [
        [(1, tiny.CONFIG.heads, LENGTH, 8)] * 3
    ] * tiny.CONFIG.layers
    for layer in layers:
        heads, worst = script.errors(*layer, "lssar:p=3")
        assert len(heads) == tiny.CONFIG.heads
        assert 0 < max(heads) <= worst < 0.02  # bfloat16 has steps of 0.4 %


@pytest.mark.parametrize(
    ("variant", "named"),
    [
        ("softmax:gate=forget", "terms"),
        ("softmax:position=alibi", "terms"),
        ("softmax:position=rope@8-none", "window"),
    ],
)
def test_a_model_that_says_more_of_scores_is_refused(captured, variant, named):
    with pytest.raises(SystemExit, match=f"its attention takes {named} besides query, key"):
        captured(variant)
