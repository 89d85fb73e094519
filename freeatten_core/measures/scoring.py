"""Loss against length: the same tokens scored with more and more context, and with a restart.

The protocol: a text is `M + 1` tokens of one file, `M` the longest length. For every length `ℓ`
the text is cut into windows of `ℓ`, so lengths differ in context and not in text. The control
is the same model that forgets: windows of the training length `L` at stride `L/2`, each scoring
its last half, so that every token from `L/2` on has `L/2` to `L` tokens of context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freeatten_core.basics.devices import usable_device
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.shards import WHOLE, Shard
from freeatten_core.data.selection import Text
from freeatten_core.models.interface import LanguageModel

from .scored import check_lengths, check_logits, check_model, check_texts, check_windows

__all__ = [
    "Advance",
    "Losses",
    "Scorer",
    "check_swappable",
    "joined",
    "loss_by_length",
    "pass_cost",
    "score_texts",
    "score_windows",
    "scoring_cost",
    "stacked",
    "swapped_losses",
    "windows_at_once",
]

Logits = Callable[[Tensor], Tensor]
"""Tokens (B, L) to logits (B, L, vocabulary)."""

Advance = Callable[[float], None]
"""Told the cost of what was just scored; `scoring_cost` sums to the whole."""

BATCH_TOKENS: Mapping[str, int] = {"cpu": 8192, "cuda": 65536}
"""Tokens in one forward pass."""

ATTENTION_COST_LENGTH = 2500
"""The window at which attention takes as long as the rest of a shipped model, on two cores."""


class Scorer(Protocol):
    """Nats per target, (B, L − start), for tokens and targets (B, L)."""

    def __call__(self, tokens: Tensor, targets: Tensor, start: int = 0) -> Tensor: ...


@dataclass(frozen=True)
class Losses:
    """Nats per token; all arrays (texts, M), position `i` is the `i`-th target."""

    train_length: int
    by_length: Mapping[int, NDArray[np.float32]]
    restart: NDArray[np.float32]
    """NaN on the first `L/2` targets, which no restarted window scores."""

    @property
    def longest(self) -> int:
        return max(self.by_length)

    def mean(self, length: int) -> NDArray[np.float64]:
        """Mean loss of each text, (texts,)."""
        return np.asarray(self.by_length[length].mean(axis=1, dtype=np.float64))

    def restart_mean(self) -> NDArray[np.float64]:
        """Mean restarted loss of each text over its scored targets, (texts,)."""
        scored = self.restart[:, self.train_length // 2 :]
        return np.asarray(scored.mean(axis=1, dtype=np.float64))

    def delta(self, length: int) -> NDArray[np.float64]:
        """Δ of each text: the last half of each window minus the restart there, (texts,)."""
        difference = self.by_length[length] - self.restart
        windows = difference.reshape(len(difference), -1, length)
        return np.asarray(windows[:, :, length // 2 :].mean(axis=(1, 2), dtype=np.float64))


def joined(parts: Sequence[Losses]) -> Losses:
    """Losses of shards of some texts, in the order of the shards, as those of all the texts."""
    return Losses(
        parts[0].train_length,
        {
            length: np.concatenate([part.by_length[length] for part in parts])
            for length in parts[0].by_length
        },
        np.concatenate([part.restart for part in parts]),
    )


def score_texts(
    scorer: Scorer,
    texts: Sequence[Text],
    lengths: Sequence[int],
    train_length: int,
    *,
    device: torch.device,
    advance: Advance = lambda _: None,
    shard: Shard = WHOLE,
) -> Losses:
    """Score every text at every length and with a restart.

    Args:
        scorer: for example `Model.token_losses`.
        texts: each of `max(lengths) + 1` tokens.
        lengths: each divides the largest; those below `train_length` are scored too.
        train_length: `L` of the restart; it divides the largest length.
        device: where the scorer computes.
        advance: called with the cost of each pass.
        shard: which of the texts are scored; `joined` puts shards together.

    Returns:
        The losses of the shard's texts.

    Raises:
        UsageError: no texts, or texts and lengths that do not fit each other.
    """
    check_windows([text.tokens for text in texts], lengths, train_length)
    tokens = stacked(texts)[shard.part(len(texts))]
    longest = tokens.shape[1] - 1
    by_length = {}
    for length in sorted({*lengths, train_length}):
        losses = np.empty((len(tokens), longest), dtype=np.float32)
        starts = range(0, longest, length)
        for text, start, part in score_windows(scorer, tokens, length, starts, 0, device, advance):
            losses[text, start : start + length] = part
        by_length[length] = losses
    half = train_length // 2
    rest = train_length - half
    restart = np.full((len(tokens), longest), np.nan, dtype=np.float32)
    aligned = by_length[train_length].reshape(len(tokens), longest // train_length, train_length)
    restart.reshape(aligned.shape)[:, :, half:] = aligned[:, :, half:]
    starts = range(half, longest - train_length + 1, train_length)
    for text, start, part in score_windows(
        scorer, tokens, train_length, starts, rest, device, advance
    ):
        restart[text, start + rest : start + train_length] = part
    return Losses(train_length, {length: by_length[length] for length in lengths}, restart)


def stacked(texts: Sequence[Text]) -> Tensor:
    """The tokens of texts of one length, (texts, M + 1)."""
    return torch.from_numpy(np.stack([text.tokens for text in texts]))


@torch.inference_mode()
def score_windows(
    scorer: Scorer,
    tokens: Tensor,
    length: int,
    starts: Sequence[int],
    scored_from: int,
    device: torch.device,
    advance: Advance,
    inputs: Tensor | None = None,
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield (text, start, losses) of every text's windows of `length` at `starts`.

    Args:
        tokens: (texts, M + 1).
        scored_from: the first target of a window that is scored.
        inputs: what is read instead of `tokens`, if given; targets are always of `tokens`.
    """
    read = tokens if inputs is None else inputs
    places = [(text, start) for text in range(len(tokens)) for start in starts]
    batch = windows_at_once(device, length)
    for at in range(0, len(places), batch):
        part = places[at : at + batch]
        context = torch.stack([read[t, s : s + length] for t, s in part]).to(device)
        targets = torch.stack([tokens[t, s + 1 : s + length + 1] for t, s in part]).to(device)
        losses = scorer(context, targets, scored_from).float().cpu().numpy()
        advance(pass_cost(len(part), length))
        for (text, start), row in zip(part, losses, strict=True):
            yield text, start, row


