"""A temperature fitted for a length gives its windows the statistic of the training length."""

from dataclasses import replace

import pytest
import tiny
import torch
from strategies import refused

from freeatten_core import Variant, row_statistics
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.progress import Watch
from freeatten_core.data.selection import select_texts
from freeatten_core.measures import alignment
from freeatten_core.measures.alignment import fit_temperatures, fitting_cost, modified_copy
from freeatten_core.measures.comparison import Request, compare
from freeatten_core.models.checkpoint import load_checkpoint
from freeatten_core.models.rows import Row

CPU = torch.device("cpu")
LENGTHS = (16, 32, 64)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aligned") / "softmax"
    return load_checkpoint(tiny.save(folder, tiny.model(scale=20.0)))


@pytest.fixture(scope="module")
def texts():
    return select_texts(tiny.documents(4), tiny.tokenizer(), 64, 2, 0).texts


def mean_of(model, variant, statistic, texts, length):
    """The statistic over the last half of the rows of every window, worked out head by head."""
    found = []

    def observe(_layer, query, key, _reading):
        rows = getattr(row_statistics(query, key, variant.computes, enable_gqa=True), statistic)
        found.append(rows[..., length // 2 :].double().mean())

    for text in texts:
        for start in range(0, len(text.tokens) - length + 1, length):
            model.model.hidden(
                torch.from_numpy(text.tokens[None, start : start + length]), observe=observe
            )
    return float(torch.stack(found).mean())


@pytest.mark.parametrize("name", ["softmax+align", "softmax+align:by=entropy"])
@pytest.mark.parametrize("lengths", [LENGTHS, (23, 41, 64), (64,)])
def test_the_statistic_is_that_of_the_training_length(model, texts, name, lengths):
    variant = Variant.parse(name)
    statistic = variant.modifier("align").by
    found = fit_temperatures(model, variant, texts, lengths, device=CPU)
    assert sorted(found) == [length for length in lengths if length > 16]
    wanted = mean_of(model, variant, statistic, texts, 16)
    for length in found:
        aligned = model.with_modifiers(variant, 64, temperatures=found)
        before = mean_of(model, variant, statistic, texts, length)
        after = mean_of(aligned, variant, statistic, texts, length)
        assert abs(after - wanted) < 0.05 * abs(before - wanted)
        assert found[length] > 1  # more keys spread a row; a temperature above 1 gathers it


@pytest.mark.parametrize("lengths", [(16,), (8, 12), (5,)])
def test_nothing_is_fitted_up_to_the_training_length(model, texts, lengths):
    align = Variant.parse("softmax+align")
    assert fit_temperatures(model, align, texts, lengths, device=CPU) == {}
    assert fitting_cost(align, 16, texts, lengths) == 0


@pytest.mark.parametrize("expected", [1, 7, 50])
def test_progress_ends_at_the_cost_announced_however_long_the_search(
    model, texts, monkeypatch, expected
):
    monkeypatch.setattr(alignment, "EXPECTED_EVALUATIONS", expected)
    align, parts = Variant.parse("softmax+align"), []
    fit_temperatures(model, align, texts, (23, 64), device=CPU, advance=parts.append)
    assert len(parts) > 2
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(fitting_cost(align, 16, texts, (23, 64)))


def test_no_temperature_is_tried_twice(model, texts, monkeypatch):
    tried = []
    with_modifiers = type(model).with_modifiers

    def watched(self, variant, longest, *, temperatures):
        tried.append(dict(temperatures))
        return with_modifiers(self, variant, longest, temperatures=temperatures)

    monkeypatch.setattr(type(model), "with_modifiers", watched)
    fit_temperatures(model, Variant.parse("softmax+align"), texts, LENGTHS, device=CPU)
    assert len({str(each) for each in tried}) == len(tried)


def test_a_statistic_out_of_reach_is_said(model, texts, monkeypatch):
    monkeypatch.setattr(alignment, "HIGHEST", 0.26)
    with refused(ContentError, ["no temperature from 0.25", "largest"]):
        fit_temperatures(model, Variant.parse("softmax+align"), texts, LENGTHS, device=CPU)


def test_a_statistic_that_is_not_finite_is_out_of_reach(model, texts):
    broken = replace(model, model=tiny.model())
    with torch.no_grad():
        broken.model.embedding.weight.fill_(float("nan"))
    with refused(ContentError, ["no temperature from 0.25", "largest"]):
        fit_temperatures(broken, Variant.parse("softmax+align"), texts, LENGTHS, device=CPU)


def test_without_align_there_is_nothing_to_fit(model, texts):
    with refused(UsageError, ["softmax has no align"]):
        fit_temperatures(model, Variant.parse("softmax"), texts, LENGTHS, device=CPU)


def test_a_modified_copy_leaves_the_model_as_it_is(model, texts):
    align = Variant.parse("softmax+align")
    changed, found = modified_copy(model, align, LENGTHS, texts, device=CPU, dtype=torch.bfloat16)
    assert sorted(found) == [32, 64]
    assert changed.model.query_factor(64)[0] == pytest.approx(found[64])
    assert {weight.dtype for weight in changed.model.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in model.model.parameters()} == {torch.float32}
    assert model.model.query_factor is None
    assert modified_copy(model, Variant.parse("softmax+yarn"), LENGTHS, device=CPU)[1] is None


def test_a_comparison_fits_on_files_that_it_does_not_score(model, monkeypatch):
    fitted = []
    monkeypatch.setattr(
        alignment,
        "fit_temperatures",
        lambda *args, **_: fitted.append([text.name for text in args[2]]) or {32: 1.2, 64: 1.5},
    )
    row = Row(Variant.parse("softmax+align"), model)
    given = {"rows": [row], "lengths": LENGTHS, "source": "x", "command": "c"}
    found = compare(Request(documents=tiny.documents(6), texts=4, **given)).result
    scored = set(found["text"]["manifest"])
    assert len(fitted[0]) == 2
    assert not scored & set(fitted[0])
    assert found["variants"][0]["temperatures"] == {32: 1.2, 64: 1.5}


def test_too_few_files_to_fit_on_are_said_before_anything_is_scored(model):
    rows = [Row(Variant.parse(name), model) for name in ("softmax", "softmax+align")]
    given = {"rows": rows, "documents": tiny.documents(4), "source": "x", "command": "c"}
    done = []
    with refused(UsageError, ["softmax+align", "at most 3 texts"]):
        compare(Request(texts=4, lengths=LENGTHS, **given), Watch(advance=done.append))
    assert done == []
    found = compare(Request(texts=4, lengths=(16,), **given)).result
    assert found["variants"][1]["temperatures"] == {}
