"""`freeatten report`: rewrite cards, README tables and pictures from the stored results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LICENCE = "apache-2.0"
"""Of the shipped weights."""
PICTURES = {"compare-code": "stdlib-16x", "compare-books": "books-16x"}
"""Pictures of the README by the stored result that they show."""
SPEED = "speed/h200"
"""What docs/speed.md is of; blocks of what is not stored stay as they are."""
RETRIEVE = ("retrieve/copy", "retrieve/recall")
"""The same for docs/inside.md."""
INSIDE = ("inside/heads", "inside/ablate", "inside/ablate-books")
"""What `freeatten entropy --by length` and `freeatten ablate` gave; for docs/inside.md too."""
APP = ("app/start", "app/redraw", "app/soak")
"""What the scripts tests/measure/app_*.py gave; for docs/app.md."""
STABILITY = "stability/cpu"
"""What `freeatten stability` gave; for docs/stability.md."""
SYSTEMS = (
    *("systems/code", "systems/books", "systems/copy"),
    *("far/code", "far/books", "far/copy"),
    *("ceiling/code", "ceiling/books"),
)
"""Rows with modifiers, for docs/softplus.md: to 16×, to 64×, and beside a longer training."""
OWN = ("own/code", "own/books", "own/copy")
"""Attention of one's own beside two variants by the same recipe, for docs/own.md."""
SYSTEM_ROWS = (
    "softmax+yarn",
    "softmax+window",
    "softmax-ls",
    "softmax-ls+window",
    "lssar:p=15",
    "lssar:p=15+rerope",
)
"""Of these, which are drawn."""
CUBE = "cube/runs"
"""The ablation cube, for docs/softplus.md too."""
INSIDE_ROWS = ("softmax", "softmax-ls", "lssa", "lssar:p=15")
"""Whose loss against position docs/inside.md shows."""


def report(
    root: Annotated[Path, typer.Argument(help="A checkout of freeatten.")] = Path(),
    pictures: Annotated[bool, typer.Option(help="Draw the pictures too (needs Chromium).")] = True,
) -> None:
    """Rewrite model cards, README tables and pictures from assets/results. For maintainers."""
    from freeatten_core import app_measures, cube, speed, stability_tables
    from freeatten_core.cards import stored_results
    from freeatten_core.errors import UsageError

    from .exports import check_browser

    readme = root / "README.md"
    if not (root / "assets" / "results").is_dir() or not readme.is_file():
        raise UsageError(f"{root} is not a checkout of freeatten; name its folder")
    if pictures:
        check_browser()
    results = stored_results(root / "assets" / "results")
    write_cards(root / "assets" / "checkpoints", results)
    filled = blocks(results)
    speeds = of_folder(root, "speed")
    for name, result in speeds.items():
        filled |= speed.blocks(name, result)
    retrieved = of_folder(root, "retrieve")
    write_recall_cards(root / "assets" / "recall", retrieved.get("retrieve/recall"))
    filled |= retrieval_blocks(retrieved)
    inside = of_folder(root, "inside")
    filled |= inside_blocks(inside)
    measured = of_folder(root, "app")
    for name, result in measured.items():
        filled |= app_measures.blocks(name, result)
    stable = of_folder(root, "stability")
    for name, result in stable.items():
        filled |= stability_tables.blocks(name, result)
    systems: dict[str, Any] = {}
    for folder in ("systems", "far", "ceiling", "own"):
        systems |= of_folder(root, folder)
    filled |= system_blocks(systems)
    cubes = of_folder(root, "cube")
    for name, result in cubes.items():
        filled |= cube.blocks(name, result)
    given = (
        systems.keys()
        | cubes.keys()
        | speeds.keys()
        | retrieved.keys()
        | inside.keys()
        | measured.keys()
        | stable.keys()
    )
    pending = {SPEED, *RETRIEVE, *INSIDE, *APP, STABILITY, *SYSTEMS, *OWN, CUBE} - given
    for page in (readme, *sorted((root / "docs").glob("*.md"))):
        fill_blocks(page, filled, pending=pending)
    if pictures:
        images = root / "assets" / "images"
        draw(images, results, learning_curves(root / "assets" / "checkpoints"))
        if SPEED in speeds:
            draw_speed(images, speeds[SPEED])
        if STABILITY in stable:
            draw_stability(images, stable[STABILITY])
        draw_retrievals(images, retrieved)
        draw_softplus(images, systems, cubes)
        draw_inside(images, inside, results)


