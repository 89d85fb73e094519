"""The tab About: the variants, and the cards of the checkpoints; and what to cite."""

from __future__ import annotations

from collections.abc import Callable

from ..server.answers import Answer
from ..server.models import modifiers

__all__ = ["about", "citation", "functions", "markdown"]


def functions() -> list[Callable[..., Answer]]:
    """What the page can call."""
    return [about, citation]


def citation() -> Answer:
    """The program and the paper as BibTeX."""
    from freeatten_core.results.citation import bibtex

    return {"bibtex": bibtex()}


def about() -> Answer:
    """The variants as rows of a table, and every shipped card as HTML."""
    from freeatten_core.basics.assets import assets
    from freeatten_core.models.catalogue import shipped
    from freeatten_core.variants.stages import stages_of
    from freeatten_core.variants.variant import PLAIN, SHARPENED, SOURCES, Variant

    variants = {**PLAIN, **{name: Variant.parse(name) for name in SHARPENED}}
    return {
        "variants": [
            [
                str(variant),
                label if (label := _label(str(variant))) != str(variant) else "",
                stages.score,
                stages.positivity,
                stages.normalise,
                "–" if stages.sharpen is None else f"p = {stages.sharpen}",
                SOURCES[name],
            ]
            for name, variant in variants.items()
            for stages in [stages_of(variant.computes)]
        ],
        "modifiers": [[f"+{name}", meaning] for name, meaning in modifiers()],
        "cards": [
            {
                "name": name,
                "html": markdown(
                    (assets() / "checkpoints" / name / "README.md").read_text(encoding="utf-8")
                ),
            }
            for name in shipped()
        ],
    }


def _label(name: str) -> str:
    """What charts call a variant."""
    from freeatten_core.figures.styles import style_of

    return style_of(name).label.replace("<br>", " ")


def markdown(text: str) -> str:
    """A card as HTML, without its front matter; markup in it is shown as text."""
    from markdown_it import MarkdownIt

    if text.startswith("---\n"):
        text = text.partition("\n---\n")[2]
    made: str = (
        MarkdownIt("commonmark", {"html": False}).enable("table").disable("image").render(text)
    )
    return made
