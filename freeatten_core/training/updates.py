"""From gradients to weights: the schedule, the clip and the optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from freeatten_core.basics.errors import UsageError
from freeatten_core.models.decoder import Model, is_decayed
from freeatten_core.positions.drope import part

from .recipe import Recipe

__all__ = ["Updates", "check_optimizer"]

MUONS = (
    *(f".attention.{name}.weight" for name in ("query", "key", "value", "out", "output_gate")),
    *(f".mlp.{name}.weight" for name in ("gate", "up", "down")),
)
"""How the names of matrices between hidden states end, whose update can be orthogonal. The
embedding is none: a step changes the rows of the tokens that it read."""
MOMENTS = {"AdamW": ("exp_avg", "exp_avg_sq"), "Muon": ("momentum_buffer",)}
"""What an optimizer remembers of a parameter, in its shape."""


def check_optimizer(recipe: Recipe, *, shard: bool) -> None:
    """Whether a recipe's optimizer can be had.

    Raises:
        UsageError: it cannot; with the reason.
    """
    if recipe.optimizer != "muon":
        return
    if shard:
        raise UsageError(
            "--optimizer muon cannot go with --shard: its update needs a matrix whole, and each "
            "process holds a part; use --optimizer adamw"
        )
    if not hasattr(torch.optim, "Muon"):
        raise UsageError(
            f"--optimizer muon needs torch 2.9 or later, this is {torch.__version__}; use "
            "--optimizer adamw"
        )


class Updates:
    """A recipe's optimizer under its schedule; where rotation is dropped, it begins again."""

    def __init__(self, model: Model, recipe: Recipe, peak: float, steps: int) -> None:
        """For a run of so many steps, whose learning rate rises to `peak`."""
        self._model, self._recipe = model, recipe
        self.peak, self.steps = peak, steps
        self._in_parts = "drope" in model.config.variant.setting.position.kinds
        self._on_gpu = model.embedding.weight.is_cuda
        named = dict(model.named_parameters())
        muons = {
            name: weight
            for name, weight in named.items()
            if recipe.optimizer == "muon" and name.endswith(MUONS)
        }
        rest = {name: weight for name, weight in named.items() if name not in muons}
        decayed = [weight for name, weight in rest.items() if is_decayed(name, weight)]
        others = [weight for name, weight in rest.items() if not is_decayed(name, weight)]
        adamw = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=0.0,  # every step sets its own
            betas=recipe.betas,
            fused=self._on_gpu,
        )
        self._optimizers: list[torch.optim.Optimizer] = [adamw]
        if muons:
            self._optimizers.append(_muon(list(muons.values()), recipe.weight_decay))
        self._of = {name: self._optimizers[name in muons] for name in named}

    def apply(self, step: int) -> None:
        """Change the weights by the gradients in `.grad`, clipped by their common norm."""
        first, count = part(step, self.steps) if self._in_parts else (0, self.steps)
        rate = self._recipe.learning_rate(step - first, self.peak, count)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._recipe.clip)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """Weights and moments by their names, to be saved or to be filled.

        Moments are there after the first step, or `go_on`.
        """
        found: dict[str, Tensor] = {}
        for name, weight in self._model.named_parameters():
            optimizer = self._of[name]
            found[f"weight.{name}"] = weight.detach()
            moments = optimizer.state[weight]
            found |= {f"{key}.{name}": moments[key] for key in MOMENTS[type(optimizer).__name__]}
        return found

    def go_on(self, step: int) -> None:
        """As after so many steps, but for weights and moments, which `tensors` gives to fill."""
        for name, weight in self._model.named_parameters():
            optimizer = self._of[name]
            keys = MOMENTS[type(optimizer).__name__]
            state: dict[str, Any] = {key: torch.zeros_like(weight.detach()) for key in keys}
            if isinstance(optimizer, torch.optim.AdamW):
                place = weight.device if self._on_gpu else "cpu"
                state["step"] = torch.tensor(float(step), device=place)
            optimizer.state[weight] = state


def _muon(weights: list[torch.nn.Parameter], weight_decay: float) -> torch.optim.Optimizer:
    """Muon with updates as large as AdamW's (arXiv 2502.16982), so that one rate does for both."""
    return torch.optim.Muon(
        weights, lr=0.0, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
    )
