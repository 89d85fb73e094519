"""What the browser's first screen shows of the inside, from one pass of each row over one text.

    python tests/measure/evidence.py --json assets/results/evidence/maps.json

The text is this project's own writing, pages and modules one after the other, kept beside the
result: `--write` puts it together anew.
"""

from __future__ import annotations

import argparse
import base64
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch
from served import HERE, tell

from freeatten_core.analysis import AttentionMap, Capture, capture, head_table, statistic
from freeatten_core.analysis.reach import reach
from freeatten_core.basics.files import write_text
from freeatten_core.data.documents import path_documents
from freeatten_core.data.selection import select_prefix
from freeatten_core.models.rows import Row, load_rows
from freeatten_core.results.facts import run_facts
from freeatten_core.variants.variant import Variant

ROOT = HERE.parent.parent
WRITING = ROOT / "assets" / "results" / "evidence" / "writing.txt"
PARTS = (
    "DESIGN.md",
    "freeatten_core/models/decoder.py",
    "docs/tour.md",
    "freeatten_core/variants/stages.py",
)
ROWS = ("softmax", "lssar:p=15", "softmax-ls", "softmax+yarn", "stick-breaking:output=gated")
STORY = ("softmax", "lssar:p=15")
LENGTHS = (512, 1024, 2048, 4096, 8192)
SIDE = 64
"""Cells along a picture."""
STRETCH = 64
"""Tokens that a point of the loss is the mean of."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="PATH", required=True)
    parser.add_argument("--write", action="store_true", help="put the text together anew")
    given = parser.parse_args()
    if given.write:
        write_text(WRITING, "\n".join((ROOT / part).read_text("utf-8") for part in PARTS))
    text = {"name": WRITING.name, "parts": PARTS, "sha256": path_documents(WRITING)[0].sha256}
    kept = json.loads(given.json.read_text("utf-8")) if given.json.exists() else {}
    rows = kept.get("rows", []) if kept.get("text", {}).get("sha256") == text["sha256"] else []
    seconds = kept["seconds"] if rows else 0.0
    for name in ROWS:
        if name in [row["variant"] for row in rows]:
            continue
        begun = time.perf_counter()
        rows.append(_row(load_rows([Variant.parse(name)], [])[0]))
        seconds += time.perf_counter() - begun
        facts = run_facts(torch.device("cpu"), shlex.join(["python", *sys.argv]), seconds)
        result = {**facts, "text": text, "lengths": LENGTHS, "stretch": STRETCH, "rows": rows}
        told = json.dumps(result, separators=(",", ":"), ensure_ascii=False)
        write_text(given.json, f"{told}\n")


@torch.no_grad()
def _row(row: Row) -> dict[str, Any]:
    """A row's losses by position, and of its head that looks farthest back, what it reads."""
    tell(str(row.variant))
    tokens = select_prefix(path_documents(WRITING), row.checkpoint.tokenizer, LENGTHS[-1] + 1, 0)
    ids = torch.from_numpy(tokens.tokens)
    seen = capture(row.checkpoint, ids[:-1], variant=row.variant)
    # a change at inference keeps the weights: its head is the one of its variant as trained
    trained = load_rows([row.variant.trained], [])[0]
    plain = seen if trained.variant == row.variant else capture(trained.checkpoint, ids[:-1])
    first = head_table(plain).sorted("mean_distance").heads[0]
    model = row.checkpoint.model.with_modifiers(row.variant, LENGTHS[-1])
    losses = model.token_losses(ids[None, :-1], ids[None, 1:])[0]
    attention = AttentionMap.of(seen, first.layer, first.head)
    lengths = LENGTHS if str(row.variant) in STORY else LENGTHS[-1:]
    return {
        "variant": str(row.variant),
        "checkpoint": row.checkpoint.name,
        "train_length": seen.train_length,
        "layer": first.layer,
        "head": first.head,
        "loss": _rounded(losses.unflatten(0, (-1, STRETCH)).mean(-1)),
        "effective": _rounded(
            statistic(seen, "effective_tokens", first.layer)[first.head]
            .unflatten(0, (-1, STRETCH))
            .mean(-1)
        ),
        "steps": [_step(seen, attention, first.layer, first.head, n) for n in lengths],
    }


def _step(
    seen: Capture, attention: AttentionMap, layer: int, head: int, length: int
) -> dict[str, Any]:
    """The map of the first tokens, and the weight that its last half of rows puts too far back."""
    region = attention.region(0, length, 0, length, SIDE)
    far = reach(seen, layer, length // 2, length).beyond(seen.train_length)[head]
    return {
        "length": length,
        "far": round(float(far), 4),
        "codes": base64.b64encode(region.codes.tobytes()).decode("ascii"),
        "side": len(region.codes),
        "scale": {"floor": region.scale.floor_log2, "top": region.scale.top_log2},
    }


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 4) for value in values.double().tolist()]


if __name__ == "__main__":
    main()
