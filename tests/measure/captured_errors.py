"""Errors of the kernels on what trained models give them, against float64.

    python tests/measure/captured_errors.py CHECKPOINT... [--length 8192] [--text FOLDER]

Queries, keys and values of every layer and head on one text, rounded to bfloat16, through the
kernels of the device and through the definition in float64: the relative error of the whole output
and of the worst row, of the head and of the row where it is largest. A model whose attention takes
more than these three (a gate, a slope, a window) is refused.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from freeatten_core import load_checkpoint
from freeatten_core.ops.definitions.staged import reference_attention
from freeatten_core.ops.operator import grouped_attention
from freeatten_core.variants.stages import Computed

ROWS = 1024
"""Of weights in float64 at a time."""


def captured(source: str, texts: Path, length: int, device: str) -> list[list[Tensor]]:
    """(query, key, value) of every layer, in bfloat16."""
    checkpoint = load_checkpoint(source)
    model = checkpoint.model.to(device)
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(texts.rglob("*.py")))
    tokens = checkpoint.tokenizer.encode(text).ids[:length]
    if len(tokens) < length:
        raise SystemExit(f"{texts} has {len(tokens):,} tokens; {length:,} are needed")
    calls: list[list[Tensor]] = []

    def attend(
        query: Tensor, key: Tensor, value: Tensor, computed: Computed, /, **others: Any
    ) -> Tensor:
        if others:
            raise SystemExit(
                f"{source}: its attention takes {' and '.join(others)} besides query, key and "
                "value, and without would be another one; give a model without gate, slope or "
                "window"
            )
        calls.append([each.detach().bfloat16() for each in (query, key, value)])
        return grouped_attention(query, key, value, computed)

    model.attend = attend
    with torch.no_grad():
        model.hidden(torch.tensor(tokens, device=device)[None])
    return calls


def errors(query: Tensor, key: Tensor, value: Tensor, variant: Any) -> tuple[list[float], float]:
    """Relative error of every head's output, and that of the worst row of all."""
    found = grouped_attention(query, key, value, variant).double()
    wide = [each.double() for each in (query, key, value)]
    parts = []
    for begin in range(0, query.shape[2], ROWS):
        end = begin + ROWS
        seen = (wide[0][:, :, begin:end], wide[1][:, :, :end], wide[2][:, :, :end])
        parts.append(reference_attention(*seen, variant, enable_gqa=True))
    wanted = torch.cat(parts, dim=2)
    apart = (found - wanted).norm(dim=-1)
    heads = apart.norm(dim=-1) / wanted.norm(dim=-1).norm(dim=-1)
    return heads.flatten().tolist(), (apart / wanted.norm(dim=-1)).max().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--text", type=Path, default=Path("freeatten_core"))
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for source in given.checkpoints:
        variant = load_checkpoint(source).variant
        layers = captured(source, given.text, given.length, device)
        found = [errors(*layer, variant) for layer in layers]
        heads = [head for layer, _ in found for head in layer]
        dim = layers[0][0].shape[-1]
        print(
            f"{source}: {variant}, {len(heads)} heads of {dim}, {given.length:,} tokens: "
            f"largest of a head {max(heads):.2e}, worst row {max(row for _, row in found):.2e}"
        )


if __name__ == "__main__":
    main()
