"""Whatever computes an attention, one entry each: `ops/test_battery.py` holds what all promise.

A new back-end, definition or function is an entry here and not a file of tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from described import DESCRIBED, FUSED_DESCRIBED, OF_FAMILIES_DESCRIBED, STICKS_DESCRIBED
from fused_calls import (
    OF_HOPPER,
    by_hopper,
    fused,
    fused_statistics,
    fused_sticks,
    has_hopper,
    stick_statistics,
)
from pages import ask
from refusals import OF_ANY, OF_OWN, OF_QUERY_AND_KEY, Refusals
from strategies import CALLS, FUSED_VARIANTS, VARIANTS, Call
from torch import Tensor

from freeatten_core import attention, attention_weights, row_statistics
from freeatten_core.analysis import AttentionMap
from freeatten_core.analysis.map.payload import to_half
from freeatten_core.bench.stability import NAMED
from freeatten_core.mapview import pack
from freeatten_core.ops.call import ScoreTerms
from freeatten_core.ops.definitions import as_written
from freeatten_core.ops.row_statistics import RowStatistics
from freeatten_core.variants.variant import Variant

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FAMILIES = ("softmax", "lssa", "lssar:p=3", "sigmoid", "softmax-r:p=15")
"""Every score, positivity and normalisation, one and two sweeps."""
WIDE, SINGLE = torch.float64, torch.float32
LOW = (torch.bfloat16, torch.float16)
ROWS, HARD = (70, 64) if DEVICE == "cuda" else (40, 48)
"""Tokens of calls in low precision and of adversarial ones, of which the interpreter takes long."""
LONGEST = ("lssa", "lssar:p=15")
"""Those whose rows the adversary is hardest on."""
NONFINITE = ("softmax", "lssa", "lssar:p=15", "sigmoid", "relu")
PAGES: list[Any] = []
"""The page of the tests' browser that holds the component, while an entry needs it."""
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
    adversarial: tuple[tuple[str, ...], tuple[torch.dtype, ...], int] | None = None
    """The variants and types of the adversarial rows, and how many of the rows."""
    again: float = 0.0
    """Weights of those rows may be off by so many steps of rounding more, where they are computed
    again from the numbers of a row: scores reach −29, and their rounding grows with them."""
    strided: tuple[Call, tuple[str, ...]] | None = None
    """The call whose inputs lie otherwise in memory, and the variants; None of what copies them."""
    nonfinite: tuple[Call, tuple[str, ...], tuple[str, ...]] | None = None
    """The call, the variants, and which of its inputs can have a number that is not finite."""
    statistics: Callable[..., RowStatistics] | None = None
    """(query, key, variant, **options of a call) -> row statistics; None of what has none."""
    described: tuple[tuple[str, str, Call], ...] = ()
    """As `cases`, of the statistics."""
    refuses: Refusals = field(default_factory=dict)
    slow: frozenset[str] = frozenset()
    """Cases, by their variant and call, of `make slow` and `make gpu` alone."""
    rounded: Callable[[Tensor], Tensor] = lambda vectors: vectors
    """What of queries and keys it is given."""
    fixtures: tuple[str, ...] = ()

    def inputs(
        self, call: Call, dtype: torch.dtype | None = None
    ) -> tuple[list[Tensor], dict[str, object]]:
        """Query, key and value, and the options, where it computes."""
        options = {
            name: x.to(self.device) if isinstance(x, Tensor) else x
            for name, x in call.options.items()
        }
        query, key, value = (x.to(self.device) for x in call.tensors(dtype or self.dtype))
        return [self.rounded(query), self.rounded(key), value], options

    def outcome(
        self, inputs: Iterable[Tensor], variant: str, options: dict[str, object]
    ) -> tuple[Tensor, ...]:
        """Output and gradients; the output alone of what has none."""
        if self.gradient is None:
            return (self.attend(*inputs, variant, **options),)
        return outcome(self.attend, inputs, variant, options)


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


