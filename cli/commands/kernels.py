"""`freeatten kernels`: the attention operator as a repository of the `kernels` hub."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from freeatten_core.basics.version import version_line

__all__ = ["kernels"]

CARD = """---
license: apache-2.0
library_name: kernels
tags:
- kernels
- attention
---

# freeatten

Softmax attention and the softplus attentions LSSA and LSSAR of
[arXiv 2501.13428](https://arxiv.org/abs/2501.13428), causal or not, in memory linear in the length,
with gradients: Triton kernels on CUDA, panels that stay in the cache on a CPU. Nothing is compiled
beforehand and nothing but PyTorch is needed (on CUDA its own Triton); Python 3.11 or newer.

```python
from pathlib import Path

import torch
from kernels import get_local_kernel  # or get_kernel, of where this was pushed

freeatten = get_local_kernel(Path({folder}))
query, key, value = torch.randn(3, 1, 8, 4096, 64, device="cuda", dtype=torch.bfloat16)
output = freeatten.attention(query, key, value, "lssar:p=15")  # (1, 8, 4096, 64), causal
```

| function | |
|---|---|
| `attention(query, key, value, variant)` | the output |
| `row_statistics(query, key, variant)` | entropy, largest weight, mean distance, … of every row |
| `attention_weights(query, key, variant, rows=, cols=)` | the exact weights of a region |
| `reference_attention(query, key, value, variant)` | the definition, dense |
| `Variant` | a variant's name, read |

Keywords of `attention`, and as far as they change weights of the others: `is_causal`, `enable_gqa`,
`window`, `softcap`, `head_scale`, `distance_slope`, `distance_bias`, `decay`.

Causal is the default, and causal masks are aligned bottom-right: row i of Lq sees keys up to
Lk − Lq + i. `torch.compile` sees one operator, under a name of this version's own.
{speed}
`kernels benchmark FOLDER` runs `benchmarks/benchmark.py`: each variant beside its definition.

Made by `{command}` of {version}.
"""
SPEED = """
## Speed

{summary}
"""


def kernels(
    out: Annotated[Path, typer.Option(help="A new or empty folder.")],
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
) -> None:
    """Write the attention operator as a kernel that `kernels` loads from a folder or the hub."""
    from freeatten_core.basics.files import replacing_folder

    from .. import hub_kernel

    command = shlex.join(["freeatten", "kernels", "--out", out.resolve().name])
    with replacing_folder(out) as folder:
        hub_kernel.write(folder, _card(out.resolve().name, command))
    if not quiet:
        typer.echo(f"{out}: for kernels.get_local_kernel, or to push as a kernel repository")


def _card(folder: str, command: str) -> str:
    """README.md, with the stored benchmark where there is one."""
    from freeatten_core.basics.assets import assets
    from freeatten_core.results.speed import summary

    stored = assets() / "results" / "speed" / "h200.json"
    speed = ""
    if stored.is_file():
        speed = SPEED.format(summary=summary(json.loads(stored.read_text(encoding="utf-8"))))
    return CARD.format(
        folder=json.dumps(folder),
        speed=speed,
        command=command,
        version=version_line("freeatten"),
    )
