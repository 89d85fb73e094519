"""The loss of every token of one text, and that of the same model that forgets what is far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from freeatten_core.basics.checks import check_whole
from freeatten_core.basics.errors import UsageError

from .scoring import Advance, Scorer, pass_cost, score_windows

__all__ = ["TokenLosses", "losses_by_token", "token_cost", "token_losses"]


@dataclass(frozen=True)
class TokenLosses:
    """Nats per token, (L − 1,); `i` is the loss of token `i + 1`, which row `i` predicts."""

    loss: NDArray[np.float32]
    restart: NDArray[np.float32]
    """Of the model restarted every half training length; up to the training length the same."""

    @property
    def delta(self) -> NDArray[np.float32]:
        """By how much the context beyond the training length changes the loss; below 0 it helps."""
        return self.loss - self.restart


def losses_by_token(
    scorer: Scorer,
    tokens: torch.Tensor,
    train_length: int,
    *,
    device: torch.device,
    advance: Advance = lambda _: None,
) -> TokenLosses:
    """Score a text in one pass, and in windows of the training length moved by half of it.

    Args:
        scorer: for example `Model.token_losses`.
        tokens: of one text, (L,), at least 2.
        train_length: of the restart, at least 2.
        advance: called with the cost of each pass; `token_cost` is all of it.

    Raises:
        UsageError: fewer than 2 tokens.
    """
    check_whole("train_length", train_length, 2, None)
    _check_text(tokens)
    text = tokens[None].cpu()
    half = train_length // 2

    def scored(length: int, starts: list[int], first: int) -> list[tuple[int, NDArray[np.float32]]]:
        found = score_windows(scorer, text, length, starts, first, device, advance)
        return [(start, row) for _, start, row in found]

    loss = token_losses(scorer, tokens, device=device, advance=advance)
    restart = loss.copy()
    for length, starts in _windows(len(tokens) - 1, train_length):
        for start, row in scored(length, starts, half):
            restart[start + half : start + length] = row
    return TokenLosses(loss, restart)


def token_losses(
    scorer: Scorer,
    tokens: torch.Tensor,
    *,
    device: torch.device,
    advance: Advance = lambda _: None,
) -> NDArray[np.float32]:
    """The loss of every token of a text in one pass, (L − 1,); arguments as `losses_by_token`.

    Raises:
        UsageError: fewer than 2 tokens.
    """
    _check_text(tokens)
    text, targets = tokens[None].cpu(), len(tokens) - 1
    ((_, _, loss),) = score_windows(scorer, text, targets, [0], 0, device, advance)
    return loss


def _check_text(tokens: torch.Tensor) -> None:
    if tokens.ndim != 1 or len(tokens) < 2:
        raise UsageError(
            f"tokens have the shape {tuple(tokens.shape)}; 2 or more in a row are needed"
        )


def token_cost(tokens: int, train_length: int) -> float:
    """What `losses_by_token` reports to `advance` in all."""
    windows = _windows(tokens - 1, train_length)
    return pass_cost(1, tokens - 1) + sum(pass_cost(len(at), length) for length, at in windows)


def _windows(targets: int, train_length: int) -> list[tuple[int, list[int]]]:
    """Lengths and starts of the windows whose last halves follow the first `train_length`."""
    half = train_length // 2
    starts = list(range(half, targets - half, half))
    whole = [start for start in starts if start + train_length <= targets]
    rest = [(targets - start, [start]) for start in starts[len(whole) :]]
    return ([(train_length, whole)] if whole else []) + rest