def by_region(query, key, value, variant, *, enable_gqa=False, **options):
    """The weights of all as one region, times the values."""
    weights = attention_weights(query, key, variant, enable_gqa=enable_gqa, **options)
    return weights @ value.repeat_interleave(query.shape[1] // key.shape[1], dim=1)


def own(query, key, value, variant, **options):
    """A function of one's own in a file."""
    return attention(query, key, value, {"softmax": OWN}[variant], **options)


def by_maps(read):
    """The weights that are read of a map of every head, times the values."""

    def attend(query, key, value, variant, *, is_causal=True, window=None, softcap=None, **options):
        terms = ScoreTerms(*(options.get(name) for name in ScoreTerms._fields))
        groups = query.shape[1] // key.shape[1]
        maps = [
            AttentionMap.build(
                query[batch, head],
                key[batch, head // groups],
                variant,
                is_causal=is_causal,
                window=window,
                softcap=softcap,
                terms=terms.of_head(head),
            )
            for batch in range(len(query))
            for head in range(query.shape[1])
        ]
        weights = read(maps).to(value).view(*query.shape[:3], key.shape[2])
        return weights @ value.repeat_interleave(groups, dim=1)

    return attend


def of_tiles(maps):
    return torch.stack([each.weights(0, each.query_length, 0, each.key_length) for each in maps])


ROWS_OF_PAGE = """(maps) => Promise.all(maps.map(async ({ arrays, directory, metadata }) => {
    const unpacked = await freeatten.unpacked(arrays, directory);
    const source = new freeatten.PayloadSource(unpacked, metadata);
    const { queryLength, keyLength } = source.meta;
    const side = Math.max(queryLength, keyLength);
    const { weights } = await source.region(0, queryLength, 0, keyLength, side);
    return [...weights];
}))"""


def of_page(maps):
    """The weights that the page of a map computes, in JavaScript, from what it carries."""
    rows = ask(PAGES[-1], ROWS_OF_PAGE, [pack(each.to_payload()) for each in maps])
    return torch.tensor(rows, dtype=WIDE)


def as_a_page_carries(vectors: Tensor) -> Tensor:
    """Vectors (B, H, L, D) that a payload holds exactly."""
    rounded = [half.to(vectors) * power for half, power in map(to_half, vectors.flatten(0, 1))]
    return torch.stack(rounded).view_as(vectors)


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
SHORT = Call(45, 50, 20, 17, batch=1, heads=1)
SINK = {"a sink": Call(45, 50, 20, 17, batch=1, heads=2, distance_bias=1, window=30)}
"""Of `off-by-one`, whose one more key then has a score of its own in every head."""
STICKS = {
    "45 tokens": SHORT,
    "more queries than keys": Call(40, 21, batch=1),
    "window": Call(45, 60, 20, 17, batch=1, groups=2, window=30),
}
FEW = {name: one_head(call) for name, call in CALLS.items()}
UNBOUNDED = {name: call for name, call in FEW.items() if call.softcap is None}
"""Triton has no kernels of bounded scores."""
OF_FEW_ROWS = {
    "one query": Call(1, 70, 20, 17, batch=1, heads=2),
    "one query, fewer keys than a tile": Call(1, 9, 16, 16, batch=1, heads=1),
    "one query of two heads a key head": Call(1, 70, 16, 20, batch=1, heads=4, groups=2),
    "one query, window": Call(1, 90, 16, 16, batch=1, heads=1, window=50),
    "few rows": Call(5, 70, 20, 17, batch=2, heads=1),
    "few rows, not causal": Call(5, 70, 16, 16, batch=1, heads=1, is_causal=False),
    "few rows, window": Call(5, 90, 16, 16, batch=1, heads=2, groups=2, window=40),
    "few rows, window of a few keys": Call(5, 90, 16, 16, batch=1, heads=1, window=3),
    "head scale": Call(3, 70, 16, 16, batch=1, heads=4, groups=2, head_scale=True),
    "as many rows as keys": Call(7, 7, 16, 16, batch=1, heads=1),
}
"""Calls whose keys can be shared out."""
OF_PAGE = {name: call for name, call in FEW.items() if call.query_length < 100}
"""Numbers of longer ones take seconds from a page to here."""
AS_SHIPPED = {
    f"{length} tokens of {dim}": Call(length, length, dim, dim, batch=1, heads=1)
    for dim, length in ((16, 63), (60, 111), (64, 129), (100, 70), (128, 65), (256, 33))
}
"""Head sizes with tiles of their own."""
GROUPED = {
    f"{groups} heads a key head": Call(20, 20, 16, 16, heads=2 * groups, groups=groups)
    for groups in (2, 3)
}

OF_ALL_FAMILIES = ("63 tokens", "not causal", "longer cache, not causal", "window", "everything")
INTERPRETED = frozenset(
    [
        *(f"{name}-200 tokens" for name in FAMILIES if name != "lssar:p=3"),
        *(f"{name}, repeated" for name in FAMILIES if name != "lssar:p=3"),
        *(
            f"{name}-{call}"
            for name in ("lssa", "sigmoid", "softmax-r:p=15")
            for call in UNBOUNDED
            if call not in OF_ALL_FAMILIES
        ),
        *(
            f"{name}{call}"
            for name in FUSED_VARIANTS
            if name.endswith((":p=1", ":p=2", ":p=64"))
            for call in ("", "-45 tokens")
        ),
        *(
            f"{name}-40 tokens, described"
            for name in FUSED_VARIANTS
            if name.endswith((":p=1", ":p=2", ":p=64"))
        ),
        *(
            f"{name}-40 tokens, not causal, described"
            for name in FUSED_VARIANTS
            if name not in FAMILIES
        ),
        *(
            f"{name}-torch.{dtype}"
            for name in ("lssa", "lssar:p=1", "softmax-ls")
            for dtype in ("bfloat16", "float16")
        ),
    ]
)
"""Triton's interpreter takes seconds for each, and they differ from cases that always run by the
length, by an exponent, by one stage for which those have other options, or, where a row is hard, by
a type that others have there. What is repeated differs on a GPU alone: the interpreter runs one
program after another."""
SHARED_OUT = frozenset(
    [
        *(f"{name}-one query" for name in FUSED_VARIANTS if name in INTERPRETED),
        *(
            f"{name}-{call}"
            for name in ("sigmoid", "softmax-r:p=15")
            for call in OF_FEW_ROWS
            if call not in ("one query", "one query of two heads a key head", "few rows, window")
        ),
        *(
            f"{name}-{dtype}"
            for name in (
                *LONGEST,
                "lssar:p=1",
                "lssar:p=64",
                "softplus",
                "softmax-ls",
                "softmax-ls-r:p=15",
            )
            for dtype in LOW
            if name != "lssar:p=15"
        ),
    ]
)
"""The same where keys are shared out: types differ in what is read and written alone, which rows
that are not hard show in both."""

COMPUTES = [
    Computes(
        "panels",
        attention,
        (*crossed(VARIANTS, CALLS), *crossed(["off-by-one"], SINK)),
        gradient=lambda _: 1e-11,
        low_precision=(Call(200, 200, 64, 64), tuple(VARIANTS)),
        adversarial=(tuple(VARIANTS), (SINGLE, *LOW), 1024),
        strided=(Call(9, 31, heads=6, groups=3), FAMILIES),
        nonfinite=(
            Call(40, 40, 16, 16, heads=1, window=9), (*NONFINITE, "stick-breaking"),
            ("query", "key"),
        ),
        statistics=row_statistics,
        described=crossed(VARIANTS, {"square, described": DESCRIBED["square, described"]}),
        refuses=OF_ANY,
    ),
    Computes(
        "small panels",
        attention,
        crossed(VARIANTS, CALLS),
        variants=tuple(VARIANTS),
        statistics=row_statistics,
        described=crossed(VARIANTS, DESCRIBED),
        poisoned=Call(50, 40, heads=4, groups=2),
        repeated=Call(
            65, 65, heads=4, groups=2, head_scale=True, distance_slope=True, distance_bias=30
        ),
        strided=(Call(30, 30, window=12), FAMILIES),
        fixtures=("small_panels",),
    ),
    Computes(
        "regions",
        by_region,
        crossed(FAMILIES, CALLS),
        nonfinite=(Call(40, 40, 16, 16, heads=1), NONFINITE, ("query", "key")),
        refuses=OF_QUERY_AND_KEY,
    ),
    Computes(
        "tiles of a map",
        by_maps(of_tiles),
        (*crossed(FAMILIES, FEW), *crossed(VARIANTS, SQUARE), *crossed(["off-by-one"], SINK)),
        adversarial=(LONGEST, (SINGLE,), 64),
        again=400.0,
    ),
    Computes(
        "the page of a map",
        by_maps(of_page),
        (*crossed(FAMILIES, OF_PAGE), *crossed(VARIANTS, {"45 tokens": SHORT}),
         *crossed(["off-by-one"], SINK)),
        dtype=SINGLE,
        steps=24.0,
        adversarial=(LONGEST, (SINGLE,), 32),
        again=400.0,
        rounded=as_a_page_carries,
        fixtures=("component",),
    ),
    Computes(
        "as written",
        written,
        crossed(map(str, Variant.parse_list(NAMED)), {"5 tokens": Call(5, 5, 16, 16),
                "40 tokens": Call(40, 40, 16, 16), "longer cache": Call(7, 40, 16, 16)}),
        steps=1e4,
    ),
    Computes(
        "a function of one's own",
        own,
        crossed(["softmax"], SQUARE | {"grouped queries": CALLS["grouped queries"]}),
        dtype=SINGLE,
        steps=12.0,
        gradient=lambda _: 1e-5,
        variants=("softmax",),
        strided=(Call(30, 30), ("softmax",)),
        nonfinite=(Call(40, 40, 16, 16, heads=1), ("softmax",), ("query", "key")),
        refuses=OF_OWN,
        fixtures=("own_softmax",),
    ),
]  # fmt: skip
if DEVICE == "cuda" or os.environ.get("TRITON_INTERPRET") == "1":
    COMPUTES += [
        Computes(
            "fused",
            fused,
            (
                *crossed(FAMILIES, UNBOUNDED),
                *crossed(FUSED_VARIANTS, {"45 tokens": SHORT}),
                *crossed(["off-by-one"], SINK),
            ),
            dtype=SINGLE,
            device=DEVICE,
            steps=12.0,
            gradient=lambda worst: 48 * torch.finfo(SINGLE).eps * worst,
            poisoned=Call(35, 20, 20, 17, batch=1, groups=2),
            repeated=Call(
                40, 40, 16, 16, groups=2, head_scale=True, distance_slope=True, distance_bias=25
            ),
            low_precision=(Call(ROWS, ROWS, 64, 64, batch=1, heads=1), tuple(FUSED_VARIANTS)),
            adversarial=(LONGEST, (SINGLE, *LOW), HARD),
            strided=(Call(20, 30, 16, 16, batch=1, groups=2), ("lssar:p=3",)),
            nonfinite=(Call(40, 40, 16, 16, 1, 1), NONFINITE, ("query", "key", "value")),
            statistics=fused_statistics,
            described=(
                *crossed(FUSED_VARIANTS, FUSED_DESCRIBED),
                *crossed(FAMILIES, OF_FAMILIES_DESCRIBED),
            ),
            slow=INTERPRETED,
            fixtures=("small_tiles", "quiet_numpy"),
        ),
        Computes(
            "fused, tiles as shipped",
            fused,
            (*crossed(["lssar:p=15", "softmax"], AS_SHIPPED), *crossed(["lssar:p=3"], GROUPED)),
            dtype=SINGLE,
            device=DEVICE,
            steps=12.0,
            gradient=lambda worst: 48 * torch.finfo(SINGLE).eps * worst,
            fixtures=("quiet_numpy",),
        ),
        Computes(
            "fused, coarse sums",
            fused,
            crossed(["lssar:p=3", "lssar:p=15"], {"70 tokens": Call(70, 70, 64, 64, 1, 1)}),
            dtype=torch.bfloat16,
            device=DEVICE,
            steps=1.0,
            gradient=lambda worst: 4 * torch.finfo(torch.bfloat16).eps * worst,
            variants=("lssar:p=15",),
            poisoned=Call(70, 70, 64, 64, batch=1, heads=1),
            adversarial=(("lssar:p=3", "lssar:p=15"), (torch.bfloat16,), 64),
            strided=(Call(70, 70, 64, 64, batch=1, heads=2), ("lssar:p=15",)),
            nonfinite=(Call(40, 40, 64, 64, 1, 1), ("lssar:p=15",), ("query", "key", "value")),
            fixtures=("short_coarse_calls", "quiet_numpy"),
        ),
        Computes(
            "fused, fast sweeps",
            fused,
            crossed(["lssar:p=8", "lssar:p=15"], {"70 tokens": Call(70, 70, 64, 64, 1, 1)}),
            dtype=torch.bfloat16,
            device=DEVICE,
            steps=1.0,
            gradient=lambda worst: 4 * torch.finfo(torch.bfloat16).eps * worst,
            variants=("lssar:p=15",),
            poisoned=Call(70, 70, 64, 64, batch=1, heads=1),
            adversarial=(("lssar:p=8", "lssar:p=15"), (torch.bfloat16,), 64),
            strided=(Call(70, 70, 64, 64, batch=1, heads=2), ("lssar:p=15",)),
            fixtures=("short_fast_sweeps", "quiet_numpy"),
        ),
        Computes(
            "fused, keys shared out",
            fused,
            (
                *crossed(FAMILIES, OF_FEW_ROWS),
                *crossed(
                    [name for name in FUSED_VARIANTS if name not in FAMILIES],
                    {"one query": OF_FEW_ROWS["one query"]},
                ),
            ),
            dtype=SINGLE,
            device=DEVICE,
            steps=12.0,
            adversarial=(LONGEST, (SINGLE, *LOW), 16),
            strided=(Call(3, 40, 16, 16, batch=1, groups=2), ("lssar:p=3", "softmax")),
            slow=SHARED_OUT,
            fixtures=("shared_keys", "quiet_numpy"),
        ),
        Computes(
            "fused sticks",
            fused_sticks,
            crossed(["stick-breaking"], STICKS),
            dtype=SINGLE,
            device=DEVICE,
            steps=12.0,
            gradient=lambda worst: 48 * torch.finfo(SINGLE).eps * worst,
            variants=("stick-breaking",),
            poisoned=Call(35, 20, 20, 17, batch=1, groups=2),
            repeated=Call(40, 40, 16, 16, batch=1, heads=1),
            low_precision=(Call(70, 70, 64, 64, batch=1, heads=1), ("stick-breaking",)),
            adversarial=(("stick-breaking",), (SINGLE, *LOW), HARD),
            strided=(Call(20, 30, 16, 16, batch=1, groups=2), ("stick-breaking",)),
            nonfinite=(
                Call(40, 40, 16, 16, 1, 1, window=25),
                ("stick-breaking",),
                ("query", "key", "value"),
            ),
            statistics=stick_statistics,
            described=crossed(["stick-breaking"], STICKS_DESCRIBED),
            fixtures=("small_sticks", "quiet_numpy"),
        ),
    ]
if DEVICE == "cuda" and has_hopper():
    COMPUTES += [
        Computes(
            "hopper",
            by_hopper,
            crossed(
                OF_HOPPER,
                {
                    "256 tokens": Call(256, 256, 64, 64, batch=2, heads=2),
                    "384 tokens, heads of 128": Call(384, 384, 128, 128, batch=1, heads=1),
                    "grouped": Call(128, 128, 64, 64, batch=2, heads=4, groups=2),
                },
            ),
            dtype=torch.bfloat16,
            device=DEVICE,
            steps=1.0,
            gradient=lambda worst: 4 * torch.finfo(torch.bfloat16).eps * worst,
            variants=("lssar:p=15",),
            poisoned=Call(256, 256, 64, 64, batch=1, heads=1),
            adversarial=(OF_HOPPER, (torch.bfloat16,), 64),
            strided=(Call(128, 128, 64, 64, batch=1, heads=2), ("lssar:p=15",)),
            nonfinite=(Call(128, 128, 64, 64, 1, 1), ("lssar:p=15",), ("query", "key", "value")),
            fixtures=("quiet_numpy",),
        ),
    ]
