"""`freeatten report`: rewrite cards, README tables and pictures from the stored results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    from freeatten_core.basics.errors import UsageError
    from freeatten_core.results import app_speed, cube, speed, stability
    from freeatten_core.results.pages import (
        blocks,
        fill_blocks,
        inside_blocks,
        of_folder,
        retrieval_blocks,
        system_blocks,
    )
    from freeatten_core.results.stored import stored_results

    from ..exports import check_browser

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
        filled |= speed.speed_blocks(name, result)
    retrieved = of_folder(root, "retrieve")
    write_recall_cards(root / "assets" / "recall", retrieved.get("retrieve/recall"))
    filled |= retrieval_blocks(retrieved)
    inside = of_folder(root, "inside")
    filled |= inside_blocks(inside)
    measured = of_folder(root, "app")
    for name, result in measured.items():
        filled |= app_speed.app_speed_blocks(name, result)
    stable = of_folder(root, "stability")
    for name, result in stable.items():
        filled |= stability.stability_blocks(name, result)
    systems: dict[str, Any] = {}
    for folder in ("systems", "far", "ceiling", "own"):
        systems |= of_folder(root, folder)
    filled |= system_blocks(systems)
    cubes = of_folder(root, "cube")
    for name, result in cubes.items():
        filled |= cube.cube_blocks(name, result)
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


def write_cards(checkpoints: Path, results: Mapping[str, Any]) -> None:
    import json

    from freeatten_core.basics.files import write_text
    from freeatten_core.models.format import CARD, CONFIG, CURVE, read_config
    from freeatten_core.results.cards import card

    for config in sorted(checkpoints.glob(f"*/{CONFIG}")):
        about = json.loads((config.parent / CURVE).read_text(encoding="utf-8"))
        variant = read_config(config).variant
        write_text(config.parent / CARD, card(variant, about, results, licence=LICENCE))


def write_recall_cards(checkpoints: Path, result: Mapping[str, Any] | None) -> None:
    import json

    from freeatten_core.basics.files import write_text
    from freeatten_core.models.format import CARD, CONFIG, CURVE, read_config
    from freeatten_core.results.cards import recall_card

    for config in sorted(checkpoints.glob(f"*/{CONFIG}")):
        about = json.loads((config.parent / CURVE).read_text(encoding="utf-8"))
        variant = read_config(config).variant
        write_text(config.parent / CARD, recall_card(variant, about, result, licence=LICENCE))


def draw(folder: Path, results: Mapping[str, Any], curves: Mapping[str, Any]) -> None:
    from freeatten_core.figures.comparison import comparison_figure
    from freeatten_core.figures.learning import curve_figure

    from ..exports import save_page_picture

    folder.mkdir(exist_ok=True)
    for theme in ("light", "dark"):
        for name, stored in PICTURES.items():
            figure = comparison_figure(results[stored], theme=theme)
            save_page_picture(figure, folder / f"{name}-{theme}.png")
        save_page_picture(curve_figure(curves, theme=theme), folder / f"curves-{theme}.png")


def draw_speed(folder: Path, result: Mapping[str, Any]) -> None:
    from freeatten_core.figures.speed import speed_figure

    from ..exports import save_page_picture

    for theme in ("light", "dark"):
        save_page_picture(speed_figure(result, theme=theme), folder / f"speed-{theme}.png")


def draw_stability(folder: Path, result: Mapping[str, Any]) -> None:
    from freeatten_core.figures.stability import length_figure, scale_figure

    from ..exports import save_page_picture

    for theme in ("light", "dark"):
        for name, make in (("scale", scale_figure), ("length", length_figure)):
            picture = folder / f"stability-{name}-{theme}.png"
            save_page_picture(make(result, theme=theme), picture)


def draw_softplus(folder: Path, systems: Mapping[str, Any], cubes: Mapping[str, Any]) -> None:
    """`softplus-cube-light.png` and `softplus-systems-light.png`, as far as results are stored."""
    from freeatten_core.figures.comparison import comparison_figure
    from freeatten_core.figures.cube import cube_figure

    from ..exports import save_page_picture

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
    from freeatten_core.figures.retrieval import copy_figure, recall_figure

    from ..exports import save_page_picture

    for name, result in results.items():
        make = copy_figure if result["task"] == "copy" else recall_figure
        for theme in ("light", "dark"):
            picture = folder / f"{name.replace('/', '-')}-{theme}.png"
            save_page_picture(make(result, theme=theme), picture)


def draw_inside(folder: Path, inside: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """`inside-entropy-light.png` and the like, as far as results are stored."""
    from freeatten_core.figures.comparison import position_figure
    from freeatten_core.figures.heads import distance_figure, entropy_figure, heads_figure

    from ..exports import save_page_picture

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

    from freeatten_core.models.format import CONFIG, CURVE, read_config

    return {
        str(read_config(config).variant): json.loads(
            (config.parent / CURVE).read_text(encoding="utf-8")
        )["curve"]
        for config in sorted(checkpoints.glob(f"*/{CONFIG}"))
    }
