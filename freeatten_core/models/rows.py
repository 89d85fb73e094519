"""Rows of a comparison: a checkpoint, with its variant's modifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from freeatten_core.basics.assets import assets
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.files import expanded
from freeatten_core.data.tokenizer import tokenizer_id
from freeatten_core.ops.definitions import own_function
from freeatten_core.variants.stages import OwnFunctionName
from freeatten_core.variants.variant import Modifier, Variant, nearest

from .catalogue import locate, shipped, slug, stored_training
from .checkpoint import Checkpoint, load_checkpoint
from .format import CONFIG, read_config
from .transformers_model import CausalModel, is_causal_source, is_gguf, load_causal_model

__all__ = [
    "ROWS",
    "CausalRow",
    "Row",
    "allowed_source",
    "any_row",
    "common_tokenizer",
    "load_own_rows",
    "load_rows",
    "load_scored_rows",
    "modified_row",
    "split_modifiers",
    "tokenizers_of",
    "types_of",
]

ROWS = (
    "softmax",
    "softmax+yarn",
    "softmax-ls",
    "lssa",
    "lssar:p=3",
    "lssar:p=15",
    "sigmoid",
    "relu",
    "stick-breaking:output=gated",
)
"""The rows of `compare` unless asked otherwise."""


@dataclass(frozen=True)
class Row:
    """A line of the comparison: a checkpoint, with its variant's modifiers."""

    variant: Variant
    checkpoint: Checkpoint

    @property
    def name(self) -> str:
        return str(self.variant)

    @property
    def model(self) -> Checkpoint:
        """What is measured, without the variant's modifiers."""
        return self.checkpoint

    @property
    def source(self) -> str:
        """What it was loaded from."""
        return self.checkpoint.name

    @property
    def tokenizer(self) -> Tokenizer:
        return self.checkpoint.tokenizer

    @property
    def restart_length(self) -> int:
        """Tokens after which the model that it is compared with forgets."""
        return self.checkpoint.config.train_length

    def restarted(self, restart: int) -> Row:  # noqa: ARG002  (of others)
        """Itself: it restarts after what it was trained on."""
        return self

    @property
    def vocab_size(self) -> int:
        return self.checkpoint.config.vocab_size

    @property
    def folder(self) -> Path:
        return self.checkpoint.folder

    @property
    def form(self) -> str | None:
        """How its weights were stored, where they are no longer as they were made."""
        return None

    @property
    def lengths(self) -> dict[str, int | None]:
        """What its entry of a result says of lengths."""
        return {"train_length": self.restart_length}

    @property
    def facts(self) -> dict[str, Any]:
        """What its entry of a result says of it before it is measured."""
        return _facts(self)


@dataclass(frozen=True)
class CausalRow:
    """A line of the comparison: a model of the transformers library, with modifiers."""

    model: CausalModel
    """As it is."""
    restart_length: int
    """Tokens after which the model that it is compared with forgets."""
    modifiers: tuple[Modifier, ...] = ()

    @property
    def variant(self) -> Variant:
        """What its attention computes, with the modifiers."""
        return self.model.variant.with_modifiers(self.modifiers)

    @property
    def name(self) -> str:
        return "+".join([self.model.name, *map(str, self.modifiers)])

    def restarted(self, restart: int) -> CausalRow:
        """The same, compared with the model that forgets after so many tokens."""
        return replace(self, restart_length=restart)

    @property
    def folder(self) -> Path:
        return self.model.folder

    @property
    def source(self) -> str:
        """What it was loaded from."""
        return self.model.name

    @property
    def tokenizer(self) -> Tokenizer:
        return self.model.codec.tokenizer

    @property
    def vocab_size(self) -> int:
        return self.model.vocab_size

    @property
    def form(self) -> str | None:
        """How its weights were stored, where they are no longer as they were made."""
        return self.model.form

    @property
    def lengths(self) -> dict[str, int | None]:
        """What its entry of a result says of lengths; nothing tells what it was trained on."""
        return {
            "restart_length": self.restart_length,
            "declared_length": self.model.declared_length,
        }

    @property
    def facts(self) -> dict[str, Any]:
        """What its entry of a result says of it before it is measured."""
        return _facts(self)


def _facts(row: Row | CausalRow) -> dict[str, Any]:
    form = {} if row.form is None else {"form": row.form}
    return {"variant": row.name, "checkpoint": row.source, **row.lengths, **form}


def load_rows(variants: Sequence[Variant], checkpoints: Sequence[str]) -> list[Row]:
    """Rows for shipped variants and for given checkpoints, each loaded once.

    A checkpoint can have modifiers behind its name, as a variant can: `my-folder+yarn`, and before
    them the function that it was trained with: `my-folder@my_file.py:my_attention`. Python files
    named so, or by `swap`, are run.

    Raises:
        UsageError: a variant that no shipped checkpoint has, an unknown checkpoint, or a function
            that cannot be taken.
        ContentError: a checkpoint that cannot be used.
    """
    names = shipped()
    load = cache(load_checkpoint)
    rows = []
    for variant in map(own_function.allow, variants):
        name = slug(variant)
        if name not in names:
            raise UsageError(_not_shipped(variant, names))
        # by its folder: one of the same name may lie in the current folder
        rows.append(Row(variant, replace(load(assets() / "checkpoints" / name), name=name)))
    for source in map(allowed_source, checkpoints):
        name, modifiers = split_modifiers(source)
        row = modified_row(load(name), modifiers)
        row = replace(row, variant=own_function.allow_swap(row.variant))
        known = {(each.variant, each.checkpoint.folder) for each in rows}
        if (row.variant, row.checkpoint.folder) not in known:
            rows.append(row)
    return rows


