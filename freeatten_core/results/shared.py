"""Joined runs as they are stored: what most of them say alike is kept once.

A stored result has under `shared`, in the form of a run, the commonest value of whatever all runs
have; a run has what differs. In the texts there, such as commands, `{cell}`, `{variant}` and
`{seed}` stand for the run's own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .format import Result

__all__ = ["shared_runs", "whole_runs"]

OWN = ("cell", "variant", "seed")
"""What a run is known by, which it always has itself."""

Values = Mapping[str, Any]


def shared_runs(result: Result) -> dict[str, Any]:
    """A joined result as it is stored; `whole_runs` gives it back.

    Args:
        result: with whole runs.
    """
    runs = result["runs"]
    shared = {key: value for key, value in _commonest(runs, runs).items() if key not in OWN}
    return {**result, "shared": shared, "runs": [_differing(run, shared, run) for run in runs]}


def whole_runs(result: Result) -> dict[str, Any]:
    """A result whose runs say everything themselves; one that shares nothing as it is."""
    if "shared" not in result:
        return dict(result)
    whole = {key: value for key, value in result.items() if key != "shared"}
    return whole | {"runs": [_filled(run, result["shared"], run) for run in result["runs"]]}


def _commonest(parts: Sequence[Values], runs: Sequence[Values]) -> dict[str, Any]:
    """What is kept once of the same part of runs."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for part in parts for key in part):
        having = [(part[key], run) for part, run in zip(parts, runs, strict=True) if key in part]
        mappings = [isinstance(value, Mapping) for value, _ in having]
        if all(mappings):
            found[key] = _commonest([value for value, _ in having], [run for _, run in having])
        elif not any(mappings) and len(having) == len(parts):
            told = Counter(json.dumps(_general(value, run)) for value, run in having)
            (text, times), *_ = told.most_common(1)
            found |= {key: json.loads(text)} if times > 1 else {}
    return found


def _differing(part: Values, shared: Values, run: Values) -> dict[str, Any]:
    """What a run says otherwise. Its mappings stay, if empty, for they tell which it has."""
    found: dict[str, Any] = {}
    for key, value in part.items():
        if isinstance(shared.get(key), Mapping):
            found[key] = _differing(value, shared[key], run)
        elif key not in shared or json.dumps(_own(shared[key], run)) != json.dumps(value):
            found[key] = value
    return found


def _filled(part: Values, shared: Values, run: Values) -> dict[str, Any]:
    found = dict(part)
    for key, value in shared.items():
        if not isinstance(value, Mapping):
            found.setdefault(key, _own(value, run))
        elif key in part:
            found[key] = _filled(part[key], value, run)
    return found


def _general(value: Any, run: Values) -> Any:
    """A text with placeholders for what the run is known by."""
    if not isinstance(value, str):
        return value
    for key in ("cell", "variant"):
        value = value.replace(run[key], f"{{{key}}}")
    return value.replace(f"--seed {run['seed']} ", "--seed {seed} ")


def _own(value: Any, run: Values) -> Any:
    """The value with the run's own words in the place of placeholders."""
    if not isinstance(value, str):
        return value
    for key in OWN:
        value = value.replace(f"{{{key}}}", str(run[key]))
    return value
