"""A small decoder-only language model with any attention variant.

RMSNorm before each block, SwiGLU, tied embeddings, no biases; rotary positions and no gates unless
the variant's name says otherwise.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freeatten_core.basics.seeds import generator
from freeatten_core.ops.call import Attend, ScoreTerms
from freeatten_core.ops.operator import grouped_attention
from freeatten_core.positions.pope import polar_key, polar_query
from freeatten_core.positions.rope import Rope, rotate
from freeatten_core.positions.table import POSITIONS
from freeatten_core.variants.variant import Variant

from .config import ModelConfig
from .dilated import between_is_hidden, dilated_attention
from .interface import Observe, Reading
from .learned_scale import LearnedScale
from .modifiers import (
    QueryFactor,
    Temperatures,
    modified_attention,
    narrower,
    query_factor,
    scaled_rope,
    window_of,
)
from .places import Angles, Clex, Places, Standing, angles_at_rest, angles_in_training

__all__ = [
    "LOSS_TOKENS",
    "Attention",
    "Block",
    "Mlp",
    "Model",
    "is_decayed",
    "kept_type",
    "parameter_shapes",
]

LOSS_TOKENS = 2048
"""Logits are made for this many tokens at a time: 32 MB at a vocabulary of 4096."""


PHASE = ".attention.phase"
"""How the name of PoPE's δ ends."""

FORGET_BIAS = 4.0
"""Of a forget gate at the start: a token keeps 98 %, a hundred tokens 16 %."""


WHOLE = (".forget.", ".scale.", ".sink")
"""Parts of the names of parameters that checkpoints keep in float32, besides those of positions."""


