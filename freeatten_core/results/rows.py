"""Rows that one recipe trained (`tests/measure/rows.py`): who uses many times its length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .ceiling import share_of, with_own_shares
from .cube import as_comparison, provenance
from .format import (
    CONTROLS,
    MISSING,
    UNMEASURED,
    Entry,
    Result,
    count,
    ends_text,
    mean,
    missing_control,
    number,
    signed,
)
from .markdown import heading, table

__all__ = [
    "CEILING_PARTS",
    "RecipeRow",
    "all_rows_blocks",
    "ceiling_cells",
    "ceiling_shares",
    "ceiling_table",
    "copy_table",
    "learning_curves",
    "recipe_rows",
    "row_blocks",
    "row_cells",
    "row_comparisons",
    "row_table",
]

SHOWN = (1, 16, 64)
"""Times the training length that a table gives losses at, as far as they were measured."""
PARAMETERS = "parameters, M"
"""The heading of a column."""
MAKE = (
    "python tests/measure/rows.py --out DIR --text packages --text BOOKS --books HELD-OUT "
    "--variants NAMES"
)
"""What trains and scores rows anew, in a checkout; names in capitals are to be filled in."""
CEILING_PARTS = ("code", "books")
PAGES = {
    "cube/runs": "[the cube](softplus.md#the-cube)",
    "rows/runs": "[rows](rows.md#on-code)",
    "rows/named": "[more names](rows.md#more-names)",
}
"""Where a stored result is told of."""


def row_comparisons(result: Result) -> dict[str, Result]:
    """A joined result as those of `freeatten compare`, by the text: a row a variant, the first run
    of its lowest seed, each with the command that trains it.

    Rows whose variant was trained at a longer length too, and scored there, have their share of
    that ceiling. Left out are texts whose runs have no Δ, as those that a row was chosen on.
    """
    found: dict[str, Result] = {}
    for part in (part for part in result["text"] if part != "copy"):
        runs: dict[str, Any] = {}
        for run in sorted(result["runs"], key=lambda run: int(run["seed"])):
            if part in run and not _is_ceiling(run, result):
                runs.setdefault(run["variant"], run)
        if any(run[part]["delta"][-1] is not None for run in runs.values()):
            made = as_comparison(result, part, list(runs.values()), MAKE)
            rows = [
                {**row, "train_command": run["train_command"]}
                for row, run in zip(made["variants"], runs.values(), strict=True)
            ]
            found[part] = _with_ceilings({**made, "variants": rows}, result, part)
    return found


def _with_ceilings(made: Result, result: Result, part: str) -> Result:
    """The same with the shares of rows that have a ceiling: of several the longest, of those the
    one of the lowest seed."""
    above = [run for run in result["runs"] if part in run and _is_ceiling(run, result)]
    if not above:
        return made
    above.sort(key=lambda run: (run["recipe"]["train_length"], -int(run["seed"])))
    ceilings = {
        run["variant"]: {**run[part], "train_length": run["recipe"]["train_length"]}
        for run in above
    }
    return with_own_shares(made, ceilings)


def row_blocks(
    name: str, result: Result, parameters: Mapping[str, int] = MappingProxyType({})
) -> dict[str, str]:
    """The generated blocks of a joined result, by their names in the pages.

    Args:
        parameters: how many numbers the weights of a variant are, for a column of that.
    """
    texts = [part for part in result["text"] if part != "copy"]
    tables = {f"{name} {part}": row_table(result, part, parameters) for part in texts}
    if "copy" in result["text"]:
        tables[f"{name} copy"] = copy_table(result)
    if any(_is_ceiling(run, result) for run in result["runs"]):
        tables[f"{name} ceiling"] = ceiling_table(result)
    return tables | {f"{name} provenance": provenance(result)}


def row_table(
    result: Result, part: str, parameters: Mapping[str, int] = MappingProxyType({})
) -> str:
    """A line a variant, the least loss at the longest length first: means over its runs, of Δ, S
    and W, those two at the longest length, the least and the largest; a line for each that failed.

    Args:
        part: the text, such as `code` or `books`.
        parameters: as of `row_blocks`.
    """
    trained = result["train_length"]
    found = _by_variant(
        [run for run in result["runs"] if part in run and not _is_ceiling(run, result)], part
    )
    lengths = next(iter(found.values()))[0]["lengths"]
    times = [scale for scale in SHOWN if scale * trained in lengths]
    counted = [PARAMETERS] if parameters else []
    header = [
        "",
        *counted,
        "runs",
        *(f"{'loss ' if scale == 1 else ''}{scale}×" for scale in times),
    ]
    header += [*(f"Δ {scale}×" for scale in times[1:]), *CONTROLS]
    ranked = sorted(found.items(), key=lambda each: mean([row["loss"][-1] for row in each[1]]))
    lines = []
    for variant, rows in ranked:
        at = [lengths.index(scale * trained) for scale in times]
        lines.append(
            [
                f"`{variant}`",
                *_parameters(variant, parameters),
                str(len(rows)),
                *(number(mean([row["loss"][index] for row in rows])) for index in at),
                *(_delta(rows, index) for index in at[1:]),
                *(_control(rows, name) for name in CONTROLS.values()),
            ]
        )
    failed = [
        [f"`{each['variant']}`", each["reason"], *["–"] * (len(header) - 2)]
        for each in result.get("failed", [])
    ]
    return table(header, [*lines, *failed])


# Every row of a recipe, wherever it is stored


@dataclass(frozen=True)
class RecipeRow:
    """A row by its loss at 1× and what it gains or loses at 16×, over all its runs."""

    variant: str
    results: tuple[str, ...]
    """The names of those that hold its runs."""
    runs: Sequence[Mapping[str, Entry]]
    """What was measured of each run, by the text."""
    train_length: int

    def loss(self, part: str, scale: int = 1) -> float:
        """The mean over runs at so many times the training length."""
        return mean([self.loss_of(run[part], scale) for run in self.runs])

    def loss_of(self, row: Entry, scale: int) -> float:
        """Of a single run's row."""
        return float(row["loss"][self._at(row, scale)])

    def deltas(self, part: str) -> list[float]:
        """Δ at 16× of every run."""
        return [run[part]["delta"][self._at(run[part], 16)] for run in self.runs]

    def controls(self, part: str, name: str) -> list[float | None]:
        """S (`sliding`) or W (`window`) of every run, None where it was not measured."""
        return [run[part].get(f"{name}_delta") for run in self.runs]

    def uses(self, part: str) -> bool:
        """Whether every run has the verdict `uses`, and S, without which none was to be had."""
        known = all(value is not None for value in self.controls(part, "sliding"))
        return known and all(run[part]["verdict"] == "uses" for run in self.runs)

    def _at(self, row: Entry, scale: int) -> int:
        return int(row["lengths"].index(scale * self.train_length))


