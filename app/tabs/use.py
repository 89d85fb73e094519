"""The tab Use: stored results that ask otherwise than by the mean loss whether far text is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ..server.answers import Answer
from .drawings import LAYOUTS, drawings, legend, sentence

__all__ = ["functions", "use"]

MAKE = ("freeatten field --json", "freeatten languages --out models --json")
SINGLE: Mapping[str, Mapping[str, Any]] = {
    name: {**given, "columns": 1} for name, given in LAYOUTS.items()
}
READING = (
    "Filled: the row uses 16 times its training length, by Δ, S and W in every run. Orange: "
    "exponential, blue: softplus, grey: others. Strokes: the range over runs."
)


def functions() -> list[Callable[..., Answer]]:
    """What the page can call."""
    return [use]


def use() -> Answer:
    """The stored results as figures and tables, as those of retrieval are."""
    from freeatten_core.basics.assets import assets
    from freeatten_core.results.rows import learning_curves
    from freeatten_core.results.stored import stored_results, stored_retrievals

    folder = assets() / "results"
    rows = stored_results(folder / "rows")
    short = {f"rows/{name}": each for name, each in rows.items()}
    short |= {f"cube/{name}": each for name, each in stored_results(folder / "cube").items()}
    parts = []
    if "runs" in rows:
        parts += [_rows(short, text) for text in ("code", "books")]
    if "full" in rows:
        parts.append(_ceiling(rows["full"]))
    parts += [_learning(name, result) for name, result in rows.items() if learning_curves(result)]
    for name, result in stored_results(folder / "inside").items():
        if "distances" in result and "share" in result:
            parts.append(_field(name, result))
    for name, result in stored_results(folder / "longppl").items():
        parts.append(_longppl(name, result))
    if (longest := stored_results(folder).get("stdlib-16x")) is not None:
        parts.append(_knee(longest))
    if retrieved := stored_retrievals(folder):
        parts.append(_effective(list(retrieved.values())))
    languages = stored_results(folder / "languages")
    for name in sorted(languages, key=lambda name: name != "suite"):
        parts.append(_languages(name, languages[name]))
    return {"make": list(MAKE), "results": parts}


def _part(name: str, title: str, reading: str, provenance: str, **rest: Any) -> Answer:
    """A part of the page; what is not given is none."""
    usual: Answer = {"figures": None, "grid": None, "lines": [], "said": "", "command": ""}
    said = {"name": name, "title": title, "reading": reading}
    return {**usual, **said, "provenance": provenance.replace("`", ""), **rest}


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Answer:
    return {"caption": caption, "header": list(header), "rows": [list(row) for row in rows]}


def _rows(results: Mapping[str, Mapping[str, Any]], text: str) -> Answer:
    """Every row of the short recipe by its loss at 1× and Δ at 16×, on code or on books."""
    from freeatten_core.figures.rows import TEXTS, rows_drawing, short_label
    from freeatten_core.results.cube import provenance
    from freeatten_core.results.format import CONTROLS
    from freeatten_core.results.rows import recipe_rows, row_cells
    from freeatten_core.training.cube import RECIPE

    rows = recipe_rows(results, RECIPE.steps)
    of_recipe = (each for each in results.values() if _steps(each) == RECIPE.steps)
    shown = [[short_label(row.variant), str(len(row.runs)), *row_cells(row, text)] for row in rows]
    return _part(
        f"rows-{text}",
        f"Which rows use 16 times their training length on {TEXTS[text]}?",
        READING,
        ". ".join(map(provenance, of_recipe)),
        command="python tests/measure/rows.py --out DIR --text packages --text BOOKS --books HELD",
        figures=drawings(partial(rows_drawing, rows, text=text), LAYOUTS),
        tables=[
            _table(
                "Nats per token; of Δ, S and W the least and the largest of the runs",
                ["runs", "loss 1×", "16×", "Δ 16×", *CONTROLS],
                shown,
            )
        ],
        header=["variant", "run", "loss_1x", "loss_16x", "delta", *map(str.lower, CONTROLS)],
        values=[
            [row.variant, at, *(row.loss_of(run[text], scale) for scale in (1, 16)), *numbers]
            for row in rows
            for at, (run, *numbers) in enumerate(
                zip(
                    row.runs,
                    row.deltas(text),
                    *(row.controls(text, name) for name in CONTROLS.values()),
                    strict=True,
                )
            )
        ],
    )


def _steps(result: Mapping[str, Any]) -> int:
    """Of the trainings of a joined result."""
    return int(result["runs"][0]["recipe"]["steps"])


def _ceiling(result: Mapping[str, Any]) -> Answer:
    """What share of a longer training's gain is reached."""
    from freeatten_core.figures.ceiling import shares_drawing
    from freeatten_core.figures.rows import short_label
    from freeatten_core.results.ceiling import CEILING_RULE
    from freeatten_core.results.cube import provenance
    from freeatten_core.results.rows import ceiling_cells

    (_, *header), lines = ceiling_cells(result)
    shown = [[short_label(name), *rest] for name, *rest in lines]
    return _part(
        "ceiling",
        "How near does a row come to one that was trained at 8,192 tokens?",
        sentence(CEILING_RULE),
        provenance(result),
        command="freeatten compare --checkpoint FOLDER --ceiling LONGER",
        figures=drawings(partial(shares_drawing, result), LAYOUTS),
        lines=legend([{"variant": name} for name, *_ in lines]),
        tables=[_table("Nats per token, and the share in %, over runs", header, shown)],
        header=["variant", *header],
        values=lines,
    )