class Attention(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config, self.position = config, config.positions[layer]
        kv_width = config.head_dim * config.kv_heads
        self.query = nn.Linear(config.width, config.head_dim * config.score_heads, bias=False)
        self.key = nn.Linear(config.width, kv_width, bias=False)
        self.value = nn.Linear(config.width, kv_width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        setting = config.variant.setting
        self.forget = nn.Linear(config.width, config.score_heads) if setting.gate else None
        gated = setting.output == "gated"
        self.output_gate = nn.Linear(config.width, config.width, bias=False) if gated else None
        delta = torch.empty(config.kv_heads, config.head_dim)
        self.phase = nn.Parameter(delta) if self.position.doubles else None
        given = config.width, self.position.kinds, config.train_length
        self.scale = None if setting.scale is None else LearnedScale(setting.scale, *given)
        self.sink = nn.Parameter(torch.empty(config.score_heads)) if setting.sink else None
        self.dilated_keys = None if setting.dilate is None else setting.dilate.keys
        self.offsets = (
            None
            if self.dilated_keys is None
            else nn.Parameter(torch.empty(config.score_heads, self.dilated_keys))
        )
        self.taken = nn.Linear(config.width, config.heads, bias=False) if setting.heads else None

    def query_key(self, hidden: Tensor, angles: Mapping[str, Angles]) -> tuple[Tensor, Tensor]:
        """Queries (B, H, L, D) and keys (B, Hkv, L, D), turned; 2D where `pope` doubles them.

        Args:
            hidden: the layer's input, normalised, (B, L, width).
            angles: of every kind that turns a head, for L tokens.
        """
        query = self._split(self.query(hidden), self.config.score_heads)
        key = self._split(self.key(hidden), self.config.kv_heads)
        if self.phase is not None:
            cos, sin = angles[self.position.kinds[0]]
            return polar_query(query, cos, sin), polar_key(key, cos, sin, self.phase)
        turned = self.position.rotations
        shared = self.config.score_heads // self.config.kv_heads
        return _turned(query, turned, angles), _turned(key, turned[::shared], angles)

    def terms(self, hidden: Tensor, slopes: Tensor) -> ScoreTerms:
        """What scores are given: the fall with the distance, what is forgotten, and how far they
        are above that of a sink: one key more of score b is one of score 0, with all others b less.

        Args:
            hidden: the layer's input, normalised, (B, L, width).
            slopes: what every head's scores lose by a token, (H,).
        """
        bias = self.offsets if self.sink is None else -self.sink[:, None]
        falls = any(self.position.slopes)
        return ScoreTerms(
            distance_slope=slopes if falls else None,
            distance_bias=bias,
            decay=None if self.forget is None else self._kept(self.forget, hidden),
        )

    @staticmethod
    def _kept(forget: nn.Linear, hidden: Tensor) -> Tensor:
        """`c_i = Σ_{l ≤ i} log σ(w·x_l + b)` (arXiv 2503.02130), (B, H, L) in the weights' type:
        in bfloat16 a sum of hundreds has steps of one."""
        with torch.autocast(hidden.device.type, enabled=False):
            gate = forget(hidden.to(forget.weight.dtype))
            return F.logsigmoid(gate).cumsum(1).transpose(1, 2)

    def mix(
        self,
        hidden: Tensor,
        query: Tensor,
        key: Tensor,
        attend: Attend,
        terms: ScoreTerms,
        stride: int = 1,
    ) -> Tensor:
        """What is added to the residual, (B, L, width).

        Args:
            hidden: the layer's input, normalised, (B, L, width).
            query, key: (B, H, L, D) and (B, Hkv, L, D), 2D where `pope` doubles them.
            attend: the operator.
            terms: as from `terms`.
            stride: of the keys that a row sees, where they are dilated.
        """
        value = self._split(self.value(hidden), self.config.kv_heads)
        given: dict[str, Any] = {} if terms.is_empty else {"terms": terms}
        window = self.position.window if self.dilated_keys is None else self.dilated_keys
        if window is not None:
            given["window"] = window
        computed = self.config.variant.computes
        mixed = dilated_attention(attend, query, key, value, computed, stride=stride, **given)
        if self.taken is not None:  # the second of each pair of heads from the first
            share = torch.sigmoid(self.taken(hidden)).mT[..., None]
            mixed = mixed[:, ::2] - share * mixed[:, 1::2]
        flat = mixed.transpose(1, 2).flatten(2)
        if self.output_gate is not None:
            flat = flat * torch.sigmoid(self.output_gate(hidden))
        joined: Tensor = self.out(flat)
        return joined

    @staticmethod
    def _split(projected: Tensor, heads: int) -> Tensor:
        batch, length, width = projected.shape
        return projected.view(batch, length, heads, width // heads).transpose(1, 2)


def _turned(vectors: Tensor, turned: Sequence[str | None], angles: Mapping[str, Angles]) -> Tensor:
    """(B, H, L, D) with every head rotated by the angles of the kind that turns it, if any."""
    if len(set(turned)) == 1:
        return vectors if turned[0] is None else rotate(vectors, *angles[turned[0]])
    heads = torch.split(vectors, 1, dim=1)
    return torch.cat(
        [
            head if by is None else rotate(head, *angles[by])
            for head, by in zip(heads, turned, strict=True)
        ],
        dim=1,
    )


class Mlp(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.mlp_width, bias=False)
        self.up = nn.Linear(config.width, config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return cast("Tensor", self.down(F.silu(self.gate(hidden)) * self.up(hidden)))
        # the same values with two tensors in place of three where a long text takes most memory
        gate = F.silu(self.gate(hidden), inplace=True)
        return cast("Tensor", self.down(gate.mul_(self.up(hidden))))


class Block(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.attention = Attention(config, layer)
        self.mlp_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.mlp = Mlp(config)


class Model(nn.Module):
    """Tokens (B, L) to logits (B, L, vocabulary).

    `attend` is the attention operator used, `freeatten_core.attention` unless replaced.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.attend: Attend = grouped_attention
        self.query_factor: QueryFactor | None = None
        self.reading = Reading(config.variant.computes)
        self.rope = Rope(config.head_dim, config.rope_base, config.train_length)
        # filled later; to draw it on the meta device takes 1.2 s of imports
        empty = torch.empty(config.vocab_size, config.width)
        self.embedding = nn.Embedding(config.vocab_size, config.width, _weight=empty)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.final_norm = nn.RMSNorm(config.width, eps=1e-6)
        learned = "clex" in config.variant.setting.position.kinds
        self.clex = Clex(config.head_dim) if learned else None

    @property
    def vocab_size(self) -> int:
        """Ids that it knows."""
        return self.config.vocab_size

    def initialise(self, seed: int, deviation: float = 0.02) -> None:
        """Normal weights of one deviation; those that write to the residual, less with depth.

        What only some names ask for is drawn last, so that models with and without it begin with
        the same weights.
        """
        draw = generator(seed)
        depth_scale = 1 / math.sqrt(2 * len(self.config.passes(self.config.train_length)))
        drawn_here = [each for each in self.named_parameters() if not _positions(each[0])]
        with torch.no_grad():
            for name, weight in sorted(drawn_here, key=lambda each: _only_of_some_names(each[0])):
                if weight.ndim == 1:
                    weight.fill_(_start(name))
                    continue
                narrow = name.endswith(("attention.out.weight", "mlp.down.weight"))
                scale = deviation * (depth_scale if narrow else 1.0)
                drawn = torch.randn(weight.shape, generator=draw) * scale
                weight.copy_(drawn)
            for module in self.modules():
                if isinstance(module, LearnedScale):
                    module.start()
                if isinstance(module, Attention) and module.phase is not None:
                    module.phase.zero_()
        if self.clex is not None:
            self.clex.initialise(draw)

    def copied(self, device: torch.device, dtype: torch.dtype) -> Model:
        """A copy there in a type; below float32 what grows along a text stays float32."""
        # a copy: `to` changes the weights in place
        found = copy.deepcopy(self).to(device, dtype)
        if dtype.itemsize < torch.float32.itemsize:
            whole = dict(self.named_parameters())
            for name, weight in found.named_parameters():
                if kept_type(name) == torch.float32:
                    weight.data = whole[name].data.to(device, torch.float32)
        return found

    def with_modifiers(
        self, variant: Variant, longest: int, temperatures: Temperatures | None = None
    ) -> Model:
        """The same weights with a variant's modifiers.

        Args:
            variant: the model's own with modifiers.
            longest: tokens of the longest text, which some modifiers are set for.
            temperatures: what `align` was fitted to.

        Raises:
            UsageError: `align` without temperatures.
        """
        model = Model.__new__(Model)
        model.__dict__.update(self.__dict__)
        model.rope = scaled_rope(self.rope, variant, longest)
        model.attend = modified_attention(self.attend, model.rope, variant)
        model.reading = Reading(variant.computes, window_of(variant, self.config.train_length))
        model.query_factor = query_factor(
            variant, self.config.train_length, self.config.head_dim, temperatures
        )
        return model

    def places(self, length: int, device: torch.device) -> Places:
        """What the layers need to tell the positions of a text apart."""
        slopes = [each.slopes for each in self.config.positions]
        kinds = self.config.variant.setting.position.kinds
        angles = {
            kind: angles_at_rest(kind, self.rope, self.clex, length, device)
            for kind in sorted(kinds)
            if POSITIONS[kind].rotates
        }
        return Places(angles, torch.tensor(slopes, device=device))

    def placed(self, resting: Places, standing: Standing) -> Places:
        """The same for texts of the training length whose tokens stand elsewhere."""
        angles = {
            kind: angles_in_training(kind, self.rope, self.clex, standing, each)
            for kind, each in resting.angles.items()
        }
        return resting._replace(angles=angles)

    def hidden(
        self, tokens: Tensor, *, places: Places | None = None, observe: Observe | None = None
    ) -> Tensor:
        """The final hidden states (B, L, width), normalised.

        Args:
            tokens: (B, L).
            places: of a text of L tokens, when the caller keeps them.
            observe: called with what every layer gives its attention.
        """
        hidden = self.embedding(tokens)
        if places is None:
            places = self.places(tokens.shape[1], tokens.device)
        for number, (layer, stride) in enumerate(self.config.passes(tokens.shape[1])):
            seen = None if observe is None else _Numbered(observe, number)
            hidden = self.layer(layer, hidden, places, self.attend, seen, stride=stride)
        final: Tensor = self.final_norm(hidden)
        return final

    def layer(
        self,
        layer: int,
        hidden: Tensor,
        places: Places,
        attend: Attend,
        observe: Observe | None = None,
        *,
        stride: int = 1,
    ) -> Tensor:
        """One layer's hidden states from those of the layer below, (B, L, width) each.

        Args:
            stride: of its keys, where it is dilated.
        """
        stride = min(stride, hidden.shape[1])  # of a larger one too a row sees its own key alone
        block = cast("Block", self.blocks[layer])
        attention, normed = block.attention, block.attention_norm(hidden)
        query, key = attention.query_key(normed, places.angles)
        terms = attention.terms(normed, places.slopes[layer])
        window = attention.position.window
        seen = narrower(self.reading.window, window)
        if attention.scale is not None:
            query = attention.scale(query, normed, seen)
        if self.query_factor is not None and window is None:  # a local row sees few keys anyway
            query = query * self.query_factor(query.shape[2])[:, None].to(query)
        if observe is not None:
            reading = replace(self.reading, window=seen, terms=terms)
            if attention.dilated_keys is not None:
                reading = _dilated(reading, stride, attention.dilated_keys, hidden.shape[1])
            observe(layer, query, key, reading)
        hidden = hidden + attention.mix(normed, query, key, attend, terms, stride)
        del normed, query, key  # the widest part is still to come
        above: Tensor = hidden + block.mlp(block.mlp_norm(hidden))
        return above

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embedding.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits(self.hidden(tokens))

    def token_losses(self, tokens: Tensor, targets: Tensor, start: int = 0) -> Tensor:
        """Nats per target, float32 (B, L − start), for the targets from `start` on.

        Args:
            tokens, targets: (B, L); `targets[:, i]` is what follows `tokens[:, i]`.
        """
        return self.losses_of(self.hidden(tokens)[:, start:], targets[:, start:])

    def losses_of(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Nats per target, float32 (B, L), from final hidden states (B, L, width)."""
        losses = [
            F.cross_entropy(self.logits(part).float(), goal, reduction="none")
            for part, goal in zip(
                torch.split(hidden.flatten(0, 1), LOSS_TOKENS),
                torch.split(targets.flatten(), LOSS_TOKENS),
                strict=True,
            )
        ]
        return torch.cat(losses).view(targets.shape)


def is_decayed(name: str, weight: Tensor) -> bool:
    """Whether training draws a parameter to 0: matrices, but no angles and no biases of places."""
    return weight.ndim > 1 and not name.endswith((PHASE, ".offsets"))


@dataclass(frozen=True)
class _Numbered:
    """Who observes, told the number of a pass for that of its layer."""

    observe: Observe
    number: int

    def __call__(self, _: int, query: Tensor, key: Tensor, reading: Reading, /) -> None:
        self.observe(self.number, query, key, reading)


def _dilated(reading: Reading, stride: int, keys: int, length: int) -> Reading:
    """As on the text itself, whose keys between the strides have a weight of 0."""
    terms = between_is_hidden(reading.terms, stride, keys, length)
    return replace(reading, window=keys * stride, terms=terms, stride=stride)


def kept_type(name: str) -> torch.dtype:
    """What a checkpoint keeps a parameter in: what grows along a text or multiplies a whole row is
    not rounded."""
    whole = _positions(name) or any(part in name for part in WHOLE)
    return torch.float32 if whole else torch.bfloat16


def _only_of_some_names(name: str) -> bool:
    """Whether a parameter is of what only some names ask for."""
    return any(part in name for part in (*WHOLE, ".output_gate.", ".offsets", ".taken."))


def _start(name: str) -> float:
    """What a vector's numbers begin with."""
    if ".forget." in name:
        return FORGET_BIAS
    return 0.0 if name.endswith(".sink") else 1.0


def _positions(name: str) -> bool:
    """Whether a parameter belongs to a position."""
    return name.startswith("clex.") or name.endswith(PHASE)


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter's name and shape, without allocating any."""
    with torch.device("meta"):
        model = Model(config)
    return {name: tuple(weight.shape) for name, weight in model.named_parameters()}