def of_folder(root: Path, folder: str) -> dict[str, Any]:
    """Stored results of a folder, such as `inside/heads`."""
    from freeatten_core.cards import stored_results

    found = stored_results(root / "assets" / "results" / folder)
    return {f"{folder}/{name}": result for name, result in found.items()}


def write_cards(checkpoints: Path, results: Mapping[str, Any]) -> None:
    import json

    from freeatten_core.cards import card
    from freeatten_core.checkpoint import CARD, CONFIG, CURVE, read_config
    from freeatten_core.files import write_text

    for config in sorted(checkpoints.glob(f"*/{CONFIG}")):
        about = json.loads((config.parent / CURVE).read_text(encoding="utf-8"))
        variant = read_config(config).variant
        write_text(config.parent / CARD, card(variant, about, results, licence=LICENCE))


def write_recall_cards(checkpoints: Path, result: Mapping[str, Any] | None) -> None:
    import json

    from freeatten_core.cards import recall_card
    from freeatten_core.checkpoint import CARD, CONFIG, CURVE, read_config
    from freeatten_core.files import write_text

    for config in sorted(checkpoints.glob(f"*/{CONFIG}")):
        about = json.loads((config.parent / CURVE).read_text(encoding="utf-8"))
        variant = read_config(config).variant
        write_text(config.parent / CARD, recall_card(variant, about, result, licence=LICENCE))


def retrieval_blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The text of the generated blocks of `freeatten retrieve`, by name."""
    from freeatten_core import cards

    filled = {}
    for name, result in results.items():
        if result["task"] == "copy":
            filled[f"{name} gain"] = cards.gain_table(result)
            filled[f"{name} control"] = cards.control_table(result)
        else:
            filled[f"{name} accuracy"] = cards.accuracy_table(result)
            filled[f"{name} distance"] = cards.distance_table(result)
        filled[f"{name} provenance"] = cards.retrieval_provenance(result)
    return filled


def system_blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The text of the generated blocks of rows with modifiers, by name."""
    compared = {name: result for name, result in results.items() if "task" not in result}
    copied = {name: result for name, result in results.items() if "task" in result}
    return blocks(compared) | retrieval_blocks(copied)


