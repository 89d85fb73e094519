"""`freeatten report`: rewrite cards, README tables and pictures from the stored results."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from freeatten_core.results.rows import RecipeRow

__all__ = [
    "all_blocks",
    "draw",
    "draw_all",
    "draw_inside",
    "draw_languages",
    "draw_models",
    "draw_retrievals",
    "draw_rows",
    "draw_softplus",
    "draw_speed",
    "draw_stability",
    "learning_curves",
    "report",
    "short_rows",
    "with_modifiers",
    "write_cards",
]

LICENCE = "apache-2.0"
"""Of the shipped weights."""
PICTURES = {"compare-code": "stdlib-16x", "compare-books": "books-16x"}
"""Pictures of the README by the stored result that they show."""
SPEED = "speed/h200"
"""What docs/speed.md is of; blocks of what is not stored stay as they are."""
MORE_SPEED = ("speed/peers", "speed/waits")
"""What else is on that page."""
RETRIEVE = ("retrieve/copy", "retrieve/recall")
"""The same for docs/inside.md."""
INSIDE = (
    *("inside/heads", "inside/candidates", "inside/ablate", "inside/ablate-books"),
    *("inside/field", "inside/gates", "inside/gates-field", "inside/far-heads"),
)
"""What `freeatten entropy --by length`, `ablate` and `field` gave, and far_heads.py of
tests/measure; for docs/inside.md too, of rows with a gate for docs/softplus.md."""
APP = ("app/start", "app/redraw", "app/export", "app/soak")
"""What the scripts tests/measure/app_*.py gave; for docs/app.md."""
STABILITY = "stability/cpu"
"""What `freeatten stability` gave; for docs/stability.md."""
WITH_MODIFIERS = (
    *("systems/code", "systems/books", "systems/copy"),
    *("far/code", "far/books", "far/copy"),
    *("ceiling/code", "ceiling/books"),
)
"""Rows with modifiers, for docs/softplus.md: to 16×, to 64×, and beside a longer training."""
OWN_ATTENTION = ("own/code", "own/books", "own/copy")
"""Attention of one's own beside two variants by the same recipe, for docs/own.md."""
DRAWN_WITH_MODIFIERS = (
    "softmax+yarn",
    "softmax+window",
    "softmax-ls",
    "softmax-ls+window",
    "lssar:p=15",
    "lssar:p=15+rerope",
)
"""Of these, which are drawn."""
MODELS = tuple(
    f"models/{name}"
    for name in (
        *("code", "books", "modified-code", "modified-books", "undone", "copy"),
        *("heads-smollm2", "heads-gemma"),
    )
)
"""Models of others, for docs/models.md and the README."""
MODELS_DRAWN = "models/code", "models/modified-code"
MODEL_HEADS = MODELS[-2:]
"""Of these, what `freeatten entropy` gave."""
SCALE = "scale/training"
"""What tests/measure/scale.py joined; for docs/training.md and, with SCALE_TEXTS and what the same
rows gave besides, docs/scale.md."""
SCALE_TEXTS = {"code": "stdlib-16x", "books": "books-16x"}
"""On what larger models are compared with the shipped ones: their results by the kind of text."""
SCALE_DRAWN = "scale/code"
SCALE_PAGE = tuple(
    f"scale/{name}"
    for name in ("sizes", "code", "books", "nonfiction", "copy", "inside", "bfloat16")
)
"""What docs/scale.md shows besides."""
LANGUAGES = "languages/suite"
"""What `freeatten languages` gave; for docs/languages.md."""
ASKED = (
    *("tasks/passkey", "tasks/forgetting", "tasks/flip-flop", "tasks/mqar"),
    "tasks/copy-gates",
)
"""What `freeatten retrieve` asked of more tasks, for docs/inside.md, and of others than what is
shipped, for docs/softplus.md."""
LONGPPL = ("longppl/code", "longppl/books")
"""What `freeatten longppl` gave; for docs/inside.md."""
CONTROLS = (
    *("controls/clex-code", "controls/clex-books"),
    *("controls/cosine-code", "controls/cosine-books"),
    *("controls/temper-code", "controls/temper-books"),
)
"""Trained on from softmax, and CosScale with InfoScale, for docs/rows.md; `+temper`, for
docs/softplus.md."""
REGULARGPT = "languages/regulargpt"
"""The same of models of other depths, joined."""
CUBE = "cube/runs"
"""The ablation cube, for docs/softplus.md too."""
FULL_ROWS = "rows/full"
"""Rows by the full recipe, some of which have a ceiling."""
ALL_ROWS = "rows/all"
"""Whatever the cube's recipe trained, for docs/softplus.md."""
FOLDERS = (
    *("speed", "retrieve", "inside", "app", "stability"),
    *("systems", "far", "ceiling", "own", "cube", "rows", "languages", "models", "scale"),
    *("longppl", "tasks", "controls"),
)
"""Of assets/results, beside the comparisons of what is shipped."""
EXPECTED = {
    *(SPEED, *MORE_SPEED, *RETRIEVE, *INSIDE, *APP, STABILITY, *WITH_MODIFIERS, *OWN_ATTENTION),
    *(CUBE, *ASKED, *LONGPPL, *CONTROLS),
    *(LANGUAGES, REGULARGPT, *MODELS, SCALE, *SCALE_PAGE),
}
"""Results whose blocks stay as they are where they are not stored."""
INSIDE_ROWS = ("softmax", "softmax-ls", "lssa", "lssar:p=15")
"""Whose loss against position docs/inside.md shows."""