def _learning(name: str, result: Mapping[str, Any]) -> Answer:
    """How the losses of rows fell while they were trained."""
    from freeatten_core.figures.learning import curve_drawing
    from freeatten_core.figures.rows import short_label
    from freeatten_core.results.cube import provenance
    from freeatten_core.results.format import number
    from freeatten_core.results.rows import learning_curves

    curves = learning_curves(result)
    cells = [
        [short_label(each), number(points[-1]["validation"])] for each, points in curves.items()
    ]
    return _part(
        f"learning-{name}",
        f"How did the rows of {name} learn?",
        "Validation loss by step, of each row's first run.",
        provenance(result),
        command=result["runs"][0]["train_command"],
        figures=drawings(partial(curve_drawing, curves), LAYOUTS),
        lines=legend([{"variant": each} for each in curves]),
        tables=[_table("Validation loss, nats per token", ["at the end"], cells)],
        header=["variant", "step", "validation"],
        values=[
            [each, point["step"], point["validation"]]
            for each, points in curves.items()
            for point in points
        ],
    )


def _field(name: str, result: Mapping[str, Any]) -> Answer:
    """How far back a change still changes what is said next."""
    from freeatten_core.figures.field import field_drawing
    from freeatten_core.results.field import field_provenance, field_text, near_share
    from freeatten_core.results.format import count

    rows = result["variants"]
    labels = [line["label"] for line in legend(rows)]
    cells = [
        [label, field_text(row), near_share(result, row)]
        for label, row in zip(labels, rows, strict=True)
    ]
    header = [f"field, tokens of {count(result['length'])}", "% of the gradient within 1×"]
    return _part(
        name,
        "How far back does a change still change what is said next?",
        f"The share of the gradient of the next token's loss on so many last tokens; the "
        f"receptive field is the least number that has {result['share']} of it.",
        field_provenance(result),
        command=result["command"],
        figures=drawings(partial(field_drawing, result), LAYOUTS),
        lines=legend(rows),
        tables=[_table("Receptive field", header, cells)],
        header=["variant", "last_tokens", "share", "low", "high"],
        values=[
            [row["variant"], distance, share, *pair]
            for row in rows
            for distance, share, pair in zip(
                result["distances"], row["share"], row["share_ci95"], strict=True
            )
        ],
    )


def _longppl(name: str, result: Mapping[str, Any]) -> Answer:
    """Who knows what far context alone tells."""
    from freeatten_core.results.format import source_name
    from freeatten_core.results.longppl import LONGPPL_HEADS, longppl_cells, longppl_provenance

    rows = result["variants"]
    labels = [line["label"] for line in legend(rows)]
    keys = ("longppl", "key_loss", "rest_loss")
    return _part(
        f"longppl-{name}",
        f"Who knows what only far context tells, in {source_name(result['text']['source'])}?",
        "LongPPL is the exponential of the mean loss on the tokens that an evaluator knows from "
        "far context alone; lower is better. Nats per token.",
        longppl_provenance(result),
        command=result["command"],
        tables=[
            _table(
                "LongPPL (95 % interval), and the losses on key tokens and on the rest",
                LONGPPL_HEADS,
                [[label, *longppl_cells(row)] for label, row in zip(labels, rows, strict=True)],
            )
        ],
        header=["variant", "checkpoint", *keys],
        values=[[row["variant"], row["checkpoint"], *(row[key] for key in keys)] for row in rows],
    )


