"""Tables of docs/training.md say what the stored runs say."""

from freeatten_core.results.scale import (
    rows_table,
    scale_blocks,
    sizes_table,
    speed_table,
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


def test_a_stored_result_gives_its_blocks():
    versions = {"torch": "2.11.0", "python": "3.12.3"}
    speeds = [speed(count, 1e5, device="NVIDIA H200", versions=versions) for count in (1, 2)]
    trials = [trained("trial-a", "adamw", 3.2)]
    rows = [trained("medium-a", "muon", 3.0, tokens_of_text=[40_000_000, 60_000_000])]
    found = scale_blocks("scale/training", {"speed": speeds, "trials": trials, "rows": rows})
    assert found == {
        "scale/training rows": rows_table(rows),
        "scale/training speed": speed_table(speeds),
        "scale/training trials": trials_table(trials),
        "scale/training provenance": "NVIDIA H200, torch 2.11.0, Python 3.12.3",
    }


def test_trained_rows_stand_with_the_largest_first_and_say_how_often_they_saw_their_text():
    text = {"tokens_of_text": [40_000_000, 60_000_000]}
    small = trained("small-a", "muon", 3.2, **text)
    large = trained("medium-a", "muon", 3.1, parameters=104_614_656, **text)
    assert cells(rows_table([small, large])) == [
        ["`softmax`", "105 M", "381", "50 M", "0.50", "3.100"],
        ["`softmax`", "25 M", "381", "50 M", "0.50", "3.200"],
    ]


def compared(checkpoint, lengths, bits, delta, verdict):
    row = {"variant": "softmax", "checkpoint": checkpoint, "bits_per_byte": bits, "delta": delta}
    return {"lengths": lengths, "variants": [row | {"verdict": verdict, "hurts_from": 2048}]}


def test_sizes_take_each_row_where_it_was_trained_and_at_its_longest():
    trainings = [
        {
            "name": name,
            "variant": "softmax",
            "parameters": size,
            "train_length": length,
            "tokens_seen": 1e8,
        }
        for name, size, length in (("large", 1.05e8, 1024), ("softmax", 3.2e6, 512))
    ]
    shipped = compared("softmax", [512, 8192], [1.5, 2.5], [0.0, 3.0], "hurts")
    larger = compared("large", [512, 1024, 16384], [1.7, 1.2, 2.0], [None, 0.0, -0.25], "uses")
    found = cells(sizes_table(trainings, [("code", [shipped, larger]), ("books", [larger])]))
    assert [line[:4] for line in found] == [
        ["`softmax`", "3 M", "512", "100 M"],
        ["`softmax`", "105 M", "1,024", "100 M"],
    ]
    assert found[0][4:] == ["1.500", "+3.000, hurts from 2,048 tokens", "–", "–"]
    assert found[1][4:] == ["1.200", "−0.250, uses the longer context"] * 2
