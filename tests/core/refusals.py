"""Calls that are refused: what is changed of a right one, the error, and the words in it.

A right call has query, key and value of shape (2, 4, 6, 8) in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from freeatten_core.basics.errors import UsageError

__all__ = ["OF_ANY", "OF_OWN", "OF_QUERY_AND_KEY", "Refusals", "of"]

Refusals = dict[str, tuple[dict[str, Any], type[Exception], list[str]]]


def of(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.ones(shape, dtype=dtype)


OF_ANY: Refusals = {
    "rank": ({"query": of(6, 8)}, ValueError, ["query", "(6, 8)", "4 dimensions"]),
    "rank of value": ({"value": of(2, 6, 8)}, ValueError, ["value", "(2, 6, 8)", "4 dimensions"]),
    "not a tensor": ({"key": [1.0]}, TypeError, ["key", "list", "tensor"]),
    "whole numbers": (
        {"query": of(2, 4, 6, 8, dtype=torch.int64)},
        TypeError,
        ["query", "torch.int64", "float16, bfloat16, float32 or float64"],
    ),
    "mixed types": (
        {"value": of(2, 4, 6, 8, dtype=torch.float64)},
        TypeError,
        ["value", "torch.float64", "query", "torch.float32"],
    ),
    "device": (
        {"key": of(2, 4, 6, 8).to("meta")},
        ValueError,
        ["key is on meta", "query on cpu"],
    ),
    "batch": ({"key": of(3, 4, 6, 8)}, ValueError, ["key", "batch 3", "query has 2"]),
    "batch of value": ({"value": of(1, 4, 6, 8)}, ValueError, ["value", "batch 1", "query has 2"]),
    "heads": (
        {"key": of(2, 2, 6, 8), "value": of(2, 2, 6, 8)},
        ValueError,
        ["key has 2 heads", "query 4", "enable_gqa=True"],
    ),
    "groups": (
        {"key": of(2, 3, 6, 8), "value": of(2, 3, 6, 8), "enable_gqa": True},
        ValueError,
        ["key has 3 heads", "query 4", "divisor"],
    ),
    "more key heads": (
        {"key": of(2, 8, 6, 8), "value": of(2, 8, 6, 8), "enable_gqa": True},
        ValueError,
        ["key has 8 heads", "query 4", "divisor"],
    ),
    "value heads": ({"value": of(2, 2, 6, 8)}, ValueError, ["value", "(2, 6)", "key has (4, 6)"]),
    "lengths": ({"value": of(2, 4, 5, 8)}, ValueError, ["value", "(4, 5)", "key has (4, 6)"]),
    "head size": ({"key": of(2, 4, 6, 7)}, ValueError, ["key", "head size 7", "query has 8"]),
    "no tokens": ({"query": of(2, 4, 0, 8)}, ValueError, ["query", "(2, 4, 0, 8)", "at least 1"]),
    "no value": ({"value": of(2, 4, 6, 0)}, ValueError, ["value", "(2, 4, 6, 0)", "at least 1"]),
    "window 0": ({"window": 0}, ValueError, ["window is 0", "at least 1"]),
    "window -1": ({"window": -1}, ValueError, ["window is -1", "at least 1"]),
    "window 2.5": ({"window": 2.5}, TypeError, ["window", "2.5", "whole number"]),
    "window, not causal": (
        {"window": 3, "is_causal": False},
        ValueError,
        ["window is 3", "is_causal=True"],
    ),
    "softcap 0": ({"softcap": 0}, ValueError, ["softcap is 0", "above 0"]),
    "softcap inf": ({"softcap": float("inf")}, ValueError, ["softcap is inf", "above 0"]),
    "softcap is a word": ({"softcap": "no"}, TypeError, ["softcap is 'no'", "above 0"]),
    "slope, not causal": (
        {"distance_slope": of(4), "is_causal": False},
        ValueError,
        ["distance_slope", "is_causal=True"],
    ),
    "shape of head_scale": ({"head_scale": of(3)}, ValueError, ["head_scale", "(3,)", "(4,)"]),
    "rank of head_scale": ({"head_scale": of(1, 4)}, ValueError, ["head_scale", "(1, 4)", "(4,)"]),
    "shape of distance_slope": (
        {"distance_slope": of(2)},
        ValueError,
        ["distance_slope", "(2,)", "(4,)"],
    ),
    "head_scale is a number": ({"head_scale": 2.0}, TypeError, ["head_scale", "float", "tensor"]),
    "device of head_scale": (
        {"head_scale": of(4).to("meta")},
        ValueError,
        ["head_scale is on meta", "query on cpu"],
    ),
    "type of head_scale": (
        {"head_scale": of(4, dtype=torch.int64)},
        TypeError,
        ["head_scale", "torch.int64", "floating-point"],
    ),
    "shape of distance_bias": (
        {"distance_bias": of(3, 9)},
        ValueError,
        ["distance_bias", "(3, 9)", "(4, T)"],
    ),
    "rank of distance_bias": (
        {"distance_bias": of(4)},
        ValueError,
        ["distance_bias", "(4,)", "(4, T)", "a row a head"],
    ),
    "no distance": ({"distance_bias": of(4, 0)}, ValueError, ["(4, 0)", "T at least 1"]),
    "bias, not causal": (
        {"distance_bias": of(4, 2), "is_causal": False},
        ValueError,
        ["distance_bias", "is_causal=True"],
    ),
    "distance_bias is a list": (
        {"distance_bias": [[1.0]]},
        TypeError,
        ["distance_bias", "list", "tensor", "(4, T)"],
    ),
    "device of distance_bias": (
        {"distance_bias": of(4, 2).to("meta")},
        ValueError,
        ["distance_bias is on meta", "query on cpu"],
    ),
    "unknown variant": ({"variant": "lsar"}, UsageError, ["'lsar'", "did you mean 'lssar'"]),
    "power": ({"variant": "lssar:p=65"}, UsageError, ["p is '65'", "from 1 to 64"]),
    "word for a flag": ({"is_causal": "no"}, UsageError, ["is_causal is 'no'", "True or False"]),
    "number for a flag": ({"enable_gqa": 2}, UsageError, ["enable_gqa is 2", "True or False"]),
    "sparse": (
        {"key": of(2, 4, 6, 8).to_sparse()},
        TypeError,
        ["key is torch.sparse_coo", "dense"],
    ),
    "variant is a number": ({"variant": 3}, TypeError, ["variant", "int", "name"]),
    "modifier": ({"variant": "lssar+yarn"}, ValueError, ["lssar:p=15+yarn", "pass lssar:p=15"]),
}

OF_QUERY_AND_KEY: Refusals = {
    name: ({key: each for key, each in change.items() if key != "value"}, error, words)
    for name, (change, error, words) in OF_ANY.items()
    if change.keys() != {"value"}
}
"""Of functions that take no value."""

OF_OWN: Refusals = {
    name: (change, UsageError, ["takes query, key and value alone"])
    for name, change in {
        "not causal": {"is_causal": False},
        "window": {"window": 4},
        "bounded scores": {"softcap": 2.0},
        "head scale": {"head_scale": of(4)},
        "distance bias": {"distance_bias": of(4, 3)},
    }.items()
} | {
    "one query": ({"query": of(2, 4, 1, 8)}, UsageError, ["got 1 queries and 6 keys"]),
    "rank": OF_ANY["rank"],
    "mixed types": OF_ANY["mixed types"],
}
"""Of a function of one's own, which knows of none of the options."""
