"""`compare` in low precision: row sums are those of the rows that are computed."""

import pytest
import tiny
import torch

from freeatten_core import Variant, attention_weights, row_statistics
from freeatten_core.basics.errors import UsageError
from freeatten_core.data.selection import select_texts
from freeatten_core.measures.comparison import Request, compare
from freeatten_core.models.checkpoint import load_checkpoint
from freeatten_core.models.rows import Row
from freeatten_core.ops.definitions import own_function

LENGTH = 64
TRAINED = "softmax-ls"
NOT_TO_ONE = """
import torch

def near(query, key, value):
    score = query.float() @ key.float().mT / query.shape[-1] ** 0.5
    return (score.sigmoid().tril() @ value.float()).to(value.dtype)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return load_checkpoint(tiny.save(tmp_path_factory.mktemp("model") / "m", tiny.model(TRAINED)))


def measured(checkpoint, name, dtype="bfloat16"):
    request = Request(
        rows=[Row(Variant.parse(name), checkpoint)],
        lengths=(16, LENGTH),
        documents=tiny.documents(3),
        source="my texts",
        texts=1,
        command="freeatten compare",
        dtype=dtype,
    )
    return compare(request).result["variants"][0]


def deviation(checkpoint, name, window):
    """The largest distance of a row sum from 1, by passes of this test's own."""
    text = select_texts(tiny.documents(3), checkpoint.tokenizer, LENGTH, 1, 0, step=16).texts[0]
    model = tiny.model(TRAINED).to(torch.bfloat16).with_modifiers(Variant.parse(name), LENGTH)
    model.load_state_dict(checkpoint.model.state_dict())
    found = []

    def observe(_layer, query, key, _reading):
        sums = row_statistics(query, key, TRAINED, enable_gqa=True, window=window).row_sum
        found.append(float((sums - 1).abs().max()))

    model.hidden(torch.from_numpy(text.tokens[None, :-1]), observe=observe)
    return max(found)


def test_under_a_window_rows_end_with_the_window(checkpoint):
    within = deviation(checkpoint, f"{TRAINED}+window", 16)
    assert within != deviation(checkpoint, f"{TRAINED}+window", None)
    assert measured(checkpoint, f"{TRAINED}+window")["row_sum_deviation"] == pytest.approx(
        within, abs=1e-6
    )


@pytest.mark.parametrize("name", [f"{TRAINED}+swap:to=sigmoid", f"{TRAINED}+rerope"])
def test_rows_that_are_not_known_to_sum_to_1_have_no_deviation(checkpoint, name):
    row = measured(checkpoint, name)
    assert row["row_sum_deviation"] is None
    assert row["nonfinite"] == {"logits": 0, "losses": 0}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_function_of_ones_own_promises_no_row_sum(checkpoint, tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(own_function, "_allowed", {})
    (tmp_path / "near.py").write_text(NOT_TO_ONE)
    name = f"{TRAINED}+swap:to={own_function.allow(Variant.parse(f'{tmp_path}/near.py:near'))}"
    row = measured(checkpoint, name, dtype)
    assert row["row_sum_deviation"] is None
    assert row["nonfinite"] == {"logits": 0, "losses": 0}


def test_statistics_of_a_window_are_those_of_its_weights():
    draw = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 2, 40, 8, generator=draw, dtype=torch.float64) for _ in range(2))
    seen = row_statistics(query, key, "lssar:p=3", window=8)
    last = slice(39, 40)
    weights = attention_weights(query[:, :, last], key[:, :, 32:], "lssar:p=3")
    torch.testing.assert_close(seen.largest[..., last], weights.amax(-1))
    torch.testing.assert_close(seen.row_sum[..., last], weights.sum(-1))
    back = torch.arange(7, -1, -1).double()
    torch.testing.assert_close(seen.mean_distance[..., last], weights @ back)
    assert (seen.first[..., 8:] == 0).all()


def test_a_temperature_is_not_fitted_to_rows_that_rerope_changes():
    with pytest.raises(UsageError, match="align fits a statistic of rows"):
        Variant.parse("softmax+rerope+align")
