"""The checkpoint format: five files, loaded strictly, and everything else refused."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import tiny
import torch
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from strategies import refused
from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

from freeatten_core import Variant, load_checkpoint
from freeatten_core.basics.assets import assets
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.files import SavedElsewhereError
from freeatten_core.data.documents import stdlib_root
from freeatten_core.data.tasks.table import RETRIEVED
from freeatten_core.data.tasks.task import TEST
from freeatten_core.data.tokenizer import encode, tokenizer_id, train_tokenizer
from freeatten_core.measures.tasks import right_answers
from freeatten_core.models import checkpoint
from freeatten_core.models.catalogue import (
    MODELS,
    UnknownTextsError,
    locate,
    shipped,
    slug,
    tokenizer_file,
)
from freeatten_core.models.format import CARD, CONFIG, CURVE, FILES, TOKENIZER, WEIGHTS
from freeatten_core.models.task_checkpoint import load_task
from freeatten_core.training.recipe import Recipe

NAMES = (
    *("lssa", "lssar-p15", "lssar-p3", "relu", "sigmoid", "softmax", "softmax-ls"),
    "stick-breaking-outputgated",
)
ADDED = "stick-breaking-outputgated"
"""Trained later than the others, on another list of packages."""
BOOKS = {"softmax": 324, ADDED: 320}
OF_TASKS = [(task, name) for task in RETRIEVED for name in shipped(task)]
TOKENS = torch.arange(40)[None] * 7


@pytest.fixture
def folder(tmp_path):
    return tiny.save(tmp_path / "mine")


def rewrite(folder, **changes):
    """Change values of the config; None removes one."""
    values = json.loads((folder / CONFIG).read_text()) | changes
    kept = {key: value for key, value in values.items() if value is not None}
    (folder / CONFIG).write_text(json.dumps(kept))


def change_weights(folder, change):
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)


# round trip


@pytest.mark.parametrize("variant", ["softmax", "lssar:p=3", "lssa-count", "softmax+yarn"])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_a_saved_model_loads_with_equal_logits(tmp_path, variant, kv_heads):
    built = tiny.model(variant, kv_heads=kv_heads)
    loaded = load_checkpoint(tiny.save(tmp_path / "mine", built))
    rounded = built.to(torch.bfloat16).float()
    assert torch.equal(loaded.model(TOKENS), rounded(TOKENS))
    assert loaded.config == built.config
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.float32}
    assert not any(weight.requires_grad for weight in loaded.model.parameters())


def test_a_checkpoint_is_five_files(folder):
    assert tiny.listing(folder) == sorted(FILES)
    assert {weight.dtype for weight in load_file(folder / WEIGHTS).values()} == {torch.bfloat16}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.iterdir())


def test_what_comes_with_the_weights(folder):
    loaded = load_checkpoint(folder)
    assert (loaded.name, loaded.folder) == (str(folder), folder)
    assert tokenizer_id(loaded.tokenizer) == tokenizer_id(tiny.tokenizer())
    assert loaded.curve()["curve"] == [{"step": 1, "loss": 5.0, "validation": 5.0}]
    values = json.loads((folder / CONFIG).read_text())
    assert list(values) == [
        *("format", "variant", "train_length", "vocab_size", "width", "layers", "heads"),
        *("kv_heads", "mlp_width", "position", "seed", "steps", "tokenizer_sha256"),
    ]
    written = (folder / TOKENIZER).read_bytes()
    assert values["tokenizer_sha256"] == hashlib.sha256(written).hexdigest()
    assert values["position"] == {"kind": "rope", "base": 10_000.0}


def test_an_earlier_checkpoint_stays_and_the_new_one_is_beside_it(folder):
    beside = folder.parent / "mine-2"
    with refused(SavedElsewhereError, [f"{folder} came into being", f"is whole in {beside}"]):
        tiny.save(folder, tiny.model("relu"))
    assert load_checkpoint(folder).config.variant == Variant.parse("softmax")
    assert load_checkpoint(beside).config.variant == Variant.parse("relu")
    assert tiny.listing(folder.parent) == ["mine", "mine-2"]


@pytest.mark.parametrize("room", [0, 2_000, 40_000], ids=str)
def test_a_full_disk_leaves_nothing_of_a_checkpoint(tmp_path, room):
    with refused(ContentError, [f"cannot write {tmp_path / 'mine'}"]), tiny.disk_full(room):
        tiny.save(tmp_path / "mine", tiny.model(layers=8))
    assert tiny.listing(tmp_path) == []


def test_a_full_disk_leaves_the_earlier_checkpoint(folder):
    with refused(ContentError, [f"cannot write {folder}"]), tiny.disk_full():
        tiny.save(folder, tiny.model("relu"))
    assert load_checkpoint(folder).config.variant == Variant.parse("softmax")
    assert tiny.listing(folder.parent) == ["mine"]


# what is shipped


def test_eight_checkpoints_are_shipped():
    assert shipped() == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_checkpoint_predicts_python(name):
    loaded = load_checkpoint(name)
    tokens = encode(loaded.tokenizer, (stdlib_root() / "argparse.py").read_text())
    tokens = torch.from_numpy(tokens[3000 : 3000 + 513])[None]
    losses = loaded.model.token_losses(tokens[:, :-1], tokens[:, 1:])
    assert float(losses.mean()) < 2.5  # a uniform guess is 8.3
    assert (loaded.name, slug(loaded.config.variant)) == (name, name)


def test_shipped_checkpoints_share_recipe_tokenizer_and_seed():
    loaded = [load_checkpoint(name) for name in NAMES]
    about = [one.curve() for one in loaded]
    assert len({tokenizer_id(one.tokenizer) for one in loaded}) == 1
    named = [replace(one.config, slopes=None) for one in loaded]  # what a name says, not a file
    assert named == [Recipe().config(one.config.variant) for one in loaded]
    first = about[0]["recipe"]
    assert first["seed"] == 0
    assert all({key: one["recipe"][key] for key in first} == first for one in about)


def test_the_tokenizer_of_what_is_shipped_is_kept_once():
    (kept,) = (assets() / "checkpoints").rglob(TOKENIZER)
    assert {tokenizer_file(*locate(name)) for name in NAMES} == {kept}


def test_the_texts_of_what_is_shipped_are_kept_once():
    shared = assets() / "checkpoints" / "text.json"
    digest = hashlib.sha256(shared.read_bytes()).hexdigest()
    folders = [assets() / "checkpoints" / name for name in NAMES if name != ADDED]
    kept = [json.loads((folder / CURVE).read_text())["text"] for folder in folders]
    assert kept == [{"sha256": digest}] * len(folders)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_of_a_shipped_folder_is_whole(tmp_path, name):
    copied = Path(shutil.copytree(assets() / "checkpoints" / name, tmp_path / "copied"))
    loaded = load_checkpoint(copied)
    assert loaded.curve() == load_checkpoint(name).curve()
    assert len(loaded.packages()) > 100
    assert tokenizer_id(loaded.tokenizer) == tokenizer_id(load_checkpoint(name).tokenizer)
    assert torch.equal(loaded.model(TOKENS), load_checkpoint(name).model(TOKENS))


@pytest.mark.parametrize("says", ["0" * 64, None], ids=["another", "nothing"])
def test_a_copy_takes_the_shipped_tokenizer_only_if_its_config_names_it(tmp_path, says):
    copied = Path(shutil.copytree(assets() / "checkpoints" / "relu", tmp_path / "copied"))
    rewrite(copied, tokenizer_sha256=says)
    with refused(ContentError, [f"checkpoint {copied} lacks {TOKENIZER}", *FILES]):
        load_checkpoint(copied)


LAYOUTS = pytest.mark.parametrize("pretty", [True, False], ids=["white space", "none"])


@LAYOUTS
def test_a_copy_of_another_version_names_the_shipped_tokenizer_as_it_was_written(tmp_path, pretty):
    copied = Path(shutil.copytree(assets() / "checkpoints" / "relu", tmp_path / "copied"))
    letters = load_checkpoint("relu").tokenizer
    digest = hashlib.sha256(letters.to_str(pretty=pretty).encode()).hexdigest()
    rewrite(copied, tokenizer_sha256=digest)
    assert tokenizer_id(load_checkpoint(copied).tokenizer) == tokenizer_id(letters)


@LAYOUTS
def test_a_tokenizer_written_otherwise_is_the_one_that_the_model_was_trained_with(folder, pretty):
    letters = load_checkpoint(folder).tokenizer
    rewrite(folder, tokenizer_sha256=hashlib.sha256(letters.to_str().encode()).hexdigest())
    letters.save(str(folder / TOKENIZER), pretty=pretty)
    assert tokenizer_id(load_checkpoint(folder).tokenizer) == tokenizer_id(letters)


def test_a_tokenizer_in_the_folder_goes_before_the_shipped_one(tmp_path):
    copied = Path(shutil.copytree(assets() / "checkpoints" / "relu", tmp_path / "copied"))
    tiny.tokenizer().save(str(copied / TOKENIZER))
    with refused(ContentError, [f"checkpoint {copied}: {TOKENIZER} is not the one", "SHA-256"]):
        load_checkpoint(copied)


def test_shipped_checkpoints_share_their_text_but_for_what_the_one_added_says():
    """Its packages are those of another day, and it was trained without four of the books."""
    texts = {name: load_checkpoint(name).curve()["text"]["sources"] for name in NAMES}
    added = texts.pop(ADDED)
    assert all(one == texts["softmax"] for one in texts.values())
    for (code, books), of in ((texts["softmax"], "softmax"), (added, ADDED)):
        assert (code["source"], books["source"]) == ("packages", "books-train"), of
        assert (len(books["documents"]), books["files"]) == (BOOKS[of], BOOKS[of])
    assert set(added[1]["documents"]) < set(texts["softmax"][1]["documents"])


def test_what_is_shipped_is_small():
    sizes = {path: path.stat().st_size for path in assets().rglob("*") if path.is_file()}
    weights = [path for path in sizes if path.suffix == ".safetensors"]
    kind = {path: path.parent.parent.name for path in weights}
    text = {path.parent.name: sizes[path] for path in weights if kind[path] == MODELS}
    of_tasks = [sizes[path] for path in weights if kind[path] in RETRIEVED]
    assert (sorted(text), len(text) + len(of_tasks)) == (list(NAMES), len(weights))
    gates = 2 * 5 * 192 * 192  # what a gated output has besides, a matrix a layer
    assert all(size <= 6_500_000 + gates * (name == ADDED) for name, size in text.items())
    assert max(of_tasks, default=0) <= 300_000
    assert max(sizes.values()) <= 10_000_000


@pytest.mark.parametrize(("task", "name"), OF_TASKS)
def test_a_shipped_model_of_a_task_answers_at_its_training_length(task, name):
    loaded = load_task(assets() / task / name, task)
    drawn = loaded.task.draw(loaded.config.train_length, 8, (0, TEST, 0))
    right = right_answers(loaded.model, drawn, device=torch.device("cpu")).mean()
    assert right > (1 + loaded.task.chance) / 2  # nearer to all than to a guess
    assert slug(loaded.config.variant) == name


@pytest.mark.parametrize("task", sorted({task for task, _ in OF_TASKS}))
def test_shipped_models_of_a_task_differ_in_attention_and_learning_rate_alone(task):
    recipes, tasks, seeds = [], [], []
    for name in shipped(task):
        about = json.loads((assets() / task / name / CURVE).read_text())
        recipes.append({**about["recipe"], "learning_rates": None})
        tasks.append(about["task"])
        seeds.append(json.loads((assets() / task / name / CONFIG).read_text())["seed"])
    assert [each for each in recipes if each != recipes[0]] == []
    assert [each for each in tasks if each != RETRIEVED[task].as_json()] == []
    assert set(seeds) == {0}


@pytest.mark.parametrize(("task", "name"), OF_TASKS)
def test_the_card_of_a_shipped_model_of_a_task_says_how_it_was_made_and_what_it_gives(task, name):
    card = (assets() / task / name / CARD).read_text()
    assert f"freeatten train --task {task} --variant" in card
    assert f"--out assets/{task}/{name}" in card
    assert "| % right | 128 | 1× (256) |" in card
    assert "effective length" in card


# names


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        ("softmax", "softmax"),
        ("lssar", "lssar-p15"),
        ("lssar:p=3", "lssar-p3"),
        ("softmax-ls", "softmax-ls"),
        ("softmax+yarn", "softmax"),
        ("softmax-ls-r:p=3", "softmax-ls-r-p3"),
    ],
)
def test_a_variant_has_a_folder_name(variant, name):
    assert slug(variant) == slug(Variant.parse(variant)) == name


@pytest.mark.parametrize("source", ["lssar-p15", "lssar:p=15", "lssar", "lssar+yarn"])
def test_a_shipped_checkpoint_is_found_by_its_name_or_its_variant(source):
    name, folder = locate(source)
    assert (name, folder) == ("lssar-p15", assets() / "checkpoints" / "lssar-p15")


def test_a_folder_may_be_given_relative_or_from_home(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load_checkpoint("mine").name == "mine"
    assert load_checkpoint("~/mine").folder == folder
    assert load_checkpoint(Path("mine")).config == tiny.CONFIG


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("softmx", ["no checkpoint 'softmx'", "did you mean 'softmax'?"]),
        ("lssar-p51", ["no checkpoint 'lssar-p51'", "did you mean 'lssar-p15'?"]),
        ("lssar:p=4", ["no checkpoint 'lssar:p=4'", "did you mean"]),
        ("fox", ["no checkpoint 'fox'", "stored (assets/results/rows/", "trained by freeatten"]),
        ("stick-breaking", ["trained by freeatten", "did you mean 'stick-breaking-outputgated'?"]),
        ("gpt2", ["no checkpoint 'gpt2'", "not a shipped name", "Face repository owner/name"]),
        ("./missing/folder", ["no checkpoint './missing/folder'", "an existing folder"]),
    ],
)
def test_an_unknown_name_is_one_sentence_with_the_nearest(name, words):
    with pytest.raises(UsageError) as caught:
        load_checkpoint(name)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["t-sft", "T-Soft", "./t-soft-", "{parent}/t-sft"])
def test_a_mistyped_folder_is_told_the_one_beside_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "t-soft")
    (tmp_path / "t-sof").mkdir()  # holds no checkpoint
    with pytest.raises(UsageError, match=r"did you mean '(.*)'\?$") as caught:
        load_checkpoint(name.format(parent=tmp_path))
    meant = str(caught.value).split("'")[-2]
    assert load_checkpoint(meant).folder.resolve() == tmp_path / "t-soft"


@pytest.mark.parametrize(("name", "meant"), [("SOFTMAX", "softmax"), ("LSSAR:P=15", "lssar-p15")])
def test_a_name_in_another_case_is_told_the_right_one(name, meant):
    with refused(UsageError, [f"no checkpoint {name!r}", f"did you mean {meant!r}?"]):
        load_checkpoint(name)


@pytest.mark.parametrize("source", ["", " ", None, 5, b"softmax", ["softmax"]], ids=repr)
def test_what_is_no_name_is_refused(source):
    with refused(UsageError, [f"the source is {source!r}", "a checkpoint's name or folder"]):
        load_checkpoint(source)


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "meta", "nonsense", "", 5, None, True])
def test_a_device_that_is_not_here_is_refused_by_name(folder, device):
    if str(device).startswith("cuda") and torch.cuda.is_available():
        pytest.skip("there is one")
    with refused(UsageError, [f"device is {device!r}", "cpu"]):
        load_checkpoint(folder, device=device)


# damaged files


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with refused(ContentError, [f"checkpoint {folder} lacks {name}", *FILES]):
        load_checkpoint(folder)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 0.5, -1])
def test_truncated_weights_are_refused(folder, kept):
    raw = (folder / WEIGHTS).read_bytes()
    end = int(len(raw) * kept) if isinstance(kept, float) else kept
    (folder / WEIGHTS).write_bytes(raw[:end])
    with refused(ContentError, [f"{folder / WEIGHTS} is not a whole safetensors file"]):
        load_checkpoint(folder)


class Trap:
    """Runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_never_opened(folder, tmp_path):
    torch.save({"weights": torch.ones(3), "trap": Trap(tmp_path / "sprung")}, folder / WEIGHTS)
    with refused(ContentError, [f"{folder / WEIGHTS} is not a whole safetensors file"]):
        load_checkpoint(folder)
    assert not (tmp_path / "sprung").exists()


