"""How a result of `freeatten stability` is read."""

from sample_stability import stability_result

from freeatten_core.bench.stability import FORMS
from freeatten_core.results import stability as module
from freeatten_core.results.stability import (
    error_text,
    gradient_text,
    lost_from,
    short,
    stability_blocks,
    unmeasured,
)


def tables(kind="random", variant="softmax", dtype="float16", form="naive", result=None):
    found = module.entries(result or stability_result(), kind)
    (entry,) = (entry for entry in found if entry["variant"] == variant)
    return entry["types"][dtype][form]


def lines(name):
    return stability_blocks("stability/cpu", stability_result())[
        f"stability/cpu {name}"
    ].splitlines()


def test_every_form_that_is_measured_has_words():
    assert list(module.FORM_TITLES) == list(FORMS)


def test_errors_have_two_digits():
    assert [short(value) for value in (7.88e-4, 1.0, 0.0, None, 5.5e19)] == [
        "7.9e-4", "1.0e+0", "0", "–", "5.5e+19"
    ]  # fmt: skip


def test_lost_rows_take_the_place_of_an_error():
    assert error_text(tables(), -1, 0) == "6.0e-4"
    assert error_text(tables(), -1, 1) == "✗50%"
    assert error_text(tables(variant="lssa", form="safe"), -1, 1) == "✗<1%"


def test_zeros_by_mistake_are_lost_too():
    found = tables(form="safe")
    found["zero"][-1][0] = 0.25
    assert error_text(found, -1, 0) == "✗25%"


def test_the_scale_from_which_rows_are_lost():
    result = stability_result()
    assert lost_from(result, tables()) == "4"
    assert lost_from(result, tables(variant="lssa")) == "1"
    assert lost_from(result, tables(form="kernel")) == "–"


def test_of_three_gradients_the_worst_is_shown():
    found = tables(form="safe")
    assert gradient_text(found) == "3.0e-3"
    found["key_gradient_error"][-1][0] = 0.5
    assert gradient_text(found) == "5.0e-1"
    found["value_gradient_norm"][-1][0] = None
    assert gradient_text(found) == "✗"


def test_gradients_that_vanished_have_no_error():
    found = tables(form="safe")
    for name in module.GRADIENTS:
        found[f"{name}_gradient_error"][-1][0] = None
    assert gradient_text(found) == "–"


def test_variants_without_a_shipped_model_are_named():
    assert unmeasured(stability_result()) == ["lssa"]
    alone = stability_result()
    alone["variants"] = alone["variants"][:2]
    assert unmeasured(alone) == []


# Markdown


def test_the_table_of_errors_has_both_ends_and_where_rows_are_lost():
    found = lines("random float16")
    assert found[0] == (
        "| float16, ×1 | naive, 128 | naive, 512 | safe, 128 | safe, 512 | kernel, 128 | "
        "kernel, 512 | naive lost from × | safe lost from × | kernel lost from × |"
    )
    assert found[2:] == [
        "| `softmax` | 5.0e-4 | 6.0e-4 | 6.0e-4 | 8.0e-4 | 2.0e-4 | 3.0e-4 | 4 | – | – |",
        "| `lssa` | ✗100% | ✗100% | 5.0e-4 | 4.0e-4 | 2.0e-4 | 3.0e-4 | 1 | 4 | – |",
    ]


def test_a_single_length_is_shown_once():
    result = stability_result()
    result["settings"]["lengths"] = [512]
    assert "naive, 512 | safe, 512" in module.error_table(result, "random", "float16")


def test_scores_and_norms_are_by_scale():
    assert lines("checkpoint scores")[0] == "| scores, 512 tokens | ×1 | ×4 |"
    assert lines("checkpoint scores")[2] == "| `softmax` | −4.84 … 4.5 | −77.4 … 72 |"
    result = stability_result()
    result["variants"][0]["lowest_score"][-1][1] = -135_000.0
    assert "−135,000 … 72" in module.score_table(result, "random")
    norms = "| 0.86 / 0.86 / 0.86 | 2.3e+4 / 2.3e+4 / 2.3e+4 |"
    assert lines("checkpoint norms")[2] == f"| `softmax` {norms}"


def test_the_ranking_names_who_loses_everything_most_and_least():
    found = lines("random ranking")
    assert found[0] == "| 512 tokens, ×1 | rows lost by | largest error | smallest error |"
    assert found[2] == "| float16, naive | `lssa` | `softmax` 6.0e-4 | `softmax` 6.0e-4 |"
    assert found[3] == "| float16, safe | – | `softmax` 8.0e-4 | `lssa` 4.0e-4 |"
    assert len(found) == 2 + 2 * 3


def test_without_any_error_the_ranking_has_dashes():
    result = stability_result()
    result["variants"] = [entry for entry in result["variants"] if entry["variant"] == "lssa"]
    ranking = module.ranking_table(result, "random").splitlines()
    assert ranking[2] == "| float16, naive | `lssa` | – | – |"


def test_pairs_are_of_measured_variants_alone():
    result = stability_result()
    assert len(module.pair_table(result, "random").splitlines()) == 2
    result["variants"][1]["variant"] = "softplus"
    found = module.pair_table(result, "random").splitlines()
    assert found[2].startswith(
        "| softplus for exp, dot product | `softmax` → `softplus` | 8.0e-4 → 4.0e-4 | "
        "3.0e-4 → 3.0e-4 |"
    )
    assert len(found) == 3


def test_gradients_are_by_type_and_form():
    found = lines("random gradients")
    assert found[0].startswith("| gradients, 512 tokens, ×1 | float16 naive | float16 safe |")
    assert found[3] == "| `lssa` | ✗ | 3.0e-3 | 3.0e-3 | 3.0e-3 | 3.0e-3 | 3.0e-3 |"


def test_the_provenance_holds_what_repeats_it():
    made = (
        f"cpu, torch 2.13.0, Python 3.11.7, 2026-01-02, commit {'ab' * 5}, 12 s: "
        "`freeatten stability --json`"
    )
    assert lines("provenance") == [
        f"The last 32 rows of each length; text ast.py of Python's standard library; {made}"
    ]
    result = stability_result() | {"text": None, "commit": None}
    assert module.provenance(result).startswith("The last 32 rows of each length; cpu, torch")
