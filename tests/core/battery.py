"""Whatever computes an attention, one entry each: `ops/test_battery.py` holds what all promise.

A new back-end, definition or function is an entry here and not a file of tests. The page's own
formulas, in JavaScript, are held to float64 by `tests/browser/test_map.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from unittest.mock import patch

import torch
from strategies import CALLS, FUSED_VARIANTS, VARIANTS, Call
from torch import Tensor

from freeatten_core import attention, attention_weights
from freeatten_core.analysis import AttentionMap
from freeatten_core.bench.stability import NAMED
from freeatten_core.ops.backends import choice
from freeatten_core.ops.definitions import as_written
from freeatten_core.variants.variant import Variant

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FAMILIES = ("softmax", "lssa", "lssar:p=3", "sigmoid", "softmax-r:p=15")
"""Every score, positivity and normalisation, one and two sweeps."""
WIDE, SINGLE = torch.float64, torch.float32
OWN = "written.py:softmax"
"""A function of one's own that `own_softmax` in test_battery.py writes."""


@dataclass(frozen=True)
class Computes:
    """One way to compute an attention, and how near to float64 it is."""

    name: str
    attend: Callable[..., Tensor]
    """(query, key, value, variant, **options of a call) -> output."""
    cases: tuple[tuple[str, str, Call], ...]
    """(variant, name, call): what it is compared with float64 at."""
    dtype: torch.dtype = WIDE
    device: str = "cpu"
    steps: float = 50.0
    """A row is within so many steps of rounding, times how much sharpening amplifies them."""
    gradient: Callable[[float], float] | None = None
    """The bound of a gradient, relative to its largest entry, from the worst amplification; None
    of what has no gradient."""
    variants: tuple[str, ...] = FAMILIES
    """Those that promises about memory and order are tested with."""
    poisoned: Call | None = None
    """The call whose scratch memory is checked."""
    repeated: Call | None = None
    """The call that gives the same bits twice, in float32."""
    low_precision: tuple[Call, tuple[str, ...]] | None = None
    """The call and the variants of bfloat16 and float16; None of what takes neither."""
    fixtures: tuple[str, ...] = ()

    def inputs(
        self, call: Call, dtype: torch.dtype | None = None
    ) -> tuple[list[Tensor], dict[str, object]]:
        """Query, key and value, and the options, where it computes."""
        options = {
            name: x.to(self.device) if isinstance(x, Tensor) else x
            for name, x in call.options.items()
        }
        return [x.to(self.device) for x in call.tensors(dtype or self.dtype)], options


def outcome(
    attend: Callable[..., Tensor],
    inputs: Iterable[Tensor],
    variant: str,
    options: dict[str, object],
) -> tuple[Tensor, ...]:
    """Output, and the gradients of a fixed random mixture of it, for the terms of the score too."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    terms = {
        name: x.detach().clone().requires_grad_()
        for name, x in options.items()
        if isinstance(x, Tensor)
    }
    output = attend(*leaves, variant, **options | terms)
    draw = torch.Generator().manual_seed(1)
    mixture = torch.randn(output.shape, generator=draw, dtype=WIDE).to(output)
    return output.detach(), *torch.autograd.grad(output, [*leaves, *terms.values()], mixture)


def fused(*inputs, **options):
    """The Triton kernels on any device, in their interpreter without a GPU."""
    with patch.object(choice, "chosen", lambda *_: choice.named("fused")):
        return attention(*inputs, **options)


def by_region(query, key, value, variant, *, enable_gqa=False, **options):
    """The weights of all as one region, times the values."""
    weights = attention_weights(query, key, variant, enable_gqa=enable_gqa, **options)
    return weights @ value.repeat_interleave(query.shape[1] // key.shape[1], dim=1)


def by_tiles(query, key, value, variant, *, is_causal=True, **_):
    """The exact weights of a map of every head, times the values."""
    output = query.new_empty(*query.shape[:3], value.shape[-1])
    for batch in range(len(query)):
        for head in range(query.shape[1]):
            built = AttentionMap.build(
                query[batch, head], key[batch, head], variant, is_causal=is_causal
            )
            weights = built.weights(0, query.shape[2], 0, key.shape[2])
            output[batch, head] = weights @ value[batch, head]
    return output


def written(query, key, value, variant, **_):
    return as_written.attention_as_written(query, key, value, variant)


def crossed(variants: Iterable[str], calls: dict[str, Call]) -> tuple[tuple[str, str, Call], ...]:
    return tuple(
        (variant, name, call)
        for variant in variants
        for name, call in calls.items()
        if call.fits(variant)
    )


def one_head(call: Call) -> Call:
    """The same call with the fewest heads, for the interpreter."""
    return replace(call, batch=1, heads=call.groups)


SQUARE = {name: CALLS[name] for name in ("one token", "63 tokens", "111 tokens")}
PLAIN = {
    name: one_head(CALLS[name])
    for name in ("one token", "63 tokens", "111 tokens", "not causal", "longer cache",
                 "more queries than keys", "head size 1")
}  # fmt: skip
"""Without what a map of one head is not told by a call."""
SHORT = Call(45, 50, 20, 17, batch=1, heads=1)
FEW = {name: one_head(call) for name, call in CALLS.items()}

COMPUTES = [
    Computes(
        "panels",
        attention,
        crossed(VARIANTS, CALLS),
        gradient=lambda _: 1e-11,
        low_precision=(Call(200, 200, 64, 64), tuple(VARIANTS)),
    ),
    Computes(
        "small panels",
        attention,
        crossed(VARIANTS, CALLS),
        variants=tuple(VARIANTS),
        poisoned=Call(50, 40, heads=4, groups=2),
        repeated=Call(
            65, 65, heads=4, groups=2, head_scale=True, distance_slope=True, distance_bias=30
        ),
        fixtures=("small_panels",),
    ),
    Computes("regions", by_region, crossed(FAMILIES, CALLS)),
    Computes("tiles of a map", by_tiles, crossed(VARIANTS, PLAIN)),
    Computes(
        "as written",
        written,
        crossed(map(str, Variant.parse_list(NAMED)), {"5 tokens": Call(5, 5, 16, 16),
                "40 tokens": Call(40, 40, 16, 16), "longer cache": Call(7, 40, 16, 16)}),
        steps=1e4,
    ),
    Computes(
        "a function of one's own",
        lambda *inputs, **options: attention(*inputs[:3], OWN, **options),
        crossed(["softmax"], SQUARE | {"grouped queries": CALLS["grouped queries"]}),
        dtype=SINGLE,
        steps=12.0,
        gradient=lambda _: 1e-5,
        fixtures=("own_softmax",),
    ),
]  # fmt: skip
if DEVICE == "cuda" or os.environ.get("TRITON_INTERPRET") == "1":
    COMPUTES.append(
        Computes(
            "fused",
            fused,
            (*crossed(FAMILIES, FEW), *crossed(FUSED_VARIANTS, {"45 tokens": SHORT})),
            dtype=SINGLE,
            device=DEVICE,
            steps=12.0,
            gradient=lambda worst: 48 * torch.finfo(SINGLE).eps * worst,
            poisoned=Call(35, 20, 20, 17, batch=1, groups=2),
            repeated=Call(
                40, 40, 16, 16, groups=2, head_scale=True, distance_slope=True, distance_bias=25
            ),
            low_precision=(Call(70, 70, 64, 64, batch=1, heads=1), tuple(FUSED_VARIANTS)),
            fixtures=("small_tiles", "quiet_numpy"),
        )
    )