def recipe_rows(results: Mapping[str, Result], steps: int) -> list[RecipeRow]:
    """Every variant that was trained with so many steps, the least loss on code at 16× first.

    Args:
        results: joined results by name, such as `cube/runs`; all of one training length.
    """
    found: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for name, result in results.items():
        for run in result["runs"]:
            recipe = run["recipe"]
            if recipe["steps"] == steps and recipe["train_length"] == result["train_length"]:
                found.setdefault(run["variant"], []).append((name, run))
    rows = [
        RecipeRow(
            variant,
            tuple(dict.fromkeys(name for name, _ in runs)),
            [run for _, run in runs],
            runs[0][1]["recipe"]["train_length"],
        )
        for variant, runs in found.items()
    ]
    return sorted(rows, key=lambda row: row.loss("code", 16))


def all_rows_blocks(
    rows: Sequence[RecipeRow], parameters: Mapping[str, int] = MappingProxyType({})
) -> dict[str, str]:
    """The generated block of every row, for docs/softplus.md; `parameters` as of `row_blocks`."""
    counted = [PARAMETERS] if parameters else []
    header = ["", "told of in", *counted, "runs", "loss 1×", "16×", "Δ 16×", *CONTROLS]
    header += ["Δ 16×, books", *CONTROLS]
    lines = [
        [
            f"`{row.variant}`",
            ", ".join(PAGES[name] for name in row.results),
            *_parameters(row.variant, parameters),
            str(len(row.runs)),
            number(row.loss("code")),
            number(row.loss("code", 16)),
            *row_cells(row, "code")[2:],
            *row_cells(row, "books")[2:],
        ]
        for row in rows
    ]
    return {"rows/all table": table(header, lines)}


def row_cells(row: RecipeRow, part: str) -> list[str]:
    """Loss at 1× and at 16×, Δ, S and W of a row on a text, the last three over its runs."""
    controls = (_control([run[part] for run in row.runs], name) for name in CONTROLS.values())
    losses = (number(row.loss(part, scale)) for scale in (1, 16))
    return [*losses, ends_text(row.deltas(part)), *controls]


def _parameters(variant: str, parameters: Mapping[str, int]) -> list[str]:
    """In millions, where any are known."""
    if not parameters:
        return []
    return [number(parameters[variant] / 1e6) if variant in parameters else MISSING]


def _delta(rows: Sequence[Entry], index: int) -> str:
    """Δ of runs at a length; of losses alone, that it is none."""
    known = [row["delta"][index] for row in rows if row["delta"][index] is not None]
    return ends_text(known) if known else UNMEASURED


