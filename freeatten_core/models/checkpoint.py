"""The checkpoint format: a folder with five files, loaded strictly, safetensors only."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from . import own
from .arguments import described
from .devices import usable_device
from .errors import ContentError, UsageError
from .files import check_utf8, expanded, replacing_folder, write_utf8
from .model import Model, ModelConfig, parameter_shapes
from .suggestions import closest_path
from .variants import Variant

FORMAT = 1
CONFIG, WEIGHTS, TOKENIZER, CARD, CURVE = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "README.md",
    "curve.json",
)
FILES = (CONFIG, WEIGHTS, TOKENIZER, CARD, CURVE)
TASK_FILES = (CONFIG, WEIGHTS, CARD, CURVE)
"""Of a model that was trained on a synthetic task, whose tokens are not text."""
MODELS, RECALL_MODELS = "checkpoints", "recall"
"""Folders of `assets`."""

_LIMITS: Mapping[str, int] = {
    "train_length": 1 << 20,
    "vocab_size": 1 << 20,
    "width": 1 << 16,
    "layers": 1 << 10,
    "heads": 1 << 10,
    "kv_heads": 1 << 10,
    "mlp_width": 1 << 18,
}
"""Sizes above these are a mistake or an attack: refused before memory is touched."""

_KEYS = (
    *("format", "variant", "function_sha256", *_LIMITS, "position", "seed", "steps", "task"),
    "tokenizer_sha256",
)
"""Everything `config.json` can hold: another key would ask for what is not computed."""

_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""Types of weights, as safetensors names them. Others are codes that need a scale to be read."""

_PROBE = "if x:\n\treturn  'Été, 漢字, 🐈'  # ½\r\n\n"
"""What a tokenizer must give back: case, accents, blanks, and characters of 1 to 4 bytes."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with what is needed to use and to trust it."""

    name: str
    """The shipped name, hub repository or folder it was loaded from."""
    config: ModelConfig
    model: Model
    tokenizer: Tokenizer
    folder: Path

    def curve(self) -> dict[str, Any]:
        """The learning curve and the texts it was trained on, from `curve.json`."""
        return _read_json(self.folder / CURVE)


def assets() -> Path:
    """The folder with shipped checkpoints and stored results, installed or in a checkout."""
    checkout = Path(__file__).resolve().parent.parent / "assets"
    if (checkout / "checkpoints").is_dir():
        return checkout
    return Path(str(import_module("freeatten_assets").__path__[0]))


def shipped(kind: str = MODELS) -> list[str]:
    """The names of the shipped checkpoints of a kind: `checkpoints` read text, `recall` answers."""
    return sorted(path.parent.name for path in assets().glob(f"{kind}/*/{CONFIG}"))


def slug(variant: Variant | str) -> str:
    """A variant's folder name: `lssar:p=15` is `lssar-p15`."""
    return str(Variant.parse(variant).trained).replace(":", "-").replace("=", "")


