"""Loading a model of the transformers library: safetensors only, none of its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.seeds import generator
from freeatten_core.models.catalogue import source_text
from freeatten_core.models.format import CONFIG, read_json
from freeatten_core.variants.setting import PLAIN_SETTING
from freeatten_core.variants.variant import Variant

from .attention import Change
from .codec import read_codec
from .config import (
    check_complete,
    check_memory,
    declared_length,
    forecast,
    quiet,
    read_config,
    reason,
    require_transformers,
)
from .inside import agree, attention_layers, looked_into
from .losses import find_body
from .model import CausalModel, entrance
from .names import find
from .own_type import attention_in
from .source import Source

__all__ = ["load_causal_model"]

TRIED_TOKENS = 64
SAME = 1e-4
"""Nats: losses closer than this are the same."""


def load_causal_model(
    source: str | Path,
    *,
    device_map: str | Mapping[str, int | str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> CausalModel:
    """Load a causal language model of the transformers library, in float32 on the CPU.

    Args:
        source: a folder, a GGUF file, a Hugging Face repository `owner/name` or `name`, with
            `@revision` if wanted, or its address. Nothing else is fetched, and nothing where
            `HF_HUB_OFFLINE` is set.
        device_map: spread it by accelerate: `"auto"` over all GPUs and then main memory, or from
            the names of its parts to devices. It stays there.
        dtype: of the weights.

    Raises:
        UsageError: nothing of that name, a model of this project, a type that does not float, or no
            transformers library.
        ContentError: it is no causal language model of text, in floating point, in safetensors,
            with its tokenizer; or it does not fit into memory.
    """
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise UsageError(f"dtype is {dtype!r}; it must be a floating one, such as torch.float32")
    found = _found(source)
    with quiet():
        config = read_config(found)
        check_memory(
            found.name, forecast(found.name, config), dtype, is_spread=device_map is not None
        )
        network = _network(found.with_weights(), config, device_map, dtype)
        vocab_size = int(network.get_input_embeddings().weight.shape[0])
        codec = read_codec(found, vocab_size)
    limit, declared = _position_limit(network), declared_length(config)
    length = min(each for each in (TRIED_TOKENS, limit, declared) if each is not None)
    tokens = torch.randint(0, vocab_size, (1, length), generator=generator(0)).to(entrance(network))
    body, layers = _tried(found.name, network, tokens), attention_layers(network, tokens)
    model = CausalModel(
        found.name,
        found.folder,
        network,
        body,
        codec,
        declared,
        limit,
        vocab_size,
        takes_window=len(layers) == int(network.config.num_hidden_layers),
        layers=layers,
        form=found.form,
    )
    _check_losses(model, tokens)
    return _as_trained(found, looked_into(model, tokens))


def _as_trained(source: Source, model: CausalModel) -> CausalModel:
    """With its own attention in the place of softmax, where this project converted it."""
    computed = attention_in(source.name, read_json(source.folder / CONFIG))
    if computed is None:
        return model
    variant = Variant.of(computed, setting=PLAIN_SETTING)
    return replace(model, variant=variant, change=Change(computed=computed))


def _found(source: str | Path) -> Source:
    text = source_text(source)
    found = find(text)
    if found is None:
        raise UsageError(
            f"no model {text!r}: it must be a folder with a model of the transformers library, "
            "a GGUF file, or a Hugging Face repository owner/name"
        )
    return found


def _network(
    source: Source,
    config: Any,
    device_map: str | Mapping[str, int | str] | None,
    dtype: torch.dtype,
) -> Any:
    transformers = require_transformers()
    try:
        network, report = transformers.AutoModelForCausalLM.from_pretrained(
            source.folder,
            config=config,
            dtype=dtype,
            device_map=device_map,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # the library raises whatever it meets
        if isinstance(error, MemoryError):
            raise
        raise ContentError(f"{source.name} cannot be loaded: {reason(error)}") from error
    check_complete(source.name, report)
    source.check_floats(name for name, _ in network.named_parameters())
    return network.requires_grad_(False).eval()


def _position_limit(network: nn.Module) -> int | None:
    """The size of the smallest table of learned positions."""
    tables = [
        module.num_embeddings - int(getattr(module, "offset", 0))
        for name, module in network.named_modules()
        if isinstance(module, nn.Embedding) and _is_position(name)
    ]
    return min(tables, default=None)


def _is_position(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last == "wpe" or "position" in last


@torch.inference_mode()
def _tried(name: str, network: Any, tokens: Tensor) -> nn.Module:
    try:
        body = find_body(network, tokens)
    except Exception as error:  # the model's own code
        raise ContentError(f"{name} does not run: {reason(error)}") from error
    if body is None:
        raise ContentError(f"{name}: its hidden states were not found, so it cannot be scored")
    return body


@torch.inference_mode()
def _check_losses(model: CausalModel, tokens: Tensor) -> None:
    """Whether losses are those of the model's own forward, and a token's hang on no later one."""
    read, targets = tokens[:, :-1], tokens[:, 1:]
    found = model.token_losses(read, targets)
    logits = model.network(input_ids=model.read(read), use_cache=False).logits
    own = nn.functional.cross_entropy(
        logits[0].float().to(targets.device), targets[0], reduction="none"
    )
    if not agree(found[0], own, SAME, model.network.dtype):
        raise ContentError(f"{model.name}: losses differ from those of its own forward")
    changed = read.clone()
    changed[:, -1] = (changed[:, -1] + 1) % model.vocab_size
    earlier = model.token_losses(changed, targets)[:, :-1]
    if not torch.allclose(earlier, found[:, :-1], atol=SAME, equal_nan=True):
        raise ContentError(
            f"{model.name} reads later tokens too; only causal language models are read"
        )
