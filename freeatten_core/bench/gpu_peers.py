"""What attention on a GPU is compared with: PyTorch's own kernels, FlexAttention, dense forms.

Every peer takes query, key and value (B, H, L, D) and gives causal attention (B, H, L, D); each
says which variant it claims to compute, and `gpu_benchmark` checks the claim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention, softplus

from freeatten_core.ops.call import FIRST_ROWS
from freeatten_core.ops.definitions import staged
from freeatten_core.ops.operator import attention
from freeatten_core.variants.stages import Stages
from freeatten_core.variants.variant import PLAIN, Variant

from .rounds import Forward, Latency, Pass

__all__ = [
    "BASELINE",
    "COMPILED_GROUPS",
    "GROUPS",
    "Peer",
    "causal_mask",
    "flex_form",
    "flex_lssa",
    "flex_lssar",
    "latency_peers",
    "peers",
    "scaled_directions",
    "sdpa",
]

BASELINE = "sdpa flash"
GROUPS = ("cudnn", "flex", "compiled", "naive")
"""What can be left out; the baseline and the variants' own kernels are always measured."""
COMPILED_GROUPS = ("flex", "compiled")

NAIVE_COPIES: Mapping[Pass, float] = {"forward": 10.5, "backward": 11.6, "both": 11.6}
COMPILED_COPIES: Mapping[Pass, float] = {"forward": 2.5, "backward": 4.1, "both": 4.1}
"""How many L×L matrices a head the dense LSSAR holds at its peak when a backward is to follow:
10.5 and 11.6 counted in eager mode, 2.5 to 3.0 and 4.1 to 4.5 measured when compiled (on a CPU).
"""

NARROW = 16
"""Columns of value in FlexAttention's first call for LSSAR, of which only the row sums are used;
a matrix unit takes no fewer."""


@dataclass(frozen=True)
class Peer:
    forward: Forward
    variant: Variant
    """What it says it computes."""
    dense_copies: Mapping[Pass, float] = field(default_factory=dict)
    """How many L×L matrices a head it holds at the peak of a pass."""


def peers(
    variants: Sequence[Variant], groups: Sequence[str], length: int, device: torch.device
) -> dict[str, Peer]:
    """What is measured at one length, the baseline first.

    Args:
        variants: timed with their own kernels; FlexAttention where it has a form of them, and
            the dense forms of the first.
        groups: which of GROUPS.
        length: of the masks.
        device: of the masks.
    """
    softmax, first = PLAIN["softmax"], variants[0]
    found = {BASELINE: Peer(sdpa(SDPBackend.FLASH_ATTENTION), softmax)}
    if "cudnn" in groups:
        found["sdpa cudnn"] = Peer(sdpa(SDPBackend.CUDNN_ATTENTION), softmax)
    found |= {str(each): Peer(partial(attention, variant=each), each) for each in variants}
    if "flex" in groups:
        found |= dict(_flex_peers(variants, length, device))
    dense = partial(staged.reference_attention, variant=first)
    if "compiled" in groups:
        found[f"{first} compiled"] = Peer(_compiled(dense), first, COMPILED_COPIES)
    if "naive" in groups:
        found[f"{first} naive"] = Peer(dense, first, NAIVE_COPIES)
    return found


def latency_peers(
    variants: Sequence[Variant], groups: Sequence[str], kind: Latency
) -> dict[str, Peer]:
    """What a caller's wait is measured of, the baseline first; arguments as of `peers`."""
    softmax = PLAIN["softmax"]
    causal = kind == "short"  # one query sees every key, and PyTorch aligns its mask top-left
    found = {BASELINE: Peer(sdpa(SDPBackend.FLASH_ATTENTION, is_causal=causal), softmax)}
    if "cudnn" in groups:
        cudnn = sdpa(SDPBackend.CUDNN_ATTENTION, is_causal=causal)
        found["sdpa cudnn"] = Peer(cudnn, softmax)
    return found | {str(each): Peer(partial(attention, variant=each), each) for each in variants}