EMBEDDING, NORM = "embedding.weight", "blocks.1.mlp_norm.weight"
WRONG = {
    "missing": (lambda w: w.pop(NORM), [f"lacks {NORM}", "exactly the model's tensors"]),
    "extra": (lambda w: w.update(more=torch.ones(2)), ["has an extra more"]),
    "one layer more": (lambda w: w.update({"blocks.2.x": torch.ones(2)}), ["extra blocks.2.x"]),
    "flat": (
        lambda w: w.update({EMBEDDING: w[EMBEDDING].flatten()}),
        [f"{EMBEDDING} has shape (4800,); the config asks for (300, 16)"],
    ),
    "transposed": (
        lambda w: w.update({EMBEDDING: w[EMBEDDING].T.contiguous()}),
        [f"{EMBEDDING} has shape (16, 300); the config asks for (300, 16)"],
    ),
    "NaN": (lambda w: w[EMBEDDING][7].fill_(torch.nan), ["weights that are not finite"]),
    "infinite": (lambda w: w[NORM][0].fill_(torch.inf), ["weights that are not finite"]),
    "both infinite": (
        lambda w: w[NORM][:2].copy_(torch.tensor([torch.inf, -torch.inf])),
        ["weights that are not finite"],
    ),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG.keys())
def test_other_tensors_than_the_models_are_refused(folder, change, words):
    change_weights(folder, change)
    with refused(ContentError, [str(folder / WEIGHTS), *words]):
        load_checkpoint(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool], ids=str)
