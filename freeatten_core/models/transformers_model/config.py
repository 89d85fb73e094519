"""What a transformers configuration says, checked before a weight is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.memory import available_bytes
from freeatten_core.models.format import CONFIG, read_json

from .own_type import OWN_TYPE, attention_in, llama_values
from .source import ADAPTER, Source

__all__ = [
    "PASS_STATES",
    "Forecast",
    "check_complete",
    "check_memory",
    "check_sizes",
    "declared_length",
    "forecast",
    "quiet",
    "read_config",
    "reason",
    "require_transformers",
]

LIMITS = (
    (r"(num|n)_(hidden_)?layers?", 1 << 10),
    (r"hidden_size|n_embd|d_model|word_embed_proj_dim", 1 << 17),
    (r"vocab_size", 1 << 22),
    (r"intermediate_size|ffn_dim|n_inner|d_inner|ffn_hidden_size", 1 << 20),
    (r"(num_attention|num_key_value|n|num)_heads?|head_dim", 1 << 13),
    (r"num_local_experts|num_experts|n_routed_experts", 1 << 12),
    (r"max_position_embeddings|n_positions|max_seq_len|max_sequence_length", 1 << 28),
)
"""Sizes above these are a mistake or an attack: refused before memory is touched."""
_DECLARED = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length"),
    *("seq_length", "context_length"),
)
PASS_TOKENS = 8192
"""Read in one pass."""
PASS_STATES = 16
"""Hidden states of a pass that are alive at a time, with those inside the widest layer."""


@dataclass(frozen=True)
class Forecast:
    """What a model needs, from its configuration alone."""

    parameters: int
    bytes: int
    """Weights in float32, and a pass."""


def read_config(source: Source) -> Any:
    """The configuration, an object of transformers; a Llama's of what this project converted.

    Raises:
        ContentError: no causal language model, or one in a form that is not read.
        UsageError: transformers is not installed.
    """
    name = source.name
    if not (source.folder / CONFIG).is_file():
        raise ContentError(
            f"{name} is an adapter ({ADAPTER}) without its model; merge it into the model and "
            "save that"
        )
    values = read_json(source.folder / CONFIG)
    _check_form(name, values)
    check_sizes(name, values)
    transformers = require_transformers()
    kind = values.get("model_type")
    if attention_in(name, values) is not None:
        return _built(name, OWN_TYPE, lambda: transformers.LlamaConfig(**llama_values(values)))
    if kind not in transformers.CONFIG_MAPPING:
        if "auto_map" in values:
            raise ContentError(
                f"{name} needs code of its own (auto_map), and code of models is not run here"
            )
        raise ContentError(f"{name}: transformers {transformers.__version__} knows no {kind!r}")
    config = _built(
        name,
        str(kind),
        lambda: transformers.AutoConfig.from_pretrained(
            source.folder, trust_remote_code=False, local_files_only=True
        ),
    )
    _check_causal(name, values, config)
    return config


def _built(name: str, kind: str, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except Exception as error:  # the library raises whatever its checks do
        raise ContentError(f"{name}: {CONFIG} is not a {kind} model's: {reason(error)}") from error


def require_transformers() -> Any:
    """The library.

    Raises:
        UsageError: it is not installed; says how to.
    """
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            "models of others need the transformers library: pip install 'freeatten[models]'"
        ) from error
    return transformers


def _check_form(name: str, values: Mapping[str, Any]) -> None:
    quantised = values.get("quantization_config")
    if quantised is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else None
        raise ContentError(
            f"{name} is quantised ({method or 'quantization_config'}); only weights in floating "
            "point are read"
        )
    if values.get("is_encoder_decoder") is True:
        raise ContentError(
            f"{name} is a sequence-to-sequence model ({values.get('model_type')}); only causal "
            "language models are read"
        )
    if any(key in values for key in ("vision_config", "audio_config")):
        raise ContentError(
            f"{name} reads pictures or sound too ({values.get('model_type')}); only causal "
            "language models of text are read"
        )


def check_sizes(name: str, values: Mapping[str, Any]) -> None:
    """Whether the sizes of a configuration, by its keys, can be meant.

    Raises:
        ContentError: one cannot.
    """
    for key, value in values.items():
        for pattern, limit in LIMITS:
            if not re.fullmatch(pattern, key) or value is None:
                continue
            if isinstance(value, list):  # a width of each layer
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= limit:
                raise ContentError(
                    f"{name}: {key} is {value!r}; it must be a whole number from 0 to {limit:,}"
                )


def _check_causal(name: str, values: Mapping[str, Any], config: Any) -> None:
    """Whether the weights are of a causal language model, by the class that they were saved of."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    wanted = (known,) if isinstance(known, str) else tuple(known or ())
    saved = values.get("architectures") or []
    if not wanted or (saved and saved[0] not in wanted):
        raise ContentError(
            f"{name} is a {saved[0] if saved else config.model_type}; only causal language models "
            "are read" + (f", as {wanted[0]}" if wanted else "")
        )


