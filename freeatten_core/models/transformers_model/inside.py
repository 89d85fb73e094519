"""Which layers of a model can be looked into, and whether they are seen as they are.

Layers are seen where the architecture asks the library for its attention: then it is made here,
and shown. Some take its name and never call it, some do more to scores than is known here; so
logits are compared with the model's own, and weights with those of its own eager attention.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from freeatten_core.basics.errors import ContentError
from freeatten_core.models.config import LayerShape
from freeatten_core.models.interface import Reading
from freeatten_core.ops.operator import attention_weights

from .attention import NAME, Call, register, watched
from .config import quiet, reason
from .model import CausalModel

__all__ = ["attention_layers", "why_no_maps"]

SAME_LOGITS = 1e-4
SAME_WEIGHTS = 1e-4


@torch.inference_mode()
def attention_layers(network: Any, tokens: Tensor) -> dict[int, LayerShape]:
    """Has a model's attention made here, where that changes nothing.

    Returns:
        The layers with such attention, by number, in the order of a pass; none where the
        architecture keeps its own.

    Args:
        tokens: (1, L), a few to try it with.
    """
    own, implementation = (
        network(input_ids=tokens, use_cache=False).logits,
        network.config._attn_implementation,
    )
    register()
    calls: list[Call] = []
    try:
        with quiet():
            network.set_attn_implementation(NAME)
        with watched(calls.append):
            found = network(input_ids=tokens, use_cache=False).logits
        if calls and torch.allclose(found, own, atol=SAME_LOGITS, equal_nan=True):
            return _by_number(network, calls)
    except Exception:  # whatever the model's own code does with a mask or a name that it lacks
        pass
    network.set_attn_implementation(implementation)
    return {}


def _by_number(network: nn.Module, calls: list[Call]) -> dict[int, LayerShape]:
    """The calls' shapes by the number in the name of their module, as in `model.layers.3.attn`;
    by their order where names do not ascend, as where layers share a module."""
    names = {id(module): name for name, module in network.named_modules()}
    found = [re.search(r"\d+", names.get(id(call.module), "")) for call in calls]
    numbers = [int(match[0]) for match in found if match]
    if len(numbers) < len(calls) or numbers != sorted(set(numbers)):
        numbers = list(range(len(calls)))
    shapes = [
        LayerShape(call.query.shape[1], call.key.shape[1], call.key.shape[3]) for call in calls
    ]
    return dict(zip(numbers, shapes, strict=True))


def why_no_maps(model: CausalModel, tokens: Tensor) -> str | None:
    """Why layers cannot be looked into, in a sentence; None where every weight is right.

    Args:
        tokens: (1, L), a few to try it with.
    """
    architecture = type(model.network).__name__
    instead = "freeatten compare measures it all the same"
    if not model.layers:
        return (
            f"{model.name} is a {architecture}, which does not have its attention made by the "
            f"library's interface, so its layers cannot be looked into; {instead}"
        )
    try:
        worst = _differences(model, tokens)
    except ContentError as error:
        return f"{error}; {instead}"
    except Exception as error:  # the model's own code
        return (
            f"{model.name}: its own attention weights cannot be had to check by "
            f"({reason(error)}), so its layers cannot be looked into; {instead}"
        )
    layer = max(worst, key=lambda number: worst[number])
    if worst[layer] <= SAME_WEIGHTS:
        return None
    return (
        f"{model.name} is a {architecture}: weights of layer {layer} differ by "
        f"{worst[layer]:.2g} from those of its own attention, so its layers cannot be looked "
        f"into; {instead}"
    )


@torch.no_grad()
def _differences(model: CausalModel, tokens: Tensor) -> Mapping[int, float]:
    """By layer, how far any weight is from that of the model's own eager attention."""
    seen: dict[int, Tensor] = {}

    def show(layer: int, query: Tensor, key: Tensor, reading: Reading) -> None:
        seen[layer] = attention_weights(
            query.float(),
            key.float(),
            reading.computed,
            enable_gqa=True,
            window=reading.window,
            **reading.terms._asdict(),
        )

    model.run(tokens, show, lambda _: None)
    own = [each for each in _eager_weights(model.network, model.read(tokens)) if each is not None]
    if len(own) != len(seen):
        raise ContentError(
            f"{model.name}: {len(seen)} layers are seen, and its own attention has weights of "
            f"{len(own)}"
        )
    return {
        layer: float((weights - eager.float()).abs().max())
        for (layer, weights), eager in zip(seen.items(), own, strict=True)
    }


def _eager_weights(network: Any, tokens: Tensor) -> tuple[Tensor | None, ...]:
    network.set_attn_implementation("eager")
    try:
        found = network(input_ids=tokens, use_cache=False, output_attentions=True).attentions
    finally:
        network.set_attn_implementation(NAME)
    return tuple(found or ())