@pytest.mark.parametrize("name", [EMBEDDING, NORM])
def test_weights_that_are_codes_are_refused(folder, dtype, name):
    change_weights(folder, lambda weights: weights.update({name: weights[name].to(dtype)}))
    with refused(ContentError, [f"{folder / WEIGHTS}: {name} is ", "floating-point numbers, F64"]):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.float8_e4m3fn, torch.float8_e5m2),
    ],
    ids=str,
)
def test_floating_weights_of_any_precision_are_read_as_they_are(folder, dtype):
    wanted = tiny.model().to(dtype).float()
    save_file(dict(tiny.model().to(dtype).named_parameters()), folder / WEIGHTS)
    found = load_checkpoint(folder).model
    assert {weight.dtype for weight in found.parameters()} == {torch.float32}
    for name, weight in wanted.named_parameters():
        assert torch.equal(found.get_parameter(name), weight)


def test_large_weights_are_finite_though_their_sum_is_not(folder):
    change_weights(folder, lambda weights: weights[EMBEDDING].fill_(3e38))
    assert float(load_checkpoint(folder).model.embedding.weight.max()) > 2e38


def test_weights_beyond_float32_are_named(folder):
    beyond = torch.full((16,), 1e300, dtype=torch.float64)
    change_weights(folder, lambda weights: weights.update({NORM: beyond}))
    with refused(ContentError, ["not finite in float32", NORM]):
        load_checkpoint(folder)


