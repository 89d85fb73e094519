"""A GGUF file of a tiny model, written with llama.cpp's own library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import causal
import pytest
import torch
import transformers

gguf = pytest.importorskip("gguf")
pytest.importorskip("accelerate")

__all__ = ["dequantised", "network", "write"]

ARCHITECTURE = "qwen2"
"""Its file needs no rows in another order."""

KIND = gguf.GGMLQuantizationType.Q8_0
"""What matrices are stored as."""


def network(**changes: Any) -> Any:
    """A random model of that architecture."""
    torch.manual_seed(0)
    sizes = causal.SIZES | {"num_key_value_heads": 2} | changes
    config = transformers.Qwen2Config(**sizes)
    return causal.shaken(transformers.AutoModelForCausalLM.from_config(config))


def write(path: Path, made: Any, lacking: str = "", **metadata: Any) -> Path:
    """Matrices whose rows are whole blocks as `KIND`, the rest in float32.

    Args:
        lacking: a weight that is left out.
        metadata: in the place of keys of the file, with `__` for their dots; None leaves one out.
    """
    writer, config = gguf.GGUFWriter(path, ARCHITECTURE), made.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    _add_tokenizer(writer, config.vocab_size)
    for name, value in metadata.items():
        _set(writer, name.replace("__", "."), value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, weight in made.state_dict().items():
        if name == lacking:
            continue
        numbers, kind = weight.numpy(), None
        if _is_quantised(weight):
            kind = KIND
            numbers = gguf.quants.quantize(numbers, kind)
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), numbers, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def dequantised(made: Any) -> Any:
    """The model with the weights that its file holds."""
    kind = KIND
    with torch.no_grad():
        for weight in made.state_dict().values():
            if _is_quantised(weight):
                stored = gguf.quants.quantize(weight.numpy(), kind)
                weight.copy_(torch.from_numpy(gguf.quants.dequantize(stored, kind)))
    return made


def _is_quantised(weight: torch.Tensor) -> bool:
    return weight.ndim == 2 and weight.shape[1] % 32 == 0


def _add_tokenizer(writer: Any, size: int) -> None:
    model = json.loads(causal.tokenizer().to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    unused = [f"unused{index}" for index in range(len(tokens), size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([*tokens, *unused])
    writer.add_token_types([1] * len(tokens) + [5] * len(unused))
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])


def _set(writer: Any, key: str, value: Any) -> None:
    writer.kv_data[0].pop(key, None)
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif value is not None:
        writer.add_string(key, value)
