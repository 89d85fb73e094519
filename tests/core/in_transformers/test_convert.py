"""A shipped checkpoint as a folder of the transformers library computes what it computes here."""

import json
import shutil
import sys

import pytest
import tiny
import torch
import transformers
from bounds import ended
from torch.nn import functional

import freeatten_core.transformers
from freeatten_core import load_causal_model, load_checkpoint, loss_by_length
from freeatten_core.analysis import capture
from freeatten_core.basics.assets import assets
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.files import SavedElsewhereError
from freeatten_core.data.documents import path_documents
from freeatten_core.measures.comparison import Request, compare
from freeatten_core.models.rows import CausalRow, Row

TEXT = "def read(path):\n    with open(path) as file:\n        return file.read()\n" * 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("converted")
    return {
        name: freeatten_core.transformers.convert(load_checkpoint(name), root / name)
        for name in ("softmax", "lssar-p15")
    }


@pytest.mark.parametrize("name", ["softmax", "lssar-p15"])
def test_logits_and_tokens_are_those_of_the_checkpoint(name, folders):
    here = load_checkpoint(name)
    model = transformers.AutoModelForCausalLM.from_pretrained(folders[name])
    words = transformers.AutoTokenizer.from_pretrained(folders[name])
    tokens = torch.tensor([here.tokenizer.encode(TEXT).ids])
    assert words(TEXT)["input_ids"] == tokens[0].tolist()
    assert words.decode(words(TEXT)["input_ids"]) == TEXT
    with torch.no_grad():
        found, wanted = model(tokens).logits, here.model(tokens)
    torch.testing.assert_close(found, wanted, rtol=0, atol=7e-4)
    losses = (functional.cross_entropy(x[0, :-1], tokens[0, 1:]) for x in (found, wanted))
    torch.testing.assert_close(*losses, rtol=0, atol=1e-5)


def test_measured_as_a_model_of_others_its_losses_are_the_checkpoints(folders):
    here, there = load_checkpoint("softmax"), load_causal_model(str(folders["softmax"]))
    tokens = torch.tensor(here.tokenizer.encode(TEXT * 3).ids[:129])[None]
    found, wanted = (loss_by_length(each, tokens, [32, 64, 128]) for each in (there, here))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert there.declared_length == here.config.train_length


@pytest.mark.parametrize(
    "name",
    [
        "lssar-p15",
        # its table from the terminal is that of the shipped in tests/cli/test_convert_command.py
        pytest.param("softmax", marks=pytest.mark.slow),
    ],
)
def test_compared_as_a_model_of_others_its_table_is_the_checkpoints(name, folders):
    """W too, which puts a window into every layer."""
    here, there = load_checkpoint(name), load_causal_model(str(folders[name]))
    rows = [Row(here.variant, here), CausalRow(there, there.restart_length)]
    # a text that stays as it is: another's losses may lie a rounding further apart
    documents = path_documents(assets() / "results" / "evidence" / "writing.txt")
    request = Request(rows, [512, 1024], documents, "writing", "freeatten compare", texts=1)
    own, other = compare(request).result["variants"]
    for key in ("loss", "delta", "bits_per_byte"):
        assert other[key] == pytest.approx(own[key], abs=2e-6)  # rounded to six digits
    for key in ("restart_loss", "sliding_delta", "window_delta"):
        assert other[key] == pytest.approx(own[key], abs=2e-6)  # rounded to six digits
    assert other["verdict"] == own["verdict"]


def test_a_head_with_a_window_is_another_and_the_checkpoints(folders):
    here, there = load_checkpoint("lssar-p15"), load_causal_model(str(folders["lssar-p15"]))
    tokens = torch.tensor(here.tokenizer.encode(TEXT * 3).ids[:129])[None]
    own, other = (each.single_heads(tokens, 16) for each in (here, there))
    for layer, head in ((0, 1), (4, 2)):
        found, wanted = other.losses(layer, head), own.losses(layer, head)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
        assert (found - there.token_losses(tokens[:, :-1], tokens[:, 1:])).abs().max() > 1e-3


