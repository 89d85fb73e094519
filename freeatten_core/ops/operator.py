"""`attention(query, key, value, variant)`: check the call, choose the kernel."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from freeatten_core.basics.checks import check_flag, whole
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.precision import autocast_together, without_autocast
from freeatten_core.variants.stages import Computed, OwnFunctionName
from freeatten_core.variants.variant import Variant

from . import registered
from .backends import choice
from .call import NO_TERMS, Familiar, ScoreTerms, check, check_tensors, what_computes
from .definitions import own_function
from .row_statistics import RowStatistics

__all__ = [
    "attention",
    "attention_weights",
    "familiar_attention",
    "grouped_attention",
    "row_statistics",
]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    variant: Variant | Computed | str = "softmax",
    *,
    is_causal: bool = True,
    enable_gqa: bool = False,
    head_scale: Tensor | None = None,
    distance_slope: Tensor | None = None,
    distance_bias: Tensor | None = None,
    decay: Tensor | None = None,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Attention of any variant in memory linear in the length, with gradients.

    CUDA tensors of head sizes 16 to 256 take fused kernels where Triton is; all others, float64,
    `softcap`, `entmax15`, `softpick` and stick-breaking not of q·k / √D alone go through panels.

    Like `torch.nn.functional.scaled_dot_product_attention`, with two differences: it is causal
    by default, and causal masks are aligned bottom-right: row `i` sees keys up to `Lk − Lq + i`.
    A row that sees no key gives zeros, an empty batch an empty output. Non-finite inputs are not
    checked. Autocast casts query, key and value, not float64. `torch.compile` sees one operator.
    Gradients are the same, bit for bit, every time; PyTorch alone may write to the output before.

    Args:
        query: (B, H, Lq, D); float16, bfloat16, float32 or float64, on any device.
        key: (B, Hkv, Lk, D), with Hkv = H unless `enable_gqa`.
        value: (B, Hkv, Lk, Dv).
        variant: a name such as `"lssar:p=15"`, or a `Variant`; with a function of one's own,
            memory and speed are the function's.
        is_causal: whether a row sees only keys up to its own.
        enable_gqa: let `H / Hkv` consecutive query heads share one key head.
        head_scale: (H,), multiplies a head's score; of any floating-point type, as the next two.
        distance_slope: (H,), `slope · (i − j)` is subtracted from the score; needs `is_causal`.
        distance_bias: (H, T), added at distance `i − j`, beyond its end the last; as the slope.
        decay: (B, H, Lk), `c`, which never rises along the keys; of any floating-point type. Needs
            `is_causal` and `l1`: a pair keeps `exp(c_i − c_j)` of its positivity before that, and
            keys that this leaves less than 2^−24 of a row together may be left out.
        window: a row sees at most this many keys, its own included; needs `is_causal`.
        softcap: a scaled score `s` becomes `softcap · tanh(s / softcap)` before anything is added
            to it (Gemma 2, arXiv 2408.00118).

    Returns:
        (B, H, Lq, Dv), in the type of `value`.

    Raises:
        TypeError, ValueError: not a floating-point tensor, mixed types; an unknown variant, or a
            rank, size, device or option out of range.
    """
    computed = what_computes(variant)
    terms = ScoreTerms(head_scale, distance_slope, distance_bias, decay)
    query, key, value = autocast_together(query, key, value)
    if isinstance(computed, OwnFunctionName):
        _check_own(computed, [query, key, value], is_causal, terms, window, softcap)
        return own_function.attend(query, key, value, computed)
    flags: dict[str, Any] = {"is_causal": is_causal, "enable_gqa": enable_gqa, "terms": terms}
    problem = check(query, key, value, computed, **flags, window=window, softcap=softcap)
    return registered.attention(problem, query, key, value, terms)


@without_autocast()
def attention_weights(
    query: Tensor,
    key: Tensor,
    variant: Variant | Computed | str = "softmax",
    *,
    is_causal: bool = True,
    enable_gqa: bool = False,
    head_scale: Tensor | None = None,
    distance_slope: Tensor | None = None,
    distance_bias: Tensor | None = None,
    decay: Tensor | None = None,
    window: int | None = None,
    softcap: float | None = None,
    rows: slice = slice(None),
    cols: slice = slice(None),
) -> Tensor:
    """The exact weights of a region of the attention matrix, and of that region alone.

    Args:
        query, key, variant, is_causal, enable_gqa, head_scale, distance_slope, distance_bias,
            decay, window, softcap: as in `attention`; there is no gradient.
        rows: the queries wanted.
        cols: the keys wanted. Whole rows are computed, in panels, whatever the columns.

    Returns:
        (B, H, rows, cols), float32 (float64 for float64 inputs).

    Raises:
        As `attention`; ValueError also for a region that is empty, reversed or has a step.
    """
    terms = ScoreTerms(head_scale, distance_slope, distance_bias, decay)
    query, key, weighed_by = _weighed(query, key, variant, is_causal, terms, window, softcap)
    problem = check(
        query,
        key,
        None,
        weighed_by,
        is_causal=is_causal,
        enable_gqa=enable_gqa,
        terms=terms,
        window=window,
        softcap=softcap,
    )
    row_range = _span("rows", rows, problem.query_length)
    key_range = _span("cols", cols, problem.key_length)
    return choice.region_weights(problem, query, key, row_range, key_range, terms)


