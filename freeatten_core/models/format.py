"""The checkpoint format: which files, what may stand in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from freeatten_core.basics.errors import ContentError, UsageError, reason_of
from freeatten_core.positions.layout import LayerPosition
from freeatten_core.positions.table import POSITIONS
from freeatten_core.variants.setting import PLAIN_SETTING
from freeatten_core.variants.stages import OwnFunctionName
from freeatten_core.variants.variant import Variant

from .config import ModelConfig

__all__ = [
    "CARD",
    "CONFIG",
    "CURVE",
    "FILES",
    "FLOATS",
    "TASK_FILES",
    "TOKENIZER",
    "WEIGHTS",
    "check_files",
    "check_floats",
    "config_json",
    "read_config",
    "read_json",
    "read_task",
]

PLAIN_FORMAT, FORMAT = 1, 2
"""Models that are rotary throughout and have no gate are written in format 1, which says no more
of a position than its base; the others in format 2."""
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

FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""Types of weights, as safetensors names them. Others are codes that need a scale to be read."""

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


def check_floats(path: Path, types: Mapping[str, str]) -> None:
    """Whether the weights of a file are numbers and no codes for them.

    Args:
        types: by the weights' names, as safetensors has them.

    Raises:
        ContentError: names the first of another type.
    """
    for name, found in types.items():
        if found not in FLOATS:
            raise ContentError(
                f"{path}: {name} is {found}; weights must be floating-point numbers, "
                f"{', '.join(FLOATS)}"
            )


def config_json(config: ModelConfig, *, seed: int, steps: int) -> dict[str, Any]:
    return {
        "format": PLAIN_FORMAT if config.variant.setting == PLAIN_SETTING else FORMAT,
        "variant": str(config.variant),
        **_function_json(config.variant),
        "train_length": config.train_length,
        "vocab_size": config.vocab_size,
        "width": config.width,
        "layers": config.layers,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
        "mlp_width": config.mlp_width,
        "position": _position_json(config),
        "seed": seed,
        "steps": steps,
    }


def _position_json(config: ModelConfig) -> dict[str, Any]:
    if config.variant.setting == PLAIN_SETTING:
        return {"kind": "rope", "base": config.rope_base}
    layers = [
        {"heads": list(each.kinds), "slopes": list(each.slopes), "window": each.window}
        for each in config.positions
    ]
    numbers = _numbers(config.variant)
    found = {"kind": "layers", "base": config.rope_base, "layers": layers}
    return found | ({"numbers": numbers} if numbers else {})


def _numbers(variant: Variant) -> dict[str, dict[str, float]]:
    """What its positions are made with besides the base, by kind."""
    kinds = {kind: POSITIONS[kind] for kind in sorted(variant.setting.position.kinds)}
    return {name: dict(kind.numbers) for name, kind in kinds.items() if kind.numbers}


def _function_json(variant: Variant) -> dict[str, str]:
    if not isinstance(variant.computes, OwnFunctionName):
        return {}
    from freeatten_core.ops.definitions import own_function  # its torch takes seconds to load

    return {"function_sha256": own_function.find(variant.computes).sha256}


