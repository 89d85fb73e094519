"""Copying across a gap: does a model use what it read long ago, when that is what comes now?

A sequence is a block of one file, a gap of other files, and the same block again:

    block | gap | block          the measured pass
    other | gap | block          the control: as many tokens of another file in place of the first

The gain is the control's loss minus the measured loss, over the same tokens of the last block at
the same positions with the same gap before them: what the first copy is worth, and nothing else.
It cannot exceed the control's loss, which a model that copied perfectly would gain. The last
block's first token is not scored, because nothing says that the block begins.

Of one sample, every length has the same block and ends its gap with the same tokens, so lengths
differ in how far away the first copy is, and in how much other text is in view.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from freeatten_core.basics.distributed import ALONE, Ranks
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.progress import Watch
from freeatten_core.basics.seeds import check_seed
from freeatten_core.basics.shards import Shard
from freeatten_core.basics.version import source_digest
from freeatten_core.data.documents import Document, manifest
from freeatten_core.data.selection import Text, distinct, select_texts, tokens_digest
from freeatten_core.data.tokenizer import encode, tokenizer_id
from freeatten_core.models.rows import CausalRow, Row, tokenizers_of, types_of
from freeatten_core.results.effective import effective_length
from freeatten_core.results.facts import ResultDict, run_facts
from freeatten_core.results.intervals import intervals

from .alignment import FITTED_ON, fitting_cost, modified_copy, needs_temperatures
from .each_row import each_row
from .finite import check_finite, no_numbers
from .scoring import Advance, Scorer, pass_cost, windows_at_once

__all__ = [
    "Copies",
    "CopyRequest",
    "Sample",
    "check_lengths",
    "copy_retrieval",
    "default_block",
    "draw_samples",
    "score_copies",
]

SCHEMA = 1
BLOCKS_PER_TRAINING_LENGTH = 8
LEAST_BLOCK = 8

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """What the sequences of every length are made of."""

    name: str
    """The file of the block."""
    block: Tokens
    """(B,)."""
    gap: Tokens
    """(T − 2B,), T the longest length; a shorter length has its end."""
    other: Tokens
    """(B,), the control's first tokens."""

    def sequence(self, length: int, *, copied: bool) -> Tokens:
        """First block (or the other text), gap and block, (length,); 2B to T tokens."""
        kept = len(self.gap) - (length - 2 * len(self.block))
        return np.concatenate([self.block if copied else self.other, self.gap[kept:], self.block])


@dataclass(frozen=True)
class Copies:
    """Mean nats per token of the last block, (samples, lengths) each."""

    copied: NDArray[np.float64]
    control: NDArray[np.float64]

    @property
    def gain(self) -> NDArray[np.float64]:
        return self.control - self.copied

    def joined(self, more: Copies) -> Copies:
        return Copies(
            np.concatenate([self.copied, more.copied]), np.concatenate([self.control, more.control])
        )


@dataclass(frozen=True)
class CopyRequest:
    """What to measure. Fields as the options of `freeatten retrieve`."""

    rows: Sequence[Row | CausalRow]
    lengths: Sequence[int]
    block: int
    documents: Sequence[Document]
    source: str
    command: str
    samples: int = 6
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    ranks: Ranks = ALONE
    """Who measures a part of the samples, within `joined_ranks`; all get the result."""


