"""Numerical stability: every variant in float16, bfloat16 and float32 against float64.

A variant on one kind of inputs, at one length and one scale of query and key, is computed in each
type in three forms, forward and backward: `naive`, the formulas as written
(`ops.definitions.as_written`); `safe`, the same with the usual guards (`ops.definitions.staged` in
that type, as in "safe softmax"); `kernel`, `freeatten_core.attention`. Inputs are numbers that all
three types hold, so an error is that of the computation and not of rounding its inputs.

Only the last rows of a text are computed, against all keys before them: nothing is L×L.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from freeatten_core.analysis.capture import capture
from freeatten_core.basics.checks import check_each_positive, check_list
from freeatten_core.basics.devices import DTYPES
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.seeds import check_seed, generator
from freeatten_core.data.documents import Document, manifest
from freeatten_core.data.selection import Selection, select_texts
from freeatten_core.measures.compared import whole_or_part
from freeatten_core.models.catalogue import shipped, slug
from freeatten_core.models.rows import Row, load_rows
from freeatten_core.ops.definitions import as_written, staged
from freeatten_core.ops.operator import attention
from freeatten_core.results.facts import run_facts
from freeatten_core.variants.variant import PLAIN, SHARPENED, Variant

from .judge import relative_error
from .rounds import Report

__all__ = [
    "KINDS",
    "NAMED",
    "Inputs",
    "Source",
    "StabilitySettings",
    "flat",
    "in_every_type",
    "measure",
    "parse_scales",
    "significant",
    "sources",
]

Attend = Callable[[Tensor, Tensor, Tensor, Variant], Tensor]

SCHEMA = 1
NAMED = ",".join([*PLAIN, "lssar:p=3", *(f"{name}:p=15" for name in SHARPENED)])
"""Every variant of the table of names, and the paper's two powers."""
KINDS = ("random", "checkpoint")
FORMS: Mapping[str, Attend] = {
    "naive": as_written.attention_as_written,
    "safe": staged.reference_attention,
    "kernel": attention,
}
TENSORS = ("query", "key", "value")
ROWS = 32
"""How many of the last rows are computed."""
HEADS, DIM = 1, 64
"""Of random inputs: one head as wide as those of the shipped checkpoints."""
VANISHED = 1e-12
"""No error is relative to a gradient of a smaller norm in float64: it is 0 beside any rounding."""


@dataclass(frozen=True)
class StabilitySettings:
    """What is measured. Fields as the options of `freeatten stability`.

    Raises:
        UsageError: an empty list, an unknown name, a number out of range.
    """

    variants: str = NAMED
    lengths: tuple[int, ...] = (128, 512, 2048, 8192)
    scales: tuple[float, ...] = (1, 4, 16, 64)
    """Multiply query and key both: a dot product grows by the square."""
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32")
    inputs: tuple[str, ...] = KINDS
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_each_positive("lengths", self.lengths, such_as=2048)
        for scale in check_list("scales", self.scales, "[1, 4]"):
            if isinstance(scale, bool) or not isinstance(scale, int | float):
                raise UsageError(f"scales holds {scale!r}; every one must be a number")
            if not (math.isfinite(scale) and scale > 0):
                raise UsageError(f"scales holds {scale:g}; every one must be above 0")
        # tables are read from the shortest length to the longest
        object.__setattr__(self, "lengths", tuple(sorted(set(self.lengths))))
        object.__setattr__(self, "scales", tuple(sorted(set(self.scales))))
        _check_names("dtypes", self.dtypes, tuple(DTYPES))
        _check_names("inputs", self.inputs, KINDS)
        for variant in self.chosen:
            if variant.modifiers:
                raise UsageError(
                    f"variants holds {variant}; +{variant.modifiers[0]} changes a model, not the "
                    f"attention operator, so only {variant.computes} can be measured"
                )
        if self.inputs == ("checkpoint",) and not self.with_checkpoints:
            raise UsageError(
                f"no shipped checkpoint of {', '.join(map(str, self.chosen))}; measure it with "
                "inputs random, or one of " + ", ".join(shipped())
            )

    @cached_property
    def chosen(self) -> list[Variant]:
        return Variant.parse_list(self.variants)

    @property
    def with_checkpoints(self) -> list[Variant]:
        """The variants whose trained queries and keys are measured."""
        if "checkpoint" not in self.inputs:
            return []
        return [variant for variant in self.chosen if slug(variant) in shipped()]


def _check_names(field: str, values: Sequence[str], legal: Sequence[str]) -> None:
    if not values:
        raise UsageError(f"{field} is empty; it can hold {', '.join(legal)}")
    for value in check_list(field, values, str(list(legal))):
        if value not in legal:
            raise UsageError(f"{field} holds {value!r}; it can hold {', '.join(legal)}")


def parse_scales(text: str) -> tuple[float, ...]:
    """`1,4,0.5` as numbers, each once.

    Raises:
        UsageError: something else.
    """
    try:
        found = [float(entry) for entry in text.split(",") if entry.strip()]
    except ValueError:
        raise UsageError(f"scales is {text!r}; give numbers with commas, such as 1,4,16") from None
    return tuple(found)


