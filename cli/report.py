"""`freeatten report`: rewrite cards, README tables and pictures from the stored results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

PICTURES = {"compare-code": "stdlib-16x", "compare-books": "books-16x"}
"""Pictures of the README by the stored result that they show."""


def report(
    root: Annotated[Path, typer.Argument(help="A checkout of freeatten.")] = Path(),
    pictures: Annotated[bool, typer.Option(help="Draw the pictures too (needs Chromium).")] = True,
) -> None:
    """Rewrite model cards, README tables and pictures from assets/results. For maintainers."""
    from freeatten_core.cards import stored_results
    from freeatten_core.errors import UsageError

    readme = root / "README.md"
    if not (root / "assets" / "results").is_dir() or not readme.is_file():
        raise UsageError(f"{root} is not a checkout of freeatten; name its folder")
    results = stored_results(root / "assets" / "results")
    write_cards(root / "assets" / "checkpoints", results)
    swapped = stored_results(root / "assets" / "results" / "swap")
    filled = blocks(results | {f"swap/{name}": result for name, result in swapped.items()})
    for page in (readme, *sorted((root / "docs").glob("*.md"))):
        fill_blocks(page, filled)
    if pictures:
        draw(root / "assets" / "images", results, learning_curves(root / "assets" / "checkpoints"))


def write_cards(checkpoints: Path, results: Mapping[str, Any]) -> None:
    import json

    from freeatten_core.cards import card
    from freeatten_core.checkpoint import CARD, CONFIG, CURVE, read_config
    from freeatten_core.files import write_text

    for config in sorted(checkpoints.glob(f"*/{CONFIG}")):
        about = json.loads((config.parent / CURVE).read_text())
        variant = read_config(config).variant
        write_text(config.parent / CARD, card(variant, about, results))


def blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The text of every generated block, by its name."""
    from freeatten_core.cards import delta_table, loss_table, provenance, swap_table

    filled = {}
    for name, result in results.items():
        filled[f"{name} loss"] = loss_table(result)
        filled[f"{name} delta"] = delta_table(result)
        filled[f"{name} provenance"] = provenance(result)
        if any(row.get("swap_delta") for row in result["variants"]):
            filled[f"{name} swap"] = swap_table(result)
    return filled


def fill_blocks(page: Path, filled: Mapping[str, str]) -> None:
    """Replace what stands between `<!-- report: NAME -->` and `<!-- end -->`."""
    from freeatten_core.errors import ContentError
    from freeatten_core.files import write_text

    def fill(match: re.Match[str]) -> str:
        if match[1] not in filled:
            raise ContentError(f"{page} asks for {match[1]!r}, which no stored result gives")
        return f"<!-- report: {match[1]} -->\n{filled[match[1]]}\n<!-- end -->"

    text = page.read_text(encoding="utf-8")
    replaced = re.sub(r"<!-- report: (.+?) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)
    if replaced != text:
        write_text(page, replaced)


def draw(folder: Path, results: Mapping[str, Any], curves: Mapping[str, Any]) -> None:
    from freeatten_core.figures import comparison_figure, curve_figure

    from .exports import save_figure

    folder.mkdir(exist_ok=True)
    for theme in ("light", "dark"):
        for name, stored in PICTURES.items():
            figure = comparison_figure(results[stored], theme=theme)
            save_figure(figure, folder / f"{name}-{theme}.png")
        save_figure(curve_figure(curves, theme=theme), folder / f"curves-{theme}.png")


def learning_curves(checkpoints: Path) -> dict[str, Any]:
    """The learning curve of every checkpoint, by its variant."""
    import json

    from freeatten_core.checkpoint import CONFIG, CURVE, read_config

    return {
        str(read_config(config).variant): json.loads((config.parent / CURVE).read_text())["curve"]
        for config in sorted(checkpoints.glob(f"*/{CONFIG}"))
    }
