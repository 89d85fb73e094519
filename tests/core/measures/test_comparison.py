"""`compare`: intervals, verdicts, and every key of the result."""

import hashlib
import json
import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import tiny
import torch
from scipy import stats
from strategies import refused

from freeatten_core import Variant, load_checkpoint
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.progress import Watch
from freeatten_core.basics.shards import shards
from freeatten_core.data.documents import Document, manifest
from freeatten_core.data.selection import Selection, Text, select_texts
from freeatten_core.data.tokenizer import train_tokenizer
from freeatten_core.measures import comparison_forecast, comparison_header
from freeatten_core.measures.comparison import Request, compare
from freeatten_core.measures.controls import sliding_losses
from freeatten_core.measures.low_precision import precision_cost
from freeatten_core.measures.request import Drawn
from freeatten_core.measures.scoring import pass_cost, score_texts
from freeatten_core.models import forecast as models_forecast
from freeatten_core.models.catalogue import shipped, slug
from freeatten_core.models.rows import ROWS, Row, load_rows
from freeatten_core.results.intervals import interval
from freeatten_core.results.verdicts import Verdict

LENGTHS = (16, 32, 64)
DOCUMENTS = tiny.documents(6)
NAN = math.nan


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    names = {"softmax": "softmax", "lssar": "lssar", "relu": "relu"}
    loaded = {
        name: load_checkpoint(tiny.save(folder / name, tiny.model(variant)))
        for name, variant in names.items()
    }
    return {name: Row(one.config.variant, one) for name, one in loaded.items()}


def request(rows, **changes):
    given = {"lengths": LENGTHS, "documents": DOCUMENTS, "source": "my texts", "texts": 3}
    return Request(rows=rows, command="freeatten compare --len 4x", **(given | changes))


def result_of(*rows, **changes):
    return compare(request(rows, **changes)).result


def row_of(*rows, **changes):
    return result_of(*rows, **changes)["variants"][0]


# intervals


def test_an_interval_by_hand():
    # mean 2, deviation 1, t(0.975; 2) = 4.302653: 4.302653 / √3 = 2.484138
    assert interval(np.array([1.0, 2.0, 3.0])) == pytest.approx((2, -0.484138, 4.484138), abs=1e-6)


@pytest.mark.parametrize("count", [2, 5, 40])
def test_an_interval_is_that_of_student(count):
    values = np.random.default_rng(count).normal(3.0, 0.5, count)
    expected = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    assert interval(values) == pytest.approx((values.mean(), *expected))


def test_one_text_has_no_interval():
    mean, low, high = interval(np.array([1.5]))
    assert mean == 1.5
    assert math.isnan(low)
    assert math.isnan(high)


def test_equal_texts_have_an_interval_of_no_width():
    assert interval(np.array([2.0, 2.0, 2.0])) == (2, 2, 2)


# the result

TOP = {
    "schema": int,
    "train_length": int,
    "lengths": list,
    "texts": int,
    "seed": int,
    "device": str,
    "dtype": str,
    "seconds": float,
    "versions": dict,
    "text": dict,
    "variants": list,
}
TEXT = {
    "source": str,
    "files": int,
    "qualifying": int,
    "tokens": int,
    "sha256": str,
    "matches_stored": bool | None,
}
ROW = {
    "variant": str,
    "checkpoint": str,
    "train_length": int,
    "uniform_loss": float,
    "loss": list,
    "ci95": list,
    "restart_loss": float,
    "delta": list,
    "delta_ci95": list,
    "bits_per_byte": list,
    "ratio": float,
    "sliding_delta": float,
    "sliding_delta_ci95": list,
    "window_delta": float | None,
    "window_delta_ci95": list | None,
    "verdict": str,
    "hurts_from": int | None,
}