def test_its_maps_are_the_checkpoints(folders):
    here, there = load_checkpoint("lssar-p15"), load_causal_model(str(folders["lssar-p15"]))
    tokens = torch.tensor(here.tokenizer.encode(TEXT * 3).ids[:129])
    for modifier in ("", "+yarn"):
        own, other = (
            capture(model, tokens, variant=f"lssar:p=15{modifier}") for model in (here, there)
        )
        assert (own.weighed_by, own.variant) == (other.weighed_by, other.variant)
        for layer in own.layers:
            torch.testing.assert_close(
                other.layers[layer].rows.entropy,
                own.layers[layer].rows.entropy,
                atol=1e-3,
                rtol=1e-3,
            )


def test_an_attention_that_is_none_is_refused(folders, tmp_path):
    for named, said in (("lsar", "did you mean"), ("own.py:attend", "a named variant"), (None, "")):
        folder = shutil.copytree(folders["lssar-p15"], tmp_path / str(named)[:4])
        values = json.loads((folder / "config.json").read_text()) | {"attention": named}
        (folder / "config.json").write_text(json.dumps(values))
        with pytest.raises(ContentError, match=f"attention is {named!r}.*{said}"):
            load_causal_model(str(folder))


def test_softmax_is_a_plain_llama_and_others_a_type_of_their_own(folders):
    kinds = {
        name: json.loads((folder / "config.json").read_text())["model_type"]
        for name, folder in folders.items()
    }
    assert kinds == {"softmax": "llama", "lssar-p15": "freeatten"}


def test_a_library_that_does_not_know_the_type_refuses_it(folders):
    load = (
        "import sys, transformers\n"
        "try: transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
    )
    words = [sys.executable, "-c", load, str(folders["lssar-p15"])]
    said = ended(words, capture_output=True, text=True, check=True)
    assert "freeatten" in said.stdout


@pytest.mark.parametrize("other", ["sdpa", "eager", "freeatten:softmax"])
def test_another_attention_is_not_put_on_its_weights(other, folders):
    with pytest.raises(UsageError, match="trained with freeatten:lssar:p=15"):
        transformers.AutoModelForCausalLM.from_pretrained(
            folders["lssar-p15"], attn_implementation=other
        )
    model = transformers.AutoModelForCausalLM.from_pretrained(folders["lssar-p15"])
    with pytest.raises(UsageError, match="trained with freeatten:lssar:p=15"):
        model.set_attn_implementation(other)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"checkpoint": "softmax"}, "checkpoint is 'softmax'; it must be what load_checkpoint"),
        ({"checkpoint": None}, "checkpoint is None"),
        ({"out": None}, "out is None; it must be the path of a folder"),
        ({"out": ""}, "'' is no path"),
    ],
)
def test_what_cannot_be_converted_is_named(wrong, told, tmp_path):
    given = {"checkpoint": load_checkpoint(tiny.save(tmp_path / "model")), "out": tmp_path / "out"}
    with pytest.raises(UsageError, match=told):
        freeatten_core.transformers.convert(**given | wrong)
    assert not (tmp_path / "out").exists()


def test_the_folder_can_be_named_by_a_string(tmp_path):
    checkpoint = load_checkpoint(tiny.save(tmp_path / "model", tiny.model("softmax")))
    out = freeatten_core.transformers.convert(checkpoint, str(tmp_path / "out"))
    assert (out, (out / "config.json").is_file()) == (tmp_path / "out", True)


def test_what_lies_at_the_place_stays(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    checkpoint = load_checkpoint(tiny.save(tmp_path / "model"))
    with pytest.raises(SavedElsewhereError):
        freeatten_core.transformers.convert(checkpoint, tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "kept"