def read_config(path: Path) -> ModelConfig:
    """Read and check `config.json`.

    Raises:
        ContentError: not this format, a missing key, or a value out of range.
    """
    values = read_json(path)
    found = values.get("format")
    if type(found) is not int or found not in (PLAIN_FORMAT, FORMAT):  # True and 1.0 equal 1
        raise ContentError(
            f"{path}: format is {found!r}; this reads formats {PLAIN_FORMAT} and {FORMAT} only, "
            "checkpoints written by freeatten train"
        )
    _check_keys(path, "", values, _KEYS)
    sizes = {name: _size(path, values, name) for name in _LIMITS}
    if sizes["width"] % (2 * sizes["heads"]) or sizes["heads"] % sizes["kv_heads"]:
        raise ContentError(
            f"{path}: width {sizes['width']}, heads {sizes['heads']}, kv_heads "
            f"{sizes['kv_heads']}; heads must divide half the width, kv_heads the heads"
        )
    try:
        variant = Variant.parse(values["variant"])
    except (KeyError, TypeError, ValueError) as error:
        raise ContentError(f"{path}: variant is not one: {error}") from error
    kind = "rope" if found == PLAIN_FORMAT else "layers"
    base = _rope_base(path, values.get("position"), kind)
    if found == PLAIN_FORMAT and variant.setting != PLAIN_SETTING:
        raise ContentError(
            f"{path}: variant is {variant}, whose positions and gates format {PLAIN_FORMAT} cannot "
            f"say; its format must be {FORMAT}"
        )
    try:
        named = ModelConfig(variant=variant, rope_base=base, slopes=None, **sizes)
    except UsageError as error:
        raise ContentError(f"{path}: {error}") from error
    if found == PLAIN_FORMAT:
        return named
    _check_numbers(path, values["position"].get("numbers"), variant)
    return replace(named, slopes=_slopes(path, values["position"].get("layers"), named))


def _rope_base(path: Path, position: object, kind: str) -> float:
    """The base of what is rotated, from an object of that kind."""
    base = position.get("base") if isinstance(position, dict) else None
    if not isinstance(position, dict) or position.get("kind") != kind:
        raise ContentError(f"{path}: position is {position!r}; its kind must be {kind!r}")
    known = ("kind", "base") if kind == "rope" else ("kind", "base", "layers", "numbers")
    _check_keys(path, "position.", position, known)
    if isinstance(base, bool) or not isinstance(base, int | float) or not 1 < base < 1e12:
        raise ContentError(f"{path}: the RoPE base is {base!r}; it must be above 1 and below 1e12")
    return float(base)


def _check_numbers(path: Path, numbers: object, variant: Variant) -> None:
    """Whether the positions are made as they are here."""
    wanted = _numbers(variant) or None
    if numbers != wanted:
        raise ContentError(
            f"{path}: position.numbers is {json.dumps(numbers)}; what is computed here has "
            f"{json.dumps(wanted)}"
        )


def _slopes(path: Path, layers: object, named: ModelConfig) -> tuple[tuple[float, ...], ...]:
    """Of every layer and head; the layers are as the variant names them."""
    if not isinstance(layers, list) or len(layers) != named.layers:
        raise ContentError(f"{path}: position.layers must be {named.layers} objects, one a layer")
    return tuple(
        _layer_slopes(path, layer, each)
        for layer, each in zip(layers, named.positions, strict=True)
    )


def _layer_slopes(path: Path, layer: object, named: LayerPosition) -> tuple[float, ...]:
    wanted = {"heads": list(named.kinds), "window": named.window}
    if not isinstance(layer, dict) or {key: layer.get(key) for key in wanted} != wanted:
        raise ContentError(
            f"{path}: position.layers holds {layer!r}; by its variant it has {json.dumps(wanted)}"
        )
    _check_keys(path, "position.layers.", layer, ("heads", "slopes", "window"))
    found = layer.get("slopes")
    if not isinstance(found, list) or [type(each) for each in found] != [float] * len(named.kinds):
        raise ContentError(f"{path}: slopes is {found!r}; it must be a number a head, such as 0.25")
    for slope, usual in zip(found, named.slopes, strict=True):
        if not (0 < slope <= 1 if usual else slope == 0):
            legal = "above 0 and at most 1" if usual else "0.0, because its head has no alibi"
            raise ContentError(f"{path}: a slope is {slope}; it must be {legal}")
    return tuple(found)


def read_task(path: Path) -> dict[str, Any] | None:
    """What `config.json` says that the model was trained on instead of text; None for text.

    Raises:
        ContentError: not JSON, or a task that is not an object.
    """
    task = read_json(path).get("task")
    if task is not None and not isinstance(task, dict):
        raise ContentError(f"{path}: task is {task!r}; it must be an object")
    return task


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


def read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)
    except (OSError, ValueError, RecursionError) as error:  # a ValueError for any bad text
        raise ContentError(f"{path} is not readable JSON: {reason_of(error)}") from error
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
