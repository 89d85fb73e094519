"""A model of the transformers library by its configuration alone, before a weight of it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freeatten_core.basics.errors import ContentError
from freeatten_core.basics.files import expanded
from freeatten_core.models.config import LayerShape
from freeatten_core.models.forecast import CONSTANT_BYTES

from .config import PASS_STATES, declared_length, forecast, quiet, read_config
from .gguf import bytes_to_write, config_of
from .names import find, is_gguf

__all__ = ["LOADING_TOKENS", "Described", "describe"]

LOADING_TOKENS = 8 * 64
"""What a load passes through a model to try it, in eight passes."""
SLIDING = "sliding_attention"
OTHER_KINDS = ("linear_attention",)
"""Of layers that are called attention and have no weights between tokens."""


@dataclass(frozen=True)
class Described:
    """What a configuration says of a model; its masks and weights can say otherwise."""

    name: str
    """The folder, the GGUF file, or the repository with its revision."""
    layers: Mapping[int, LayerShape]
    """Those with attention, by number, ascending."""
    windows: Mapping[int, int | None]
    """Keys that a row of a layer sees at most; None for all before it."""
    layer_count: int
    """With those that have no attention."""
    width: int
    parameters: int
    layer_parameters: int
    """Without what turns ids into states, and states into logits."""
    declared_length: int | None
    is_fetched: bool
    """Whether its weights lie elsewhere and would be downloaded."""
    written_bytes: int | None
    """What a GGUF file is about to be converted into; None where nothing is written."""

    @property
    def weight_bytes(self) -> int:
        """In float32."""
        return 4 * self.parameters

    def pass_bytes(self, length: int) -> int:
        """Temporaries of a pass over so many tokens, as `CausalModel.pass_bytes`."""
        return 4 * length * self.width * PASS_STATES + CONSTANT_BYTES


def describe(source: str) -> Described | None:
    """What a model says of itself; None where `source` names none of the transformers library.

    Args:
        source: as for `load_causal_model`. Of a repository the description is fetched, of a GGUF
            file the header is read; no weight is.

    Raises:
        UsageError, ContentError: as `load_causal_model`, so far as a configuration tells.
    """
    if is_gguf(source):
        path = expanded(source)
        with quiet():
            return _described(source, config_of(path), written_bytes=bytes_to_write(path))
    found = find(source)
    if found is None:
        return None
    with quiet():
        is_fetched = found.repository is not None and not _has_weights(found.folder)
        return _described(found.name, read_config(found), is_fetched=is_fetched)


def _has_weights(folder: Path) -> bool:
    return any(True for _ in folder.glob("*.safetensors"))


def _described(
    name: str, config: Any, *, is_fetched: bool = False, written_bytes: int | None = None
) -> Described:
    parameters = forecast(name, config).parameters
    count, width = int(config.num_hidden_layers), int(getattr(config, "hidden_size", 0) or 0)
    tied = bool(getattr(config, "tie_word_embeddings", False))
    kinds = list(getattr(config, "layer_types", None) or [])
    numbers = [layer for layer in range(count) if not kinds or _has_attention(kinds[layer])]
    if not numbers or not getattr(config, "num_attention_heads", None):
        raise ContentError(f"{name}: its configuration names no layer with attention")
    return Described(
        name,
        layers={layer: _shape(config, layer) for layer in numbers},
        windows={layer: _window(config, kinds, layer) for layer in numbers},
        layer_count=count,
        width=width,
        parameters=parameters,
        layer_parameters=max(parameters - (2 - tied) * int(config.vocab_size) * width, 0),
        declared_length=declared_length(config),
        is_fetched=is_fetched,
        written_bytes=written_bytes,
    )


def _has_attention(kind: str) -> bool:
    return kind.endswith("attention") and kind not in OTHER_KINDS


def _shape(config: Any, layer: int) -> LayerShape:
    def of(name: str) -> int:
        value = getattr(config, name, None)
        return int((value[layer] if isinstance(value, list | tuple) else value) or 0)

    heads = of("num_attention_heads")
    size = of("qk_head_dim") or of("head_dim") or of("hidden_size") // heads
    return LayerShape(heads, of("num_key_value_heads") or heads, size)


def _window(config: Any, kinds: list[str], layer: int) -> int | None:
    window = getattr(config, "sliding_window", None)
    is_on = kinds[layer] == SLIDING if kinds else getattr(config, "use_sliding_window", True)
    return int(window) if window and is_on else None