def assert_holds(found, schema):
    """Every key of the schema is there, with a value of its type."""
    assert [key for key in schema if key not in found] == []
    wrong = {key: found[key] for key, kind in schema.items() if not isinstance(found[key], kind)}
    assert wrong == {}
    assert [k for k, kind in schema.items() if kind is int and isinstance(found[k], bool)] == []


def test_the_result_has_the_promised_schema(rows):
    result = json.loads(json.dumps(result_of(rows["softmax"], rows["lssar"]), allow_nan=False))
    assert_holds(result, TOP)
    assert_holds(result["text"], TEXT)
    assert [row["variant"] for row in result["variants"]] == ["softmax", "lssar:p=15"]
    vocabulary = rows["softmax"].checkpoint.config.vocab_size
    for row in result["variants"]:
        assert_holds(row, ROW)
        assert row["verdict"] in get_args(Verdict)
        assert row["uniform_loss"] == pytest.approx(math.log(vocabulary))
        assert [len(row[key]) for key in ("loss", "delta", "bits_per_byte")] == [3, 3, 3]
        assert np.shape(row["ci95"]) == np.shape(row["delta_ci95"]) == (3, 2)


def test_the_header_says_what_was_done(rows):
    result = result_of(rows["softmax"], seed=3)
    assert result["schema"] == 2
    assert (result["train_length"], result["lengths"]) == (16, [16, 32, 64])
    assert (result["texts"], result["seed"]) == (3, 3)
    assert (result["device"], result["dtype"], result["control"]) == ("cpu", "float32", "restart")
    assert result["versions"]["torch"] == torch.__version__
    assert result["command"] == "freeatten compare --len 4x"


def test_the_text_is_told_by_its_files_and_its_hash(rows):
    documents = [*DOCUMENTS, Document("short.txt", "short")]
    result = result_of(rows["softmax"], documents=documents)
    chosen = select_texts(documents, tiny.tokenizer(), 64, 3, 0)
    scored = "".join(tiny.tokenizer().decode(text.tokens.tolist()) for text in chosen.texts)
    assert result["text"] == {
        "source": "my texts",
        "files": 7,
        "qualifying": 6,
        "repeats": 0,
        "tokens": 3 * 64,
        "sha256": hashlib.sha256(scored.encode()).hexdigest(),
        "matches_stored": None,
        "manifest": manifest(chosen.documents),
    }


def test_losses_are_those_of_the_model(rows):
    row = row_of(rows["lssar"])
    texts = select_texts(DOCUMENTS, tiny.tokenizer(), 64, 3, 0).texts
    tokens = torch.from_numpy(np.stack([text.tokens for text in texts]))
    model = rows["lssar"].checkpoint.model
    whole = model.token_losses(tokens[:, :-1], tokens[:, 1:])
    assert row["loss"][2] == pytest.approx(float(whole.mean()), abs=1e-4)
    longest = [by_length[2] for by_length in row["loss_by_text"]]
    assert longest == pytest.approx(whole.mean(dim=1).tolist(), abs=1e-4)


def test_means_and_intervals_are_over_texts(rows):
    row = row_of(rows["lssar"])
    for key, ci95, by_text in (
        ("loss", "ci95", "loss_by_text"),
        ("delta", "delta_ci95", "delta_by_text"),
    ):
        for index, values in enumerate(np.array(row[by_text]).T):
            mean, *bounds = interval(values)
            assert row[key][index] == pytest.approx(mean, abs=1e-4)
            assert row[ci95][index] == pytest.approx(bounds, abs=1e-3)
    assert (row["delta"][0], row["delta_ci95"][0]) == (0, [0, 0])
    assert row["ratio"] == pytest.approx(row["loss"][2] / row["loss"][0], abs=1e-5)


def test_bits_per_byte_are_of_the_scored_bytes(rows):
    row = row_of(rows["softmax"])
    texts = select_texts(DOCUMENTS, tiny.tokenizer(), 64, 3, 0).texts
    size = sum(len(tiny.tokenizer().decode(text.tokens[1:].tolist()).encode()) for text in texts)
    nats = [3 * 64 * loss for loss in row["loss"]]
    assert row["bits_per_byte"] == pytest.approx([n / math.log(2) / size for n in nats], abs=1e-5)


