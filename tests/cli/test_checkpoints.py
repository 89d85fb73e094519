"""`freeatten checkpoints`: what is shipped, and the card of one."""

import json

import pytest
from freeatten_cli.commands import checkpoints
from terminal import freeatten, refusal

from freeatten_core.basics.assets import assets
from freeatten_core.data.tasks.table import RETRIEVED
from freeatten_core.models import catalogue
from freeatten_core.models.catalogue import shipped
from freeatten_core.models.format import CONFIG, read_config
from freeatten_core.results.stored import stored_results, stored_retrievals

SHIPPED = {
    "lssa": "lssa",
    "lssar-p15": "lssar:p=15",
    "lssar-p3": "lssar:p=3",
    "relu": "relu",
    "sigmoid": "sigmoid",
    "softmax": "softmax",
    "softmax-ls": "softmax-ls",
    "stick-breaking-outputgated": "stick-breaking:output=gated",
}
GATES = 2 * 5 * 192 * 192
"""Bytes of a gated output's weights: a matrix a layer."""
MOST_BYTES = {
    variant: 6_500_000 + GATES * ("output=gated" in variant) for variant in SHIPPED.values()
}


def test_eight_are_shipped_and_listed_with_their_measured_tables():
    done = freeatten("checkpoints", columns=200)
    assert (done.code, done.err) == (0, "")
    for name, variant in SHIPPED.items():
        size = "6.7" if "output=gated" in variant else "6.4"
        assert f"{name}  {variant}, trained at 512 tokens, {size} MB" in done.out
    results = stored_results(assets() / "results")
    assert {"stdlib-16x", "books-16x"} <= set(results)
    for name, result in results.items():
        assert f"{name}, stored result" in done.out
        for row in result["variants"]:
            assert f"{row['loss'][-1]:.3f}" in done.out


@pytest.mark.parametrize("columns", [60, 80])
def test_the_list_fits_the_terminal(columns):
    out = freeatten("checkpoints", columns=columns).out
    assert max(map(len, out.splitlines())) <= columns


def test_the_list_as_json_stands_alone():
    done = freeatten("checkpoints", "--json")
    assert (done.code, done.err) == (0, "")
    entries = json.loads(done.out)
    assert {entry["name"]: entry["variant"] for entry in entries} == SHIPPED
    stored = stored_results(assets() / "results")["books-16x"]
    for entry in entries:
        assert entry["train_length"] == 512
        assert entry["bytes"] <= MOST_BYTES[entry["variant"]]
        (row,) = (row for row in stored["variants"] if row["variant"] == entry["variant"])
        assert entry["measured"]["books-16x"] == {
            "lengths": stored["lengths"],
            **{key: row[key] for key in ("loss", "delta", "verdict")},
        }


@pytest.mark.parametrize("name", ["lssar-p15", "lssar:p=15", "lssar"])
def test_a_name_or_a_variant_shows_the_card(name):
    done = freeatten("checkpoints", name, columns=200)
    assert (done.code, done.err) == (0, "")
    assert "freeatten: lssar:p=15" in done.out
    assert "Text it was trained on" in done.out
    assert "license: apache-2.0" not in done.out  # the hub's front matter


def test_a_folder_shows_its_card(model):
    done = freeatten("checkpoints", model)
    assert done.code == 0
    assert "Nothing has been stored for this checkpoint yet." in done.out


def test_an_unknown_name_is_refused_with_the_nearest():
    sentence = refusal(2, "checkpoints", "softmx")
    assert "no checkpoint 'softmx'" in sentence
    assert "did you mean 'softmax'?" in sentence


def test_a_folder_without_a_card_is_a_failure(tmp_path):
    assert f"{tmp_path} has no README.md" in refusal(1, "checkpoints", str(tmp_path))


def test_every_shipped_weight_file_can_go_to_a_space():
    assert shipped() == sorted(SHIPPED)
    for name, variant in SHIPPED.items():
        weights = assets() / "checkpoints" / name / "model.safetensors"
        assert weights.stat().st_size <= MOST_BYTES[variant]
    assert sum(entry["bytes"] for entry in checkpoints._entries("checkpoints")) < 51_500_000


TASKS_SHIPPED = [task for task in RETRIEVED if shipped(task)]
PASSKEYS = shipped("passkey")


@pytest.mark.parametrize("task", TASKS_SHIPPED)
def test_models_of_a_task_are_listed_with_their_measured_table(task):
    done = freeatten("checkpoints", "--task", task, columns=250)
    assert (done.code, done.err) == (0, "")
    stored = stored_retrievals(assets() / "results")[task]
    assert f"\n{task}, stored result" in done.out
    for name in shipped(task):
        variant = str(read_config(assets() / task / name / CONFIG).variant)
        assert f"{name}  {variant}, trained at 256 tokens, " in done.out
        row, *seeds = (row for row in stored["variants"] if row["variant"] == variant)
        assert f"{100 * row['accuracy'][-1]:.1f}" in done.out
        assert not any(each["checkpoint"] in done.out for each in seeds)
    entries = json.loads(freeatten("checkpoints", "--task", task, "--json").out)
    assert [entry["name"] for entry in entries] == shipped(task)
    assert all(entry["bytes"] <= 300_000 for entry in entries)
    assert all("accuracy" in entry["measured"][task] for entry in entries)
    assert (
        max(map(len, freeatten("checkpoints", "--task", task, columns=60).out.splitlines())) <= 60
    )


def test_the_table_of_a_task_has_the_rows_that_are_shipped_alone():
    stored = stored_retrievals(assets() / "results")["passkey"]
    rows = {row["variant"] for row in stored["variants"]}
    here = {str(read_config(assets() / "passkey" / name / CONFIG).variant) for name in PASSKEYS}
    assert (len(rows), len(here), here < rows) == (7, 2, True)
    (table,) = checkpoints._results("passkey").values()
    assert {row["variant"]: row["checkpoint"] for row in table["variants"]} == {
        row["variant"]: row["checkpoint"]
        for row in reversed(stored["variants"])
        if row["variant"] in here
    }
    assert len(table["variants"]) == len(here)
    out = freeatten("checkpoints", "--task", "passkey", columns=250).out
    assert "stick-breaking" not in out


def test_rows_with_modifiers_are_of_what_is_shipped():
    found = checkpoints._results("checkpoints")["stdlib-16x"]["variants"]
    assert found == stored_results(assets() / "results")["stdlib-16x"]["variants"]


def test_without_models_that_read_text_the_command_named_is_one(monkeypatch):
    monkeypatch.setattr(catalogue, "shipped", lambda _="checkpoints": [])
    assert freeatten("checkpoints", columns=80).out == (
        "No model that reads text is shipped; freeatten train makes one.\n"
    )


def test_the_list_says_of_which_tasks_there_are_models():
    out = freeatten("checkpoints", columns=200).out
    named = ", ".join(f"{task} {len(shipped(task))}" for task in TASKS_SHIPPED)
    assert f"of tasks (--task): {named}\n" in out
    assert "recall 7" in named


def test_the_card_of_a_model_of_a_task_is_shown():
    done = freeatten("checkpoints", "softmax", "--task", "recall", columns=200)
    assert "freeatten: softmax, associative recall" in done.out


def test_a_task_without_models_says_how_one_is_made():
    assert shipped("mqar") == []
    assert freeatten("checkpoints", "--task", "mqar", columns=80).out == (
        "No mqar model is shipped; freeatten train --task mqar makes one.\n"
    )
    assert json.loads(freeatten("checkpoints", "--task", "mqar", "--json").out) == []
    assert "it can be text, recall" in refusal(2, "checkpoints", "--task", "sort")
