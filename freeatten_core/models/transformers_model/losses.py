"""Losses of a transformers model without the logits of a whole text.

The model's own forward is run once on the whole text, its head on one token only, and then on
slices with the body's forward replaced by a slice of what it returned. So whatever a model does
between its body and its logits, scales, caps, biases, is done by its own code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import replacing, shallow

__all__ = ["LOGITS", "LOGIT_NUMBERS", "find_body", "logits_in_parts", "token_losses"]

LOGITS = 1 << 25
"""Logits at a time: 128 MB in float32."""
LOGIT_NUMBERS = 3
"""Numbers that are there at once of every one of them: itself, in float32, and its logarithm."""


def token_losses(
    network: Any, body: nn.Module, tokens: Tensor, targets: Tensor, start: int = 0
) -> Tensor:
    """Nats per target, float32 (B, L − start), for the targets from `start` on.

    Args:
        network: a causal language model of transformers.
        body: the part of it that `find_body` found.
        tokens, targets: (B, L); `targets[:, i]` is what follows `tokens[:, i]`.
    """
    losses = []
    for begin, logits in logits_in_parts(network, body, tokens, start):
        wanted = targets[:, begin : begin + logits.shape[1]]
        found = F.cross_entropy(logits.flatten(0, 1).float(), wanted.flatten(), reduction="none")
        losses.append(found.view(wanted.shape))
    return torch.cat(losses, dim=1)


def logits_in_parts(
    network: Any, body: nn.Module, tokens: Tensor, start: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """Where a part of the texts begins, and its logits (B, part, vocabulary), from `start` on.

    Args:
        network, body, tokens: as for `token_losses`.
    """
    whole: list[Any] = []

    def run(*args: Any, **kwargs: Any) -> Any:
        whole.append(body(*args, **kwargs))
        return _part(whole[0], 0, 1)

    first = _with_body(network, body, run)(input_ids=tokens, use_cache=False).logits
    step = max(1, LOGITS // (len(tokens) * first.shape[-1]))
    for begin in range(start, tokens.shape[1], step):
        end = min(begin + step, tokens.shape[1])

        def returned(*_: Any, _begin: int = begin, _end: int = end, **__: Any) -> Any:
            return _part(whole[0], _begin, _end)

        head = _with_body(network, body, returned)
        yield begin, head(input_ids=tokens[:, begin:end], use_cache=False).logits


def find_body(network: Any, tokens: Tensor) -> nn.Module | None:
    """The part of a model that its forward calls for the hidden states; None if there is none.

    Args:
        tokens: (1, L), a few to try it with.
    """
    called: list[nn.Module] = []
    candidates = [network.base_model, getattr(network, "get_decoder", lambda: None)()]
    for body in candidates:
        if not isinstance(body, nn.Module) or body is network:
            continue

        def run(*args: Any, _body: nn.Module = body, **kwargs: Any) -> Any:
            found = _body(*args, **kwargs)
            if isinstance(getattr(found, "last_hidden_state", None), Tensor):
                called.append(_body)
            return found

        _with_body(network, body, run)(input_ids=tokens, use_cache=False)
        if called:
            return called[0]
    return None


def _with_body(network: Any, body: nn.Module, forward: Callable[..., Any]) -> Any:
    """A shallow copy of a model whose body has another forward; the model stays as it is, so that
    several threads can use it."""
    replaced = shallow(body)
    replaced.forward = forward
    return replacing(network, body, replaced)


def _part(outputs: Any, begin: int, end: int) -> Any:
    """What a body returned, of some positions."""
    kept = {"last_hidden_state": outputs.last_hidden_state[:, begin:end]}
    return type(outputs)(**kept)
