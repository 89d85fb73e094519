"""Which checkpoints a server looks into: shipped, named with the command, or asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from freeatten_core.basics.errors import UsageError

from . import visitor
from .answers import shortened, text_of, without_folders

if TYPE_CHECKING:
    from freeatten_core.models.checkpoint import Checkpoint
    from freeatten_core.models.rows import CausalRow, Row
    from freeatten_core.models.transformers_model import CausalModel, Described

__all__ = ["MOST_MODELS", "SOURCE_CHARACTERS", "Models", "hub_names", "modifiers"]

SOURCE_CHARACTERS = 300
MOST_MODELS = 8
"""Side by side."""
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
KEPT = 12
FIRST = ("softmax", "lssar-p15")
"""Shown first, unless the command names others."""


class Models:
    """The checkpoints of one server, each loaded when it is first needed."""

    def __init__(
        self, configured: tuple[str, ...], *, local: bool, allowed: Sequence[str] = ()
    ) -> None:
        """What the command says.

        Args:
            configured: checkpoints that every visitor can look into.
            local: whether the server listens on loopback alone.
            allowed: hub repositories that visitors from elsewhere may have downloaded.
        """
        self._on_loopback, self.allowed = local, tuple(allowed)
        self._written = {_allowed(written): written for written in configured}
        self._load = lru_cache(maxsize=KEPT)(_load)
        self._lock = Lock()

    @property
    def local(self) -> bool:
        """Whether the visitor sits at this machine, whose folders are then open."""
        return self._on_loopback and visitor.is_local()

    @property
    def configured(self) -> dict[str, str]:
        """The checkpoints named with the command, by what the visitor's page calls them."""
        return {self._name(source): source for source in self._written}

    def _name(self, source: str) -> str:
        """Folders of this machine are nobody's business elsewhere."""
        from freeatten_core.basics.files import expanded
        from freeatten_core.models.catalogue import shipped

        path = expanded(source)
        is_public = source in shipped() or (HUB_NAME.fullmatch(source) and not path.is_dir())
        return source if self.local or is_public else f"{path.resolve().name} (folder)"

    def choices(self) -> list[dict[str, Any]]:
        """What a page can tick: the id, what it is called, whether first, and what is foreseen.

        Of checkpoints that are not shipped a page asks what they take before it has them read.
        """
        from freeatten_core.basics.assets import assets
        from freeatten_core.models.catalogue import shipped
        from freeatten_core.models.format import read_config
        from freeatten_core.models.rows import ROWS

        first = self.configured or FIRST
        found = []
        for name in shipped():
            variant = str(read_config(assets() / "checkpoints" / name / "config.json").variant)
            found.append({"id": name, "label": variant, "first": name in first, "asks": False})
        found.sort(
            key=lambda each: ROWS.index(each["label"]) if each["label"] in ROWS else len(ROWS)
        )
        others = [source for source in self.configured if source not in shipped()]
        return found + [{"id": each, "label": each, "first": True, "asks": True} for each in others]

    def suggestions(self) -> list[str]:
        """Shipped checkpoints with every modifier that needs no option, as one can write them."""
        from freeatten_core.variants.variant import Variant

        found = []
        for each in self.choices():
            for name, _ in modifiers():
                try:
                    Variant.parse(f"{each['label']}+{name}")
                except UsageError:  # a folder, an option that must be given, or no such pair
                    continue
                found.append(f"{each['id']}+{name}")
        return [*found, *self.allowed]

    def get(self, source: Any, *, inside: bool = True) -> Checkpoint | CausalModel:
        """A checkpoint or a model of others by its shipped name, folder or hub name.

        Args:
            inside: whether it is to be looked into.

        Raises:
            UsageError: there is none, or this server may not read it.
            ContentError: it cannot be used, or not be looked into.
        """
        from freeatten_core.basics.errors import ContentError

        source = text_of("the checkpoint", source, SOURCE_CHARACTERS).strip()
        self._check(source)
        with (
            without_folders(f"checkpoint {shortened(source)}", local=self.local),
            self._lock,  # two sessions must not load the same one twice
        ):
            model = self._load(self.configured.get(source, source))
            if inside and model.maps_refused is not None:
                raise ContentError(model.maps_refused)
            return model

    def row(self, source: str, *, inside: bool = True) -> Row | CausalRow:
        """A checkpoint with the modifiers behind its name, as in `softmax+yarn`.

        Args:
            inside: whether it is to be looked into.

        Raises:
            UsageError, ContentError: as `get`; modifiers that it cannot have.
        """
        from freeatten_core.models.rows import any_row

        name, modifiers = self._split(source)
        return any_row(self.get(name, inside=inside), modifiers, name)

    def described(self, source: Any) -> Described | None:
        """What a model of others says of itself, before a weight of it is read.

        Returns:
            None for a checkpoint of this project.

        Raises:
            UsageError, ContentError: as `get`, so far as a configuration tells.
        """
        from freeatten_core.models.catalogue import shipped
        from freeatten_core.models.transformers_model import describe

        name, _ = self._split(text_of("the checkpoint", source, SOURCE_CHARACTERS).strip())
        self._check(name)
        if name in shipped():
            return None
        with without_folders(f"checkpoint {shortened(name)}", local=self.local):
            return describe(self.configured.get(name, name))

    def _split(self, source: str) -> tuple[str, str]:
        """A checkpoint's name, and the modifiers behind it."""
        from freeatten_core.models.rows import split_modifiers

        named = self._named(source)
        if named:
            return named, source[len(named) :]
        if self.local:
            return split_modifiers(source)
        name, plus, rest = source.partition("+")  # without a look at the folders of this machine
        return name, plus + rest

    def option(self, source: str) -> str:
        """The command's `--checkpoint` for it, with the file of its function if it has one."""
        named = self._named(source)
        if not (named and self.local):  # files of this machine are nobody's business elsewhere
            return source
        return self._written[self.configured[named]] + source[len(named) :]

    def _named(self, source: str) -> str:
        """The checkpoint named with the command that a source begins with; else empty."""
        return next((each for each in self.configured if f"{source}+".startswith(f"{each}+")), "")

    def _check(self, source: str) -> None:
        from freeatten_core.basics.files import expanded
        from freeatten_core.models.catalogue import shipped

        if self.local or source in self.configured or source in shipped():
            return
        if source not in self.allowed or expanded(source).exists():
            raise UsageError(
                f"checkpoint {shortened(source)} is not open to this page: from another machine "
                "it can name shipped checkpoints and what the server was started with "
                "(--checkpoint, or --allow for Hugging Face repositories)"
            )


