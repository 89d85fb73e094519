"""What the app file of a Hugging Face Space runs."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from .serve import forbid_telemetry, run

if TYPE_CHECKING:
    from .analyses import Analyses


def main() -> None:
    """Serves where the Space's environment says, to everyone, with a GPU where one is lent."""
    forbid_telemetry()
    # by this Gradio knows a Space, whose hot reload locks imports: two threads that import wait for
    # each other for ever, and this app imports what a request needs when the request comes
    os.environ.pop("SYSTEM", None)
    spaces = spaces_package()  # before torch is imported: on ZeroGPU it takes torch's CUDA over
    host = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0")
    port = int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    run(analyses(spaces), host, port, None, browser=False)


def spaces_package() -> ModuleType | None:
    """Hugging Face's `spaces`, which every Gradio Space has."""
    try:
        return import_module("spaces")
    except ModuleNotFoundError as error:
        if error.name != "spaces":
            raise
        return None


def analyses(spaces: ModuleType | None) -> Analyses:
    """What a public server has: it opens shipped checkpoints and Hugging Face repositories only."""
    from .analyses import Analyses
    from .models import Models
    from .texts import Texts
    from .zerogpu import ZeroGpuAnalyses, captured

    models, texts = Models((), local=False), Texts(None, local=False)
    on_gpu = captured if spaces is None else spaces.GPU(captured)
    if on_gpu is captured:  # the decorator does nothing where a GPU is there for good, or none
        return Analyses(models, texts)
    return ZeroGpuAnalyses(models, texts, on_gpu)
