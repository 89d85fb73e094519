"""The zoomable attention map in a browser: one canvas component, with and without a server."""

from .page import (
    HeadMap,
    component_script,
    component_style,
    inert_json,
    pack,
    render_page,
    write_page,
)

__all__ = [
    "HeadMap",
    "component_script",
    "component_style",
    "inert_json",
    "pack",
    "render_page",
    "write_page",
]