def hub_names(names: Sequence[str]) -> tuple[str, ...]:
    """The repositories that `--allow` lists, each once.

    Raises:
        UsageError: one is not written as the hub writes it.
    """
    for name in names:
        if not HUB_NAME.fullmatch(name):
            raise UsageError(
                f"--allow is {shortened(name)}; it must be a Hugging Face repository, owner/name "
                "(a folder of this machine is opened with --checkpoint)"
            )
    return tuple(dict.fromkeys(names))


def modifiers() -> list[tuple[str, str]]:
    """What can be changed at inference: names, and what they do."""
    from freeatten_core.variants.variant import MODIFIERS

    return [(name, str(meaning)) for name, meaning in MODIFIERS.items()]


def _allowed(source: str) -> str:
    """Its name without the function of one's own that it computes, `folder@my_file.py:function`."""
    if "@" not in source:  # the usual start goes on without torch
        return source
    from freeatten_core.models.rows import allowed_source

    return allowed_source(source)


def _load(source: str) -> Checkpoint | CausalModel:
    from freeatten_core.basics.assets import assets
    from freeatten_core.models.catalogue import shipped
    from freeatten_core.models.checkpoint import load_checkpoint

    if source in shipped():  # by its folder: one of the same name may lie in the current folder
        return replace(load_checkpoint(assets() / "checkpoints" / source), name=source)
    from freeatten_core.models.transformers_model import is_causal_source, load_causal_model

    if not is_causal_source(source):
        return load_checkpoint(source)
    return load_causal_model(source)
