"""The page: one component that is all of it, with the functions it calls."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

import gradio as gr

from .pages.markup import read, script, section, stronger
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

__all__ = ["build", "head"]

SCRIPTS = (
    "elements.js",
    "sheets.js",
    "story.js",
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
ON_LOAD = "window.freeattenApp.start(element, server);"


def build(analyses: Analyses) -> gr.Blocks:
    """The app, not yet listening."""
    markup = Template(read("app.html")).substitute(compare=section("", "", OWN))
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
        gr.HTML(
            html_template=markup,
            js_on_load=ON_LOAD,
            apply_default_css=False,
            server_functions=[answering(function) for function in offered],
        )
    return app


def head() -> str:
    """Styles and scripts of the page's head: Gradio would rewrite those of a component."""
    style = stronger(read("site.css") + read("app.css"))
    return f"<style>{style}</style>\n<script>{script(*SCRIPTS)}</script>"
