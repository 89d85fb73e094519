"""One attention call, checked: what every kernel is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from freeatten_core.basics.checks import check_flag, whole
from freeatten_core.basics.errors import UsageError
from freeatten_core.positions.rope import Rope
from freeatten_core.variants.stages import Computed, OwnFunctionName, Stages, stages_of
from freeatten_core.variants.variant import Variant

from .names import computes_of

__all__ = [
    "FIRST_ROWS",
    "LOG2_E",
    "NORM_EPS",
    "NO_TERMS",
    "SOFTPICK_EPS",
    "UNIFORM_TOLERANCE",
    "VANISHING",
    "Attend",
    "Familiar",
    "Problem",
    "ScoreTerms",
    "check",
    "check_tensors",
    "compute_dtype",
    "in_transform",
    "visible_scores",
    "what_computes",
]

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

PLAIN = (bool, int, float, type, Stages)
"""Options whose equality says all."""

MOST_CHECKED = 1024
"""Calls that are remembered as checked."""

LOG2_E = math.log2(math.e)
LARGEST_EXPONENT = 80.0
"""Scores below this can go through `2^x` in float32 without a shift (it overflows at 88)."""


@dataclass(frozen=True)
class Familiar:
    """How keys farther back than any that the model met in training are made familiar.

    Undoing the rotation alone is ReRoPE (Su 2023) with a window of the training length.
    """

    rope: Rope
    rotation: bool = False
    """Far keys are turned as the farthest in training were, `rope.train_length − 1` tokens."""
    scale: bool = False
    """The growth of the score with N is undone beyond the training length."""


NORM_EPS = 1e-6
"""A query or key with a norm at or below this has no direction: its cosines are scaled by 1/eps
and no gradient flows through its direction. Ours."""

UNIFORM_TOLERANCE = 1e-4
"""A row whose largest share is within this of the mean share counts as uniform. Ours: the paper
divides 0 by 0 there."""

SOFTPICK_EPS = 1e-6
"""In the denominator of softpick, whose row is 0/0 where every score is 0 (its authors' code)."""

VANISHING = 2.0**-100
"""What a sum that nothing was shifted out of must reach to be divided by, below float64.

`N/S` overflows soon below it, and times a weight that underflowed is no number: softplus of scores
below −69, which gated rows come to. Such a row is 0, as one without a visible key.
"""

FIRST_ROWS = 3
"""Rows that see at most this many keys are re-weighted without the offset (the paper)."""


in_transform: Callable[[], bool] = getattr(
    torch._C, "_are_functorch_transforms_active", lambda: True
)
"""Whether `torch.func` is at work around a call."""


class ScoreTerms(NamedTuple):
    """What is learned of scores, a row a head; None for what a call does without.

    A score `s` at distance `d = i − j` becomes
    `head_scale · s − distance_slope · d + distance_bias[min(d, T − 1)]`; the `log N` that some
    scores subtract is not scaled. A cap of scores bounds `head_scale · s` alone. With `c` the
    decay, the positivity is multiplied with `exp(c_i − c_j)`, for `exp` in its exponent.
    """

    head_scale: Tensor | None = None
    """(H,)"""
    distance_slope: Tensor | None = None
    """(H,)"""
    distance_bias: Tensor | None = None
    """(H, T)"""
    decay: Tensor | None = None
    """(B, H, Lk), a running sum of what is kept: it never rises along the keys."""

    @property
    def depends_on_distance(self) -> bool:
        return self.distance_slope is not None or self.distance_bias is not None

    @property
    def is_empty(self) -> bool:
        return self.head_scale is None and self.decay is None and not self.depends_on_distance

    def map(self, change: Callable[[Tensor], Tensor]) -> ScoreTerms:
        """The same with every tensor changed, for example moved or rounded."""
        return ScoreTerms(*(None if x is None else change(x) for x in self))

    def of_head(self, head: int) -> ScoreTerms:
        """Those of one head, as of a call with that head alone."""
        chosen = slice(head, head + 1)
        decay = None if self.decay is None else self.decay[:, chosen]
        return self._replace(decay=None).map(lambda each: each[chosen])._replace(decay=decay)

    def of_keys(self, start: int, stop: int) -> ScoreTerms:
        """Those of a call whose keys are start … stop of this one's."""
        if self.decay is None:
            return self
        return self._replace(decay=self.decay[:, :, start:stop])

    def by_distance(self, length: int, dtype: torch.dtype) -> Tensor | None:
        """What is added to a score at the distances 0 … length − 1, (H, length)."""
        table = None
        if self.distance_slope is not None:
            steps = torch.arange(length, device=self.distance_slope.device)
            table = -self.distance_slope.to(dtype)[:, None] * steps
        if self.distance_bias is not None:
            reach = torch.arange(length, device=self.distance_bias.device)
            bias = self.distance_bias.to(dtype)[:, reach.clamp(max=self.distance_bias.shape[1] - 1)]
            table = bias if table is None else table + bias
        return table

    def undo_by_distance(self, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of slope (H,) and bias (H, T) from that of `by_distance`, (H, length)."""
        slope = bias = None
        if self.distance_slope is not None:
            steps = torch.arange(grad.shape[1], device=grad.device)
            slope = -(grad.double() * steps).sum(-1).to(grad.dtype)
        if self.distance_bias is not None:
            terms = self.distance_bias.shape[1]
            bias = grad.new_zeros(len(grad), terms)
            bias[:, : grad.shape[1]] = grad[:, :terms]
            bias[:, -1] += grad[:, terms:].sum(-1)
        return slope, bias


NO_TERMS = ScoreTerms()


class Attend(Protocol):
    """A causal attention operator that models call; a wrapper hands on every argument."""

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        computed: Computed,
        /,
        *,
        window: int | None = None,
        familiar: Familiar | None = None,
        terms: ScoreTerms = NO_TERMS,
    ) -> Tensor:
        """Output (B, H, L, D) of query, key and value, as large; fewer key heads allowed.

        `window` is given under `+window` and by local layers, `familiar` under `+rerope`, `terms`
        where the layer has a slope or forgets, and none of them otherwise.
        """
        ...


@dataclass(frozen=True)
class Problem:
    """Shapes and options of one call. Kernels take tensors in the shapes named here.

    Query heads that share a key head are a *group*: queries are (B·Hkv, G, Lq, D), keys and
    values (B·Hkv, Lk, D), so that grouped queries never repeat a key.
    """

    variant: Stages
    """Its stages alone: neither modifiers nor functions of one's own reach a kernel."""
    batch: int
    heads: int
    kv_heads: int
    query_length: int
    key_length: int
    dim: int
    is_causal: bool
    window: int | None = None
    softcap: float | None = None
    """Bound of what scores are made of queries and keys, before anything is added to them."""

    @property
    def groups(self) -> int:
        return self.heads // self.kv_heads

    @property
    def first_row(self) -> int:
        """The first row that sees a key; rows before it give zero outputs."""
        return max(0, self.query_length - self.key_length) if self.is_causal else 0

    def visible_count(self, start: int, stop: int, like: Tensor) -> Tensor:
        """`N` of rows start…stop, (stop − start,), in the type and on the device of `like`."""
        if not self.is_causal:
            return like.new_full((stop - start,), float(self.key_length))
        row = torch.arange(start, stop, device=like.device)
        count = (row + 1 + self.key_length - self.query_length).clamp(min=0)
        if self.window is not None:
            count = count.clamp(max=self.window)
        return count.to(like.dtype)

    def key_range(self, start: int, stop: int) -> tuple[int, int]:
        """The keys that at least one of the rows start…stop sees."""
        if not self.is_causal:
            return 0, self.key_length
        shift = self.key_length - self.query_length
        low = 0 if self.window is None else max(0, start + shift + 1 - self.window)
        return low, min(self.key_length, stop + shift)

    @cached_property
    def scale_slope(self) -> float:
        """What a row multiplies `q·k` (or `cos`) with is `scale_slope · log N + scale_base`."""
        return {"length-cosine": math.log(self.dim), "count-cosine": 1.0}.get(
            self.variant.score, 0.0
        )

    @cached_property
    def scale_base(self) -> float:
        if self.scale_slope:
            return 0.0
        if self.variant.scale is not None:
            return self.variant.scale
        return math.log(self.dim) if self.variant.cosine else 1 / math.sqrt(self.dim)

    @property
    def largest_scale(self) -> float:
        """Of any row of two keys or more: no cosine score is larger."""
        return self.scale_slope * math.log(max(2, self.key_length)) + self.scale_base

    @property
    def takes_base_2(self) -> bool:
        """Whether `2^x` of score · log2 e gives the positivity: always for `exp`, whose scores are
        shifted, and for softplus where no cosine can overflow it. Nothing else is in the score."""
        if self.variant.positivity != "softplus":
            return self.variant.positivity == "exp"
        return self.variant.cosine and self.largest_scale < LARGEST_EXPONENT

    def score_scale(self, count: Tensor) -> Tensor:
        """What a row multiplies `q·k` (or `cos`) with, the shape of `count`."""
        return self.scale_slope * count.clamp(min=1).log() + self.scale_base


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """The type of scores, sums and powers, whatever is rounded to the type of a tensor."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def visible_scores(problem: Problem) -> int:
    """How many (query, key) pairs a call has, hidden ones left out."""
    rows, keys = problem.query_length, problem.key_length
    if not problem.is_causal:
        pairs = rows * keys
    else:
        last = min(rows, keys)  # rows that see a key see keys − last + 1 … keys of them
        pairs = last * (2 * keys - last + 1) // 2
        if problem.window is not None:  # rows hide what they would see beyond it: 0, 1, 2 …
            most = max(0, keys - problem.window)
            least = max(0, keys - last - problem.window)
            pairs -= (most * (most + 1) - least * (least + 1)) // 2
    return problem.batch * problem.heads * pairs


def what_computes(variant: Variant | Computed | str) -> Computed:
    """What an operator is asked for.

    Raises:
        ValueError: an unknown variant, or one with modifiers or of other positions or gates.
    """
    if isinstance(variant, (Stages, OwnFunctionName)):  # unions are unknown to older compilers
        return variant
    if torch.compiler.is_compiling():
        from .traced import parsed  # loads the compiler, which eager code does without

        return parsed(variant)
    return computes_of(variant)


def check(
    query: Tensor,
    key: Tensor,
    value: Tensor | None,
    variant: Variant | Computed | str,
    *,
    is_causal: bool,
    enable_gqa: bool,
    terms: ScoreTerms = NO_TERMS,
    window: int | None = None,
    softcap: float | None = None,
) -> Problem:
    """The call as a `Problem`, or an error that names the argument, its value and the limit.

    What was checked once is known again: a short call takes longer to check than to compute.
    """
    computed = what_computes(variant)
    known = None
    if terms.is_empty and not torch.compiler.is_compiling():
        flags = type(is_causal), is_causal, type(enable_gqa), enable_gqa
        bounds = type(window), window, type(softcap), softcap
        known = _known(query, key, value, computed, *flags, *bounds)
    problem = None if known is None else _checked.get(known)
    if problem is not None:
        return problem
    problem = _check(
        query, key, value, stages_of(computed), is_causal, enable_gqa, terms, window, softcap
    )
    if known is not None:
        if len(_checked) >= MOST_CHECKED:
            _checked.clear()
        _checked[known] = problem
    return problem


_checked: dict[Hashable, Problem] = {}


def _known(query: Tensor, key: Tensor, value: Tensor | None, *options: Any) -> Hashable:
    """All that a check reads of a call; None where a tensor or an option is none of the plain
    ones, which only a check can read."""
    found: list[Any] = []
    for x in (query, key) if value is None else (query, key, value):
        if type(x) is not Tensor or x.layout is not torch.strided:
            return None
        found += (x.dtype, x.device, x.shape)
    for option in options:
        if option is not None and not isinstance(option, PLAIN):
            return None
    return *found, *options


def _check(
    query: Tensor,
    key: Tensor,
    value: Tensor | None,
    stages: Stages,
    is_causal: bool,
    enable_gqa: bool,
    terms: ScoreTerms,
    window: int | None,
    softcap: float | None,
) -> Problem:
    """`check` of what is not known."""
    check_flag("is_causal", is_causal)
    if stages.needs_order and not is_causal:
        raise UsageError(
            f"{stages} needs is_causal=True: it goes back from a row's own key, key by key"
        )
    check_flag("enable_gqa", enable_gqa)
    named = {"query": query, "key": key} | ({} if value is None else {"value": value})
    check_tensors(named)
    batch, heads, query_length, dim = query.shape
    kv_heads, key_length = key.shape[1], key.shape[2]
    for name, tensor in named.items():
        if tensor.shape[0] != batch:
            raise ValueError(f"{name} has batch {tensor.shape[0]}; query has {batch}")
    if key.shape[3] != dim:
        raise ValueError(f"key has head size {key.shape[3]}; query has {dim}")
    if value is not None and value.shape[1:3] != key.shape[1:3]:
        raise ValueError(
            f"value has (heads, length) {tuple(value.shape[1:3])}; key has {tuple(key.shape[1:3])}"
        )
    if heads != kv_heads and not (enable_gqa and heads % kv_heads == 0):
        rule = "a divisor of it" if enable_gqa else "equal unless enable_gqa=True"
        raise ValueError(f"key has {kv_heads} heads, query {heads}; it must be {rule}")
    shapes = {"distance_bias": (heads, None), "decay": (batch, heads, key_length)}
    for name, term in zip(ScoreTerms._fields, terms, strict=True):
        if term is not None:
            _check_term(name, term, shapes.get(name, (heads,)), query)
            if name != "head_scale" and not is_causal:
                raise ValueError(f"{name} needs is_causal=True")
    if terms.decay is not None and not stages.can_forget:
        raise ValueError(
            f"decay goes with rows that are divided by their sum (l1), not with {stages}"
        )
    return Problem(
        variant=stages,
        batch=batch,
        heads=heads,
        kv_heads=kv_heads,
        query_length=query_length,
        key_length=key_length,
        dim=dim,
        is_causal=is_causal,
        window=None if window is None else min(_window(window, is_causal), key_length),
        softcap=None if softcap is None else _softcap(softcap),
    )


def _window(window: int, is_causal: bool) -> int:
    try:
        window = whole(window)
    except TypeError:
        raise TypeError(f"window is {window!r}; it must be a whole number, at least 1") from None
    if not is_causal or window < 1:
        raise ValueError(f"window is {window}; it must be at least 1, with is_causal=True")
    return window


def _softcap(softcap: float) -> float:
    legal = "it must be a number above 0"
    if isinstance(softcap, bool) or not isinstance(softcap, int | float):
        raise TypeError(f"softcap is {softcap!r}; {legal}")
    if not 0 < softcap < math.inf:
        raise ValueError(f"softcap is {softcap}; {legal}")
    return float(softcap)


def check_tensors(named: Mapping[str, Tensor]) -> None:
    for name, tensor in named.items():
        _check_tensor(name, tensor, named["query"])


def _check_tensor(name: str, tensor: Tensor, query: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}; it must be a tensor")
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} is {tensor.layout}; it must be a dense tensor")
    if tensor.dtype not in FLOATS:
        raise TypeError(
            f"{name} is {tensor.dtype}; it must be float16, bfloat16, float32 or float64"
        )
    if tensor.dtype != query.dtype:
        raise TypeError(f"{name} is {tensor.dtype}, query is {query.dtype}; one type")
    if tensor.device != query.device:
        raise ValueError(f"{name} is on {tensor.device}, query on {query.device}; one device")
    if tensor.ndim != 4:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}; "
            "it must have 4 dimensions (batch, heads, length, head size)"
        )
    if 0 in tensor.shape[1:]:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}; every size but the batch must be at least 1"
        )


def _check_term(name: str, term: Tensor, shape: tuple[int | None, ...], query: Tensor) -> None:
    """`shape` has None where any length from 1 on will do."""
    wanted = str(shape).replace("None", "T")
    per = "a row a head and T at least 1" if None in shape else "one a head"
    if name == "decay":
        per = "one a head and key"
    if not isinstance(term, Tensor):
        raise TypeError(f"{name} is a {type(term).__name__}; it must be a tensor {wanted}, {per}")
    if not term.is_floating_point():
        raise TypeError(f"{name} is {term.dtype}; it must be a floating-point type")
    free = [size or found for size, found in zip(shape, term.shape, strict=False)]
    if term.ndim != len(shape) or list(term.shape) != free or 0 in term.shape:
        raise ValueError(f"{name} has shape {tuple(term.shape)}; it must be {wanted}, {per}")
    if term.device != query.device:
        raise ValueError(f"{name} is on {term.device}, query on {query.device}; one device")
