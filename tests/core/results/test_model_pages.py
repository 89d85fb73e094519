"""The generated blocks of models of others: their form everywhere, and no training length."""

from sample_models import FORMS, LARGE, SMALL, heads_result, models_result
from sample_retrieval import copy_result

from freeatten_core.results.pages import model_blocks


def blocks():
    return model_blocks({"models/code": models_result(), "models/heads": heads_result(SMALL)})


def test_every_block_says_the_form_of_the_weights():
    found = blocks()
    assert {name.split()[0] for name in found} == {"models/code", "models/heads"}
    for name, text in found.items():
        assert f"{FORMS[SMALL]}: {SMALL}" in text, name
        assert (f"{FORMS[LARGE]}: {LARGE}" in text) == name.startswith("models/code"), name


def test_lengths_are_tokens_and_no_multiples():
    for name in ("models/code bits", "models/code delta", "models/heads far"):
        assert "| 512 | 1,024 | 2,048 |" in blocks()[name].splitlines()[0]


def test_bits_per_byte_are_those_of_the_result():
    lines = blocks()["models/code bits"].splitlines()
    small, _, own = models_result()["variants"]
    assert (
        lines[2]
        == f"| `{SMALL}` | " + " | ".join(f"{bits:.3f}" for bits in small["bits_per_byte"]) + " |"
    )
    assert lines[4].startswith(f"| `{own['variant']}` | {own['bits_per_byte'][0]:.3f} |")


def test_local_heads_are_counted_from_the_restart():
    row = blocks()["models/heads heads"].splitlines()[2]
    assert row.startswith(f"| `{SMALL}` | 2 | 1 | 2: 0.520 | 0.0 0.990")


def test_copies_of_a_model_say_its_form_too():
    result = copy_result()
    result["variants"][0]["form"] = FORMS[SMALL]
    for text in model_blocks({"models/copy": result}).values():
        assert FORMS[SMALL] in text
