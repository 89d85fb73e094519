"""Which checkpoints a server looks into: shipped, named with the command, or asked for."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from .answers import shortened, text_of, wrong

if TYPE_CHECKING:
    from freeatten_core.checkpoint import Checkpoint
    from freeatten_core.comparison import Row

SOURCE_CHARACTERS = 300
MOST_MODELS = 8
"""Side by side."""
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
KEPT = 12
FIRST = ("softmax", "lssar-p15")
"""Shown first, unless the command names others."""


class Models:
    """The checkpoints of one server, each loaded when it is first needed."""

    def __init__(self, configured: tuple[str, ...], *, local: bool) -> None:
        """Args: what the command names, and whether only this machine is served."""
        self.local = local
        self.configured: dict[str, str] = {}
        self._written: dict[str, str] = {}
        for written in configured:
            source = _allowed(written)
            name = self._name(source)
            self.configured[name], self._written[name] = source, written
        self._load = lru_cache(maxsize=KEPT)(_load)
        self._lock = Lock()

    def _name(self, source: str) -> str:
        """What a page calls it: folders of this machine are nobody's business elsewhere."""
        is_named = self.local or not Path(source).is_dir()
        return source if is_named else f"{Path(source).resolve().name} (folder)"

    def choices(self) -> list[dict[str, Any]]:
        """What a page can tick: the id, what it is called, whether it is shown first."""
        from freeatten_core.checkpoint import assets, read_config, shipped
        from freeatten_core.comparison import ROWS

        first = self.configured or FIRST
        found = []
        for name in shipped():
            variant = str(read_config(assets() / "checkpoints" / name / "config.json").variant)
            found.append({"id": name, "label": variant, "first": name in first})
        found.sort(
            key=lambda each: ROWS.index(each["label"]) if each["label"] in ROWS else len(ROWS)
        )
        others = [source for source in self.configured if source not in shipped()]
        return found + [{"id": each, "label": each, "first": True} for each in others]

    def suggestions(self) -> list[str]:
        """Shipped checkpoints with every modifier that needs no option, as one can write them."""
        from freeatten_core.errors import UsageError
        from freeatten_core.variants import Variant

        found = []
        for each in self.choices():
            for name, _ in modifiers():
                try:
                    Variant.parse(f"{each['label']}+{name}")
                except UsageError:  # a folder, an option that must be given, or no such pair
                    continue
                found.append(f"{each['id']}+{name}")
        return found

    def get(self, source: Any) -> Checkpoint:
        """A checkpoint by its shipped name, folder or hub name.

        Raises:
            UsageError: there is none, or this server may not read it.
            ContentError: it cannot be used.
        """
        source = text_of("the checkpoint", source, SOURCE_CHARACTERS).strip()
        self._check(source)
        with self._lock:  # two sessions must not load the same one twice
            return self._load(self.configured.get(source, source))

    def row(self, source: str) -> Row:
        """A checkpoint with the modifiers behind its name, as in `softmax+yarn`.

        Raises:
            UsageError, ContentError: as `get`; modifiers that it cannot have.
        """
        from freeatten_core.comparison import modified_row, split_modifiers

        named = self._named(source)
        name, modifiers = (named, source[len(named) :]) if named else split_modifiers(source)
        return modified_row(self.get(name), modifiers)

    def option(self, source: str) -> str:
        """The command's `--checkpoint` for it, with the file of its function if it has one."""
        named = self._named(source)
        is_told = named and self.local  # files of this machine are nobody's business elsewhere
        return self._written[named] + source[len(named) :] if is_told else source

    def _named(self, source: str) -> str:
        """The checkpoint named with the command that a source begins with; else empty."""
        return next((each for each in self.configured if f"{source}+".startswith(f"{each}+")), "")

    def _check(self, source: str) -> None:
        from freeatten_core.checkpoint import shipped
        from freeatten_core.files import expanded

        if self.local or source in self.configured or source in shipped():
            return
        if not HUB_NAME.fullmatch(source) or expanded(source).exists():
            raise wrong(
                f"checkpoint {shortened(source)} is not open to this page: from another machine "
                "it can name shipped checkpoints, Hugging Face repositories (owner/name), and "
                "what the server was started with (--checkpoint)"
            )


def modifiers() -> list[tuple[str, str]]:
    """What can be changed at inference: names, and what they do."""
    from freeatten_core.variants import MODIFIERS

    return [(name, str(meaning)) for name, meaning in MODIFIERS.items()]


def _allowed(source: str) -> str:
    """Its name without the function of one's own that it computes, `folder@my_file.py:function`."""
    if "@" not in source:  # the usual start goes on without torch
        return source
    from freeatten_core.comparison import allowed_source

    return allowed_source(source)


def _load(source: str) -> Checkpoint:
    from freeatten_core.checkpoint import assets, load_checkpoint, shipped

    if source in shipped():  # by its folder: one of the same name may lie in the current folder
        return replace(load_checkpoint(assets() / "checkpoints" / source), name=source)
    return load_checkpoint(source)