@without_autocast()
def row_statistics(
    query: Tensor,
    key: Tensor,
    variant: Variant | Computed | str = "softmax",
    *,
    is_causal: bool = True,
    enable_gqa: bool = False,
    head_scale: Tensor | None = None,
    distance_slope: Tensor | None = None,
    distance_bias: Tensor | None = None,
    decay: Tensor | None = None,
    window: int | None = None,
    softcap: float | None = None,
) -> RowStatistics:
    """What every row's weights look like, without the weights: entropy, largest weight, …

    Args and errors: as in `attention`; there is no gradient.

    Returns:
        Tensors of shape (B, H, Lq); `RowStatistics` names them.
    """
    terms = ScoreTerms(head_scale, distance_slope, distance_bias, decay)
    query, key, weighed_by = _weighed(query, key, variant, is_causal, terms, window, softcap)
    problem = check(
        query,
        key,
        None,
        weighed_by,
        is_causal=is_causal,
        enable_gqa=enable_gqa,
        terms=terms,
        window=window,
        softcap=softcap,
    )
    return choice.row_statistics(problem, query, key, terms)


def familiar_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    variant: Variant | Computed | str,
    familiar: Familiar,
) -> Tensor:
    """Causal attention with far keys made familiar; without gradients.

    Args, errors and autocast: as in `attention`, fewer key heads allowed; queries are the last
    tokens.

    Returns:
        (B, H, Lq, Dv), in the type of `value`.
    """
    query, key, value = autocast_together(query, key, value)
    problem = check(query, key, value, variant, is_causal=True, enable_gqa=True)
    with without_autocast():
        return choice.familiar_attention(problem, query, key, value, familiar)


def grouped_attention(
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
    """The operator that models call unless they are given another; see `call.Attend`."""
    if familiar is not None:
        return familiar_attention(query, key, value, computed, familiar)
    given = terms._asdict()
    return attention(query, key, value, computed, enable_gqa=True, window=window, **given)


def _weighed(
    query: Tensor,
    key: Tensor,
    variant: Variant | Computed | str,
    is_causal: bool,
    terms: ScoreTerms,
    window: int | None,
    softcap: float | None,
) -> tuple[Tensor, Tensor, Computed]:
    """A call whose weights the kernels compute: itself, or what stands for one's own function."""
    computed = what_computes(variant)
    if not isinstance(computed, OwnFunctionName):
        return query, key, computed
    _check_own(computed, [query, key], is_causal, terms, window, softcap)
    return *own_function.as_scores(query, key, computed), own_function.WEIGHED


def _check_own(
    function: OwnFunctionName,
    tensors: list[Tensor],
    is_causal: bool,
    terms: ScoreTerms,
    window: int | None,
    softcap: float | None,
) -> None:
    """Refuse what are no tensors (query, key and perhaps value), and what the function ignores."""
    check_flag("is_causal", is_causal)
    check_tensors(dict(zip(("query", "key", "value"), tensors, strict=False)))
    if not is_causal or window is not None or softcap is not None or not terms.is_empty:
        raise UsageError(
            f"{function} is one's own function, which is causal and takes query, key and value "
            "alone"
        )


def _span(name: str, wanted: slice, length: int) -> tuple[int, int]:
    if not isinstance(wanted, slice):
        raise TypeError(f"{name} is {wanted!r}; it must be a slice, such as slice(0, 8)")
    start = 0 if wanted.start is None else wanted.start
    stop = length if wanted.stop is None else wanted.stop
    shown = f"{start}:{stop}" + ("" if wanted.step is None else f":{wanted.step}")
    legal = f"it must be start:stop with 0 <= start < stop <= {length} and no step"
    try:
        start, stop = whole(start), whole(stop)
    except TypeError:
        raise UsageError(f"{name} is {shown}; {legal}, in whole numbers") from None
    if wanted.step not in (None, 1) or not 0 <= start < stop <= length:
        raise ValueError(f"{name} is {shown}; {legal}")
    return start, stop