def test_one_text_has_no_intervals_and_no_verdict(rows):
    row = row_of(rows["softmax"], texts=1)
    assert row["ci95"] == row["delta_ci95"] == [[None, None]] * 3
    assert (row["verdict"], row["hurts_from"]) == ("unclear", None)
    assert None not in row["loss"] + row["delta"]


def last_half(model):
    """Losses of the last half of every text, read whole by a model or by one with modifiers."""
    texts = select_texts(DOCUMENTS, tiny.tokenizer(), 64, 3, 0).texts
    tokens = torch.from_numpy(np.stack([text.tokens for text in texts]))
    return model.token_losses(tokens[:, :-1], tokens[:, 1:])[:, 32:].numpy()


def test_the_controls_are_paired_over_the_last_half_of_every_text(rows):
    row = row_of(rows["lssar"])
    model = rows["lssar"].checkpoint.model
    windowed = model.with_modifiers(Variant.parse("lssar+window"), 64)
    expected = (last_half(model) - last_half(windowed)).mean(axis=1)
    assert row["window_delta_by_text"] == pytest.approx(expected.tolist(), abs=2e-5)
    mean, *bounds = interval(expected.astype(float))
    assert row["window_delta"] == pytest.approx(mean, abs=1e-5)
    assert row["window_delta_ci95"] == pytest.approx(bounds, abs=1e-4)
    texts = select_texts(DOCUMENTS, tiny.tokenizer(), 64, 3, 0).texts
    slid = sliding_losses(model.token_losses, texts, 16, device=torch.device("cpu"))
    expected = (last_half(model) - slid).mean(axis=1)
    assert row["sliding_delta_by_text"] == pytest.approx(expected.tolist(), abs=2e-5)


def test_a_window_is_no_better_than_itself(rows):
    plain = rows["softmax"]
    window = Row(Variant.parse("softmax+window"), plain.checkpoint)
    first, second = result_of(plain, window)["variants"]
    assert second["window_delta_by_text"] == [0, 0, 0]
    assert second["verdict"] != "uses"
    # measured once for both, in either order
    again = result_of(window, plain)["variants"][1]
    assert again["window_delta_by_text"] == pytest.approx(first["window_delta_by_text"], abs=1e-5)


def test_the_window_of_a_swapped_row_has_the_swapped_attention(rows):
    swapped = Row(Variant.parse("softmax+swap:to=lssa"), rows["softmax"].checkpoint)
    window = Row(Variant.parse("softmax+swap:to=lssa+window"), rows["softmax"].checkpoint)
    first, second = result_of(swapped, window)["variants"]
    by_text = np.array(first["window_delta_by_text"])
    deltas = [np.array(row["delta_by_text"])[:, -1] for row in (first, second)]
    np.testing.assert_allclose(by_text, deltas[0] - deltas[1], atol=3e-5)


def test_up_to_the_training_length_there_are_no_controls(rows):
    row = row_of(rows["softmax"], lengths=[16])
    assert row["sliding_delta"] is row["window_delta"] is None


def test_a_single_length_says_nothing_about_context(rows):
    row = row_of(rows["softmax"], lengths=[16])
    assert (row["delta"], row["verdict"], row["ratio"]) == ([0], "unclear", 1)


def without_time(result):
    return result | {"seconds": None}


def test_the_same_request_gives_the_same_result(rows):
    first, again = (result_of(rows["softmax"], rows["relu"]) for _ in range(2))
    assert without_time(first) == without_time(again)
    other = result_of(rows["softmax"], rows["relu"], seed=1)
    assert other["text"]["sha256"] != first["text"]["sha256"]


