"""A checkpoint of this project as a folder of the transformers library."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from freeatten_core.basics.checks import described
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.files import expanded, replacing_folder
from freeatten_core.models.checkpoint import Checkpoint
from freeatten_core.models.config import ModelConfig
from freeatten_core.models.transformers_model.config import require_transformers
from freeatten_core.models.transformers_model.own_type import ATTENTION
from freeatten_core.variants.setting import PLAIN_SETTING
from freeatten_core.variants.stages import Stages

__all__ = ["convert", "register_model"]

PLACES = {
    "embedding": "model.embed_tokens",
    "final_norm": "model.norm",
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
"""What a part of this project's model is called in a Llama; blocks are `model.layers`."""


def convert(checkpoint: Checkpoint, out: Path | str) -> Path:
    """Write a checkpoint as the library loads it, whole or not at all.

    Softmax becomes a plain Llama. Others become the model type `freeatten`, which
    `AutoModelForCausalLM` loads once `freeatten_core.transformers` is imported, and not before.

    Returns:
        The folder.

    Raises:
        UsageError: no checkpoint of this project, or no path; a function of one's own, other
            positions than rotary ones or a gate, which a Llama has not; no transformers library.
        ContentError: the folder cannot be written.
        SavedElsewhereError: `out` was taken.
    """
    if not isinstance(checkpoint, Checkpoint):
        raise UsageError(
            f"checkpoint is {described(checkpoint)}; it must be what load_checkpoint gives"
        )
    if not isinstance(out, str | Path):
        raise UsageError(f"out is {described(out)}; it must be the path of a folder")
    out = expanded(str(out))
    transformers = require_transformers()
    config = checkpoint.config
    computed = config.variant.computes
    if not isinstance(computed, Stages) or config.variant.setting != PLAIN_SETTING:
        raise UsageError(
            f"{checkpoint.name} computes {config.variant}, which a Llama cannot hold; softmax and "
            "the named variants with plain rotary positions can be converted"
        )
    if computed == Stages():
        network = transformers.LlamaForCausalLM(transformers.LlamaConfig(**_values(config)))
    else:
        from .own_model import FreeattenConfig, FreeattenForCausalLM

        values = _values(config) | {ATTENTION: str(computed)}
        network = FreeattenForCausalLM(FreeattenConfig(**values))
    network.load_state_dict(_llama_weights(checkpoint.model.state_dict()))
    words = transformers.PreTrainedTokenizerFast(tokenizer_object=checkpoint.tokenizer)
    with replacing_folder(out) as temporary:
        network.save_pretrained(temporary)
        words.save_pretrained(temporary)
    return out


def register_model() -> None:
    """Make the type known to `AutoConfig` and `AutoModelForCausalLM`."""
    transformers = require_transformers()
    from .own_model import FreeattenConfig, FreeattenForCausalLM

    transformers.AutoConfig.register(FreeattenConfig.model_type, FreeattenConfig, exist_ok=True)
    transformers.AutoModelForCausalLM.register(FreeattenConfig, FreeattenForCausalLM, exist_ok=True)


def _llama_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights by the names of a Llama; its head is its embedding."""
    renamed = {}
    for name, weight in weights.items():
        stem = name.removesuffix(".weight")
        if stem.startswith("blocks."):
            _, layer, part = stem.split(".", 2)
            renamed[f"model.layers.{layer}.{PLACES[part]}.weight"] = weight
        else:
            renamed[f"{PLACES[stem]}.weight"] = weight
    return renamed | {"lm_head.weight": renamed["model.embed_tokens.weight"]}


def _values(config: ModelConfig) -> dict[str, object]:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.train_length,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "dtype": torch.float32,
    }
