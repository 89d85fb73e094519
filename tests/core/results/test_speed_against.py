"""Two benchmarks side by side: whose ratio to the baseline got worse."""

import copy
import json

import pytest
from sample_speed import sample_speed

from freeatten_core.basics.errors import UsageError
from freeatten_core.results.speed_against import (
    changes,
    changes_json,
    changes_sentence,
    devices_note,
    earlier,
    listed,
)


def changed(**factors):
    result = copy.deepcopy(sample_speed(lengths=(2048, 8192), dims=(64,), passes=("forward",)))
    for row in result["rows"]:
        row["ratio"] *= factors.get(row["peer"].partition(" ")[0].replace(":p=", ""), 1)
    return result


def test_what_got_slower_comes_first_and_is_told():
    found = changes(changed(), changed(lssa=1.5, softmax=0.5))
    assert (found[0].peer, found[0].factor) == ("lssa", pytest.approx(1.5))
    assert [each.peer for each in found if each.faster] == ["softmax", "softmax"]
    sentence = changes_sentence(found)
    assert (
        "4 slower, most lssa forward at 2,048 tokens and heads of 64 (0.98× to 1.47×)" in sentence
    )
    assert "2 faster" in sentence


def test_a_ratio_within_the_noise_is_no_change():
    found = changes(changed(), changed(lssa=1.04, softmax=0.96))
    assert not any(each.slower or each.faster for each in found)
    assert "Nothing changed by 5% or more" in changes_sentence(found)


def test_the_baseline_and_what_was_not_measured_are_no_cells():
    names = {each.peer for each in changes(sample_speed(), sample_speed())}
    assert "sdpa flash" not in names
    longest = [
        each.length for each in changes(sample_speed(), sample_speed()) if "naive" in each.peer
    ]
    assert max(longest) == 16384


def test_json_keeps_every_change():
    found = changes(changed(), changed(lssa=2))
    kept = json.loads(json.dumps(changes_json(changed(), found)))
    assert listed(kept) == found
    assert kept["changes"][0]["factor"] == pytest.approx(2)


def test_another_device_is_named_beside_this_one():
    before, after = sample_speed(), sample_speed()
    same = after | {"against": changes_json(before, [])}
    assert devices_note(same) == ""
    note = devices_note(same | {"device": "NVIDIA H100 80GB HBM3"})
    assert note.startswith("Another device: NVIDIA H200 then, NVIDIA H100 80GB HBM3 now. Every")
    before.pop("device")
    unknown = devices_note(after | {"against": changes_json(before, [])})
    assert unknown.startswith("Another device: unknown then")


def test_two_runs_of_other_lengths_share_nothing():
    found = changes(sample_speed(lengths=(1024,)), sample_speed(lengths=(2048,)))
    assert changes_sentence(found).startswith("Nothing is in both")


@pytest.mark.parametrize(("name", "value"), [("dtype", "float16"), ("heads", 4), ("batch", 3)])
def test_runs_of_other_calls_are_not_compared(name, value):
    other = sample_speed()
    other["settings"][name] = value
    assert changes(sample_speed(), other) == []


def test_a_file_that_is_not_there_is_refused_in_the_systems_words(tmp_path):
    path = tmp_path / "none.json"
    with pytest.raises(UsageError) as refused:
        earlier(path, "cpu")
    assert str(refused.value) == (
        f"--against is {str(path)!r}, which cannot be read: No such file or directory"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "not what freeatten bench --json writes"),
        ('{"rows": [{"peer": "a"}]}', "not what freeatten bench --json writes"),
        ('{"settings": {}, "rows": [1]}', "not what freeatten bench --json writes"),
        (
            '{"rows": [{"peer": "a", "length": 1, "ratio": 1.0}]}',
            "not what freeatten bench --json writes",
        ),
        (json.dumps(sample_speed()), "measured on a GPU; this run is on a CPU"),
    ],
)
def test_another_file_is_refused_by_name(text, said, tmp_path):
    path = tmp_path / "before.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said) as refused:
        earlier(path, "cpu")
    assert str(path) in str(refused.value)
