"""A survey is the mean over texts of what single captures say."""

import math

import numpy as np
import pytest
import tiny
import torch
from scipy import stats
from strategies import refused

from freeatten_core import load_checkpoint
from freeatten_core.analysis import STATISTICS, capture, head_table, sink_rate
from freeatten_core.analysis.reach import reach
from freeatten_core.basics.errors import UsageError
from freeatten_core.data.selection import select_texts
from freeatten_core.measures.heads import BY_LENGTH, SurveyRequest, lengths_of, survey
from freeatten_core.models.rows import Row

LENGTH, LENGTHS = 100, [16, 32, 64]


def surveyed(rows, **changes):
    request = {"length": LENGTH, "documents": tiny.documents(4), "texts": 3, "by_length": True}
    return survey(
        SurveyRequest(rows=rows, source="texts", command="freeatten entropy", **request | changes)
    )


@pytest.fixture(scope="module")
def result(rows):
    return surveyed(rows)


def captures(row):
    texts = select_texts(tiny.documents(4), tiny.tokenizer(), LENGTH - 1, 3, 0).texts
    return [capture(row.checkpoint, torch.from_numpy(text.tokens)) for text in texts]


def test_heads_have_their_means_over_texts(rows, result):
    for row, entry in zip(rows, result["variants"], strict=True):
        tables = [head_table(seen).heads for seen in captures(row)]
        for index, head in enumerate(entry["heads"]):
            same = [table[index] for table in tables]
            assert (head["layer"], head["head"]) == (same[0].layer, same[0].head)
            for name in STATISTICS:
                assert head[name] == pytest.approx(
                    np.mean([h.values[name] for h in same]), abs=1e-5
                )
            assert head["sink"] == pytest.approx(np.mean([h.sink for h in same]), abs=1e-5)
        rates = [sink_rate(seen).share for seen in captures(row)]
        assert entry["sink_rate"] == pytest.approx(np.mean(rates))


def test_a_length_is_the_last_half_of_the_rows_up_to_it(rows, result):
    assert result["lengths"] == LENGTHS
    for row, entry in zip(rows, result["variants"], strict=True):
        seen = captures(row)
        for at, length in enumerate(LENGTHS):
            for name in BY_LENGTH:
                means = [
                    np.mean([h.values[name] for h in head_table(one, length // 2, length)])
                    for one in seen
                ]
                check_interval(entry["by_length"], name, at, means)
            reached = [[reach(one, layer, length // 2, length) for layer in (0, 1)] for one in seen]
            far = [float(torch.cat([r.beyond(16) for r in each]).mean()) for each in reached]
            check_interval(entry["by_length"], "far", at, far)
            most = [float(torch.cat([r.received for r in each]).mean()) for each in reached]
            check_interval(entry["by_length"], "received", at, most)
            by_head = [head["by_length"]["far"][at] for head in entry["heads"]]
            assert np.mean(by_head) == pytest.approx(np.mean(far), abs=1e-5)


def check_interval(found, name, at, by_text):
    half = stats.t.ppf(0.975, 2) * np.std(by_text, ddof=1) / math.sqrt(3)
    mean = np.mean(by_text)
    assert found[name][at] == pytest.approx(mean, abs=2e-5)
    assert found[f"{name}_ci95"][at] == pytest.approx([mean - half, mean + half], abs=5e-5)


def test_the_weight_at_all_distances_is_all_the_weight(result):
    assert result["distances"] == [0, 1, 3, 7, 15, 31, 63]
    for entry in result["variants"]:
        shares = np.array(entry["by_distance"])
        assert shares.shape == (3, 7)
        assert shares.sum(1) == pytest.approx([1, 1, 1], abs=1e-4)
        assert shares[0, 5:] == pytest.approx([0, 0])
        far = entry["by_length"]["far"]
        assert far[0] == 0
        assert far[2] == pytest.approx(shares[2, 5:].sum(), abs=1e-4)


def test_lengths_are_left_out_unless_asked_for(rows):
    result = surveyed(rows, by_length=False)
    assert "lengths" not in result
    for entry in result["variants"]:
        assert "by_length" not in entry
        assert "by_length" not in entry["heads"][0]


def test_a_short_text_has_no_sink_and_one_length(rows):
    result = surveyed(rows, length=12, texts=1)
    assert result["lengths"] == [12]
    for entry in result["variants"]:
        assert entry["sink_rate"] is None
        assert {head["sink"] for head in entry["heads"]} == {None}
        assert entry["by_length"]["far"] == [0]


@pytest.mark.parametrize(
    ("length", "trained", "lengths"),
    [(512, 512, [512]), (511, 512, [511]), (8192, 512, [512, 1024, 2048, 4096, 8192])],
)
def test_lengths_double_from_the_training_length(length, trained, lengths):
    assert lengths_of(length, trained) == lengths


def test_different_tokenizers_are_refused(rows, tmp_path):
    other = tiny.save(tmp_path / "other", tiny.model(vocab_size=290), tiny.tokenizer(290))
    loaded = load_checkpoint(other)
    with refused(UsageError, ["different tokenizers"]):
        surveyed([*rows, Row(loaded.config.variant, loaded)])