ABSURD = {
    "layers": [10**12, 0, -1, "2", 2.0, True, None, [2], 1025],
    "width": [-16, 10**12, "16", 15, 17],
    "heads": [3, 16, 0, 10**12, False],
    "kv_heads": [3, -1, 10**12],
    "mlp_width": [0, 10**12, 1.5],
    "vocab_size": [0, 10**12, None],
    "train_length": [0, 10**12, "512"],
    "variant": ["softmx", "lssar:p=0", 5, None, ["softmax"], {}],
    "format": [3, 0, "1", None, [], True, 1.0],
    "position": [
        *(None, "rope", {"kind": "alibi"}, {"kind": "rope"}, {"kind": "rope", "base": 0}),
        *({"kind": "rope", "base": True}, {"kind": "rope", "base": "10000"}),
        *({"kind": "rope", "base": 1e300}, {"kind": "rope", "base": float("nan")}),
    ],
}


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in ABSURD.items() for value in values],
    ids=str,
)
def test_an_absurd_config_is_refused_before_memory_is_touched(folder, monkeypatch, key, value):
    monkeypatch.setattr(checkpoint, "parameter_shapes", lambda _: pytest.fail("a model was made"))
    rewrite(folder, **{key: value})
    is_rope = isinstance(value, dict) and value.get("kind") == "rope"
    with refused(ContentError, [str(folder / CONFIG), "RoPE base" if is_rope else key]):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, "rope_scaling"),
        ({"sliding_window": 128}, "sliding_window"),
        ({"position": {"kind": "rope", "base": 1e4, "scaling": 4}}, "position.scaling"),
        ({"Heads": 2}, "Heads"),
    ],
)
def test_a_key_that_is_not_computed_is_refused_by_name(folder, changes, named):
    rewrite(folder, **changes)
    with refused(ContentError, [f"{folder / CONFIG} has the key {named}, which is not known"]):
        load_checkpoint(folder)


