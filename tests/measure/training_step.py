"""Tokens a second of training, with the fused kernels and with compiled naive attention.

    python tests/measure/training_step.py [--lengths 512,4096] [--variants lssar:p=15,softmax]

One line a length, variant and attention: the shipped recipe's model on random tokens, 32,768 a
step, forward and backward without the optimizer, median of 20 steps on a CUDA device.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from freeatten_core.models.decoder import Model
from freeatten_core.ops.operator import grouped_attention
from freeatten_core.training.gradients import ReplayedGradients, compiled_attention
from freeatten_core.training.recipe import Recipe
from freeatten_core.variants.variant import Variant

TOKENS = 32_768
ATTENTIONS = {"fused": grouped_attention, "compiled naive": compiled_attention}


def milliseconds(model: Model, tokens: torch.Tensor) -> float:
    """Median time of a forward and backward."""
    places = model.places(tokens.shape[1], tokens.device)

    def loss(tokens: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            logits = model.logits(model.hidden(tokens, places=places))
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten())

    step = ReplayedGradients(torch.compile(loss), list(model.parameters()))
    taken = []
    for _ in range(23):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        step(tokens)
        end.record()
        torch.cuda.synchronize()
        taken.append(begin.elapsed_time(end))
    return statistics.median(taken[3:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", default="512,4096")
    parser.add_argument("--variants", default="lssar:p=15,softmax")
    given = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    for length in map(int, given.lengths.split(",")):
        for name in given.variants.split(","):
            for kind, attend in ATTENTIONS.items():
                torch.compiler.reset()
                recipe = Recipe(train_length=length, batch=TOKENS // length)
                model = Model(recipe.config(Variant.parse(name))).cuda()
                model.initialise(0)
                model.attend = attend
                tokens = torch.randint(recipe.vocab_size, (recipe.batch, length), device="cuda")
                spent = milliseconds(model, tokens)
                speed = 1e3 * TOKENS / spent
                print(f"{length:6,} {name:12} {kind:15} {spent:8.2f} ms {speed:12,.0f} tokens/s")


if __name__ == "__main__":
    main()