# Inputs


@dataclass(frozen=True)
class Inputs:
    """Query, key and value of one cell and the gradient of its output, float64."""

    query: Tensor
    """(1, H, rows, D)"""
    key: Tensor
    """(1, H, L, D)"""
    value: Tensor
    grad: Tensor

    def passes(self, attend: Attend, variant: Variant, dtype: torch.dtype) -> list[Tensor]:
        """Output, and the gradients of query, key and value, as a computation in a type gives
        them, in float64."""
        query, key, value = (
            tensor.to(dtype, copy=True).requires_grad_()
            for tensor in (self.query, self.key, self.value)
        )
        output = attend(query, key, value, variant)
        gradients = torch.autograd.grad(output, (query, key, value), self.grad.to(dtype))
        return [tensor.detach().double() for tensor in (output, *gradients)]


@dataclass(frozen=True)
class Source:
    """Inputs of the longest length, (H, L, D) each; shorter ones are its first tokens."""

    kind: str
    variant: Variant
    checkpoint: str | None
    query: Tensor
    key: Tensor
    value: Tensor
    grad: Tensor

    def at(self, length: int, scale: float) -> Inputs:
        """The last rows of the first `length` tokens.

        Raises:
            UsageError: a scale that takes query or key out of float16.
        """
        rows = slice(max(0, length - ROWS), length)
        query, key = self.query[:, rows] * scale, self.key[:, :length] * scale
        tensors = (query, key, self.value[:, :length], self.grad[:, rows])
        rounded = [in_every_type(tensor)[None] for tensor in tensors]
        if not all(bool(tensor.isfinite().all()) for tensor in rounded):
            largest = max(float(tensor.abs().max()) for tensor in (query, key))
            raise UsageError(
                f"scales holds {scale:g}; the largest number of query and key would be "
                f"{largest:.3g}, and float16 ends at {torch.finfo(torch.float16).max:g}"
            )
        return Inputs(*rounded)


def in_every_type(tensor: Tensor) -> Tensor:
    """Rounded to numbers that float16, bfloat16 and float32 all hold, float64."""
    return tensor.to(torch.bfloat16).to(torch.float16).double()


def sources(
    settings: StabilitySettings, documents: Sequence[Document], device: torch.device, report: Report
) -> Iterator[tuple[Source, Selection | None]]:
    """All inputs, one after the other, with the text that trained ones are of."""
    longest = max(settings.lengths)
    if "random" in settings.inputs:
        drawn = _normal(HEADS, longest, DIM, settings.seed, device)
        for variant in settings.chosen:
            yield Source("random", variant, None, *drawn), None
    if settings.with_checkpoints:
        rows = load_rows(settings.with_checkpoints, [])
        tokenizer = rows[0].checkpoint.tokenizer
        text = select_texts(documents, tokenizer, longest - 1, 1, settings.seed)
        for row in rows:
            report(f"{row.variant}: queries and keys of {longest:,} tokens")
            yield _trained(row, text, settings.seed, device), text


def _normal(
    heads: int, length: int, dim: int, seed: int, device: torch.device
) -> tuple[Tensor, ...]:
    """Query, key, value and gradient."""
    draw = generator(seed)
    return tuple(torch.randn(heads, length, dim, generator=draw).to(device) for _ in range(4))


def _trained(row: Row, text: Selection, seed: int, device: torch.device) -> Source:
    """Of every layer the head with the largest score; values and gradients are random."""
    tokens = torch.from_numpy(text.texts[0].tokens)
    seen = capture(row.checkpoint, tokens, device=device, with_statistics=False)
    chosen = [
        max(
            (seen.head(layer, head) for head in range(seen.heads)),
            key=lambda head: _largest_score(head, row.variant),
        )
        for layer in seen.layers
    ]
    query, key = (torch.stack(tensors) for tensors in zip(*chosen, strict=True))
    heads, length, dim = query.shape
    _, _, value, grad = _normal(heads, length, dim, seed, device)
    return Source("checkpoint", row.variant, row.checkpoint.name, query, key, value, grad)


def _largest_score(head: tuple[Tensor, Tensor], variant: Variant) -> float:
    """Of the last rows of a head, (L, D) each."""
    query, key = (tensor[None, None] for tensor in head)
    score, visible = as_written.scores(query[:, :, -ROWS:], key, variant)
    return float(score[..., visible].max())


# Measuring