def test_a_key_that_appears_twice_is_refused(folder):
    twice = (folder / CONFIG).read_text().replace("{", '{"variant": "relu",', 1)
    (folder / CONFIG).write_text(twice)
    with refused(ContentError, [str(folder / CONFIG), "the key variant appears twice"]):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "value"),
    [({"layers": 10**12}, "1000000000000"), ({"width": -16}, "-16"), ({"heads": "2"}, "'2'")],
)
def test_the_refused_value_is_named(folder, changes, value):
    rewrite(folder, **changes)
    with refused(ContentError, [value, "it must be"]):
        load_checkpoint(folder)


def test_the_largest_sizes_allowed_cost_no_memory(folder):
    rewrite(folder, width=1 << 16, mlp_width=1 << 18, vocab_size=1 << 20, layers=64)
    with refused(ContentError, [str(folder / WEIGHTS), "lacks blocks.10"]):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "is not readable JSON"),
        (b"{", "is not readable JSON"),
        (b"\xff\xfe{}", "is not readable JSON"),
        (b"[" * 100_000, "is not readable JSON"),
        (b'{"format": 1' + b"0" * 5000 + b"}", "is not readable JSON"),
        (b"[1]", "holds a list; it must be an object"),
        (b"null", "holds a NoneType; it must be an object"),
    ],
)
def test_a_config_that_is_no_object_is_refused(folder, raw, words):
    (folder / CONFIG).write_bytes(raw)
    with refused(ContentError, [f"{folder / CONFIG} {words}"]):
        load_checkpoint(folder)