def default_block(train_lengths: Sequence[int]) -> int:
    """An eighth of the shortest training length."""
    return max(LEAST_BLOCK, min(train_lengths) // BLOCKS_PER_TRAINING_LENGTH)


def copy_retrieval(request: CopyRequest, watch: Watch | None = None) -> ResultDict:
    """Measure every row on the same samples.

    Returns:
        The result in the schema of `--json` (see docs/results.md).

    Raises:
        UsageError: a length that cannot hold the block twice, too little text, or fewer samples
            than ranks.
        InterruptedRows: a signal after the first row, with the rows that are whole.
    """
    watch = (watch or Watch()).of_all_ranks(request.ranks.count)
    started = time.perf_counter()
    check_lengths(request.lengths, request.block)
    request, fitting = _fitting(request)
    samples = _samples(request)
    _check_ranks(request, samples)
    watch.total(sum(_row_cost(request, row, samples, fitting) for row in request.rows))

    def measure(row: Row | CausalRow) -> dict[str, Any]:
        tokenizer = tokenizer_id(row.tokenizer)
        return _measure(request, row, samples[tokenizer], fitting.get(tokenizer, []), watch)

    rows = each_row(request.rows, measure, lambda row: _missing(request, row))
    first = next(iter(samples.values()))
    facts = run_facts(request.device, request.command, time.perf_counter() - started)
    return rows.result(_header(request, first) | facts)


def check_lengths(lengths: Sequence[int], block: int) -> None:
    """Whether every length holds the block twice.

    Raises:
        UsageError: the shortest does not.
    """
    if min(lengths) < 2 * block:
        raise UsageError(
            f"--len: {min(lengths)} tokens cannot hold a block of {block} twice; give lengths "
            f"from {2 * block} on, or a smaller --block"
        )


def draw_samples(
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    *,
    longest: int,
    block: int,
    count: int,
    seed: int,
) -> list[Sample]:
    """Draw samples, each with the block of another file; sample `i` is the same for any `count`.

    The gap is of the other files in an order of its own for every sample, end to end; the
    control's first tokens are what comes after it, of those files too. Files with equal text are
    one file.

    Args:
        longest: tokens of the longest sequence.
        block: tokens of the block.
        count: how many at most; fewer when fewer files hold a block.

    Raises:
        UsageError: one file only, none as long as a block, or too little text for the gap.
    """
    files = distinct(documents)
    if len(files) < 2:
        alike = f", and {len(documents) - 1} that repeat it" if len(documents) > 1 else ""
        raise UsageError(
            "copying needs at least 2 files, because the gap is of other files than the block; "
            f"the text is {len(files)}{alike}"
        )
    encoded = cache(lambda index: encode(tokenizer, files[index].text))
    samples: list[Sample] = []
    for index in np.random.default_rng(check_seed(seed)).permutation(len(files)).tolist():
        tokens = encoded(index)
        if len(samples) == count:
            break
        if len(tokens) < block:
            continue
        rng = np.random.default_rng((seed, len(samples)))
        start = int(rng.integers(0, len(tokens) - block + 1))
        others = (
            encoded(other) for other in rng.permutation(len(files)).tolist() if other != index
        )
        around = _stream(others, longest - block, rng)
        _check_enough(files[index].name, len(around), longest, block)
        gap, other = np.split(around, [longest - 2 * block])
        samples.append(Sample(files[index].name, tokens[start : start + block], gap, other))
    if not samples:
        raise UsageError(f"the text is too short: no file has {block} tokens, which a block needs")
    return samples


def _check_enough(name: str, found: int, longest: int, block: int) -> None:
    if found < longest - block:
        raise UsageError(
            f"the text is too short: the files other than {name} have {found:,} tokens and "
            f"{longest - block:,} are needed for the gap and the control; give more text, or "
            f"--len {found + block} or less"
        )


def _stream(texts: Iterator[Tokens], wanted: int, rng: np.random.Generator) -> Tokens:
    """Texts end to end up to `wanted` tokens; of one longer than what is missing, any part."""
    parts: list[Tokens] = []
    missing = wanted
    for text in texts:
        start = int(rng.integers(0, max(0, len(text) - missing) + 1))
        parts.append(text[start : start + missing])
        missing -= len(parts[-1])
        if missing == 0:
            break
    return np.concatenate(parts)


@torch.inference_mode()
def score_copies(
    scorer: Scorer,
    samples: Sequence[Sample],
    lengths: Sequence[int],
    *,
    device: torch.device,
    advance: Advance = lambda _: None,
) -> Copies:
    """Score the last block of every sample at every length, with its first copy and without.

    Args:
        scorer: for example `Model.token_losses`.
        device: where the scorer computes.
        advance: called with the cost of each pass.
    """
    means = np.zeros((len(lengths), 2, len(samples)))
    block = len(samples[0].block)
    for at, length in enumerate(lengths):
        rows = [
            sample.sequence(length, copied=copied) for copied in (True, False) for sample in samples
        ]
        sequences = torch.from_numpy(np.stack(rows))
        batch = windows_at_once(device, length)
        names, losses = [sample.name for sample in samples] * 2, []
        for first, part in enumerate(torch.split(sequences, batch)):
            tokens, targets = part[:, :-1].to(device), part[:, 1:].to(device)
            found = scorer(tokens, targets, length - block).double().cpu()
            check_finite(found, names[first * batch :], length, length - block)
            losses.append(found.mean(dim=1))
            advance(pass_cost(len(part), length))
        means[at] = torch.cat(losses).view(2, -1).numpy()
    return Copies(copied=means[:, 0].T, control=means[:, 1].T)


def _samples(request: CopyRequest) -> dict[str, list[Sample]]:
    """The samples for every tokenizer in use, by its id."""
    tokenizers = tokenizers_of(request.rows)
    return {
        name: draw_samples(
            request.documents,
            tokenizer,
            longest=max(request.lengths),
            block=request.block,
            count=request.samples,
            seed=request.seed,
        )
        for name, tokenizer in tokenizers.items()
    }


def _check_ranks(request: CopyRequest, samples: Mapping[str, Sequence[Sample]]) -> None:
    """Whether every rank has a sample, and all were asked for the same."""
    fewest = min(len(drawn) for drawn in samples.values())
    request.ranks.check_enough(fewest, "samples", "--samples")
    request.ranks.check_agree(
        {
            "rows": [row.name for row in request.rows],
            "lengths": list(request.lengths),
            "seed": request.seed,
            "tokens": _digest(list(chain(*samples.values())), max(request.lengths)),
            "source code": source_digest(),
        }
    )


def _digest(samples: Sequence[Sample], longest: int) -> str:
    """SHA-256 of the longest sequences."""
    return tokens_digest(
        sample.sequence(longest, copied=copied) for sample in samples for copied in (True, False)
    )


def _fitting(request: CopyRequest) -> tuple[CopyRequest, dict[str, list[Text]]]:
    """The request without the files that `align` is fitted on, and the windows of these.

    The files are the same for every row; their windows are by the id of each row's tokenizer.
    """
    tokenizers = tokenizers_of(
        row
        for row in request.rows
        if needs_temperatures(row.variant, row.restart_length, request.lengths)
    )
    if not tokenizers:
        return request, {}
    longest = max(request.lengths)
    first, *others = tokenizers
    documents = request.documents
    for name in others:  # files that are long enough for all
        documents = select_texts(documents, tokenizers[name], longest, None, request.seed).documents
    drawn = select_texts(documents, tokenizers[first], longest, FITTED_ON, request.seed)
    fitting = {first: drawn.texts} | {
        name: select_texts(
            drawn.documents, tokenizers[name], longest, FITTED_ON, request.seed
        ).texts
        for name in others
    }
    return replace(request, documents=_beside(request.documents, drawn.documents)), fitting


def _beside(documents: Sequence[Document], fitted: Sequence[Document]) -> list[Document]:
    """The files that nothing is fitted on."""
    taken = {document.sha256 for document in fitted}
    rest = [document for document in documents if document.sha256 not in taken]
    if len(rest) < 2:
        raise UsageError(
            f"align is fitted on {len(fitted)} files, which leaves {len(rest)} of "
            f"{len(documents)} files; copying needs at least 2 that are not fitted on"
        )
    return rest


def _row_cost(
    request: CopyRequest,
    row: Row | CausalRow,
    samples: Mapping[str, Sequence[Sample]],
    fitting: Mapping[str, Sequence[Text]],
) -> float:
    tokenizer = tokenizer_id(row.tokenizer)
    scored = sum(pass_cost(2, length) for length in request.lengths) * len(samples[tokenizer])
    trained = row.restart_length
    return scored + fitting_cost(row.variant, trained, fitting.get(tokenizer, []), request.lengths)


def _measure(
    request: CopyRequest,
    row: Row | CausalRow,
    samples: Sequence[Sample],
    fitting: Sequence[Text],
    watch: Watch,
) -> dict[str, Any]:
    scorer, temperatures = _scorer(request, row, fitting, watch)

    def share(shard: Shard) -> Copies:
        own = samples[shard.part(len(samples))]
        # a sample at a time on a CPU, so that a first result is on screen within seconds
        step = 1 if request.device.type == "cpu" else len(own)
        done: Copies | None = None
        for start in range(0, len(own), step):
            part = score_copies(
                scorer,
                own[start : start + step],
                request.lengths,
                device=request.device,
                advance=watch.advance,
            )
            done = part if done is None else done.joined(part)
            if len(done.gain) < len(samples):
                watch.row(_summarise(request, row, done), len(done.gain), len(samples))
        assert done is not None
        return done

    entry = _summarise(request, row, reduce(Copies.joined, request.ranks.shared(share)))
    watch.row(entry, len(samples), len(samples))
    if temperatures is not None:
        entry["temperatures"] = temperatures
    return entry


def _scorer(
    request: CopyRequest, row: Row | CausalRow, fitting: Sequence[Text], watch: Watch
) -> tuple[Scorer, dict[int, float] | None]:
    """What scores a row, on the device, and the temperatures if `align` is a modifier of it."""
    model, temperatures = modified_copy(
        row.model,
        row.variant,
        request.lengths,
        fitting,
        device=request.device,
        restart=row.restart_length,
        advance=watch.advance,
    )
    return model.token_losses, temperatures


def _summarise(request: CopyRequest, row: Row | CausalRow, copies: Copies) -> dict[str, Any]:
    entry = row.facts
    tables = {"gain": copies.gain, "loss": copies.copied, "control": copies.control}
    for name, table in tables.items():
        entry[name], entry[f"{name}_ci95"] = intervals(table)
    trained = row.restart_length
    entry["effective_length"] = effective_length(request.lengths, entry["gain"], trained)
    return entry | {"gain_by_sample": copies.gain.round(5).tolist()}


def _missing(request: CopyRequest, row: Row | CausalRow) -> dict[str, Any]:
    """The entry of a row that could not be measured."""
    return {
        **row.facts,
        **no_numbers(("gain", "loss", "control"), len(request.lengths)),
        "effective_length": None,
        "gain_by_sample": [],
    }


def _header(request: CopyRequest, samples: Sequence[Sample]) -> ResultDict:
    blocks_of = {sample.name for sample in samples}
    return {
        "schema": SCHEMA,
        "task": "copy",
        **request.rows[0].lengths,
        "lengths": list(request.lengths),
        "block": request.block,
        "samples": len(samples),
        "seed": request.seed,
        "dtype": types_of(request.rows),
        "text": {
            "source": request.source,
            "files": len(request.documents),
            "repeats": len(request.documents) - len(distinct(request.documents)),
            "sha256": _digest(samples, max(request.lengths)),
            "manifest": manifest(d for d in request.documents if d.name in blocks_of),
        },
    }