def test_every_row_scores_the_same_texts(rows):
    alone = result_of(rows["relu"])
    together = result_of(rows["softmax"], rows["relu"])
    assert together["variants"][1] == alone["variants"][0]
    assert together["text"] == alone["text"]


def test_too_short_a_text_is_refused(rows):
    with refused(UsageError, ["the text is too short", "4,097 are needed"]):
        result_of(rows["softmax"], lengths=[16, 4096])


def broken(row):
    """The same row with a model whose losses are not finite."""
    model = tiny.model(str(row.variant))
    with torch.no_grad():
        model.final_norm.weight.fill_(3e38)
    return Row(row.variant, replace(row.checkpoint, model=model))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_numbers_that_are_not_finite_are_null(rows, dtype):
    result = result_of(broken(rows["relu"]), dtype=dtype)
    assert "NaN" not in json.dumps(result, allow_nan=False)
    (row,) = result["variants"]
    assert row["loss"] == row["bits_per_byte"] == row["delta"] == [None] * 3
    assert row["ci95"] == [[None, None]] * 3
    assert (row["ratio"], row["restart_loss"], row["verdict"]) == (None, None, "unclear")
    if dtype == "bfloat16":
        assert row["nonfinite"]["losses"] == 3 * 3 * 64


# views beside the table


def test_by_position_bins_the_longest_pass(rows):
    result = result_of(rows["softmax"], by_position=True, lengths=[16, 128])
    assert result["positions"] == list(range(2, 129, 2))
    (row,) = result["variants"]
    assert len(row["loss_by_position"]) == 64
    assert np.mean(row["loss_by_position"]) == pytest.approx(row["loss"][1], abs=1e-5)
    assert "loss_by_position" not in row_of(rows["softmax"])