def _not_shipped(variant: Variant, names: list[str]) -> str:
    own = isinstance(trained := variant.trained.computes, OwnFunctionName)
    close, call = ("", f"@{trained}") if own else (nearest(slug(variant), names), "")
    stored = stored_training(variant)
    if stored is not None:
        return f"no shipped checkpoint of {variant}; what one gave is {stored}"
    return (
        f"no shipped checkpoint of {variant}{close}; train one with freeatten train --variant "
        f"{variant.trained} --out FOLDER and pass it with --checkpoint FOLDER{call}"
    )


def tokenizers_of(rows: Iterable[Row | CausalRow]) -> dict[str, Tokenizer]:
    """The tokenizers that rows use, by what tells one from another."""
    return {tokenizer_id(row.tokenizer): row.tokenizer for row in rows}


def load_own_rows(variants: Sequence[Variant], checkpoints: Sequence[str]) -> list[Row]:
    """As `load_rows`, where models of others may be named and are refused.

    Raises:
        UsageError, ContentError: as `load_rows`; a model of others.
    """
    for source in checkpoints:
        name = _of_others(source)
        if name is not None:
            raise UsageError(
                f"{name} is a model of the transformers library, and here a checkpoint of this "
                "project is needed; freeatten compare, map, entropy, stages, retrieve, ablate and "
                "longppl take it"
            )
    return load_rows(variants, checkpoints)


def types_of(rows: Iterable[Row | CausalRow], asked: torch.dtype = torch.float32) -> str:
    """The types that rows compute in where one is asked for, by their names."""
    found = dict.fromkeys(row.model.type_for(asked) for row in rows)
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in found)


def common_tokenizer(rows: Sequence[Row | CausalRow]) -> Tokenizer:
    """The tokenizer of all rows.

    Raises:
        UsageError: they have different ones.
    """
    first, *others = tokenizers_of(rows).values()
    if others:
        raise UsageError("the checkpoints have different tokenizers; take them one at a time")
    return first


def load_scored_rows(
    variants: Sequence[Variant],
    checkpoints: Sequence[str],
    restart: Callable[[int | None], int],
    load_causal: Callable[[str], CausalModel] = load_causal_model,
) -> list[Row | CausalRow]:
    """Rows as `load_rows` gives them, and of models of the transformers library.

    Args:
        restart: from the length that such a model declares to the one after which it restarts.
        load_causal: loads such a model by its name.

    Raises:
        UsageError, ContentError: as `load_rows`, `load_causal_model` and `with_modifiers`.
    """
    rows: list[Row | CausalRow] = [*load_rows(variants, [])]
    load = cache(load_causal)
    for source in checkpoints:
        name = _of_others(source)
        if name is not None:
            model, modifiers = load(name), source.removeprefix(name)
            variant = own_function.allow_swap(Variant.parse(f"{model.variant}{modifiers}"))
            length = restart(model.declared_length)
            model.with_modifiers(variant, length, length)  # refused before texts are drawn
            rows.append(CausalRow(model, length, variant.modifiers))
            continue
        known = {(row.variant, row.folder) for row in rows}
        rows += [r for r in load_rows([], [source]) if (r.variant, r.folder) not in known]
    return rows


def _of_others(source: str) -> str | None:
    """The name of a model of others that a source with modifiers names, if it does.

    One with a function of the user's is this project's: its paths are not cut at a plus.
    """
    if own_function.named_in(source) is not None:
        return None
    name, _ = split_modifiers(source)
    return name if is_gguf(name) or is_causal_source(name) else None  # the first converts nothing


def allowed_source(source: str) -> str:
    """A checkpoint's name, its modifiers kept, without the function that it names; that may run.

    Raises:
        UsageError: as `own_function.allow`; the checkpoint was not trained with that function.
    """
    named = own_function.named_in(source)
    if named is None:
        return source
    name, function, modifiers = named
    allowed = own_function.allow(Variant(function=function))
    computed = read_config(locate(name)[1] / CONFIG).variant
    if computed != allowed:
        raise UsageError(
            f"checkpoint {name} computes {computed}, not {allowed}; to put a function on weights "
            f"that were not trained with it, write {name}+swap:to={function}"
        )
    return name + modifiers


def split_modifiers(source: str) -> tuple[str, str]:
    """`softmax+yarn` as `softmax` and `+yarn`; the name of what is there can have a plus too."""
    ends = [len(source), *(at for at, character in enumerate(source) if character == "+")]
    for end in sorted(ends, reverse=True):
        path = expanded(source[:end])
        if path.is_dir() or (is_gguf(source[:end]) and path.is_file()):
            return source[:end], source[end:]
    name, plus, modifiers = source.partition("+")
    return name, plus + modifiers


def any_row(model: Checkpoint | CausalModel, modifiers: str, name: str) -> Row | CausalRow:
    """A row of a loaded model.

    Args:
        name: what a model of others is called.

    Raises:
        UsageError: modifiers that do not exist, or not for it.
    """
    if isinstance(model, Checkpoint):
        return modified_row(model, modifiers)
    variant = Variant.parse(f"{model.variant}{modifiers}")
    model, restart = replace(model, name=name), model.restart_length
    model.with_modifiers(variant, restart)  # refused before a text is read
    return CausalRow(model, restart, variant.modifiers)


def modified_row(checkpoint: Checkpoint, modifiers: str) -> Row:
    """A checkpoint as it is, or with modifiers such as `+yarn`.

    Raises:
        UsageError: modifiers that do not exist, or not for its variant.
    """
    return Row(Variant.parse(f"{checkpoint.config.variant}{modifiers}"), checkpoint)
