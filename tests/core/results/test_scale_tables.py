"""Tables of docs/scale.md and docs/training.md say what the stored runs say."""

import copy

import pytest
from sample_result import sample_result

from freeatten_core.results.scale import (
    losses_table,
    scale_blocks,
    sizes_table,
    speed_table,
    training_table,
    trials_table,
)


def speed(processes, rate, **changes):
    return {
        "variant": "lssar:p=15",
        "parameters": 104_614_656,
        "optimizer": "adamw",
        "train_length": 1024,
        "batch": 128,
        "shard": False,
        "processes": processes,
        "tokens_per_second": rate,
        "share_of_peak": 0.3214,
        "peak_bytes": 33_000_000_000,
        **changes,
    }


def trained(name, optimizer, loss, **changes):
    return {
        "name": name,
        "variant": "softmax",
        "parameters": 25_468_800,
        "tokens_seen": 50_000_000,
        "tokens_of_text": [30_000_000, 10_000_000],
        "learning_rate": 3e-3,
        "curve": [{"validation": 9.0}, {"validation": loss}],
        "recipe": {"optimizer": optimizer, "schedule": "wsd", "steps": 381},
        **changes,
    }


def cells(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_scaling_is_against_one_gpu_with_the_same_work():
    other = speed(1, 9e5, variant="softmax")
    found = cells(speed_table([speed(2, 380_000.4), other, speed(1, 2e5), speed(4, 6e5)]))
    assert [line[3] for line in found] == ["1", "2", "4", "1"]
    assert found[1][4:] == ["380,000", "95.0", "32.1", "33"]
    assert [line[5] for line in found] == ["–", "95.0", "75.0", "–"]


def test_a_speed_without_its_single_gpu_or_on_a_cpu_has_no_share():
    found = cells(speed_table([speed(2, 1e5, share_of_peak=None, peak_bytes=None)]))
    assert found[0][5:] == ["–", "–", "–"]


def test_trials_stand_with_the_lowest_loss_first():
    trials = [trained("trial-a", "adamw", 3.2), trained("trial-b", "muon", 3.1)]
    assert [line[0] for line in cells(trials_table(trials))] == ["muon", "adamw"]
    assert cells(trials_table(trials))[0] == ["muon", "wsd", "381", "50 M", "3.100"]


def test_rows_say_how_often_the_text_was_read():
    (line,) = cells(training_table([trained("small-softmax", "muon", 3.1)]))
    assert line == ["`softmax`", "25.5 M", "50 M", "1.2", "0.003", "3.100"]


@pytest.fixture
def compared():
    result = copy.deepcopy(sample_result()) | {"date": "2026-11-27"}
    for row, size in zip(result["variants"], ("medium-", "small-"), strict=False):
        row["checkpoint"] = size + row["checkpoint"]
    return result


def test_every_row_has_a_line_for_every_text_with_its_size(compared):
    found = cells(losses_table({"code": compared, "books": compared}))
    assert len(found) == 2 * len(compared["variants"])
    first, row = found[0], compared["variants"][0]
    assert first[:2] == [f"`{row['variant']}`, 105 M", "code"]
    assert first[2] == f"{row['loss'][0]:.3f}"
    assert [line[0].split(", ")[1] for line in found[:3]] == ["105 M", "25 M", "3 M"]
    assert found[-1][1] == "novels"
    assert first[-1].startswith("hurts from")


def test_sizes_are_compared_by_the_byte(compared):
    found = cells(sizes_table(compared))
    row = compared["variants"][1]
    assert found[1] == [
        f"`{row['variant']}`, 25 M",
        *(f"{bits:.3f}" for bits in row["bits_per_byte"]),
    ]


def test_blocks_are_of_what_is_stored(compared):
    assert scale_blocks({}) == {}
    training = {"speed": [], "trials": [], "rows": []}
    found = scale_blocks({"scale/training": training, "scale/books": compared})
    assert {"scale/training speed", "scale/training trials", "scale/training rows"} < set(found)
    assert {"scale/books texts", "scale/books delta", "scale/books provenance"} < set(found)