def test_positions_are_those_of_the_tokens(rows):
    done = compare(request([rows["lssar"]], by_position=True))
    by_token = done.losses["lssar:p=15"].by_length[64].mean(axis=0)
    (row,) = done.result["variants"]
    assert done.result["positions"] == list(range(1, 65))
    assert row["loss_by_position"] == pytest.approx(by_token.tolist(), abs=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_adds_what_went_wrong(rows, dtype):
    result = result_of(rows["lssar"], rows["relu"], dtype=dtype)
    sharpened, relu = result["variants"]
    assert result["dtype"] == dtype
    assert set(sharpened["nonfinite"].values()) == set(relu["nonfinite"].values()) == {0}
    assert 0 <= sharpened["row_sum_deviation"] < 0.1
    assert relu["row_sum_deviation"] is None  # its rows are not meant to sum to 1
    exact = row_of(rows["lssar"])
    assert "nonfinite" not in exact
    assert sharpened["loss"] == pytest.approx(exact["loss"], rel=0.05)
    assert sharpened["loss"] != exact["loss"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_does_not_change_the_checkpoint(rows, dtype):
    before = row_of(rows["softmax"])
    result_of(rows["softmax"], dtype=dtype)
    weights = rows["softmax"].checkpoint.model.parameters()
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert row_of(rows["softmax"]) == before


def test_swapped_context_is_a_further_column(rows):
    row = row_of(rows["softmax"], control="swap")
    assert (row["swap_delta"][0], row["swap_delta_ci95"][0]) == (None, [None, None])
    assert all(math.isfinite(value) for value in row["swap_delta"][1:])
    assert row["swap_delta"][1] != 0
    assert row["loss"] == row_of(rows["softmax"])["loss"]
    with refused(UsageError, ["--control swap has 1 text"]):
        result_of(rows["softmax"], control="swap", texts=1)


def test_yarn_is_the_same_checkpoint_stretched_to_the_longest_length(rows):
    yarn = replace(rows["softmax"], variant=Variant.parse("softmax+yarn"))
    result = result_of(rows["softmax"], yarn)
    plain, stretched = result["variants"]
    assert (plain["variant"], stretched["variant"]) == ("softmax", "softmax+yarn")
    assert plain["checkpoint"] == stretched["checkpoint"]
    assert all(a != b for a, b in zip(plain["loss"], stretched["loss"], strict=True))
    assert plain == row_of(rows["softmax"])
    at_training_length = result_of(rows["softmax"], yarn, lengths=[16])["variants"]
    assert at_training_length[0]["loss"] == at_training_length[1]["loss"]


def test_every_loss_is_that_of_its_text_alone_however_texts_are_shared_out(rows):
    """To the last bit: a shard of texts gives what the whole comparison has for them."""
    whole = compare(request([rows["lssar"]])).losses["lssar:p=15"]
    texts = select_texts(DOCUMENTS, tiny.tokenizer(), 64, 3, 0).texts
    model, cpu = rows["lssar"].checkpoint.model, torch.device("cpu")
    for shard in reversed(shards(3)):
        losses = score_texts(model.token_losses, texts, LENGTHS, 16, device=cpu, shard=shard)
        for length in LENGTHS:
            table = whole.by_length[length][shard.part(3)]
            np.testing.assert_array_equal(losses.by_length[length], table)


# while it runs


@pytest.mark.parametrize(
    ("control", "dtype"), [("restart", "float32"), ("swap", "float32"), ("restart", "bfloat16")]
)
def test_the_cost_announced_is_the_cost_reported(rows, control, dtype):
    totals, parts = [], []
    watch = Watch(total=totals.append, advance=parts.append)
    aligned = replace(rows["softmax"], variant=Variant.parse("softmax+align"))
    asked = request([rows["softmax"], aligned, rows["relu"]], control=control, dtype=dtype)
    compare(asked, watch)
    assert totals == [pytest.approx(sum(parts))]


def test_a_row_whose_sums_are_looked_at_is_foreseen_a_pass_longer(rows):
    """Its texts are read for their logits, and again for the sums; those of relu need be none."""
    model, pass_of_all = rows["softmax"].model, pass_cost(3, 64)

    def cost(name):
        return precision_cost(Variant.parse(name), model, 3, 64)

    assert cost("softmax") == cost("softmax+swap:to=lssa") == 2 * pass_of_all
    assert cost("relu") == cost("softmax+rerope") == pass_of_all


def test_too_little_memory_is_refused_with_the_numbers_before_any_pass(rows, monkeypatch):
    monkeypatch.setattr(models_forecast, "available_bytes", lambda _: 1_000_000)
    totals = []
    words = [
        "comparing 3 texts of 64 tokens needs 0.1 GB",
        "0.0 GB available on cpu; compare small",
    ]
    with refused(UsageError, words):
        compare(request([rows["softmax"]]), Watch(total=totals.append))
    assert totals == []


def test_the_refusal_names_a_length_that_fits(rows, monkeypatch):
    monkeypatch.setattr(models_forecast, "available_bytes", lambda _: 100_000_000)
    asked = request([rows["softmax"]], lengths=(16, 2**14, 2**18))
    drawn = Drawn({"any": Selection([Text("a.txt", np.arange(2))], 1, 1, [])}, {})
    with refused(UsageError, ["up to 16,384 tokens (--len 16384) it is 0.1 GB"]):
        comparison_forecast.check_fits(asked, drawn)


def test_the_time_is_foreseen_for_who_wants_it(rows):
    seen = []
    failing = Row(Variant.parse("softmax+swap:to=lssa"), rows["softmax"].checkpoint)
    compare(request([rows["softmax"], failing]), Watch(seconds=seen.append))
    assert len(seen) == 1
    assert seen[0] > 0


def test_a_row_is_shown_text_by_text(rows):
    seen = []
    watch = Watch(row=lambda entry, texts, of: seen.append((entry["variant"], texts, of, entry)))
    result = compare(request([rows["softmax"], rows["relu"]]), watch).result
    assert [part[:3] for part in seen] == [
        (name, texts, 3) for name in ("softmax", "relu") for texts in (1, 2, 3)
    ]
    assert seen[0][3]["loss"][0] == pytest.approx(
        result["variants"][0]["loss_by_text"][0][0], abs=1e-4
    )
    assert seen[2][3]["loss"] == pytest.approx(result["variants"][0]["loss"], abs=1e-5)


def test_the_loss_of_every_token_is_kept_by_row(rows):
    done = compare(request([rows["softmax"], rows["relu"]]))
    assert list(done.losses) == ["softmax", "relu"]
    losses = done.losses["relu"]
    assert {n: table.shape for n, table in losses.by_length.items()} == dict.fromkeys(
        LENGTHS, (3, 64)
    )
    row = done.result["variants"][1]
    assert row["loss"][0] == pytest.approx(losses.by_length[16].mean(), abs=1e-5)
    assert row["restart_loss"] == pytest.approx(losses.restart[:, 8:].mean(), abs=1e-5)


def test_rows_of_one_variant_are_told_apart_by_checkpoint(rows):
    twin = replace(rows["relu"], checkpoint=replace(rows["relu"].checkpoint, name="twin"))
    name = rows["relu"].checkpoint.name
    assert list(compare(request([rows["relu"], twin])).losses) == [f"relu@{name}", "relu@twin"]


# checkpoints that differ


def test_different_tokenizers_have_their_own_tokens_and_are_counted(rows, tmp_path):
    letters = train_tokenizer([tiny.prose(9)], 270)
    other = load_checkpoint(tiny.save(tmp_path / "other", tiny.model("relu"), letters))
    result = result_of(rows["softmax"], Row(other.config.variant, other))
    assert result["tokenizers"] == 2
    assert result_of(rows["softmax"])["tokenizers"] == 1
    assert all(None not in row["loss"] + row["bits_per_byte"] for row in result["variants"])


def test_different_training_lengths_each_have_their_own_restart(rows, tmp_path):
    long = load_checkpoint(tiny.save(tmp_path / "long", tiny.model("relu", train_length=32)))
    result = result_of(rows["softmax"], Row(long.config.variant, long))
    short_row, long_row = result["variants"]
    assert (short_row["train_length"], long_row["train_length"]) == (16, 32)
    assert (short_row["delta"][0], long_row["delta"][:2]) == (0, [None, 0])
    assert None not in short_row["delta"]
    assert None not in long_row["loss"]
    assert long_row["ratio"] == pytest.approx(long_row["loss"][2] / long_row["loss"][1], abs=1e-5)


# stored results


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Stored results of two texts of `my texts`, in two files."""
    (tmp_path / "results").mkdir()
    for name, source, index in (("a", "my texts", 0), ("b", "my texts", 1), ("c", "others", 2)):
        text = {"source": source, "manifest": manifest(DOCUMENTS[index : index + 1])}
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps({"text": text}))
    (tmp_path / "results" / "d.json").write_text("{}")
    monkeypatch.setattr(comparison_header, "assets", lambda: tmp_path)
    return tmp_path


@pytest.mark.usefixtures("stored")
def test_files_of_stored_results_are_recognised():
    assert comparison_header.matches_stored("my texts", DOCUMENTS[:2]) is True
    assert comparison_header.matches_stored("my texts", DOCUMENTS[1:2]) is True
    assert comparison_header.matches_stored("my texts", DOCUMENTS[:3]) is False
    assert comparison_header.matches_stored("others", DOCUMENTS[:1]) is False
    assert comparison_header.matches_stored("nothing stored", DOCUMENTS[:1]) is None
    changed = replace(DOCUMENTS[0], text=DOCUMENTS[0].text + " ")
    assert comparison_header.matches_stored("my texts", [changed]) is False


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("files", "expected"), [(DOCUMENTS[:2], True), (DOCUMENTS[1:3], False)])
def test_the_result_says_whether_files_are_those_stored(rows, files, expected):
    assert result_of(rows["softmax"], documents=files)["text"]["matches_stored"] is expected


def test_nothing_stored_at_all(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison_header, "assets", lambda: tmp_path)
    assert result_of(rows["softmax"])["text"]["matches_stored"] is None


# rows


def test_rows_of_shipped_variants_share_a_loaded_model():
    wanted = Variant.parse_list("softmax,softmax+yarn,lssar:p=3")
    softmax, yarn, sharpened = load_rows(wanted, [])
    assert [str(row.variant) for row in (softmax, yarn, sharpened)] == list(map(str, wanted))
    assert [row.checkpoint.name for row in (softmax, yarn)] == ["softmax", "softmax"]
    assert softmax.checkpoint.model is yarn.checkpoint.model
    assert sharpened.checkpoint.name == "lssar-p3"


def test_the_default_rows_are_all_shipped():
    assert set(map(slug, ROWS)) == set(shipped())
    assert len(ROWS) == 9


def test_checkpoints_come_after_variants(tmp_path):
    folder = str(tiny.save(tmp_path / "mine", tiny.model("relu")))
    found = load_rows([Variant.parse("lssa")], [folder, "softmax"])
    assert [row.checkpoint.name for row in found] == ["lssa", folder, "softmax"]
    assert [str(row.variant) for row in found] == ["lssa", "relu", "softmax"]


def test_a_folder_named_like_a_variant_is_not_taken_for_what_is_shipped(tmp_path, monkeypatch):
    tiny.save(tmp_path / "softmax")
    monkeypatch.chdir(tmp_path)
    (row,) = load_rows([Variant()], [])
    assert (row.checkpoint.name, row.checkpoint.config.width) == ("softmax", 192)
    (own,) = load_rows([], ["softmax"])
    assert own.checkpoint.config == tiny.CONFIG


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("softplus", ["no shipped checkpoint of softplus", "--variant softplus", "--checkpoint"]),
        ("lssar:p=5", ["no shipped checkpoint of lssar:p=5", "did you mean 'lssar-p"]),
        ("softplus+yarn", ["of softplus+yarn", "freeatten train --variant softplus --steps 2000"]),
        (
            "stick-breaking",
            [
                "is stored (assets/results/rows/gates.json)",
                "train --variant stick-",
                "--tokenizer softmax",
            ],
        ),
        ("fox", ["is stored (assets/results/rows/runs.json)", "softmax:gate=forget:position=none"]),
        (
            "softplus:gate=forget:position=rope@128-rope@128-none-rope@128-none",
            ["is stored (assets/results/rows/gates.json)", "--steps 20000", "--checkpoint FOLDER"],
        ),
    ],
)
def test_a_variant_that_is_not_shipped_is_refused_with_the_remedy(variant, words):
    with refused(UsageError, words):
        load_rows([Variant.parse(variant)], [])


def test_a_checkpoint_that_cannot_be_used_is_refused(tmp_path):
    with refused(ContentError, [f"checkpoint {tmp_path} lacks config.json"]):
        load_rows([], [str(tmp_path)])
    with refused(UsageError, ["no checkpoint 'softmx'"]):
        load_rows([], ["softmx"])


def test_a_checkpoint_takes_modifiers_behind_its_name(tmp_path):
    folder = str(tiny.save(tmp_path / "c++" / "mine+yarn", tiny.model("relu")))
    found = load_rows([], ["softmax+yarn", "softmax", folder, f"{folder}+yarn"])
    assert [str(row.variant) for row in found] == ["softmax+yarn", "softmax", "relu", "relu+yarn"]
    assert [row.checkpoint.name for row in found] == ["softmax", "softmax", folder, folder]
    assert found[0].checkpoint.model is found[1].checkpoint.model
    with refused(UsageError, ["unknown modifier 'yorn'; did you mean 'yarn'?"]):
        load_rows([], ["softmax+yorn"])
