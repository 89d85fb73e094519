"""Model cards and Markdown tables: what was made and measured, from stored data alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .shares import with_wilson
from .variants import SOURCES, Variant
from .verdicts import upgraded
from .wording import (
    HEADS_SHOWN,
    MEASURE_TITLES,
    UNDONE_TITLES,
    Result,
    Row,
    ablation_texts,
    control_text,
    count,
    head_name,
    measure_digits,
    number,
    percent_range,
    plural,
    retrieval_reading,
    retrieval_samples,
    row_names,
    signed,
    source_name,
    strongest_heads,
    verdict_text,
    with_half_width,
)

LOCAL_PARTS = 16
"""A head is local when its mean distance is below this part of the training length."""
NOTHING_STORED = "Nothing has been stored for this checkpoint yet."


def stored_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Stored results by name, such as `stdlib-16x`, in today's schemas."""
    found = {
        path.stem: with_wilson(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("*.json"))
    }
    return {
        name: upgraded(result) if "control" in result else result for name, result in found.items()
    }


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; numbers to the right, the first column to the left."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def loss_table(result: Result) -> str:
    """Mean loss ± half of its 95 % interval, nats per token, variant × length."""
    rows = [
        [f"`{name}`", *_intervals(row, "loss", number), number(row["bits_per_byte"][-1])]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["loss", *_headings(result), "bits per byte"], rows)


def delta_table(result: Result) -> str:
    """Δ ± half of its interval, S and W at the longest length, with the verdict."""
    rows = [
        [
            f"`{name}`",
            *_intervals(row, "delta", signed),
            control_text(row, "sliding"),
            control_text(row, "window"),
            verdict_text(row),
        ]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["Δ", *_headings(result), "S", "W", "verdict"], rows)


def swap_table(result: Result) -> str:
    """How much the loss rises when far context is another file's."""
    rows = [
        [f"`{name}`", *_intervals(row, "swap_delta", signed)[1:]]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["swapped − intact", *_headings(result)[1:]], rows)


def provenance(result: Result) -> str:
    """One line: text, machine, versions, command."""
    text = result["text"]
    return (
        f"{plural(result['texts'], 'text')} of {source_name(text['source'])}{_qualifying(text)}, "
        f"{count(text['tokens'])} tokens scored at every length; {_machine(result)}"
    )


def _qualifying(text: Mapping[str, Any]) -> str:
    if text["qualifying"] is None:
        return ""
    return f" ({plural(text['qualifying'], 'file')} of {count(text['files'])} long enough)"


def _machine(result: Result) -> str:
    versions = result["versions"]
    commit = f", commit {result['commit'][:10]}" if result.get("commit") else ""
    return (
        f"{result['device']}, {result['dtype']}, torch {versions['torch']}, Python "
        f"{versions['python']}, {result['date']}{commit}: `{result['command']}`"
    )


def gain_table(result: Result) -> str:
    """What the first copy of a block is worth, nats per token, variant × tokens in all."""
    rows = [
        [f"`{name}`", *_pairs(row["gain"], row["gain_ci95"], signed)]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["gain", *_headings(result)], rows)


def control_table(result: Result) -> str:
    """The loss on the block without its first copy, which a perfect copier would gain."""
    rows = [
        [f"`{name}`", *_pairs(row["control"], row["control_ci95"], number)]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["loss without the copy", *_headings(result)], rows)


