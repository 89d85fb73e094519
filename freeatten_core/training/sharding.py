"""A model of which every rank holds a part: weights, gradients and moments, by `fully_shard`.

A layer's weights are gathered while it computes and its gradients are added into each rank's part,
so that memory holds the parts, one layer and the embedding.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from freeatten_core.basics.distributed import Ranks
from freeatten_core.basics.errors import UsageError
from freeatten_core.models.decoder import Block, Model

from .gradients import FreshGradients, Loss, LossOf
from .start import Start

__all__ = ["ShardedGradients", "check_sharded", "drawn_anew", "gathered_bytes", "whole_model"]


class ShardedGradients(FreshGradients):
    """As of `DistributedDataParallel`, of a model that is spread over the ranks.

    The gradients of every part of a batch are added at once, which a model that fits no other way
    needs more than speed.
    """

    def __init__(
        self, loss: Loss, model: Model, ranks: Ranks, device: torch.device, parts: int = 1
    ) -> None:
        """`model` is whole, on the CPU; afterwards this rank's part of it is on the device."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(device.type, (ranks.count,))
        for block in model.blocks:
            fully_shard(_layers(cast("Block", block)), mesh=mesh)
        self._whole = LossOf(model, loss)
        self._sharded = fully_shard(self._whole, mesh=mesh)
        super().__init__(self._whole, list(model.parameters()), parts)

    @torch.no_grad()
    def _loss_of(self, part: Tensor) -> Tensor:
        found: Tensor = self._whole(part)
        self._sharded.reshard()  # what is gathered for a backward pass, which does not come
        return found


def check_sharded(ranks: Ranks) -> None:
    """Whether there are ranks to spread a model over.

    Raises:
        UsageError: there is one process.
    """
    if ranks.count == 1:
        raise UsageError(
            "--shard spreads a model over several processes, and this is one; start more, such as "
            "--gpus 2"
        )


@torch.no_grad()
def drawn_anew(model: Model, seed: int, deviation: float, start: Start | None = None) -> None:
    """`Model.initialise` of a model that may be spread over ranks, with the weights of what is
    trained on: the same on every rank."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(model.embedding.weight, DTensor):
        _begin(model, seed, deviation, start)
        return
    whole = Model(model.config)
    _begin(whole, seed, deviation, start)
    for part, drawn in zip(model.parameters(), whole.parameters(), strict=True):
        assert isinstance(part, DTensor)
        there = drawn.to(part.device)
        # every rank has drawn the same: nothing need be sent
        part.copy_(distribute_tensor(there, part.device_mesh, part.placements, src_data_rank=None))


def _begin(model: Model, seed: int, deviation: float, start: Start | None) -> None:
    model.initialise(seed, deviation)
    if start is not None:
        start.fill(model)


@torch.no_grad()
def whole_model(model: Model) -> Model:
    """A model that is spread over ranks with all its weights, on the CPU; they do it together."""
    from torch.distributed.tensor import DTensor

    if not isinstance(model.embedding.weight, DTensor):
        return model
    whole = Model(model.config)
    for own, part in zip(whole.parameters(), model.parameters(), strict=True):
        assert isinstance(part, DTensor)
        own.copy_(part.full_tensor())
    return whole


def gathered_bytes(model_numbers: int, layers: int, embedding: int) -> int:
    """What a rank has of the whole at once: the embedding and two layers, with their gradients."""
    layer = (model_numbers - embedding) // max(1, layers)
    return 2 * 4 * (embedding + 2 * layer)


def _layers(block: Block) -> list[nn.Module]:
    """What every pass calls of a block; the block itself is not, nor what else a variant has.

    Those parameters are few and gathered with the embedding.
    """
    products = [each for each in block.attention.children() if isinstance(each, nn.Linear)]
    return [block.attention_norm, *products, block.mlp_norm, block.mlp]