def sdpa(backend: SDPBackend, *, is_causal: bool = True) -> Forward:
    """PyTorch's softmax attention by one back-end and no other."""

    def forward(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(query, key, value, is_causal=is_causal)

    return forward


def _compiled(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compiled for one shape and as one graph: it fails rather than fall back to eager code."""
    compiled: Callable[..., Tensor] = torch.compile(forward, dynamic=False, fullgraph=True)
    return compiled


# FlexAttention


def _flex_peers(
    variants: Sequence[Variant], length: int, device: torch.device
) -> Iterator[tuple[str, Peer]]:
    mask = cache(partial(causal_mask, length, device))
    for variant in variants:
        form = flex_form(variant)
        if form is not None:
            yield f"{variant} flex", Peer(_masked(_compiled(form), mask), variant)


def _masked(form: Callable[..., Tensor], mask: Callable[[], BlockMask]) -> Forward:
    return lambda query, key, value: form(query, key, value, mask())


def causal_mask(length: int, device: torch.device) -> BlockMask:
    def visible(_batch: Tensor, _head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        return row >= column

    return create_block_mask(visible, None, None, length, length, device=str(device))


def flex_form(variant: Variant) -> Callable[..., Tensor] | None:
    """`form(query, key, value, mask)` by FlexAttention; None for what is not LSSA or LSSAR."""
    match variant.computes:
        case Stages("length-cosine", "softplus", "l1", None):
            return flex_lssa
        case Stages("length-cosine", "softplus", "l1", int(power)):
            return partial(flex_lssar, power=power)
    return None


def flex_lssa(query: Tensor, key: Tensor, value: Tensor, mask: BlockMask) -> Tensor:
    """LSSA in one call: softmax of `log softplus(s)`."""
    query, key = scaled_directions(query, key)
    return flex_attention(query, key, value, score_mod=_log_softplus, block_mask=mask, scale=1.0)


def flex_lssar(query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, *, power: int) -> Tensor:
    """LSSAR in two calls: softmax of `p · log relu(u)`, `u = N·f/S − O`, after one that gives `S`.

    Without this project's rule for near-uniform rows, which random rows do not meet.
    """
    from torch.nn.attention.flex_attention import AuxRequest  # torch >= 2.9

    query, key = scaled_directions(query, key)
    _, sums = flex_attention(
        query,
        key,
        value[..., :NARROW].detach(),
        score_mod=_log_softplus,
        block_mask=mask,
        scale=1.0,
        return_aux=AuxRequest(lse=True),
    )
    assert sums.lse is not None
    to_share = _visible_counts(query) * torch.exp(-sums.lse)  # N / S, (B, H, L)

    def sharpened(
        score: Tensor, batch: Tensor, head: Tensor, row: Tensor, _column: Tensor
    ) -> Tensor:
        share = softplus(score) * to_share[batch, head, row]
        above = share - torch.where(row < FIRST_ROWS, 0.0, 1.0)
        positive = above > 0
        # the inner `where` keeps the gradient of what is masked finite
        logarithm = torch.where(positive, above, 1.0).log()
        return torch.where(positive, power * logarithm, -torch.inf)

    return flex_attention(query, key, value, score_mod=sharpened, block_mask=mask, scale=1.0)


def scaled_directions(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Query and key whose products are LSSA's scores, in their own type.

    Normalised in float32, `log D · log N` on the query's side, and rounded back: what a user of
    FlexAttention can write without a gradient through every score for the norms.
    """
    scale = math.log(query.shape[-1]) * _visible_counts(query).log()
    unit_query = staged.unit(query.float()) * scale[:, None]
    return unit_query.to(query.dtype), staged.unit(key.float()).to(key.dtype)


def _visible_counts(query: Tensor) -> Tensor:
    """`N` of every row, (L,), float32."""
    return torch.arange(1, query.shape[2] + 1, device=query.device, dtype=torch.float32)


def _log_softplus(
    score: Tensor, _batch: Tensor, _head: Tensor, _row: Tensor, _column: Tensor
) -> Tensor:
    return softplus(score).log()