def _knee(result: Mapping[str, Any]) -> Answer:
    """Where in a text the loss stops falling."""
    from freeatten_core.figures.comparison import position_drawing
    from freeatten_core.results.comparison import provenance
    from freeatten_core.results.format import count
    from freeatten_core.results.knee import KNEE_RULE, knee_text

    rows = result["variants"]
    labels = [line["label"] for line in legend(rows)]
    cells = [[label, knee_text(result, row)] for label, row in zip(labels, rows, strict=True)]
    return _part(
        "knee",
        "Up to where does more context help?",
        sentence(KNEE_RULE),
        provenance(result),
        command="freeatten compare --stored stdlib-16x --by position",
        figures=drawings(partial(position_drawing, result), LAYOUTS),
        lines=legend(rows),
        tables=[_table("Knee", [f"tokens of {count(max(result['lengths']))}"], cells)],
        header=["variant", "position_up_to", "loss"],
        values=[
            [row["variant"], position, loss]
            for row in rows
            for position, loss in zip(result["positions"], row["loss_by_position"], strict=True)
        ],
    )


def _effective(results: Sequence[Mapping[str, Any]]) -> Answer:
    """Up to where copying and recall stay what they are at short lengths."""
    from freeatten_core.figures.styles import style_of
    from freeatten_core.results.effective import EFFECTIVE_RULE, effective_text

    names = list(dict.fromkeys(row["variant"] for each in results for row in each["variants"]))
    found = {
        (each["task"], row["variant"]): effective_text(each, row)
        for each in results
        for row in each["variants"]
    }
    tasks = [each["task"] for each in results]
    lines = [[name, *(found.get((task, name), "–") for task in tasks)] for name in names]
    return _part(
        "effective",
        "Up to which length is it as good as at short ones?",
        f"{sentence(EFFECTIVE_RULE)} Tokens, by the task.",
        "The results of the tab Retrieval.",
        command="freeatten retrieve --task copy",
        tables=[
            _table(
                "Effective length, tokens",
                tasks,
                [[style_of(name).label.replace("<br>", " "), *rest] for name, *rest in lines],
            )
        ],
        header=["variant", *tasks],
        values=lines,
    )


def _languages(name: str, result: Mapping[str, Any]) -> Answer:
    """Languages in which every symbol counts."""
    from freeatten_core.figures.languages import languages_drawing
    from freeatten_core.results.languages import (
        beyond_cell,
        language_title,
        languages_provenance,
        within_cell,
    )

    rows, names = result["variants"], list(result["languages"])
    labels = [line["label"] for line in legend(rows)]
    header = [language_title(result, name) for name in names]
    tables = [
        _table(caption, header, [[label, *map(form, row["languages"])] for label, row in pairs])
        for caption, form in (
            ("% right on strings longer than any trained on", beyond_cell),
            ("% right at the lengths trained on", within_cell),
        )
        for pairs in [list(zip(labels, rows, strict=True))]
    ]
    is_suite = name == "suite"
    return _part(
        "languages" if is_suite else f"languages-{name}",
        "Which attention goes on tracking the state of longer strings?"
        + ("" if is_suite else f" ({name})"),
        "% answered right, by the length of the string; dashed: the longest trained on, dotted: "
        "what a guess has.",
        languages_provenance(result),
        command=result["command"],
        figures=drawings(partial(languages_drawing, result), SINGLE),
        lines=legend(rows),
        tables=tables,
        header=["variant", "language", "length_up_to", "accuracy"],
        values=[
            [row["variant"], cell["language"], edge, share]
            for row in rows
            for cell in row["languages"]
            for edge, share in zip(
                result["lengths"],
                cell["accuracy_by_length"] or [None] * len(result["lengths"]),
                strict=True,
            )
        ],
    )
