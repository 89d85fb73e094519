"""By which heads a row that has no rotation gains from far text, and how far its gates are open.

    python tests/measure/far_heads.py --row stick-breaking:output=gated --texts 24 \
        --json assets/results/inside/far-heads.json

As `freeatten ablate`, which undoes what is new to a rotation: keys farther back than the model was
trained are hidden from every head, and from one head at a time. What they would have taken goes to
the text's first token, where stick-breaking leaves what no key takes, and not to the row's own key,
which a window would give it to.
"""

from __future__ import annotations

import argparse
import copy
import json
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from served import tell

from freeatten_core.basics.devices import choose_device
from freeatten_core.basics.files import write_text
from freeatten_core.data.documents import evaluation_documents
from freeatten_core.data.selection import Selection, select_texts
from freeatten_core.measures.scoring import score_texts
from freeatten_core.models.checkpoint import Checkpoint, load_checkpoint
from freeatten_core.ops.operator import attention, attention_weights
from freeatten_core.results.facts import run_facts
from freeatten_core.results.intervals import intervals
from freeatten_core.variants.stages import Computed

PANEL = 256
"""Rows whose weights are in memory at a time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", action="append", required=True, help="a checkpoint; repeatable")
    parser.add_argument("--text", default="stdlib", help="as for freeatten ablate")
    parser.add_argument("--texts", type=int, default=24)
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="PATH", required=True)
    given = parser.parse_args()
    device = choose_device(given.device)
    models = [load_checkpoint(name) for name in given.row]
    documents = evaluation_documents(given.text, sys.stdin)
    chosen = select_texts(
        documents, models[0].tokenizer, given.length, given.texts, 0, step=given.length
    )
    rows: list[dict[str, Any]] = []
    begun = time.perf_counter()
    for model in models:
        rows.append(_row(model.on(device, torch.float32), chosen, given.length))
        told = shlex.join(["python", *sys.argv])
        result = {
            "schema": 1,
            "length": given.length,
            "texts": len(chosen.texts),
            "dtype": "float32",
            "text": {**chosen.facts(given.text), "sha256": chosen.digest},
            **run_facts(device, told, time.perf_counter() - begun),
            "variants": rows,
        }
        write_text(given.json, json.dumps(result, separators=(",", ":")) + "\n")


@torch.inference_mode()
def _row(model: Checkpoint, chosen: Selection, length: int) -> dict[str, Any]:
    """Losses of the last half of every text: what hiding far keys adds, and every head's gate."""
    config = model.config
    heads = [(layer, head) for layer in range(config.layers) for head in range(config.heads)]
    known, half = config.train_length, length // 2
    hiding = replace(model, model=copy.copy(model.model))
    hiding.model.attend = _attend
    found, gates = [], []
    for done, text in enumerate(chosen.texts, start=1):
        tokens = torch.from_numpy(text.tokens)[None].to(model.device)
        scored = score_texts(model.token_losses, [text], [length], known, device=model.device)
        intact = float(scored.by_length[length][0, half:].mean(dtype=np.float64))
        hidden = hiding.undoing("window", config.variant, length)
        every = _mean(hidden.token_losses(tokens[:, :-1], tokens[:, 1:], half)) - intact
        alone = hiding.single_heads(tokens, known)
        each = [_mean(alone.losses(*head, half)) - intact for head in heads]
        found.append([intact, float(scored.delta(length)[0]), every, *each])
        gates.append(_gates(model, tokens[:, :-1], half))
        tell(f"{config.variant}, text {done} of {len(chosen.texts)}: {found[-1]}")
    means, ranges = intervals(np.array(found))
    opened = np.array(gates).mean(0).tolist()
    return {
        "variant": str(config.variant),
        "checkpoint": model.name,
        "train_length": known,
        "loss": means[0],
        "delta": {"intact": means[1], "hidden": means[1] + means[2]},
        "hidden": {"change": means[2], "change_ci95": ranges[2]},
        "heads": [
            {"layer": layer, "head": head, "change": means[at], "change_ci95": ranges[at]}
            | ({"gate": round(opened[at - 3], 4)} if opened else {})
            for at, (layer, head) in enumerate(heads, start=3)
        ],
    }


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    computed: Computed,
    /,
    window: int | None = None,
) -> torch.Tensor:
    """The operator; keys outside a window leave what they take to the first key."""
    if window is None:
        return attention(query, key, value, computed)
    mixed = []
    for start in range(0, query.shape[2], PANEL):
        stop = min(start + PANEL, query.shape[2])
        weights = attention_weights(query[:, :, start:stop], key[:, :, :stop], computed)
        rows = torch.arange(start, stop, device=query.device)[:, None]
        far = torch.arange(stop, device=query.device) <= rows - window
        taken = weights.masked_fill(~far, 0).sum(-1)
        near = weights.masked_fill(far, 0)
        near[..., 0] += taken
        mixed.append(near @ value[:, :, :stop])
    return torch.cat(mixed, dim=2)


def _mean(losses: torch.Tensor) -> float:
    return float(losses.double().mean())


def _gates(model: Checkpoint, tokens: torch.Tensor, start: int) -> list[float]:
    """The mean of every head's gate from a token on, layer by layer; empty where there is none."""
    found: list[float] = []
    heads = model.config.heads

    def remember(_: torch.nn.Module, __: Any, output: torch.Tensor) -> None:
        opened = torch.sigmoid(output[0, start:].double()).unflatten(-1, (heads, -1))
        found.extend(opened.mean((0, 2)).tolist())

    modules = [each for name, each in model.model.named_modules() if name.endswith("output_gate")]
    hooks = [each.register_forward_hook(remember) for each in modules]
    model.model.hidden(tokens)
    for hook in hooks:
        hook.remove()
    return found


if __name__ == "__main__":
    main()
