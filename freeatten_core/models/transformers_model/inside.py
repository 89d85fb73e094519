"""Which layers of a model can be looked into, and whether they are seen as they are.

Layers are seen where the architecture asks the library for its attention: then it is made here,
and shown. Some take its name and never call it, some do more to scores than is known here; so
logits are compared with the model's own, and weights with those of its own eager attention.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from freeatten_core.basics.errors import ContentError
from freeatten_core.models.config import LayerShape
from freeatten_core.models.interface import Reading
from freeatten_core.ops.operator import attention_weights
from freeatten_core.variants.stages import Computed
from freeatten_core.variants.variant import Variant

from .attention import NAME, Call, register, watched
from .config import quiet, reason
from .model import CausalModel

__all__ = ["agree", "attention_layers", "looked_into"]

SAME_LOGITS = 1e-4
SAME_WEIGHTS = 1e-4
ROUNDING_STEPS = 8


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
        if calls and agree(found, own, SAME_LOGITS, network.dtype):
            return _by_number(network, calls)
    except Exception:  # whatever the model's own code does with a mask or a name that it lacks
        pass
    network.set_attn_implementation(implementation)
    return {}


def agree(found: Tensor, own: Tensor, bound: float, dtype: torch.dtype) -> bool:
    """Whether numbers that a model computed in a type are the same: within a bound in float32, in a
    narrower type within so many steps of its rounding of the largest."""
    if dtype != torch.float32:
        bound = ROUNDING_STEPS * torch.finfo(dtype).eps * float(own.abs().max())
    return torch.allclose(found.float(), own.float(), rtol=0, atol=bound, equal_nan=True)


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


def looked_into(model: CausalModel, tokens: Tensor) -> CausalModel:
    """The model with what its attention computes, or why its layers cannot be looked into.

    Args:
        tokens: (1, L), a few to try it with.
    """
    try:
        return replace(model, variant=_checked(model, tokens))
    except ContentError as error:
        said = str(error)
    except Exception as error:  # the model's own code
        said = (
            f"{model.name}: its own attention weights cannot be had to check by "
            f"({reason(error)}), so its layers cannot be looked into"
        )
    instead = "freeatten compare and freeatten retrieve measure it all the same"
    return replace(model, maps_refused=f"{said}; {instead}")


@torch.no_grad()
def _checked(model: CausalModel, tokens: Tensor) -> Variant:
    """What the attention of every layer computes, where all weights are those of its own.

    Raises:
        ContentError: they are not, or layers compute different things; says which.
    """
    what = f"{model.name} is a {type(model.network).__name__}"
    if not model.layers:
        raise ContentError(
            f"{what}, which does not have its attention made by the library's interface, so its "
            "layers cannot be looked into"
        )
    seen, computed = _weights(model, tokens)
    own = [each for each in _eager_weights(model.network, model.read(tokens)) if each is not None]
    if len(own) != len(seen) or len(set(computed)) > 1:
        found = f"{len(seen)} layers are seen, and its own attention has weights of {len(own)}"
        differ = "some of its layers have sinks and some have none, which one map cannot show"
        raise ContentError(f"{what}: {found if len(own) != len(seen) else differ}")
    for (layer, weights), eager in zip(seen.items(), own, strict=True):
        worst = float((weights - eager.to(weights.device, torch.float32)).abs().max())
        if not worst <= SAME_WEIGHTS:
            raise ContentError(
                f"{what}: weights of layer {layer} differ by {worst:.2g} from those of its own "
                "attention, so its layers cannot be looked into"
            )
    return Variant.of(computed[0])


def _weights(model: CausalModel, tokens: Tensor) -> tuple[dict[int, Tensor], list[Computed]]:
    """Of every layer, (1, H, L, L), and what it computes."""
    seen: dict[int, Tensor] = {}
    computed: list[Computed] = []

    def show(layer: int, query: Tensor, key: Tensor, reading: Reading) -> None:
        computed.append(reading.computed)
        seen[layer] = attention_weights(
            query.float(),
            key.float(),
            reading.computed,
            enable_gqa=True,
            window=reading.window,
            softcap=reading.softcap,
            **reading.terms._asdict(),
        )

    model.run(tokens, show, lambda _: None)
    return seen, computed


def _eager_weights(network: Any, tokens: Tensor) -> tuple[Tensor | None, ...]:
    network.set_attn_implementation("eager")
    try:
        found = network(input_ids=tokens, use_cache=False, output_attentions=True).attentions
    finally:
        network.set_attn_implementation(NAME)
    return tuple(found or ())