def declared_length(config: Any) -> int | None:
    """How many tokens a configuration declares; None where it says nothing.

    Not what the model was trained on: nothing in a checkpoint tells that.
    """
    found = [getattr(config, key, None) for key in _DECLARED]
    for rope in _rotary_sets(getattr(config, "rope_parameters", None)):
        original, factor = rope.get("original_max_position_embeddings"), rope.get("factor")
        if isinstance(original, int) and isinstance(factor, int | float):
            found.append(int(original * factor))
    return max((each for each in found if isinstance(each, int) and each > 0), default=None)


def _rotary_sets(parameters: Any) -> Iterator[Mapping[str, Any]]:
    """The rotary parameters, of each kind of layer where they differ."""
    if not isinstance(parameters, Mapping):
        return
    yield parameters
    for inner in parameters.values():
        yield from _rotary_sets(inner)


def forecast(name: str, config: Any) -> Forecast:
    """Parameters and memory, from a build without memory.

    Raises:
        ContentError: the configuration makes no model.
    """
    transformers = require_transformers()
    try:
        with torch.device("meta"):
            network = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever a bad size makes the model's own code raise
        raise ContentError(f"{name}: {CONFIG} makes no model: {reason(error)}") from error
    parameters = sum(weight.numel() for weight in network.parameters())
    width = int(getattr(config, "hidden_size", 0) or 0)
    return Forecast(parameters, 4 * (parameters + PASS_TOKENS * width * PASS_STATES))


def check_complete(name: str, report: Mapping[str, Any]) -> None:
    """Whether a load found every weight; the library makes others random.

    Raises:
        ContentError: it did not.
    """
    missing = sorted(report["missing_keys"])
    if missing:
        raise ContentError(
            f"{name} lacks {len(missing)} weights, the first is {missing[0]}; they would be random"
        )


def check_memory(
    name: str, needed: Forecast, dtype: torch.dtype = torch.float32, *, is_spread: bool = False
) -> None:
    """Whether a model fits into main memory, or spread into that of all devices together.

    Raises:
        ContentError: says how much it needs and how much is free.
    """
    free = _of_all_devices() if is_spread else available_bytes(torch.device("cpu"))
    size = needed.bytes * dtype.itemsize // 4
    if free is not None and size > free:
        raise ContentError(
            f"{name} has {needed.parameters:,} parameters and needs {size / 1e9:,.1f} GB "
            f"in {str(dtype).removeprefix('torch.')}; {free / 1e9:,.1f} GB are free"
        )


def _of_all_devices() -> int:
    """Bytes that accelerate would spread a model over."""
    from accelerate.utils import get_max_memory

    return sum(int(size) for size in get_max_memory().values())


def reason(error: Exception) -> str:
    """The first line of what an error says."""
    lines = str(error).strip().split("\n")
    return lines[0].rstrip(".") or type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's own bars and advice; what is wrong is said in one sentence."""
    logging = require_transformers().utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
