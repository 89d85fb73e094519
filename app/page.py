"""The page, and the functions that it calls.

Gradio serves both, with its logins and its rules for Spaces. Of its own front end only the login is
used: it takes seconds to start, and makes one component of what is one page.
"""

from __future__ import annotations

import secrets
from string import Template
from typing import TYPE_CHECKING

import gradio as gr

from freeatten_core.mapview import component_script, component_style

from .pages.markup import read, script, section
from .server.answers import answering
from .server.comparisons import Comparisons
from .tabs import (
    about,
    compare,
    entropy,
    finds,
    forecasts,
    losses,
    maps,
    retrieval,
    setup,
    stages,
    use,
    words,
)

if TYPE_CHECKING:
    from .server.analyses import Analyses

__all__ = ["MARK", "build", "markup"]

SCRIPTS = (
    "elements.js",
    "sheets.js",
    "story.js",
    "quick.js",
    "compare.js",
    "calls.js",
    "jobs.js",
    "foreseen.js",
    "setup.js",
    "scoring.js",
    "charts.js",
    "maps.js",
    "brush.js",
    "entropy.js",
    "stages.js",
    "reading.js",
    "share.js",
    "app.js",
)
"""In the order in which they are put together."""
OWN = ' <a id="own-text" class="site-more" href="#compare&amp;result=own">Score your own text →</a>'
MARK = f"freeatten-{secrets.token_hex(8)}"
"""In what Gradio answers to those alone who may call the functions, and known to nobody else."""


def build(analyses: Analyses) -> tuple[gr.Blocks, int]:
    """The app, not yet listening, and the number of the component that has its functions."""
    offered = [
        *compare.functions(Comparisons(analyses)),
        *words.functions(analyses.texts),
        *setup.functions(analyses),
        *forecasts.functions(analyses),
        *maps.functions(analyses),
        *losses.functions(analyses),
        *finds.functions(analyses),
        *entropy.functions(analyses),
        *stages.functions(analyses),
        *retrieval.functions(),
        *use.functions(),
        *about.functions(),
    ]
    app = gr.Blocks(title="freeatten", analytics_enabled=False)
    with app:
        functions = gr.HTML(
            elem_id=MARK, server_functions=[answering(function) for function in offered]
        )
    return app, functions._id


def markup(component: int) -> str:
    """The whole page, which calls the functions of a component."""
    return Template(read("app.html")).substitute(
        component=component,
        style=component_style() + read("site.css") + read("app.css"),
        compare=section("", "", OWN),
        script=component_script() + script(*SCRIPTS),
    )
