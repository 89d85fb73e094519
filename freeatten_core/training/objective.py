"""What training lowers: the loss of a batch, its gradients, and the loss of the validation text."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from freeatten_core.basics.distributed import ALONE, Ranks
from freeatten_core.data.tasks.task import UNSCORED
from freeatten_core.models.decoder import Model
from freeatten_core.models.places import Places
from freeatten_core.ops.backends.choice import FUSED_DIMS, is_fused
from freeatten_core.variants.stages import OwnFunctionName, Stages

from .batches import BatchSource
from .gradients import FreshGradients, RankGradients, ReplayedGradients, compiled_attention
from .sharding import ShardedGradients
from .standings import Standings

__all__ = ["Objective", "compiled_loss", "plain_loss"]

Loss = Callable[[Tensor], Tensor]
"""What a source has drawn to the mean nats per scored token, ()."""


class Objective:
    """A model's loss on what a source draws; on a GPU compiled, its gradients a replayed graph.

    Args:
        source: of this rank's shard.
        seed: of what positions draw.
        parts: of a batch, computed one after another.
        ranks: whose mean is the loss of the batch.
        shard_on: the device that a part of the model goes to, if it is to be spread over the ranks.
    """

    def __init__(
        self,
        model: Model,
        source: BatchSource,
        seed: int,
        parts: int = 1,
        ranks: Ranks = ALONE,
        shard_on: torch.device | None = None,
    ) -> None:
        self._source, self._ranks = source, ranks
        self._standings = Standings(model, seed, shard_on or model.embedding.weight.device)
        on_gpu = model.embedding.weight.is_cuda
        # one's own function may read values back, which neither a compiler nor a graph can
        own = isinstance(model.config.variant.computes, OwnFunctionName)
        plain = own or not on_gpu
        sharded_on_gpu = shard_on is not None and shard_on.type == "cuda" and not own
        self.loss = (
            plain_loss(model, source, self._standings, in_bfloat16=sharded_on_gpu)
            if plain
            else compiled_loss(model, source, self._standings)
        )
        self._gradients: FreshGradients
        if shard_on is not None:
            self._gradients = ShardedGradients(self.loss, model, ranks, shard_on, parts)
        elif ranks.count > 1:
            self._gradients = RankGradients(self.loss, model, ranks, parts)
        else:
            kind = FreshGradients if plain else ReplayedGradients
            self._gradients = kind(self.loss, list(model.parameters()), parts)

    def gradients(self, step: int, steps: int) -> Tensor:
        """The loss of one of so many steps in the shard, (); `.grad` has the batch's gradients."""
        self._standings.at(step, steps)
        return self._gradients(self._source.training(step))

    def validation(self) -> float:
        """Mean nats per token over the fixed validation windows."""
        self._standings.rest()
        losses = [self._gradients.value(batch) for batch in self._source.validation()]
        return float(self._ranks.mean(torch.stack(losses).mean()))


def plain_loss(
    model: Model, source: BatchSource, standings: Standings, *, in_bfloat16: bool = False
) -> Loss:
    """As the model is, on any device; on CUDA in bfloat16 with float32 weights if asked for."""

    def loss(drawn: Tensor) -> Tensor:
        tokens, targets = source.split(drawn)
        with torch.autocast("cuda", torch.bfloat16, enabled=in_bfloat16):
            hidden = model.hidden(tokens, places=standings.places())
            return model.losses_of(hidden, targets)[targets != UNSCORED].mean()

    return loss


def compiled_loss(model: Model, source: BatchSource, standings: Standings) -> Loss:
    """On CUDA, in bfloat16 with float32 weights; changes how the model attends."""
    torch.set_float32_matmul_precision("high")
    computed = model.config.variant.computes
    unfused = isinstance(computed, Stages) and not is_fused(computed)
    dims = {model.config.head_dim, *(each.head_dim for each in model.config.shapes)}
    if unfused or not dims.issubset(FUSED_DIMS):
        model.attend = compiled_attention

    @torch.compile
    def loss(drawn: Tensor, places: Places) -> Tensor:
        tokens, targets = source.split(drawn)
        with torch.autocast("cuda", torch.bfloat16):
            logits = model.logits(model.hidden(tokens, places=places))
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), targets.flatten(), ignore_index=UNSCORED
        )

    return lambda drawn: loss(drawn, standings.places())