def report(
    root: Annotated[Path, typer.Argument(help="A checkout of freeatten.")] = Path(),
    pictures: Annotated[bool, typer.Option(help="Draw the pictures too (needs Chromium).")] = True,
) -> None:
    """Rewrite model cards, README tables and pictures from assets/results. For maintainers."""
    from freeatten_core.basics.errors import UsageError
    from freeatten_core.data.tasks.table import RETRIEVED
    from freeatten_core.results.cards import card, task_card
    from freeatten_core.results.pages import fill_blocks, of_folder
    from freeatten_core.results.stored import stored_results, stored_retrievals

    from ..exports import check_browser

    readme = root / "README.md"
    if not (root / "assets" / "results").is_dir() or not readme.is_file():
        raise UsageError(f"{root} is not a checkout of freeatten; name its folder")
    if pictures:
        check_browser()
    results = stored_results(root / "assets" / "results")
    others = {folder: of_folder(root, folder) for folder in FOLDERS}
    write_cards(root / "assets" / "checkpoints", card, results)
    retrieved = stored_retrievals(root / "assets" / "results")
    for task in RETRIEVED:
        write_cards(root / "assets" / task, task_card, retrieved.get(task))
    filled = all_blocks(results, others)
    filled |= size_blocks(shipped_trainings(root / "assets" / "checkpoints"), results, others)
    given = {name for folder in others.values() for name in folder}
    pending = EXPECTED - given - {name.partition(" ")[0] for name in filled}
    if CUBE in pending:
        pending.add(ALL_ROWS)  # whose table is of the cube too
    for page in (readme, *sorted((root / "docs").glob("*.md"))):
        fill_blocks(page, filled, pending=pending)
    if pictures:
        draw_all(root / "assets", results, others)