def windows_at_once(device: torch.device, length: int) -> int:
    """How many windows of `length` tokens a pass takes."""
    return max(1, BATCH_TOKENS.get(device.type, BATCH_TOKENS["cpu"]) // length)


def pass_cost(windows: int, length: int) -> float:
    """The cost of scoring some windows, in tokens of a model without attention."""
    return windows * length * (1 + length / ATTENTION_COST_LENGTH)


def scoring_cost(texts: int, lengths: Sequence[int], train_length: int) -> float:
    """What `score_texts` reports to `advance` in all."""
    longest = max(lengths)
    whole = sum(pass_cost(texts * longest // length, length) for length in {*lengths, train_length})
    return whole + pass_cost(texts * (longest // train_length - 1), train_length)


def check_swappable(texts: Sequence[Text]) -> None:
    """What `swapped_losses` needs, before anything is scored.

    Raises:
        UsageError: with a single text there is nothing to swap in.
    """
    if len(texts) < 2:
        raise UsageError("--control swap has 1 text; it needs at least 2, to swap context in")


def swapped_losses(
    scorer: Scorer,
    texts: Sequence[Text],
    lengths: Sequence[int],
    train_length: int,
    *,
    device: torch.device,
    advance: Advance = lambda _: None,
    shard: Shard = WHOLE,
) -> dict[int, NDArray[np.float64]]:
    """How much the loss changes when far context is of another file, for every length.

    Of each window of `ℓ > L`, everything older than its last `L` tokens is replaced by the same
    stretch of the next text; the last `L/2` targets are scored with and without.

    Args:
        shard: which of the texts are scored; the next text is that of all of them.

    Returns:
        For each length above `train_length`, swapped minus intact, (texts of the shard,).

    Raises:
        UsageError: with a single text there is nothing to swap in; texts and lengths that do not
            fit each other.
    """
    check_swappable(texts)
    check_windows([text.tokens for text in texts], lengths, train_length)
    whole, part = stacked(texts), shard.part(len(texts))
    tokens, other = whole[part], whole.roll(1, dims=0)[part]
    changes = {}
    for length in lengths:
        if length <= train_length:
            continue
        scored_from = length - train_length // 2
        mixed = tokens.clone()
        for start in range(0, tokens.shape[1] - length, length):
            far = slice(start, start + length - train_length)
            mixed[:, far] = other[:, far]
        change = np.zeros(len(tokens))
        for sign, inputs in ((1, mixed), (-1, tokens)):
            starts = range(0, tokens.shape[1] - length, length)
            windows = score_windows(
                scorer, tokens, length, starts, scored_from, device, advance, inputs
            )
            for text, _, losses in windows:
                change[text] += sign * float(losses.mean())
        changes[length] = change / (tokens.shape[1] // length)
    return changes


def loss_by_length(
    model: LanguageModel | Logits,
    texts: Sequence[str | NDArray[np.int64]],
    lengths: Sequence[int],
    *,
    device: str | torch.device | None = None,
) -> NDArray[np.float64]:
    """Mean loss of each text at each length, nats per token, (texts, lengths).

    Args:
        model: a checkpoint, a model of the transformers library as `load_causal_model` gives it, or
            any callable from tokens (B, L) to logits (B, L, vocabulary).
        texts: strings, for a model with a tokenizer, or arrays of tokens; cut to the longest
            length + 1.
        lengths: tokens; each divides the largest.
        device: where the model computes, in the type of its weights; None for where they are, the
            CPU for a callable.

    Raises:
        UsageError: names the argument, what it is and what it must be: no list of texts or
            lengths, an empty one, a text shorter than the longest length + 1 or of tokens that the
            model does not know, a length that does not divide, a device that is not there, or a
            callable that returns something else than logits.
    """
    check_model(model)
    asked = check_lengths(lengths)
    longest = max(asked)
    tokens = torch.from_numpy(check_texts(model, texts, longest))
    if isinstance(model, LanguageModel):
        where = model.device if device is None else usable_device(device)
        scorer: Scorer = model.on(where).token_losses
    else:
        scorer, where = _from_logits(model), usable_device("cpu" if device is None else device)
    table = np.zeros((len(tokens), len(asked)))
    for column, length in enumerate(asked):
        starts = range(0, longest, length)
        windows = score_windows(scorer, tokens, length, starts, 0, where, lambda _: None)
        for text, _, losses in windows:
            table[text, column] += float(losses.mean()) * length / longest
    return table


def _from_logits(model: Logits) -> Scorer:
    def score(tokens: Tensor, targets: Tensor, start: int = 0) -> Tensor:
        logits = check_logits(model(tokens), tokens, targets)[:, start:]
        wanted = targets[:, start:].to(logits.device)
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), wanted.flatten(), reduction="none"
        )
        return losses.view(wanted.shape)

    return score
