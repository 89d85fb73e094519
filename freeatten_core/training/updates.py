"""From gradients to weights: the schedule, the clip and the optimizer."""

from __future__ import annotations

import torch
from torch import Tensor

from freeatten_core.models.decoder import Model, is_decayed
from freeatten_core.positions.drope import part

from .recipe import Recipe

__all__ = ["Updates"]

MOMENTS = ("exp_avg", "exp_avg_sq")


class Updates:
    """AdamW under a recipe's schedule; where rotation is dropped, it begins again."""

    def __init__(self, model: Model, recipe: Recipe, peak: float, steps: int) -> None:
        """For a run of so many steps, whose learning rate rises to `peak`."""
        self._model, self._recipe = model, recipe
        self.peak, self.steps = peak, steps
        self._in_parts = "drope" in model.config.variant.setting.position.kinds
        self._on_gpu = model.embedding.weight.is_cuda
        named = list(model.named_parameters())
        decayed = [weight for name, weight in named if is_decayed(name, weight)]
        others = [weight for name, weight in named if not is_decayed(name, weight)]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=0.0,  # every step sets its own
            betas=recipe.betas,
            fused=self._on_gpu,
        )

    def apply(self, step: int) -> None:
        """Change the weights by the gradients in `.grad`, clipped by their common norm."""
        first, count = part(step, self.steps) if self._in_parts else (0, self.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate(step - first, self.peak, count)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._recipe.clip)
        self._optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """Weights and moments by their names, to be saved or to be filled.

        Moments are there after the first step, or `go_on`.
        """
        found: dict[str, Tensor] = {}
        for name, weight in self._model.named_parameters():
            found[f"weight.{name}"] = weight.detach()
            moments = self._optimizer.state[weight]
            found |= {f"{key}.{name}": moments[key] for key in MOMENTS}
        return found

    def go_on(self, step: int) -> None:
        """As after so many steps, but for weights and moments, which `tensors` gives to fill."""
        for weight in self._model.parameters():
            steps = torch.tensor(float(step), device=weight.device if self._on_gpu else "cpu")
            moments = {key: torch.zeros_like(weight.detach()) for key in MOMENTS}
            self._optimizer.state[weight] = {"step": steps, **moments}
