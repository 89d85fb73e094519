"""The console script, light enough that Ctrl-C while the rest loads is met as well."""

from __future__ import annotations

from freeatten_core.basics.signals import unwind_when_signalled

__all__ = ["main"]


def main() -> None:
    """Load the commands and run one."""
    unwind_when_signalled()
    from .main import main as run

    run()
