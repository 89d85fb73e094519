"""From gradients to weights: the schedule, the clip and the optimizer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from freeatten_core.models.decoder import Model, is_decayed

from .recipe import Recipe

__all__ = ["Updates"]


class Updates:
    """AdamW under a recipe's schedule."""

    def __init__(self, model: Model, recipe: Recipe, peak: float, steps: int) -> None:
        """For a run of so many steps, whose learning rate rises to `peak`."""
        self._model, self._recipe = model, recipe
        self.peak, self.steps = peak, steps
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
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate(step, self.peak, self.steps)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._recipe.clip)
        self._optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """Weights and moments, by names that `restore` knows."""
        found: dict[str, Tensor] = {}
        for name, weight in self._model.named_parameters():
            found[f"weight.{name}"] = weight.detach().contiguous()
            for key, value in self._optimizer.state[weight].items():
                found[f"{key}.{name}"] = torch.as_tensor(value).contiguous()
        return found

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        device = self._model.embedding.weight.device
        for name, weight in self._model.named_parameters():
            weight.copy_(tensors[f"weight.{name}"])
            self._optimizer.state[weight] = {
                key: tensors[f"{key}.{name}"].to(device if self._on_gpu or key != "step" else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
