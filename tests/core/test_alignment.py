"""A temperature fitted for a length gives its windows the statistic of the training length."""

import pytest
import tiny
import torch
from strategies import refused

from freeatten_core import Variant, alignment, row_statistics
from freeatten_core.alignment import fit_temperatures
from freeatten_core.checkpoint import load_checkpoint
from freeatten_core.comparison import Request, Row, compare
from freeatten_core.errors import ContentError, UsageError
from freeatten_core.evaluation import select_texts

CPU = torch.device("cpu")
LENGTHS = (16, 32, 64)


@pytest.fixture(scope="module")
def model():
    return tiny.model(scale=20.0)


@pytest.fixture(scope="module")
def texts():
    return select_texts(tiny.documents(4), tiny.tokenizer(), 64, 2, 0).texts


def mean_of(model, variant, statistic, texts, length):
    """The statistic over the last half of the rows of every window, worked out head by head."""
    found = []

    def observe(_layer, query, key):
        rows = getattr(row_statistics(query, key, variant.attention, enable_gqa=True), statistic)
        found.append(rows[..., length // 2 :].double().mean())

    for text in texts:
        for start in range(0, 64, length):
            model.hidden(
                torch.from_numpy(text.tokens[None, start : start + length]), observe=observe
            )
    return float(torch.stack(found).mean())


@pytest.mark.parametrize("name", ["softmax+align", "softmax+align:by=entropy"])
def test_the_statistic_is_that_of_the_training_length(model, texts, name):
    variant = Variant.parse(name)
    statistic = variant.modifier("align").by
    found = fit_temperatures(model, variant, texts, LENGTHS, device=CPU)
    assert sorted(found) == [32, 64]
    wanted = mean_of(model, variant, statistic, texts, 16)
    for length in found:
        aligned = model.with_modifiers(variant, 64, found)
        before = mean_of(model, variant, statistic, texts, length)
        after = mean_of(aligned, variant, statistic, texts, length)
        assert abs(after - wanted) < 0.05 * abs(before - wanted)
        assert found[length] > 1  # more keys spread a row; a temperature above 1 gathers it


def test_a_statistic_out_of_reach_is_said(model, texts, monkeypatch):
    monkeypatch.setattr(alignment, "HIGHEST", 0.26)
    with refused(ContentError, ["no temperature from 0.25", "largest"]):
        fit_temperatures(model, Variant.parse("softmax+align"), texts, LENGTHS, device=CPU)


def test_without_align_there_is_nothing_to_fit(model, texts):
    with refused(UsageError, ["softmax has no align"]):
        fit_temperatures(model, Variant.parse("softmax"), texts, LENGTHS, device=CPU)


def test_a_comparison_fits_on_files_that_it_does_not_score(model, tmp_path, monkeypatch):
    fitted = []
    monkeypatch.setattr(
        "freeatten_core.comparison.fit_temperatures",
        lambda *args, **_: fitted.append([text.name for text in args[2]]) or {32: 1.2, 64: 1.5},
    )
    checkpoint = load_checkpoint(tiny.save(tmp_path / "softmax", model))
    row = Row(Variant.parse("softmax+align"), checkpoint)
    given = {"rows": [row], "lengths": LENGTHS, "source": "x", "command": "c"}
    found = compare(Request(documents=tiny.documents(6), texts=4, **given)).result
    scored = set(found["text"]["manifest"])
    assert len(fitted[0]) == 2
    assert not scored & set(fitted[0])
    assert found["variants"][0]["temperatures"] == {32: 1.2, 64: 1.5}
    with refused(UsageError, ["softmax+align", "at most 3 texts"]):
        compare(Request(documents=tiny.documents(4), texts=4, **given))
