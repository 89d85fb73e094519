"""Made-up results of models of others, in the forms of `freeatten compare` and `entropy`."""

from __future__ import annotations

from typing import Any

import sample_inside
from sample_result import sample_result

SMALL, LARGE = "Small-Q4_1.gguf", "large-q4_k_m.gguf"
FORMS = {SMALL: "GGUF Q4_1, dequantised", LARGE: "GGUF Q4_K_M, dequantised"}
DECLARED = {SMALL: 1024, LARGE: 4096}


def of_others(entry: dict[str, Any], name: str) -> dict[str, Any]:
    """An entry as one of a model of others, which restarts after 512 tokens."""
    changed = {
        **{"variant": name, "checkpoint": name, "form": FORMS[name]},
        **{"restart_length": 512, "declared_length": DECLARED[name]},
    }
    return {key: value for key, value in entry.items() if key != "train_length"} | changed


def models_result() -> dict[str, Any]:
    """Two models of others and one of this project, to 2,048 tokens."""
    result = sample_result(("softmax", "softmax-ls", "lssar:p=15"), (512, 1024, 2048))
    small, large, own = result["variants"]
    rows = [of_others(small, SMALL), of_others(large, LARGE), own]
    del result["train_length"]
    return result | {
        **{"restart_length": 512, "declared_length": DECLARED[SMALL]},
        **{"tokenizers": 3, "date": "2026-01-02", "variants": rows},
    }


def heads_result(name: str) -> dict[str, Any]:
    """Two layers of two heads of a model of others, to 2,048 tokens."""
    result = sample_inside.survey_result()
    del result["train_length"]
    rows = [of_others(result["variants"][0], name)]
    lengths = {"restart_length": 512, "declared_length": DECLARED[name]}
    return result | lengths | {"variants": rows}
