"""Model cards and Markdown tables: what was made and measured, from stored data alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from freeatten_core.variants.stages import OwnFunctionName
from freeatten_core.variants.variant import SOURCES, Variant

from .comparison import delta_table, loss_table, provenance
from .format import Entry, Result, count, number, plural
from .markdown import plain, table
from .retrieval import accuracy_table, retrieval_provenance
from .tasks import task_sentence, task_title

__all__ = ["card", "task_card"]

NOTHING_STORED = "Nothing has been stored for this checkpoint yet."


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


def task_card(
    variant: Variant,
    about: Mapping[str, Any],
    result: Result | None,
    *,
    licence: str | None = None,
) -> str:
    """The model card of a checkpoint of a synthetic task.

    Args:
        variant: what was trained.
        about: `curve.json`.
        result: the stored result of `freeatten retrieve` on its task, if there is one.
        licence: as for `card`.
    """
    lines = _front_matter("[attention]", licence), *_task_lines(variant, about, result)
    return "\n".join(lines) + "\n"


def _task_lines(variant: Variant, about: Mapping[str, Any], result: Result | None) -> Iterator[str]:
    task, length = about["task"], count(about["recipe"]["train_length"])
    does, tokens = task_sentence(task, length)
    yield f"\n# freeatten: `{variant}`, {task_title(task['kind'])}\n"
    yield (
        f"A model with `{variant}` attention ({_source(variant)}) that {does} to see what is "
        "still found in longer sequences. Its tokens are not text, so it has no tokenizer. "
        f"{tokens}"
    )
    yield "\n## Measured\n"
    # the first is the shipped one, others are other seeds
    rows = [] if result is None else _rows_of(variant, result)[:1]
    if result is not None and rows:
        of_variant = {**result, "variants": rows}
        yield f"{accuracy_table(of_variant)}\n\n{retrieval_provenance(result)}"
    else:
        yield NOTHING_STORED
    yield from _made_lines(about, "query")


def _card_lines(
    variant: Variant, about: Mapping[str, Any], results: Mapping[str, Result]
) -> Iterator[str]:
    recipe = about["recipe"]
    began = f"the weights of {about['from']['checkpoint']}" if "from" in about else "random numbers"
    yield f"\n# freeatten: `{variant}`\n"
    yield (
        f"A small language model with `{variant}` attention ({_source(variant)}), "
        f"trained at {count(recipe['train_length'])} tokens to see what happens at longer "
        "contexts. It is an instrument for comparing attention variants, not a model to write "
        f"text with. The weights come from the training described below, started from {began}; "
        "none are taken from a paper."
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
    if isinstance(variant.computes, OwnFunctionName):
        return "one's own function"
    return SOURCES.get(str(variant).split(":")[0], "custom")


def _made_lines(about: Mapping[str, Any], unit: str) -> Iterator[str]:
    recipe, curve = about["recipe"], about["curve"]
    yield "\n## How it was made\n"
    yield f"```\n{about['command']}\n```\n"
    if "function" in about:
        yield from _function_lines(about["function"])
    used = [name for name in recipe if name != "search_steps" or about["searched"]]
    yield table(["recipe", "value"], [[name, plain(recipe[name])] for name in used])
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
            of_variant = {**result, "variants": rows}
            yield f"{loss_table(of_variant)}\n\n{delta_table(of_variant)}\n\n{provenance(result)}"


def _rows_of(variant: Variant, result: Result) -> list[Entry]:
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
        yield from _grouped(
            (plain(each["licence"]), f"{each['name']} {each['version']}")
            for each in source["packages"]
        )
    elif source["documents"]:
        yield from _grouped(_author_and_title(name) for name in source["documents"])


def _grouped(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A line for each of the first, and for one that stands alone: a card lists hundreds of
    packages and of books, under few licences and by few authors."""
    found: dict[tuple[str, bool], list[str]] = {}
    for first, second in pairs:
        found.setdefault((first, bool(second)), []).append(second)
    for (first, more), seconds in found.items():
        yield f"- {first}: {'; '.join(seconds)}" if more else f"- {first}"


def _author_and_title(name: str) -> tuple[str, str]:
    """`Hardy-Thomas/A-Book.txt` as `Hardy Thomas` and `A Book`; a file of no folder as itself."""
    first, _, second = name.removesuffix(".txt").replace("-", " ").partition("/")
    return first, second.replace("/", ": ")
