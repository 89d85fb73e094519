"""The tasks that models are trained on, by name."""

from __future__ import annotations

from collections.abc import Mapping

from .flip_flop import FlipFlopTask
from .forgetting import ForgettingTask
from .languages import LANGUAGES
from .mqar import MqarTask
from .passkey import PasskeyTask
from .recall import RecallTask
from .task import Task

__all__ = ["RETRIEVED", "TASKS"]

RETRIEVED: Mapping[str, Task] = {
    each.kind: each
    for each in (RecallTask(), MqarTask(), ForgettingTask(), PasskeyTask(), FlipFlopTask())
}
"""Those that `freeatten retrieve` measures, with their usual sizes."""

TASKS: Mapping[str, Task] = {**RETRIEVED, **LANGUAGES}