def accuracy_table(result: Result) -> str:
    """% of queries answered right and the interval, variant × length."""
    rows = [
        [f"`{name}`", *map(percent_range, row["accuracy"], row["accuracy_ci95"])]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table(["% right", *_headings(result)], rows)


def distance_table(result: Result) -> str:
    """The same at the longest length, by how far back the pair is."""
    edges = [f"≤ {count(edge)}" for edge in result["distances"]]
    rows = [
        [f"`{name}`", *(percent_range(p["accuracy"], p["ci95"]) for p in row["by_distance"])]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table([f"% right at {count(max(result['lengths']))}, distance", *edges], rows)


def retrieval_provenance(result: Result) -> str:
    """One line: what was measured, machine, versions, command."""
    return f"{retrieval_samples(result)}; {retrieval_reading(result)}. {_machine(result)}"


def measure_table(result: Result, name: str) -> str:
    """One measure of `freeatten entropy --by length`, mean over heads, variant × length."""
    digits = measure_digits(name)
    rows = []
    for row, label in zip(result["variants"], row_names(result["variants"]), strict=True):
        found = row["by_length"]
        cells = _pairs(
            found[name], found[f"{name}_ci95"], lambda value: number(value, digits), digits
        )
        rows.append([f"`{label}`", *cells])
    return table([MEASURE_TITLES[name], *_headings(result)], rows)


def sink_table(result: Result) -> str:
    """Sinks in the first 64 tokens, and the key that a head reads most at the ends."""
    ends = [_heading(result, length) for length in (result["lengths"][0], result["lengths"][-1])]
    rows = []
    for row, label in zip(result["variants"], row_names(result["variants"]), strict=True):
        heads = row["heads"]
        sink = max(heads, key=lambda head: float(head["sink"]))
        most = [max(heads, key=lambda head: _at(head, "received", end)) for end in (0, -1)]
        rows.append(
            [
                f"`{label}`",
                f"{row['sink_rate'] * len(heads):.3g} of {len(heads)}",
                f"{head_name(sink)}: {number(sink['sink'])}",
                *(
                    f"{head_name(head)}: {number(_at(head, 'received', end))}"
                    for head, end in zip(most, (0, -1), strict=True)
                ),
            ]
        )
    titles = [f"most on one key, {end}" for end in ends]
    return table(["sinks", "heads with a sink, T = 64", "strongest of them", *titles], rows)


def far_table(result: Result) -> str:
    """Which heads read far tokens at the longest length, and what local heads do there."""
    near, last = result["train_length"] // LOCAL_PARTS, result["lengths"][-1]
    rows = []
    for row, label in zip(result["variants"], row_names(result["variants"]), strict=True):
        heads = row["heads"]
        local = [head for head in heads if _at(head, "mean_distance", 0) < near]
        shares = [_at(head, "far", -1) for head in local]
        farthest = sorted(heads, key=lambda head: -_at(head, "far", -1))[:HEADS_SHOWN]
        rows.append(
            [
                f"`{label}`",
                str(sum(_at(head, "far", -1) > 0.5 for head in heads)),
                str(sum(_at(head, "far", -1) < 0.1 for head in heads)),
                f"{len(local)}: {number(sum(shares) / len(shares) if shares else None)}",
                ", ".join(f"{head_name(head)} {number(_at(head, 'far', -1))}" for head in farthest),
            ]
        )
    titles = ["heads above 0.5", "below 0.1", f"local at {_heading(result, result['lengths'][0])}"]
    return table([f"share on far tokens at {count(last)}", *titles, "farthest heads"], rows)


def _at(head: Row, name: str, end: int) -> float:
    return float(head["by_length"][name][end])


def survey_provenance(result: Result) -> str:
    """One line: texts, machine, versions, command."""
    text = result["text"]
    return (
        f"{plural(result['texts'], 'text')} of {source_name(text['source'])} "
        f"({', '.join(text['names'])}); {_machine(result)}"
    )


def ablation_table(result: Result) -> str:
    """Δ with one thing undone, variant × what."""
    rows = [
        [
            f"`{name}`",
            *(
                with_half_width(signed(row["delta"][key]), row["delta_ci95"][key])
                for key in UNDONE_TITLES
            ),
        ]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    return table([f"Δ at {count(result['length'])}", *UNDONE_TITLES.values()], rows)


def ablation_heads_table(result: Result) -> str:
    """The heads whose far keys cost most, with the change of the loss when they are hidden."""
    rows = [
        [
            f"`{name}`",
            *(
                f"{head_name(head)}: {with_half_width(signed(head['change']), head['change_ci95'])}"
                for head in strongest_heads(row)
            ),
        ]
        for row, name in zip(result["variants"], row_names(result["variants"]), strict=True)
    ]
    places = ["costs most", "second", "third"][:HEADS_SHOWN]
    return table(["far keys hidden from one head", *places], rows)


def ablation_provenance(result: Result) -> str:
    """One line: texts, machine, versions, command."""
    return f"{ablation_texts(result)}; {_machine(result)}"


def card(
    variant: Variant,
    about: Mapping[str, Any],
    results: Mapping[str, Result],
    *,
    licence: str | None = None,
) -> str:
    """The model card of a checkpoint.

    Args:
        variant: what was trained.
        about: `curve.json`.
        results: stored results by name; rows of other variants are left out.
        licence: of the weights, as the hub names it; None leaves it to whoever trained them.
    """
    lines = (
        _front_matter("[attention]", licence, "language: en\n"),
        *_card_lines(variant, about, results),
    )
    return "\n".join(lines) + "\n"


def recall_card(
    variant: Variant,
    about: Mapping[str, Any],
    result: Result | None,
    *,
    licence: str | None = None,
) -> str:
    """The model card of a checkpoint of the recall task.

    Args:
        variant: what was trained.
        about: `curve.json`.
        result: the stored result of `freeatten retrieve --task recall`, if there is one.
        licence: as for `card`.
    """
    lines = _front_matter("[attention]", licence), *_recall_lines(variant, about, result)
    return "\n".join(lines) + "\n"


def _recall_lines(
    variant: Variant, about: Mapping[str, Any], result: Result | None
) -> Iterator[str]:
    task, length = about["task"], count(about["recipe"]["train_length"])
    yield f"\n# freeatten: `{variant}`, associative recall\n"
    yield (
        f"A model with `{variant}` attention ({_source(variant)}) that answers queries about "
        f"{task['pairs']} key-value pairs among filler, trained at {length} tokens to see what is "
        "still found in longer sequences. Its tokens are not text, so it has no tokenizer. "
        f"{task['keys']} keys, {task['values']} values, a token for every pair of them, "
        f"{task['fillers']} fillers; `freeatten_core/recall.py` makes the sequences."
    )
    yield "\n## Measured\n"
    rows = [] if result is None else _rows_of(variant, result)
    if result is not None and rows:
        own = {**result, "variants": rows}
        yield f"{accuracy_table(own)}\n\n{retrieval_provenance(result)}"
    else:
        yield NOTHING_STORED
    yield from _made_lines(about, "query")


def _card_lines(
    variant: Variant, about: Mapping[str, Any], results: Mapping[str, Result]
) -> Iterator[str]:
    recipe = about["recipe"]
    yield f"\n# freeatten: `{variant}`\n"
    yield (
        f"A small language model with `{variant}` attention ({_source(variant)}), "
        f"trained at {count(recipe['train_length'])} tokens to see what happens at longer "
        "contexts. It is an instrument for comparing attention variants, not a model to write "
        "text with. The weights come from the training described below, started from random "
        "numbers; none are taken from a paper."
    )
    yield f"\n## Measured\n\nNats per token; {_reading(recipe)}\n"
    measured = list(_measured(variant, results))
    yield "\n\n".join(measured) if measured else NOTHING_STORED
    yield from _made_lines(about, "token")
    yield "\n## Text it was trained on\n"
    for source in about["text"]["sources"]:
        yield from _source_lines(source)


def _front_matter(tags: str, licence: str | None, language: str = "") -> str:
    stated = "" if licence is None else f"license: {licence}\n"
    return f"---\n{stated}library_name: freeatten\n{language}tags: {tags}\n---"


def _source(variant: Variant) -> str:
    if variant.function is not None:
        return "one's own function"
    return SOURCES.get(str(variant).split(":")[0], "custom")


def _made_lines(about: Mapping[str, Any], unit: str) -> Iterator[str]:
    recipe, curve = about["recipe"], about["curve"]
    yield "\n## How it was made\n"
    yield f"```\n{about['command']}\n```\n"
    if "function" in about:
        yield from _function_lines(about["function"])
    used = [name for name in recipe if name != "search_steps" or about["searched"]]
    yield table(["recipe", "value"], [[name, _plain(recipe[name])] for name in used])
    yield (
        f"\nLearning rate {about['learning_rate']:g}{_searched(about)}. The last validation loss "
        f"is {number(curve[-1]['validation'])} nats per {unit} after {count(curve[-1]['step'])} "
        f"steps, {number(about['seconds'], 0)} s on {about['device']} with torch "
        f"{about['torch']}; the whole curve is in `curve.json`."
    )


def _function_lines(function: Mapping[str, Any]) -> Iterator[str]:
    """The file of one's own attention, to be read; loading the checkpoint does not run it."""
    yield f"Its attention is the function of `{function['name']}`, when it was trained:\n"
    yield _code(function["source"])
    for name, source in function.get("beside", {}).items():
        yield f"It imported `{name}` from beside it:\n"
        yield _code(source)


def _code(source: str) -> str:
    source = source.rstrip()
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", source)), 3)
    return f"{fence}python\n{source}\n{fence}\n"


def _reading(recipe: Mapping[str, Any]) -> str:
    return (
        "Δ is the loss minus that of the same model forgetting everything older than "
        f"{count(recipe['train_length'])} tokens."
    )


def _measured(variant: Variant, results: Mapping[str, Result]) -> Iterator[str]:
    for result in results.values():
        rows = _rows_of(variant, result)
        if rows:
            own = {**result, "variants": rows}
            yield f"{loss_table(own)}\n\n{delta_table(own)}\n\n{provenance(result)}"


def _rows_of(variant: Variant, result: Result) -> list[Row]:
    """The rows of a variant, with modifiers and without."""
    return [
        row
        for row in result["variants"]
        if Variant.parse(row["variant"]).trained == variant.trained
    ]


def _searched(about: Mapping[str, Any]) -> str:
    if not about["searched"]:
        return ""
    tried = ", ".join(f"{rate}: {number(loss)}" for rate, loss in about["searched"].items())
    return (
        f", the best of short runs of {count(about['recipe']['search_steps'])} steps by "
        f"validation loss ({tried})"
    )


def _source_lines(source: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"\n### {source['source']}\n\n{plural(source['files'], 'file')}, "
        f"{count(source['bytes'])} bytes, {count(source['tokens'])} training tokens; "
        f"{plural(source['dropped'], 'file')} dropped as near copies of the standard library.\n"
    )
    if source["packages"]:
        yield table(
            ["package", "version", "licence"],
            [[p["name"], p["version"], _plain(p["licence"])] for p in source["packages"]],
        )
    elif source["documents"]:
        yield "\n".join(f"- {_title(name)}" for name in source["documents"])


def _title(name: str) -> str:
    """`Hardy-Thomas/A-Book.txt` as `Hardy Thomas: A Book`."""
    return name.removesuffix(".txt").replace("-", " ").replace("/", ": ")


def _plain(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text.replace("|", "/").replace("\n", " ")


def _headings(result: Result) -> list[str]:
    return [_heading(result, length) for length in result["lengths"]]


def _heading(result: Result, length: int) -> str:
    trained = result["train_length"]
    return count(length) if length % trained else f"{length // trained}× ({count(length)})"


def _intervals(row: Row, key: str, form: Any) -> list[str]:
    return _pairs(row[key], row["ci95" if key == "loss" else f"{key}_ci95"], form)


def _pairs(values: Sequence[Any], bounds: Sequence[Any], form: Any, digits: int = 3) -> list[str]:
    texts = [form(value) for value in values]
    return [
        text if text == "0" else with_half_width(text, interval, digits)
        for text, interval in zip(texts, bounds, strict=True)
    ]
