"""Tiny random models of the transformers library, by architecture."""

from __future__ import annotations

import inspect
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, processors

from freeatten_core.data.tokenizer import train_tokenizer
from freeatten_core.models.decoder import Model

VOCABULARY, DECLARED, WINDOW = 320, 128, 8

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": DECLARED,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
_GROUPED = SIZES | {"num_key_value_heads": 2}
_WIDE = _GROUPED | {"head_dim": 16}
_GPT = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": DECLARED}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
_SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _GROUPED),
    "mistral": ("MistralConfig", _GROUPED | {"sliding_window": WINDOW}),
    "qwen3": ("Qwen3Config", _WIDE),
    "gpt2": ("GPT2Config", _GPT),
    "gpt_neox": ("GPTNeoXConfig", SIZES),
    "opt": ("OPTConfig", SIZES | {"ffn_dim": 48, "word_embed_proj_dim": 16}),
    "granite": ("GraniteConfig", _GROUPED | {"logits_scaling": 4.0, "attention_multiplier": 0.3}),
    "gemma2": (
        "Gemma2Config",
        _WIDE | _SLIDING | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0},
    ),
    "gemma3": ("Gemma3TextConfig", _WIDE | _SLIDING),
    "gpt_oss": ("GptOssConfig", _WIDE | _SLIDING | {"num_local_experts": 4} | _EXPERTS),
    "deepseek_v3": (
        "DeepseekV3Config",
        SIZES
        | {"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "v_head_dim": 8}
        | {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "n_routed_experts": 4}
        | {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
        | _EXPERTS,
    ),
    "lfm2": ("Lfm2Config", _GROUPED | {"layer_types": ["conv", "full_attention"]}),
    "stablelm": ("StableLmConfig", _GROUPED),
    "bloom": (
        "BloomConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    ),
    "gptj": ("GPTJConfig", _GPT | {"rotary_dim": 4}),
    "falcon": ("FalconConfig", {key: SIZES[key] for key in list(SIZES)[:4]}),
    "mamba": (
        "MambaConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    ),
}
BYPASSING = ("bloom", "gptj", "falcon", "mamba")
"""They do not ask the library for their attention."""
HYBRID = ("lfm2",)
"""Some layers have no attention."""


def network(name: str, attention: str | None = None, **changes: Any) -> Any:
    """A random model."""
    torch.manual_seed(0)
    kind, values = ARCHITECTURES[name]
    config = getattr(transformers, kind)(**values | changes)
    made = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return shaken(made)


def shaken(made: Any) -> Any:
    """With weights large enough for losses to differ from those of chance."""
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return made.eval()


@cache
def tokenizer() -> Tokenizer:
    return train_tokenizer([inspect.getsource(inspect)], 300)


def with_beginning(found: Tokenizer, identity: int) -> Tokenizer:
    """A copy of a tokenizer that puts an id before every text."""
    changed = Tokenizer.from_str(found.to_str())
    token = changed.id_to_token(identity)
    changed.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, identity)]
    )
    return changed


def save(folder: Path, made: Any, words: Tokenizer | None = None) -> Path:
    """A folder as the library saves it, with a tokenizer."""
    made.save_pretrained(folder)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words or tokenizer())
    fast.save_pretrained(folder)
    return folder


def save_as_llama(folder: Path, model: Model, words: Tokenizer) -> Path:
    """A softmax model of this project as the library's Llama, which it is by another name."""
    config = model.config
    made = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            intermediate_size=config.mlp_width,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_base},
            rms_norm_eps=1e-6,
            tie_word_embeddings=True,
        )
    )
    made.load_state_dict(
        {_llama_name(name): each for name, each in model.state_dict().items()}, strict=False
    )
    return save(folder, made.eval(), words)


def _llama_name(name: str) -> str:
    for ours, theirs in _LLAMA.items():
        name = name.replace(ours, theirs)
    return f"model.{name}"


_LLAMA = {
    "embedding": "embed_tokens",
    "blocks": "layers",
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "final_norm": "norm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
"""Names of weights."""
