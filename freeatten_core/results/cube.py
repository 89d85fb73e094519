"""The ablation cube: which models are trained by one recipe, and what becomes of their results.

A cell is positivity × score × sharpening, or one step away from a cell: the normalisation, a
factor of the length-cosine score, the seed, the training length. All are trained by `RECIPE`,
shorter than that of the shipped models, and never compared with those. Weights are not kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freeatten_core.basics.errors import ContentError
from freeatten_core.variants.variant import Variant

from .format import Result, count, ends_text, mean, number, plural, signed
from .markdown import table
from .verdicts import upgraded, without_texts

__all__ = [
    "CUBE",
    "FACTORED",
    "NORMALISED",
    "PARTS",
    "SEEDED",
    "as_comparison",
    "by_variant",
    "cell_table",
    "comparison",
    "cube_blocks",
    "joined",
    "provenance",
    "spread_table",
    "thinned",
]

SCHEMA = 2
"""Since then what runs have alike is stored once (`shared_runs`)."""

MAKE = "python tests/measure/cube.py --out DIR --text packages --text BOOKS --books HELD-OUT"
"""What trains and scores the cells anew, in a checkout; names in capitals are to be filled in."""

CURVE_POINTS = 40
"""Of a learning curve that is kept."""

CUBE = (
    *("softmax", "softmax-r:p=3", "softmax-r:p=15", "softplus", "softplus-r:p=3"),
    *("softplus-r:p=15", "softmax-ls", "softmax-ls-r:p=3", "softmax-ls-r:p=15"),
    *("lssa", "lssar:p=3", "lssar:p=15"),
)
NORMALISED = (
    "lssa-count",
    "stages:score=length-cosine:positivity=exp:normalise=count",
    "stages:score=dot-log-n:positivity=sigmoid:normalise=l1",
    "stages:score=dot:positivity=relu:normalise=l1",
    "sigmoid",
    "relu",
)
FACTORED = (
    "stages:score=dim-cosine:positivity=exp:normalise=l1",
    "stages:score=count-cosine:positivity=exp:normalise=l1",
    "stages:score=dim-cosine:positivity=softplus:normalise=l1",
    "stages:score=count-cosine:positivity=softplus:normalise=l1",
    "stages:score=dim-cosine:positivity=softplus:normalise=l1:p=15",
    "stages:score=count-cosine:positivity=softplus:normalise=l1:p=15",
)
SEEDED = ("softmax", "softmax-ls", "lssa", "lssar:p=15")
"""Trained with two further seeds."""


PARTS = ("code", "books", "copy")
"""What is measured of a run: `freeatten compare` on code and on books, and `freeatten retrieve`."""


def joined(runs: Sequence[Mapping[str, Any]], parts: Sequence[str] = PARTS) -> Result:
    """One result from those of single runs, each whole; `shared_runs` is how it is stored.

    Args:
        runs: each with `cell` (its name), `seed`, `curve` (the checkpoint's `curve.json`), and
            a result for each of the parts; others than the first may lack some.

    Raises:
        ContentError: runs were scored on different texts, or at another precision.
    """
    header = runs[0]["code"]
    for run in runs:
        for part in (part for part in parts if part in run):
            if _scored_on(run[part]) != _scored_on(runs[0][part]):
                raise ContentError(f"{run['cell']} was scored on another {part} text; score again")
    return {
        "schema": SCHEMA,
        "train_length": header["train_length"],
        "device": header["device"],
        "versions": header["versions"],
        "date": header["date"],
        "text": {part: _scored_on(runs[0][part]) for part in parts},
        "runs": [_run(run, parts) for run in runs],
    }


def _scored_on(result: Mapping[str, Any]) -> dict[str, Any]:
    text = result["text"]
    texts = result.get("texts", result.get("samples"))
    return {"source": text["source"], "sha256": text["sha256"], "texts": texts} | {
        key: result[key] for key in ("seed", "dtype")
    }


def _run(run: Mapping[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    curve = run["curve"]
    found = {
        "cell": run["cell"],
        "seed": run["seed"],
        "variant": run["code"]["variants"][0]["variant"],
        "train_length": curve["recipe"]["train_length"],
        "recipe": curve["recipe"],
        "learning_rate": curve["learning_rate"],
        "validation": curve["curve"][-1]["validation"],
        "train_command": curve["command"],
        "curve": thinned(curve["curve"]),
        "commit": run["code"]["commit"],
    }
    for part in (part for part in parts if part in run):
        row = without_texts(run[part]["variants"][0])
        found[part] = row | {"lengths": run[part]["lengths"], "command": run[part]["command"]}
    return found


def thinned(points: Sequence[Mapping[str, Any]], most: int = CURVE_POINTS) -> dict[str, Any]:
    """A learning curve of at most so many points, the last among them, by what they have.

    Returns:
        Lists of `step`, `loss` (of the training batches) and `validation`, with 4 decimals; what
        no point has is left out.
    """
    apart = -(-len(points) // most)
    kept = points[::-apart][::-1]
    keys = [key for key in ("step", "loss", "validation") if any(key in each for each in kept)]
    found = {key: [each.get(key) for each in kept] for key in keys}
    return {
        key: [round(value, 4) if isinstance(value, float) else value for value in values]
        for key, values in found.items()
    }


def comparison(result: Result, part: str) -> Result:
    """The joined result as one of `freeatten compare`, a row a variant.

    A row is the first run of seed 0 at the common training length.

    Args:
        result: `joined`.
        part: the text, `code` or `books`.
    """
    runs = [runs[0] for runs in by_variant(result).values() if runs[0]["seed"] == 0]
    return as_comparison(result, part, runs, MAKE)


def as_comparison(
    result: Result, part: str, runs: Sequence[Mapping[str, Any]], command: str
) -> Result:
    """Some runs of a joined result as rows of `freeatten compare`.

    What joining leaves out is None (`seconds`, and of `text` the files) or missing (the losses of
    single texts); `commit` is None where runs are of several.

    Args:
        result: `joined`.
        part: the text, such as `code` or `books`.
        runs: scored at the same lengths.
        command: what trains and scores them anew.
    """
    lengths, text = runs[0][part]["lengths"], result["text"][part]
    kept = ("train_length", "device", "versions", "date")
    commits = _commits(runs)
    made = {
        "schema": 1,
        **{key: result[key] for key in kept},
        **{key: text[key] for key in ("texts", "seed", "dtype")},
        "lengths": lengths,
        "control": "restart",
        "commit": commits[0] if len(commits) == 1 else None,
        "seconds": None,
        "command": command,
        "text": {
            "source": text["source"],
            "files": None,
            "qualifying": None,
            "tokens": text["texts"] * max(lengths),
            "sha256": text["sha256"],
            "matches_stored": None,
            "manifest": None,
        },
        "tokenizers": 1,
        "variants": [_row(run, part) for run in runs],
    }
    return upgraded(made)


def _row(run: Mapping[str, Any], part: str) -> dict[str, Any]:
    row = {key: value for key, value in run[part].items() if key not in ("lengths", "command")}
    return row | {"checkpoint": run["cell"]}


# Markdown


def cube_blocks(name: str, result: Result) -> dict[str, str]:
    """The generated blocks of the joined result, by their names in the pages."""
    return {
        f"{name} cells": cell_table(result),
        f"{name} spread": spread_table(result),
        f"{name} provenance": provenance(result),
    }


def cell_table(result: Result) -> str:
    """A line a variant: means over its runs."""
    header = ["", "runs", *("loss 1×", "4×", "16×", "Δ 16×"), "Δ 16×, books", "copies at 2×"]
    lines = []
    for variant, runs in by_variant(result).items():
        code = [run["code"] for run in runs]
        lines.append(
            [
                f"`{variant}`",
                str(len(runs)),
                *(number(mean([_at(row, "loss", scale) for row in code])) for scale in (1, 4, 16)),
                ends_text([_at(row, "delta", 16) for row in code], 2),
                ends_text([_at(run["books"], "delta", 16) for run in runs], 2),
                signed(mean([_at(run["copy"], "gain", 2) for run in runs]), 2),
            ]
        )
    return table(header, lines)


def spread_table(result: Result) -> str:
    """A line a run of what was trained more than once."""
    header = ["", "seed", "learning rate", "loss 1×", "16×", "Δ 16×", "Δ 16×, books"]
    lines = [
        [
            f"`{variant}`",
            str(run["seed"]),
            f"{run['learning_rate']:g}",
            number(_at(run["code"], "loss", 1)),
            number(_at(run["code"], "loss", 16)),
            signed(_at(run["code"], "delta", 16)),
            signed(_at(run["books"], "delta", 16)),
        ]
        for variant, runs in by_variant(result).items()
        if variant in SEEDED
        for run in runs
    ]
    return table(header, lines)


def by_variant(result: Result) -> dict[str, list[dict[str, Any]]]:
    """Runs at the common training length, in the order of the cube."""
    order = [str(Variant.parse(name)) for name in (*CUBE, *NORMALISED, *FACTORED)]
    found = {
        name: [
            run
            for run in result["runs"]
            if run["variant"] == name and run["train_length"] == result["train_length"]
        ]
        for name in dict.fromkeys(order)
    }
    return {name: sorted(runs, key=lambda run: run["seed"]) for name, runs in found.items() if runs}


def provenance(result: Result) -> str:
    """One line: how the cells were made, on what, from which commit."""
    recipe = result["runs"][0]["recipe"]
    text = result["text"]
    trained = [plural(len(result["runs"]), "run"), f"{count(recipe['steps'])} steps each"]
    trained.append(f"{count(recipe['batch'] * recipe['train_length'])} tokens a step")
    copies = text.get("copy")
    copied = "" if copies is None else f", copying on {plural(copies['texts'], 'sample')}"
    commits = [commit[:10] for commit in _commits(result["runs"])]
    made = f", {'commits' if len(commits) > 1 else 'commit'} {' and '.join(commits)}"
    return (
        f"{', '.join(trained)}, {result['device']}, torch {result['versions']['torch']}, "
        f"{result['date']}{made if commits else ''}; scored in {text['code']['dtype']} on "
        f"{plural(text['code']['texts'], 'file')} of the standard library and "
        f"{plural(text['books']['texts'], 'book')}{copied}"
    )


def _commits(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(run["commit"] for run in runs if run["commit"]))


def _at(row: Mapping[str, Any], key: str, scale: int) -> float:
    value = row[key][row["lengths"].index(scale * row["train_length"])]
    return float(value)