def inside_blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The text of the generated blocks of `freeatten entropy` and `freeatten ablate`, by name."""
    from freeatten_core import cards
    from freeatten_core.wording import MEASURE_TITLES

    filled = {}
    for name, result in results.items():
        if "statistic" in result:
            for measure in MEASURE_TITLES:
                filled[f"{name} {measure}"] = cards.measure_table(result, measure)
            filled[f"{name} sinks"] = cards.sink_table(result)
            filled[f"{name} heads"] = cards.far_table(result)
            filled[f"{name} provenance"] = cards.survey_provenance(result)
        else:
            filled[f"{name} delta"] = cards.ablation_table(result)
            filled[f"{name} provenance"] = cards.ablation_provenance(result)
            if "heads" in result["variants"][0]:
                filled[f"{name} heads"] = cards.ablation_heads_table(result)
    return filled


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


def fill_blocks(page: Path, filled: Mapping[str, str], pending: Collection[str] = ()) -> None:
    """Replace what stands between `<!-- report: NAME -->` and `<!-- end -->`.

    Args:
        page: a Markdown file.
        filled: texts by name.
        pending: results that are still to be made; their blocks stay as they are.
    """
    from freeatten_core.errors import ContentError
    from freeatten_core.files import write_text

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


def draw(folder: Path, results: Mapping[str, Any], curves: Mapping[str, Any]) -> None:
    from freeatten_core.figures import comparison_figure, curve_figure

    from .exports import save_page_picture

    folder.mkdir(exist_ok=True)
    for theme in ("light", "dark"):
        for name, stored in PICTURES.items():
            figure = comparison_figure(results[stored], theme=theme)
            save_page_picture(figure, folder / f"{name}-{theme}.png")
        save_page_picture(curve_figure(curves, theme=theme), folder / f"curves-{theme}.png")


def draw_speed(folder: Path, result: Mapping[str, Any]) -> None:
    from freeatten_core.figures import speed_figure

    from .exports import save_page_picture

    for theme in ("light", "dark"):
        save_page_picture(speed_figure(result, theme=theme), folder / f"speed-{theme}.png")


def draw_stability(folder: Path, result: Mapping[str, Any]) -> None:
    from freeatten_core.stability_figures import length_figure, scale_figure

    from .exports import save_page_picture

    for theme in ("light", "dark"):
        for name, make in (("scale", scale_figure), ("length", length_figure)):
            picture = folder / f"stability-{name}-{theme}.png"
            save_page_picture(make(result, theme=theme), picture)


def draw_softplus(folder: Path, systems: Mapping[str, Any], cubes: Mapping[str, Any]) -> None:
    """`softplus-cube-light.png` and `softplus-systems-light.png`, as far as results are stored."""
    from freeatten_core.cube_figures import cube_figure
    from freeatten_core.figures import comparison_figure

    from .exports import save_page_picture

    for theme in ("light", "dark"):
        if CUBE in cubes:
            figure = cube_figure(cubes[CUBE], theme=theme)
            save_page_picture(figure, folder / f"softplus-cube-{theme}.png")
        if SYSTEMS[0] in systems:
            stored = systems[SYSTEMS[0]]
            rows = [row for row in stored["variants"] if row["variant"] in SYSTEM_ROWS]
            figure = comparison_figure({**stored, "variants": rows}, theme=theme)
            save_page_picture(figure, folder / f"softplus-systems-{theme}.png")


def draw_retrievals(folder: Path, results: Mapping[str, Any]) -> None:
    """`retrieve-copy-light.png` and the like."""
    from freeatten_core.figures import copy_figure, recall_figure

    from .exports import save_page_picture

    for name, result in results.items():
        make = copy_figure if result["task"] == "copy" else recall_figure
        for theme in ("light", "dark"):
            picture = folder / f"{name.replace('/', '-')}-{theme}.png"
            save_page_picture(make(result, theme=theme), picture)


def draw_inside(folder: Path, inside: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """`inside-entropy-light.png` and the like, as far as results are stored."""
    from freeatten_core.figures import position_figure
    from freeatten_core.inside_figures import distance_figure, entropy_figure, heads_figure

    from .exports import save_page_picture

    stored = results["stdlib-16x"]
    rows = [row for row in stored["variants"] if row["variant"] in INSIDE_ROWS]
    heads, ablated = inside.get("inside/heads"), inside.get("inside/ablate")
    for theme in ("light", "dark"):
        figures = {"position": position_figure({**stored, "variants": rows}, theme=theme)}
        if heads is not None:
            figures["entropy"] = entropy_figure(heads, theme=theme)
            figures["distance"] = distance_figure(heads, theme=theme)
        if heads is not None and ablated is not None:
            figures["heads"] = heads_figure(heads, ablated, theme=theme)
        for name, figure in figures.items():
            save_page_picture(figure, folder / f"inside-{name}-{theme}.png")


def learning_curves(checkpoints: Path) -> dict[str, Any]:
    """The learning curve of every checkpoint, by its variant."""
    import json

    from freeatten_core.checkpoint import CONFIG, CURVE, read_config

    return {
        str(read_config(config).variant): json.loads(
            (config.parent / CURVE).read_text(encoding="utf-8")
        )["curve"]
        for config in sorted(checkpoints.glob(f"*/{CONFIG}"))
    }
