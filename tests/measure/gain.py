"""Where what far context is worth comes from: by token, and by head.

    python tests/measure/gain.py --json assets/results/inside/gain.json

The gain of a token is its loss by the same model sliding (windows of the training length moved by
a quarter of it, as in the control S) minus its loss in one pass over 16 times that. Tokens of the
last half are told apart by the last place where the same two tokens, the one before and this one,
stood next to each other: within the training length, only farther back, or nowhere before. Of the
second kind, the heads' weights: on all keys beyond the training length, and on the one token that
stood where this one is about to stand.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from freeatten_core.analysis import AttentionMap, Capture, capture
from freeatten_core.basics.devices import choose_device
from freeatten_core.basics.files import write_text
from freeatten_core.data.documents import evaluation_documents, manifest
from freeatten_core.data.selection import Text, select_texts
from freeatten_core.measures.controls import sliding_losses
from freeatten_core.models.rows import Row, load_rows
from freeatten_core.results.facts import json_ready, run_facts
from freeatten_core.variants.variant import Variant

VARIANTS = "softmax-ls,lssar:p=15,stick-breaking"
KINDS = ("near", "far", "new")
LONGER = 16
LOOKED_AT = 64
"""Tokens of a text, of the kind `far`, whose rows are read: those with the largest gain."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="PATH", required=True)
    parser.add_argument("--variants", default=VARIANTS, help="shipped ones, with commas")
    parser.add_argument("--text", default="stdlib", help="as for freeatten compare")
    parser.add_argument("--texts", type=int, default=6, help="how many at most")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    started, device = time.perf_counter(), choose_device(given.device)
    rows = load_rows(Variant.parse_list(given.variants), [])
    trained = rows[0].restart_length
    length = LONGER * trained
    documents = evaluation_documents(given.text)
    drawn = select_texts(documents, rows[0].tokenizer, length, given.texts, 0)
    entries = [entry(row, drawn.texts, length, device) for row in rows]
    facts = run_facts(device, shlex.join(["python", *sys.argv]), time.perf_counter() - started)
    result = {
        "schema": 1,
        "kind": "gain",
        "train_length": trained,
        "length": length,
        "texts": len(drawn.texts),
        "seed": 0,
        "dtype": "float32",
        "text": {
            "source": given.text,
            "files": drawn.files,
            "qualifying": drawn.qualifying,
            "sha256": drawn.digest,
            "manifest": manifest(drawn.documents),
        },
        **facts,
        "variants": entries,
    }
    write_text(given.json, json.dumps(json_ready(result)) + "\n")


@torch.no_grad()
def entry(row: Row, texts: list[Text], length: int, device: torch.device) -> dict[str, Any]:
    """A row's gains by kind of token, and what its heads read of those of the kind `far`."""
    trained, half = row.restart_length, length // 2
    checkpoint = row.checkpoint.on(device)
    model, gains, heads = checkpoint.model, {kind: [] for kind in KINDS}, []
    for text in texts:
        ids = torch.from_numpy(text.tokens)[None].to(device)
        whole = model.token_losses(ids[:, :-1], ids[:, 1:], half)[0].double().cpu().numpy()
        sliding = sliding_losses(model.token_losses, [text], trained, device=device)[0]
        gain, back = sliding - whole, last_place(text.tokens)[half + 1 :]
        kinds = np.where(back == 0, 2, np.where(back > trained, 1, 0))
        for number, kind in enumerate(KINDS):
            gains[kind].append(gain[kinds == number])
        best = np.flatnonzero(kinds == 1)
        best = np.sort(best[np.argsort(-gain[best])[:LOOKED_AT]])
        seen = capture(checkpoint, torch.from_numpy(text.tokens[:-1]), device=device)
        heads.append(weights(seen, best + half, back[best], trained))
        print(f"{row.name}: {text.name}", file=sys.stderr, flush=True)
    total = sum(float(part.sum()) for parts in gains.values() for part in parts)
    count = sum(part.size for parts in gains.values() for part in parts)
    found = {
        kind: {
            "share": sum(part.size for part in parts) / count,
            "gain": float(np.concatenate(parts).mean()),
            "gain_by_text": [float(part.mean()) if part.size else None for part in parts],
            "of_gain": sum(float(part.sum()) for part in parts) / total,
        }
        for kind, parts in gains.items()
    }
    means = np.concatenate(heads, axis=1).mean(axis=1)
    places = [(layer, head) for layer in seen.layers for head in range(seen.heads)]
    return row.facts | {
        "gain": total / count,
        "tokens": found,
        "rows": sum(part.shape[1] for part in heads),
        "heads": [
            {"layer": layer, "head": head, "far": float(far), "place": float(place)}
            for (layer, head), (far, place) in zip(places, means, strict=True)
        ],
    }


def last_place(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many tokens back the same two tokens last stood where each and the one before it stand;
    0 where they never did, and for the first token."""
    before: dict[tuple[int, int], int] = {}
    found = np.zeros(len(tokens), np.int64)
    for at in range(1, len(tokens)):
        pair = int(tokens[at - 1]), int(tokens[at])
        found[at] = at - before.get(pair, at)
        before[pair] = at
    return found


def weights(
    seen: Capture, rows: NDArray[np.int64], back: NDArray[np.int64], trained: int
) -> NDArray[np.float64]:
    """Of every head and row the weight on all keys `trained` or more back, and on the token that
    stood where the next one stands, (heads, rows, 2).

    Args:
        rows: whose next token is the one in question.
        back: how far before that one the other stood.
    """
    found = np.zeros((len(seen.layers) * seen.heads, len(rows), 2))
    places = [(layer, head) for layer in seen.layers for head in range(seen.heads)]
    for number, (layer, head) in enumerate(places):
        attention = AttentionMap.of(seen, layer, head, far_view=False)
        for index, (row, behind) in enumerate(zip(rows.tolist(), back.tolist(), strict=True)):
            given = attention.weights(row, row + 1, 0, row + 1)[0].double().cpu()
            far = given[: row + 1 - trained].sum()
            found[number, index] = float(far), float(given[row + 1 - behind])
    return found


if __name__ == "__main__":
    main()