def _control(rows: Sequence[Entry], name: str) -> str:
    """S or W of runs, or why there is none."""
    known = [row for row in rows if row.get(f"{name}_delta") is not None]
    if not known:
        return missing_control(rows[0])
    return ends_text([row[f"{name}_delta"] for row in known])


def learning_curves(result: Result) -> dict[str, list[dict[str, Any]]]:
    """Validation loss by step of the first run of every variant, where runs have their curves."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in result["runs"]:
        curve = run.get("curve")
        if curve and run["variant"] not in found and not _is_ceiling(run, result):
            pairs = zip(curve["step"], curve["validation"], strict=True)
            found[run["variant"]] = [{"step": step, "validation": loss} for step, loss in pairs]
    return found


def copy_table(result: Result) -> str:
    """What a first copy of a block is worth by the length of the sequence, a line a variant: means
    over its runs, nats per token."""
    found = _by_variant(
        [run for run in result["runs"] if "copy" in run and not _is_ceiling(run, result)], "copy"
    )
    lengths = next(iter(found.values()))[0]["lengths"]
    lines = [
        [
            f"`{variant}`",
            str(len(rows)),
            *(signed(mean([row["gain"][at] for row in rows])) for at in range(len(lengths))),
        ]
        for variant, rows in sorted(
            found.items(), key=lambda each: -mean([row["gain"][-1] for row in each[1]])
        )
    ]
    return table(["", "runs", *(heading(result, length) for length in lengths)], lines)


def ceiling_table(result: Result) -> str:
    """A line a variant that was trained at a longer length too: its losses, and the share of the
    ceiling that each run reaches at that length."""
    header, lines = ceiling_cells(result)
    return table(header, [[f"`{name}`", *rest] for name, *rest in lines])


def ceiling_cells(result: Result) -> tuple[list[str], list[list[str]]]:
    """The header and the lines of `ceiling_table`, each begun by its variant."""
    header = ["", "trained at", "runs"]
    for part in CEILING_PARTS:
        header += [f"{part}: loss 1×", "there", "of the ceiling", "share, %"]
    lines = []
    for above, rows in _below_ceilings(result):
        length = above["recipe"]["train_length"]
        cells = (cell for part in CEILING_PARTS for cell in _ceiling_cells(rows, above, part))
        lines.append([above["variant"], count(length), str(len(rows)), *cells])
    return header, lines


def _ceiling_cells(rows: Sequence[Any], above: Mapping[str, Any], part: str) -> list[str]:
    length = above["recipe"]["train_length"]
    found = [run[part] for run in rows if part in run]
    first = [row["loss"][0] for row in found]
    there = [row["loss"][row["lengths"].index(length)] for row in found]
    its = above[part]["loss"][above[part]["lengths"].index(length)]
    known = [round(100 * share) for share in _shares(rows, above, part)]
    ends = dict.fromkeys([min(known), max(known)]) if known else {}
    text = " to ".join(str(end).replace("-", "−") for end in ends) or MISSING
    return [number(mean(first)), number(mean(there)), number(its), text]


def _shares(rows: Sequence[Any], above: Mapping[str, Any], part: str) -> list[float]:
    """Of the runs that have one."""
    length = above["recipe"]["train_length"]
    its = above[part]["loss"][above[part]["lengths"].index(length)]
    found = [run[part] for run in rows if part in run]
    shares = [
        share_of(row["loss"][0], row["loss"][row["lengths"].index(length)], its) for row in found
    ]
    return [share for share in shares if share is not None]


def ceiling_shares(result: Result) -> dict[str, dict[str, list[float]]]:
    """The share of its ceiling that every run of a variant reaches, by variant and text."""
    return {
        above["variant"]: {part: _shares(rows, above, part) for part in CEILING_PARTS}
        for above, rows in _below_ceilings(result)
    }


def _below_ceilings(result: Result) -> list[tuple[Mapping[str, Any], list[Any]]]:
    """What was trained at a longer length, each with the other runs of its variant."""
    runs = result["runs"]
    return [
        (
            above,
            [
                run
                for run in runs
                if run["variant"] == above["variant"] and not _is_ceiling(run, result)
            ],
        )
        for above in runs
        if _is_ceiling(above, result)
    ]


def _is_ceiling(run: Mapping[str, Any], result: Result) -> bool:
    """Whether a run was trained at a longer length than the others."""
    return bool(run["recipe"]["train_length"] != result["train_length"])


def _by_variant(runs: Sequence[Any], part: str) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for run in runs:
        found.setdefault(run["variant"], []).append(run[part])
    return found