def load_checkpoint(source: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Load a shipped name (or a variant's name), a folder, or a Hugging Face repository.

    The weights are kept in float32 whatever the file holds.

    Raises:
        UsageError: nothing of that name exists, it was trained on a task and reads no text, or
            it computes a function of one's own that was not named.
        ContentError: it exists and is not a checkpoint in this format, strictly: missing or
            extra tensors, wrong shapes or types, a weight file that is not safetensors, keys of
            the config that are not known here, a tokenizer that changes text or is another model's.
    """
    device = usable_device(device)
    name, folder = locate(source)
    check_files(name, folder, [CONFIG])
    if read_task(folder / CONFIG) is not None:
        raise UsageError(
            f"checkpoint {name} was trained on a task and reads no text; freeatten retrieve "
            "--task recall measures it"
        )
    check_files(name, folder, FILES)
    config = read_config(folder / CONFIG)
    model = load_model(folder, config, device)
    tokenizer = read_tokenizer(folder / TOKENIZER)
    _check_vocabulary(name, folder, tokenizer, config.vocab_size)
    return Checkpoint(name, config, model, tokenizer, folder)


def load_model(folder: Path, config: ModelConfig, device: str | torch.device) -> Model:
    """The model of a checkpoint folder, for inference; errors as `load_checkpoint`."""
    if config.variant.function is not None:
        sha256 = _read_json(folder / CONFIG).get("function_sha256")
        own.check_source(str(folder), config.variant, sha256)
    weights = _read_weights(folder / WEIGHTS, parameter_shapes(config))
    with torch.device("meta"):
        model = Model(config)
    model.load_state_dict(weights, strict=True, assign=True)
    return model.requires_grad_(False).eval().to(device)


def save_checkpoint(
    folder: Path,
    model: Model,
    tokenizer: Tokenizer | None,
    *,
    seed: int,
    steps: int,
    curve: Mapping[str, Any],
    card: str,
    task: Mapping[str, Any] | None = None,
) -> None:
    """Write all files, or none: the folder appears when it is complete, and replaces nothing.

    Args:
        tokenizer: None for a model whose tokens are not text.
        task: what it was trained on instead, for `config.json`.

    Raises:
        SavedElsewhereError: something is at `folder`; it says where the checkpoint is.
        ContentError: the disk is full or the folder cannot be written.
    """
    weights = {
        name: weight.detach().to("cpu", torch.bfloat16).contiguous()
        for name, weight in model.named_parameters()
    }
    with replacing_folder(folder) as temporary:
        try:
            save_file(weights, temporary / WEIGHTS)
            if tokenizer is not None:
                tokenizer.save(str(temporary / TOKENIZER))
        except Exception as error:  # both libraries raise types of their own for a full disk
            raise ContentError(f"cannot write {folder}: {error}") from error
        (temporary / WEIGHTS).chmod(0o644)
        config = config_json(model.config, seed=seed, steps=steps)
        config |= {} if task is None else {"task": dict(task)}
        if tokenizer is not None:
            config["tokenizer_sha256"] = _sha256(temporary / TOKENIZER)
        write_utf8(temporary / CONFIG, json.dumps(config, indent=2) + "\n")
        write_utf8(temporary / CURVE, json.dumps(curve) + "\n")
        write_utf8(temporary / CARD, card)


def locate(source: str | Path, kind: str = MODELS) -> tuple[str, Path]:
    """The name and the folder that `source` stands for; downloads a hub repository.

    Raises:
        UsageError: nothing of that name exists; the message names the nearest.
        ContentError: a hub repository that is in another format.
    """
    if not isinstance(source, str | Path) or not str(source).strip():
        raise UsageError(
            f"the source is {described(source)}; it must be a checkpoint's name or folder"
        )
    text = str(source)
    path = expanded(text)
    if path.is_dir():
        check_utf8(path)
        return text, path
    names = shipped(kind)
    try:
        name = slug(text) if text not in names else text
    except ValueError:
        name = text
    if name in names:
        return name, assets() / kind / name
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not text.startswith("."):
        return text, _download(text)
    close = _closest(text, names)
    raise UsageError(
        f"no checkpoint {text!r}: it is not a shipped name, an existing folder, or a Hugging "
        "Face repository owner/name in freeatten's format"
        + (close or f"; known: {', '.join(names)}")
    )


def _closest(text: str, names: Sequence[str] = ()) -> str:
    """`; did you mean 'x'?`, x a shipped name or a checkpoint folder, or nothing."""
    found = closest_path(text, expanded(text), lambda path: (path / CONFIG).is_file(), names)
    return f"; did you mean {found!r}?" if found else ""


def config_json(config: ModelConfig, *, seed: int, steps: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "variant": str(config.variant),
        **_function_json(config.variant),
        "train_length": config.train_length,
        "vocab_size": config.vocab_size,
        "width": config.width,
        "layers": config.layers,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
        "mlp_width": config.mlp_width,
        "position": {"kind": "rope", "base": config.rope_base},
        "seed": seed,
        "steps": steps,
    }


def _function_json(variant: Variant) -> dict[str, str]:
    return {"function_sha256": own.find(variant).sha256} if variant.function is not None else {}


def read_config(path: Path) -> ModelConfig:
    """Read and check `config.json`.

    Raises:
        ContentError: not this format, a missing key, or a value out of range.
    """
    values = _read_json(path)
    found = values.get("format")
    if type(found) is not int or found != FORMAT:  # True and 1.0 equal 1
        raise ContentError(
            f"{path}: format is {found!r}; this reads format {FORMAT} only, checkpoints written "
            "by freeatten train"
        )
    _check_keys(path, "", values, _KEYS)
    sizes = {name: _size(path, values, name) for name in _LIMITS}
    position = values.get("position")
    base = position.get("base") if isinstance(position, dict) else None
    if not isinstance(position, dict) or position.get("kind") != "rope":
        raise ContentError(f"{path}: position is {position!r}; its kind must be 'rope'")
    _check_keys(path, "position.", position, ("kind", "base"))
    if isinstance(base, bool) or not isinstance(base, int | float) or not 1 < base < 1e12:
        raise ContentError(f"{path}: the RoPE base is {base!r}; it must be above 1 and below 1e12")
    if sizes["width"] % (2 * sizes["heads"]) or sizes["heads"] % sizes["kv_heads"]:
        raise ContentError(
            f"{path}: width {sizes['width']}, heads {sizes['heads']}, kv_heads "
            f"{sizes['kv_heads']}; heads must divide half the width, kv_heads the heads"
        )
    try:
        variant = Variant.parse(values["variant"])
    except (KeyError, TypeError, ValueError) as error:
        raise ContentError(f"{path}: variant is not one: {error}") from error
    return ModelConfig(variant=variant, rope_base=float(base), **sizes)


def read_task(path: Path) -> dict[str, Any] | None:
    """What `config.json` says that the model was trained on instead of text; None for text.

    Raises:
        ContentError: not JSON, or a task that is not an object.
    """
    task = _read_json(path).get("task")
    if task is not None and not isinstance(task, dict):
        raise ContentError(f"{path}: task is {task!r}; it must be an object")
    return task


def read_tokenizer(path: Path) -> Tokenizer:
    """Read `tokenizer.json`, of a tokenizer whose tokens are the text, whole and alone.

    Raises:
        ContentError: not a tokenizer file, or one that cuts, pads, changes or draws.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception for any bad file
        raise ContentError(f"{path} is not a tokenizer file: {error}") from error
    if tokenizer.truncation is not None:
        raise ContentError(
            f"{path} truncates every text to {tokenizer.truncation['max_length']} tokens; save it "
            "after tokenizer.no_truncation()"
        )
    if tokenizer.padding is not None:
        raise ContentError(f"{path} pads texts; save it after tokenizer.no_padding()")
    dropout = getattr(tokenizer.model, "dropout", None)
    if dropout:
        raise ContentError(
            f"{path} has a dropout of {dropout:g}, so that a text has other tokens each time; "
            "save it with none"
        )
    if not _is_lossless(tokenizer):
        raise ContentError(
            f"{path} does not give back a text byte for byte, so losses would be of another text; "
            "it must be a byte-level BPE without a normaliser"
        )
    return tokenizer


def _is_lossless(tokenizer: Tokenizer) -> bool:
    encoding = tokenizer.encode(_PROBE, add_special_tokens=False)
    as_bytes = sum(map(len, encoding.tokens))  # a byte-level token has a character for every byte
    decoded = tokenizer.decode(encoding.ids, skip_special_tokens=False)
    return decoded == _PROBE and as_bytes == len(_PROBE.encode())


def _check_vocabulary(name: str, folder: Path, tokenizer: Tokenizer, vocab_size: int) -> None:
    """Whether the tokenizer is the one that the model was trained with."""
    size = 1 + max(tokenizer.get_vocab().values(), default=-1)
    trained_with = _read_json(folder / CONFIG).get("tokenizer_sha256")
    # checkpoints of earlier versions do not say; they have no embedding that is never read
    if size > vocab_size or (trained_with is None and size < vocab_size):
        raise ContentError(
            f"checkpoint {name}: the tokenizer has {size} tokens, the model {vocab_size}"
        )
    if trained_with is None:
        return
    found = _sha256(folder / TOKENIZER)
    if found != trained_with:
        raise ContentError(
            f"checkpoint {name}: {TOKENIZER} is not the one that the model was trained with "
            f"(SHA-256 {found[:12]}…, {CONFIG} says {str(trained_with)[:12]}…)"
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check_keys(path: Path, where: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse what would be read over: it asks for something that is not computed."""
    unknown = sorted(values.keys() - set(known))
    if unknown:
        raise ContentError(
            f"{path} has the key {where}{unknown[0]}, which is not known here, so the model would "
            f"not be the one described; it can have {', '.join(known)}"
        )


def _size(path: Path, values: Mapping[str, Any], name: str) -> int:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ContentError(f"{path}: {name} is {value!r}; it must be a whole number")
    if not 1 <= value <= _LIMITS[name]:
        raise ContentError(f"{path}: {name} is {value}; it must be from 1 to {_LIMITS[name]}")
    return value


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)
    except (OSError, ValueError, RecursionError) as error:  # a ValueError for any bad text
        raise ContentError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(values, dict):
        raise ContentError(f"{path} holds a {type(values).__name__}; it must be an object")
    return values


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object that says everything once."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"the key {name} appears twice")
        values[name] = value
    return values


def _read_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Check names, shapes and types in the header first, then read."""
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            found = {name: tuple(part.get_shape()) for name, part in slices.items()}
            types = {name: part.get_dtype() for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise ContentError(f"{path} is not a whole safetensors file: {error}") from error
    missing, extra = sorted(shapes.keys() - found), sorted(found.keys() - shapes.keys())
    if missing or extra:
        what = f"lacks {missing[0]}" if missing else f"has an extra {extra[0]}"
        raise ContentError(f"{path} {what}; it must hold exactly the model's tensors")
    for name, shape in shapes.items():
        if found[name] != shape:
            raise ContentError(
                f"{path}: {name} has shape {found[name]}; the config asks for {shape}"
            )
        if types[name] not in _FLOATS:
            raise ContentError(
                f"{path}: {name} is {types[name]}; weights must be floating-point numbers, "
                f"{', '.join(_FLOATS)}"
            )
    weights = {name: tensor.float() for name, tensor in load_file(path).items()}
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise ContentError(f"{path} holds weights that are not finite in float32: {name}")
    return weights


def _download(repository: str) -> Path:
    folder = _fetch(repository, [CONFIG])
    check_files(repository, folder, [CONFIG])
    read_config(folder / CONFIG)  # before the weights of another model are fetched
    return _fetch(repository, FILES)


def _fetch(repository: str, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=list(files)))
    except Exception as error:  # the hub's types, and those of the HTTP library it uses
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise UsageError(
            f"no checkpoint {repository!r}: it is not a folder here, and the Hugging Face hub "
            f"did not give it: {reason}{_closest(repository)}"
        ) from error


def check_files(
    name: str, folder: Path, files: Sequence[str], needed: Sequence[str] = FILES
) -> None:
    """Whether a folder has some of the files that a checkpoint needs.

    Raises:
        ContentError: names the first that is missing.
    """
    for file in files:
        if not (folder / file).is_file():
            raise ContentError(f"checkpoint {name} lacks {file}; it needs {', '.join(needed)}")
