"""What `freeatten languages` found, in words and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freeatten_core.basics.errors import ContentError

from .format import Entry, Result, count, percent, percent_range, plural, row_names, with_range
from .markdown import machine, table

__all__ = [
    "beyond_cell",
    "joined_languages",
    "language_blocks",
    "language_title",
    "languages_provenance",
    "languages_reading",
    "score_table",
    "within_cell",
    "within_table",
]

ALIKE = ("trained_to", "lengths", "languages", "samples", "seeds")
"""What results must have in common to stand in one table, beside their recipe but the layers."""
PICTURE = """<picture>
  <source media="(prefers-color-scheme: dark)" srcset="../assets/images/languages-dark.webp">
  <img alt="Accuracy by the length of the string, a panel a language" \
src="../assets/images/languages-light.webp">
</picture>"""
"""Of a page of docs; drawn when there is a result."""


def language_title(result: Result, name: str) -> str:
    """`parity check, of 50`: a language, and what a guess has in %."""
    return f"{name.replace('-', ' ')}, of {percent(result['languages'][name]).removesuffix('.0')}"


def beyond_cell(cell: Entry) -> str:
    """Accuracy beyond the lengths trained on, and its range over seeds; of one seed its interval
    over strings."""
    seeds = cell["accuracy_by_seed"]
    if len(seeds) > 1:
        return with_range(percent(cell["accuracy"]), [100 * min(seeds), 100 * max(seeds)])
    return percent_range(cell["accuracy"], cell["accuracy_ci95"])


def within_cell(cell: Entry) -> str:
    """Accuracy at the lengths trained on."""
    return percent(cell["within"])


def score_table(result: Result) -> str:
    """% right beyond the lengths trained on, variant × language."""
    return _table(result, f"% right at {_beyond(result)}", beyond_cell)


def within_table(result: Result) -> str:
    """The same at the lengths trained on: whether the language was learned at all."""
    return _table(result, f"% right at 1–{result['trained_to']}", within_cell)


def _table(result: Result, heading: str, form: Any) -> str:
    names = list(result["languages"])
    rows = [
        [f"`{name}`", *map(form, row["languages"])]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table([heading, *(language_title(result, name) for name in names)], rows)


def _beyond(result: Result) -> str:
    return f"{result['trained_to'] + 1}–{count(max(result['lengths']))}"


def joined_languages(results: Sequence[Result]) -> Result:
    """One result of models with different numbers of layers.

    A row's `layers` is its own, and `checkpoint` says it; the command is all of theirs, the rest of
    what is said of the run is the first's.

    Raises:
        ContentError: they differ in more than that.
    """
    first = results[0]
    for result in results[1:]:
        differing = [key for key in ALIKE if result[key] != first[key]]
        plain = [{**each["recipe"], "layers": 0} for each in (first, result)]
        if differing or plain[0] != plain[1]:
            what = differing[0] if differing else "recipe"
            raise ContentError(f"results that differ in {what} cannot be joined")
    rows = [
        {**row, "checkpoint": plural(layers, "layer"), "layers": layers}
        for result in results
        for layers in [result["recipe"]["layers"]]
        for row in result["variants"]
    ]
    command = " && ".join(result["command"] for result in results)
    return {**first, "command": command, "variants": rows}


def _layers(result: Result) -> str:
    """`5 layers`, `1, 2 or 6 layers`."""
    usual = result["recipe"]["layers"]
    *few, most = sorted({row.get("layers", usual) for row in result["variants"]} or {usual})
    return (
        f"{', '.join(map(str, few))} or {plural(most, 'layer')}" if few else plural(most, "layer")
    )


def languages_reading(result: Result) -> str:
    """What the numbers of `freeatten languages` say."""
    recipe, seeds = result["recipe"], result["seeds"]
    spread = (
        f"the range over {plural(len(seeds), 'seed')}"
        if len(seeds) > 1
        else "a 95 % interval over strings, of one seed"
    )
    return (
        f"mean accuracy over all lengths, {plural(result['samples'], 'string')} of each; behind "
        f"it {spread}; behind a language's name what a guess has. Trained for "
        f"{count(recipe['steps'])} steps on strings of up to {result['trained_to']} symbols: "
        f"{_layers(result)} of {recipe['width']}, "
        f"{plural(recipe['heads'], 'head')}"
    )


def languages_provenance(result: Result) -> str:
    """One line: what was measured, machine, versions, command."""
    return f"{languages_reading(result)}. {machine(result)}"


def language_blocks(name: str, result: Result) -> dict[str, str]:
    """The text of the generated blocks of a stored result, by name."""
    return {
        f"{name} picture": PICTURE,
        f"{name} score": score_table(result),
        f"{name} within": within_table(result),
        f"{name} provenance": languages_provenance(result),
    }