def all_blocks(
    results: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """What every generated block of the pages is to hold, by its name.

    Args:
        results: comparisons of what is shipped, by name.
        others: other results by folder and name.
    """
    from freeatten_core.results.app_speed import app_speed_blocks
    from freeatten_core.results.cube import cube_blocks
    from freeatten_core.results.languages import language_blocks
    from freeatten_core.results.longppl import longppl_blocks
    from freeatten_core.results.pages import (
        comparison_blocks,
        inside_blocks,
        mixed_blocks,
        model_blocks,
        modifier_blocks,
        retrieval_blocks,
    )
    from freeatten_core.results.rows import all_rows_blocks, row_blocks
    from freeatten_core.results.scale import scale_blocks
    from freeatten_core.results.speed import speed_blocks
    from freeatten_core.results.stability import stability_blocks

    parameters = row_parameters(others)
    filled = comparison_blocks(results)
    filled |= retrieval_blocks(others["retrieve"])
    filled |= inside_blocks(others["inside"])
    filled |= modifier_blocks(with_modifiers(others))
    filled |= model_blocks(others["models"])
    trained = {name: found for name, found in others["scale"].items() if name == SCALE}
    filled |= mixed_blocks({n: found for n, found in others["scale"].items() if n not in trained})
    for name, result in trained.items():
        filled |= scale_blocks(name, result)
    filled |= retrieval_blocks(others["tasks"])
    for folder, blocks_of in (
        ("speed", speed_blocks),
        ("app", app_speed_blocks),
        ("stability", stability_blocks),
        ("cube", cube_blocks),
        ("rows", partial(row_blocks, parameters=parameters)),
        ("languages", language_blocks),
        ("longppl", longppl_blocks),
    ):
        for name, result in others[folder].items():
            filled |= blocks_of(name, result)
    return filled | all_rows_blocks(short_rows(others), parameters)


def size_blocks(
    shipped: Sequence[Mapping[str, Any]],
    results: Mapping[str, Any],
    others: Mapping[str, Mapping[str, Any]],
) -> dict[str, str]:
    """The table of larger models beside the shipped ones, if there are any."""
    from freeatten_core.results.scale import sizes_table

    scale = others["scale"]
    if SCALE not in scale:
        return {}
    larger = scale[SCALE]["rows"]
    variants = {each["variant"] for each in larger}
    trainings = [*(each for each in shipped if each["variant"] in variants), *larger]
    measured = [
        (kind, [results[name], scale[f"scale/{kind}"]]) for kind, name in SCALE_TEXTS.items()
    ]
    return {"scale/sizes table": sizes_table(trainings, measured)}


def shipped_trainings(checkpoints: Path) -> list[dict[str, Any]]:
    """What `sizes_table` asks of every shipped checkpoint."""
    import json

    from freeatten_core.models.forecast import parameter_count
    from freeatten_core.models.format import CONFIG, CURVE, read_config

    found = []
    for path in sorted(checkpoints.glob(f"*/{CONFIG}")):
        config = read_config(path)
        recipe = json.loads((path.parent / CURVE).read_text(encoding="utf-8"))["recipe"]
        found.append(
            {
                "name": path.parent.name,
                "variant": str(config.variant),
                "parameters": parameter_count(config),
                "train_length": recipe["train_length"],
                "tokens_seen": recipe["steps"] * recipe["batch"] * recipe["train_length"],
            }
        )
    return found


def row_parameters(others: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """How many numbers the weights of every row are, by its variant: rows are of one size."""
    from freeatten_core.models.forecast import parameter_count
    from freeatten_core.training.recipe import Recipe
    from freeatten_core.variants.variant import Variant

    joined = [*others["cube"].values(), *others["rows"].values()]
    recipes = {run["variant"]: run["recipe"] for result in joined for run in result["runs"]}
    return {
        name: parameter_count(Recipe(**recipe).config(Variant.parse(name)))
        for name, recipe in recipes.items()
    }


def short_rows(others: Mapping[str, Mapping[str, Any]]) -> list[RecipeRow]:
    """Every row that the cube's recipe trained, the cube's cells among them."""
    from freeatten_core.results.rows import recipe_rows
    from freeatten_core.training.cube import RECIPE

    return recipe_rows({**others["cube"], **others["rows"]}, RECIPE.steps)


def with_modifiers(others: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Comparisons of rows with modifiers, of own attention and of trained controls, by name."""
    folders = ("systems", "far", "ceiling", "own", "controls")
    return {name: found for folder in folders for name, found in others[folder].items()}


def draw_all(
    assets: Path, results: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]
) -> None:
    """Every picture whose results are stored; arguments as `all_blocks`."""
    images = assets / "images"
    draw(images, results, learning_curves(assets / "checkpoints"))
    if SPEED in others["speed"]:
        draw_speed(images, others["speed"][SPEED])
    if STABILITY in others["stability"]:
        draw_stability(images, others["stability"][STABILITY])
    if LANGUAGES in others["languages"]:
        draw_languages(images, others["languages"][LANGUAGES])
    draw_retrievals(images, others["retrieve"])
    draw_softplus(images, with_modifiers(others), others["cube"])
    draw_rows(images, short_rows(others))
    if FULL_ROWS in others["rows"]:
        draw_shares(images, others["rows"][FULL_ROWS])
    draw_inside(images, others["inside"], results)
    draw_models(images, others["models"])
    draw_scale(images, others["scale"])


def write_cards(checkpoints: Path, card: Callable[..., str], measured: object) -> None:
    """The card of every checkpoint in a folder, with what was measured of it."""
    from freeatten_core.basics.files import write_text
    from freeatten_core.models.catalogue import read_curve
    from freeatten_core.models.format import CARD, CONFIG, read_config

    for config in sorted(checkpoints.glob(f"*/{CONFIG}")):
        about = read_curve(config.parent)
        variant = read_config(config).variant
        write_text(config.parent / CARD, card(variant, about, measured, licence=LICENCE))


def draw(folder: Path, results: Mapping[str, Any], curves: Mapping[str, Any]) -> None:
    from freeatten_core.figures.comparison import comparison_figure
    from freeatten_core.figures.learning import curve_figure

    from ..exports import save_page_picture

    folder.mkdir(exist_ok=True)
    for theme in ("light", "dark"):
        for name, stored in PICTURES.items():
            figure = comparison_figure(results[stored], theme=theme)
            save_page_picture(figure, folder / f"{name}-{theme}.webp")
        save_page_picture(curve_figure(curves, theme=theme), folder / f"curves-{theme}.webp")


def draw_speed(folder: Path, result: Mapping[str, Any]) -> None:
    from freeatten_core.figures.speed import speed_figure

    from ..exports import save_page_picture

    for theme in ("light", "dark"):
        save_page_picture(speed_figure(result, theme=theme), folder / f"speed-{theme}.webp")


def draw_stability(folder: Path, result: Mapping[str, Any]) -> None:
    from freeatten_core.figures.stability import length_figure, scale_figure

    from ..exports import save_page_picture

    for theme in ("light", "dark"):
        for name, make in (("scale", scale_figure), ("length", length_figure)):
            picture = folder / f"stability-{name}-{theme}.webp"
            save_page_picture(make(result, theme=theme), picture)


def draw_languages(folder: Path, result: Mapping[str, Any]) -> None:
    from freeatten_core.figures.languages import languages_figure

    from ..exports import save_page_picture

    for theme in ("light", "dark"):
        figure = languages_figure(result, theme=theme)
        save_page_picture(figure, folder / f"languages-{theme}.webp")


def draw_softplus(folder: Path, modified: Mapping[str, Any], cubes: Mapping[str, Any]) -> None:
    """`softplus-cube-light.webp` and the like, as far as results are stored."""
    from freeatten_core.figures.comparison import comparison_figure
    from freeatten_core.figures.cube import cube_figure

    from ..exports import save_page_picture

    for theme in ("light", "dark"):
        if CUBE in cubes:
            figure = cube_figure(cubes[CUBE], theme=theme)
            save_page_picture(figure, folder / f"softplus-cube-{theme}.webp")
        if WITH_MODIFIERS[0] in modified:
            stored = modified[WITH_MODIFIERS[0]]
            rows = [row for row in stored["variants"] if row["variant"] in DRAWN_WITH_MODIFIERS]
            figure = comparison_figure({**stored, "variants": rows}, theme=theme)
            save_page_picture(figure, folder / f"softplus-systems-{theme}.webp")


def draw_models(folder: Path, models: Mapping[str, Any]) -> None:
    """`models-code-light.webp` and the like, as far as results are stored."""
    from freeatten_core.figures.comparison import comparison_figure
    from freeatten_core.figures.heads import far_figure

    from ..exports import save_page_picture

    compared = {name: models[name] for name in MODELS_DRAWN if name in models}
    seen = [models[name] for name in MODEL_HEADS if name in models]
    for theme in ("light", "dark"):
        for name, result in compared.items():
            picture = folder / f"{name.replace('/', '-')}-{theme}.webp"
            save_page_picture(comparison_figure(result, theme=theme), picture)
        if seen:
            save_page_picture(far_figure(seen, theme=theme), folder / f"models-heads-{theme}.webp")


def draw_scale(folder: Path, scale: Mapping[str, Any]) -> None:
    """`scale-code-light.webp` and the like: the largest models."""
    from freeatten_core.figures.comparison import comparison_figure

    from ..exports import save_page_picture

    if SCALE not in scale:
        return
    rows, found = scale[SCALE]["rows"], scale[SCALE_DRAWN]
    most = max(each["parameters"] for each in rows)
    largest = {each["name"] for each in rows if each["parameters"] == most}
    drawn = {**found, "variants": [r for r in found["variants"] if r["checkpoint"] in largest]}
    for theme in ("light", "dark"):
        picture = folder / f"{SCALE_DRAWN.replace('/', '-')}-{theme}.webp"
        save_page_picture(comparison_figure(drawn, theme=theme), picture)


def draw_rows(folder: Path, rows: Sequence[RecipeRow]) -> None:
    """`rows-code-light.webp` and the like, if there is a row."""
    from freeatten_core.figures.rows import TEXTS, rows_figure

    from ..exports import save_page_picture

    for text in TEXTS if rows else ():
        for theme in ("light", "dark"):
            figure = rows_figure(rows, text=text, theme=theme)
            save_page_picture(figure, folder / f"rows-{text}-{theme}.webp")


def draw_shares(folder: Path, result: Mapping[str, Any]) -> None:
    """`rows-ceiling-light.webp` and the other: the share of their ceilings that rows reach."""
    from freeatten_core.figures.ceiling import shares_figure

    from ..exports import save_page_picture

    for theme in ("light", "dark"):
        save_page_picture(shares_figure(result, theme=theme), folder / f"rows-ceiling-{theme}.webp")


def draw_retrievals(folder: Path, results: Mapping[str, Any]) -> None:
    """`retrieve-copy-light.webp` and the like."""
    from freeatten_core.figures.retrieval import retrieval_figure

    from ..exports import save_page_picture

    for name, result in results.items():
        for theme in ("light", "dark"):
            picture = folder / f"{name.replace('/', '-')}-{theme}.webp"
            save_page_picture(retrieval_figure(result, theme=theme), picture)


def draw_inside(folder: Path, inside: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """`inside-entropy-light.webp` and the like, as far as results are stored."""
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
            save_page_picture(figure, folder / f"inside-{name}-{theme}.webp")


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