@pytest.mark.parametrize("model_has", [299, 301, 4096])
def test_a_tokenizer_of_another_size_than_the_vocabulary_is_refused(tmp_path, model_has):
    folder = tiny.save(tmp_path / "mine", tiny.model(vocab_size=model_has))
    rewrite(folder, tokenizer_sha256=None)
    with refused(ContentError, [f"checkpoint {folder}", f"has 300 tokens, the model {model_has}"]):
        load_checkpoint(folder)


def test_a_tokenizer_that_the_model_was_not_trained_with_is_refused(folder):
    other = train_tokenizer([" ".join(f"{number:x}" for number in range(4000))], 300)
    other.save(str(folder / TOKENIZER))
    with refused(ContentError, [f"checkpoint {folder}: {TOKENIZER} is not the one", "SHA-256"]):
        load_checkpoint(folder)


def test_a_model_may_have_more_embeddings_than_the_tokenizer_that_it_names(tmp_path):
    folder = tiny.save(tmp_path / "mine", tiny.model(vocab_size=304))
    assert load_checkpoint(folder).config.vocab_size == 304


def test_a_checkpoint_that_does_not_say_which_tokenizer_is_welcome(folder):
    rewrite(folder, tokenizer_sha256=None)
    assert load_checkpoint(folder).config == tiny.CONFIG


BAD_TOKENIZERS = {
    "truncates": (lambda t: t.enable_truncation(64), ["truncates every text to 64 tokens"]),
    "pads": (lambda t: t.enable_padding(length=4096), ["pads texts"]),
    "draws": (lambda t: setattr(t.model, "dropout", 0.1), ["has a dropout of 0.1"]),
    "lower case": (lambda t: setattr(t, "normalizer", Lowercase()), ["does not give back a text"]),
    "drops what it does not know": (
        lambda t: setattr(t, "pre_tokenizer", Whitespace()),
        ["does not give back a text"],
    ),
}


@pytest.mark.parametrize(("change", "words"), BAD_TOKENIZERS.values(), ids=BAD_TOKENIZERS.keys())
def test_a_tokenizer_whose_tokens_are_not_the_text_is_refused(folder, change, words):
    letters = Tokenizer.from_file(str(folder / TOKENIZER))
    change(letters)
    letters.save(str(folder / TOKENIZER))
    with refused(ContentError, [str(folder / TOKENIZER), *words]):
        load_checkpoint(folder)


def test_texts_of_a_digest_that_is_not_shipped_are_refused_when_they_are_asked_for(tmp_path):
    copied = Path(shutil.copytree(assets() / "checkpoints" / "relu", tmp_path / "copied"))
    about = json.loads((copied / CURVE).read_text()) | {"text": {"sha256": "0" * 64}}
    (copied / CURVE).write_text(json.dumps(about))
    loaded = load_checkpoint(copied)
    for asked in (loaded.curve, loaded.packages):
        words = [f"{copied / CURVE} names the texts", "000000000000…, which"]
        with refused(UnknownTextsError, words):
            asked()


