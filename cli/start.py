"""The console script, light enough that Ctrl-C while the rest loads is met as well."""

from __future__ import annotations

from .terminal.interrupt import install


def main() -> None:
    """Load the commands and run one."""
    install()
    from .main import main as run

    run()
