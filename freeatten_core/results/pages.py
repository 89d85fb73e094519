"""The generated blocks of the README and the pages of docs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = [
    "comparison_blocks",
    "fill_blocks",
    "inside_blocks",
    "mixed_blocks",
    "model_blocks",
    "modifier_blocks",
    "of_folder",
    "retrieval_blocks",
]


def of_folder(root: Path, folder: str) -> dict[str, Any]:
    """Stored results of a folder, such as `inside/heads`."""
    from .stored import stored_results

    found = stored_results(root / "assets" / "results" / folder)
    return {f"{folder}/{name}": result for name, result in found.items()}


def retrieval_blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The text of the generated blocks of `freeatten retrieve`, by name."""
    from .retrieval import (
        accuracy_table,
        control_table,
        distance_table,
        gain_table,
        retrieval_provenance,
    )

    filled = {}
    for name, result in results.items():
        if result["task"] == "copy":
            filled[f"{name} gain"] = gain_table(result)
            filled[f"{name} control"] = control_table(result)
        else:
            filled[f"{name} accuracy"] = accuracy_table(result)
            filled[f"{name} distance"] = distance_table(result)
        filled[f"{name} provenance"] = retrieval_provenance(result)
    return filled


def modifier_blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The text of the generated blocks of rows with modifiers, by name."""
    compared = {name: result for name, result in results.items() if "task" not in result}
    copied = {name: result for name, result in results.items() if "task" in result}
    return comparison_blocks(compared) | retrieval_blocks(copied)


def mixed_blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The text of the generated blocks of results of several commands, by name, with bits per
    byte."""
    from .comparison import bits_table

    compared = {name: result for name, result in results.items() if "control" in result}
    seen = {n: result for n, result in results.items() if not {"control", "task"} & {*result}}
    copied = {name: result for name, result in results.items() if "task" in result}
    filled = {f"{name} bits": bits_table(result) for name, result in compared.items()}
    return filled | comparison_blocks(compared) | inside_blocks(seen) | retrieval_blocks(copied)


def model_blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The text of the generated blocks of models of others, by name; each says the form of their
    weights."""
    from .format import forms_text

    forms = {name: forms_text(result) for name, result in results.items()}
    return {
        block: text if block.endswith("provenance") else f"{text}\n\nWeights of {forms[name]}."
        for block, text in mixed_blocks(results).items()
        if (name := block.split()[0])
    }


def inside_blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The text of the generated blocks of `freeatten entropy`, `ablate` and `field`, and of what
    tests/measure/far_heads.py found, by name."""
    from .ablation import ablation_heads_table, ablation_provenance, ablation_table
    from .far_heads import far_heads_blocks
    from .field import field_blocks
    from .heads import MEASURE_TITLES, far_table, measure_table, sink_table, survey_provenance

    filled = {}
    for name, result in results.items():
        if "statistic" in result:
            for measure in MEASURE_TITLES:
                filled[f"{name} {measure}"] = measure_table(result, measure)
            filled[f"{name} sinks"] = sink_table(result)
            filled[f"{name} heads"] = far_table(result)
            filled[f"{name} provenance"] = survey_provenance(result)
        elif "share" in result:
            filled |= field_blocks(name, result)
        elif "hidden" in result["variants"][0]:
            filled |= far_heads_blocks(name, result)
        else:
            filled[f"{name} delta"] = ablation_table(result)
            filled[f"{name} provenance"] = ablation_provenance(result)
            if "heads" in result["variants"][0]:
                filled[f"{name} heads"] = ablation_heads_table(result)
    return filled


def comparison_blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The text of every generated block, by its name."""
    from .comparison import delta_table, loss_table, provenance, swap_table
    from .knee import knee_table

    filled = {}
    for name, result in results.items():
        filled[f"{name} loss"] = loss_table(result)
        filled[f"{name} delta"] = delta_table(result)
        filled[f"{name} provenance"] = provenance(result)
        if result.get("positions"):
            filled[f"{name} knee"] = knee_table(result)
        if any(row.get("swap_delta") for row in result["variants"]):
            filled[f"{name} swap"] = swap_table(result)
    return filled


def fill_blocks(page: Path, filled: Mapping[str, str], pending: Collection[str] = ()) -> None:
    """Replace what stands between `<!-- report: NAME -->` and `<!-- end -->`.

    Args:
        page: a Markdown file.
        filled: texts by name.
        pending: results that are still to be made; their blocks stay as they are.
    """
    from freeatten_core.basics.errors import ContentError
    from freeatten_core.basics.files import write_text

    def fill(match: re.Match[str]) -> str:
        if match[1].split()[0] in pending:
            return match[0]
        if match[1] not in filled:
            raise ContentError(f"{page} asks for {match[1]!r}, which no stored result gives")
        return f"<!-- report: {match[1]} -->\n{filled[match[1]]}\n<!-- end -->"

    text = page.read_text(encoding="utf-8")
    replaced = re.sub(r"<!-- report: (.+?) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)
    if replaced != text:
        write_text(page, replaced)