@pytest.mark.parametrize("text", [None, {}, {"sha256": "0" * 64, "sources": []}, "prose"], ids=str)
def test_a_curve_of_another_making_is_read_as_it_is(folder, text):
    about = json.loads((folder / CURVE).read_text()) | {"text": text}
    (folder / CURVE).write_text(json.dumps(about))
    assert load_checkpoint(folder).curve() == about
    assert load_checkpoint(folder).packages() == []


@pytest.mark.parametrize("raw", [b"", b"{}", b"\0\1", b'{"model": 3}'])
def test_a_file_that_is_no_tokenizer_is_refused(folder, raw):
    (folder / TOKENIZER).write_bytes(raw)
    with refused(ContentError, [f"{folder / TOKENIZER} is not a tokenizer file"]):
        load_checkpoint(folder)


def test_a_damaged_curve_is_named_when_it_is_read(folder):
    (folder / CURVE).write_text("{")
    with refused(ContentError, [f"{folder / CURVE} is not readable JSON"]):
        load_checkpoint(folder).curve()


# the Hugging Face hub


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the hub: what it was asked for, and what it answers."""

    class Hub:
        answer: object = None

        def __init__(self):
            self.asked = []

        def download(self, repository, allow_patterns, **_):
            self.asked.append((repository, allow_patterns))
            if isinstance(self.answer, Exception):
                raise self.answer
            return str(self.answer)

    stand_in = Hub()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", stand_in.download)
    return stand_in


def test_a_repository_in_this_format_is_loaded(hub, folder):
    hub.answer = folder
    loaded = load_checkpoint("someone/small-model")
    assert (loaded.name, loaded.config) == ("someone/small-model", tiny.CONFIG)
    asked = [("someone/small-model", [CONFIG]), ("someone/small-model", list(FILES))]
    assert hub.asked == asked


FAILURES = {
    "offline": LocalEntryNotFoundError("Name not known\nPlease check your connection."),
    "no message": OSError(),
    "http library": type("ProxyError", (Exception,), {})("the proxy\ndid not answer"),
    "name": HFValidationError("Repo id must not contain '--'"),
}


def test_a_folder_beside_is_named_when_the_hub_has_nothing(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "runs" / "t-soft")
    hub.answer = OSError("no such repository.")
    with refused(UsageError, ["no such repository; did you mean 'runs/t-soft'?"]):
        load_checkpoint("runs/t-sft")


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_of_the_hub_is_one_sentence(hub, failure):
    hub.answer = failure
    with pytest.raises(
        UsageError, match=r"no checkpoint 'someone/model'.* hub (did|was) not"
    ) as caught:
        load_checkpoint("someone/model")
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(": ")


def test_another_model_is_refused_before_its_weights_are_fetched(hub, tmp_path):
    hub.answer = tmp_path
    (tmp_path / CONFIG).write_text('{"architectures": ["GPT2LMHeadModel"], "n_layer": 12}')
    with refused(ContentError, ["format is None", "checkpoints written by freeatten train"]):
        load_checkpoint("openai-community/gpt2")
    assert hub.asked == [("openai-community/gpt2", [CONFIG])]


def test_a_repository_without_a_config_is_refused(hub, tmp_path):
    hub.answer = tmp_path
    with refused(ContentError, ["someone/words lacks config.json"]):
        load_checkpoint("someone/words")
    assert len(hub.asked) == 1


def test_a_tokenizer_with_an_id_beyond_the_model_is_refused(tmp_path):
    folder = tmp_path / "gap"
    shutil.copytree(assets() / "checkpoints" / "lssa", folder)
    values = json.loads(tokenizer_file("lssa", folder).read_text())
    token = max(values["model"]["vocab"], key=values["model"]["vocab"].get)
    values["model"]["vocab"][token] = 5000
    (folder / TOKENIZER).write_text(json.dumps(values))
    with pytest.raises(ContentError, match="the tokenizer has 5001 tokens, the model 4096"):
        load_checkpoint(folder)


def test_a_name_no_path_can_have_is_refused():
    with pytest.raises(UsageError, match="is not a path"):
        load_checkpoint("x" * 300)