def measure(
    settings: StabilitySettings,
    documents: Sequence[Document],
    *,
    source: str,
    device: torch.device,
    command: str,
    report: Report = lambda _: None,
) -> dict[str, Any]:
    """Measure every variant.

    Args:
        settings: what to measure.
        documents: where the text that checkpoints read is taken from; not used for random inputs.
        source: what the documents are, as `--text` names them.
        device: where to compute.
        command: what reproduces it.
        report: called with a line of progress.

    Returns:
        The result in the schema of `--json` (see docs/results.md), plain values.

    Raises:
        UsageError: no document is long enough, or a scale takes query or key out of float16.
        InterruptedRows: a signal after the first variant, with those that are whole.
    """
    begin = time.monotonic()
    entries: list[dict[str, Any]] = []
    text, stopped = None, None
    try:
        for found, selection in sources(settings, documents, device, report):
            entries.append(_entry(found, settings, report))
            text = selection or text
    except KeyboardInterrupt as signal:
        if not entries:
            raise
        stopped = signal
    result = {
        "schema": SCHEMA,
        **run_facts(device, command, time.monotonic() - begin),
        "settings": asdict(settings) | {"variants": list(map(str, settings.chosen)), "rows": ROWS},
        "text": _text(source, text),
        "variants": entries,
    }
    drawn = settings.chosen if "random" in settings.inputs else []
    return whole_or_part(result, len(drawn) + len(settings.with_checkpoints), stopped)


def _text(source: str, selection: Selection | None) -> dict[str, Any] | None:
    if selection is None:
        return None
    return {
        "source": source,
        "name": selection.texts[0].name,
        "manifest": manifest(selection.documents),
    }


def _entry(source: Source, settings: StabilitySettings, report: Report) -> dict[str, Any]:
    """A variant on one kind of inputs; every number a table lengths × scales."""
    cells = []
    for length in settings.lengths:
        report(f"{source.variant}, {source.kind} inputs: {length:,} tokens")
        cells.append([_cell(source, length, scale, settings.dtypes) for scale in settings.scales])
    facts = {
        "inputs": source.kind,
        "variant": str(source.variant),
        "checkpoint": source.checkpoint,
    }
    return facts | _tables(cells)


def _tables(cells: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """A table of equal dictionaries as a dictionary of tables."""
    return {
        name: _tables([[cell[name] for cell in row] for row in cells])
        if isinstance(first, Mapping)
        else [[cell[name] for cell in row] for row in cells]
        for name, first in cells[0][0].items()
    }


def _cell(source: Source, length: int, scale: float, dtypes: Sequence[str]) -> dict[str, Any]:
    inputs, variant = source.at(length, scale), source.variant
    wanted = inputs.passes(staged.reference_attention, variant, torch.float64)
    lowest, largest = _score_range(inputs, variant)
    types = {
        dtype: {
            form: _compare(inputs.passes(attend, variant, DTYPES[dtype]), wanted)
            for form, attend in FORMS.items()
        }
        for dtype in dtypes
    }
    return {
        "lowest_score": significant(lowest),
        "largest_score": significant(largest),
        **_norms(wanted[1:]),
        "types": types,
    }


def _score_range(inputs: Inputs, variant: Variant) -> tuple[float, float]:
    """The lowest and the largest score of a visible key, in float64."""
    score, visible = as_written.scores(inputs.query, inputs.key, variant)
    seen = score[..., visible]
    return float(seen.min()), float(seen.max())


def _compare(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> dict[str, float | None]:
    """Output and gradients of a form next to those in float64; errors are `‖x − x₆₄‖ / ‖x₆₄‖`."""
    output, expected = found[0], wanted[0]
    finite = output.isfinite().all(-1)
    vanished = (output == 0).all(-1) & (expected != 0).any(-1)
    errors = {
        f"{name}_gradient_error": _gradient_error(*pair)
        for name, *pair in zip(TENSORS, found[1:], wanted[1:], strict=True)
    }
    return {
        "error": significant(relative_error(output, expected)),
        "nonfinite": significant(float((~finite).double().mean())),
        "zero": significant(float(vanished.double().mean())),
        **_norms(found[1:]),
        **errors,
    }


def _gradient_error(found: Tensor, wanted: Tensor) -> float | None:
    return significant(relative_error(found, wanted)) if wanted.norm() >= VANISHED else None


def _norms(gradients: Sequence[Tensor]) -> dict[str, float | None]:
    return {
        f"{name}_gradient_norm": significant(float(tensor.norm()))
        for name, tensor in zip(TENSORS, gradients, strict=True)
    }


def significant(value: float) -> float | None:
    """Three digits, which is what an error is worth; None where it is not finite, as JSON needs."""
    rounded = float(f"{value:.3g}")
    return rounded if math.isfinite(rounded) else None


def flat(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A line for every form of every variant at every length and scale, for CSV."""
    settings = result["settings"]
    for entry in result["variants"]:
        for row, length in enumerate(settings["lengths"]):
            for column, scale in enumerate(settings["scales"]):
                for dtype, forms in entry["types"].items():
                    for form, tables in forms.items():
                        yield {
                            **{key: entry[key] for key in ("inputs", "variant", "checkpoint")},
                            **{"length": length, "scale": scale, "dtype": dtype, "form": form},
                            **{key: entry[key][row][column] for key in _SCORES},
                            **{key: table[row][column] for key, table in tables.items()},
                            **{f"{key}_float64": entry[key][row][column] for key in _NORMS},
                        }


_SCORES = ("lowest_score", "largest_score")
_NORMS = tuple(f"{name}_gradient_norm" for name in TENSORS)
