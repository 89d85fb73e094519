"""What the app file of a Hugging Face Space runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

import typer

from freeatten_core.basics.errors import UsageError

from .failures import guarded
from .serve import run
from .server import environment
from .server.address import check_port
from .server.answers import shortened

if TYPE_CHECKING:
    from .server.analyses import Analyses

HOST, PORT = "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"
"""A Space says by these where to listen."""


def main(allow: Sequence[str] = ()) -> None:
    """Serves where the Space's environment says, to everyone, with a GPU where one is lent.

    Args:
        allow: hub repositories, owner/name, that visitors may have downloaded.
    """
    environment.open_streams()
    try:
        guarded(_serve)(tuple(allow))
    except typer.Exit as end:
        sys.exit(end.exit_code)


def _serve(allow: tuple[str, ...]) -> None:
    host, port = os.environ.get(HOST) or "0.0.0.0", port_of(os.environ.get(PORT) or "7860")
    environment.settle()
    with environment.direct():  # the package imports Gradio
        spaces = spaces_package()  # before torch is imported: on ZeroGPU it takes torch's CUDA over
    check_port(host, port)
    run(analyses(spaces, allow), host, port, None, browser=False)


def port_of(text: str) -> int:
    """A port from the environment.

    Raises:
        UsageError: it is none.
    """
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise UsageError(f"{PORT} is {shortened(text)}; it must be a port, 1 to 65535")
    return int(text)


def spaces_package() -> ModuleType | None:
    """Hugging Face's `spaces`, which every Gradio Space has."""
    try:
        return import_module("spaces")
    except ModuleNotFoundError as error:
        if error.name != "spaces":
            raise
        return None


def analyses(spaces: ModuleType | None, allow: Sequence[str] = ()) -> Analyses:
    """What a public server has: it opens shipped checkpoints and the allowed repositories only."""
    from .server.analyses import Analyses
    from .server.models import Models
    from .server.texts import Texts
    from .server.zerogpu import ZeroGpuAnalyses, captured

    models, texts = Models((), local=False, allowed=allow), Texts(None, local=False)
    on_gpu = captured if spaces is None else spaces.GPU(captured)
    if on_gpu is captured:  # the decorator does nothing where a GPU is there for good, or none
        return Analyses(models, texts)
    return ZeroGpuAnalyses(models, texts, on_gpu)
