"""The blocks of what tests/measure/far_heads.py found."""

from freeatten_core.results.pages import inside_blocks

ROW = {
    "variant": "stick-breaking:output=gated",
    "checkpoint": "here",
    "hidden": {"change": 0.07, "change_ci95": [0.05, 0.09]},
    "heads": [
        {"layer": 0, "head": 0, "change": 0.0, "change_ci95": [0.0, 0.0], "gate": 0.1},
        {"layer": 3, "head": 1, "change": 0.02, "change_ci95": [0.01, 0.03], "gate": 0.6},
        {"layer": 4, "head": 2, "change": 0.045, "change_ci95": [0.04, 0.05], "gate": 0.84},
        {"layer": 4, "head": 0, "change": -0.01, "change_ci95": [-0.02, 0.0], "gate": 0.3},
    ],
}
FOUND = {
    "length": 8192,
    "texts": 24,
    "text": {"source": "stdlib"},
    "device": "cpu",
    "dtype": "float32",
    "versions": {"torch": "2.13", "python": "3.11"},
    "date": "2026-11-28",
    "command": "python far_heads.py",
}


def test_the_strongest_heads_stand_with_their_gates():
    bare = {key: value for key, value in ROW["heads"][1].items() if key != "gate"}
    plain = {**ROW, "variant": "stick-breaking", "heads": [bare] * 3}
    found = inside_blocks({"inside/far-heads": {**FOUND, "variants": [ROW, plain]}})
    assert found["inside/far-heads heads"].splitlines()[2:] == [
        "| `stick-breaking:output=gated` | +0.070 ±0.020 | 4.2: +0.045 ±0.005, gate 0.84 | "
        "3.1: +0.020 ±0.010, gate 0.60 | 0.0: 0 ±0.000, gate 0.10 |",
        "| `stick-breaking` | +0.070 ±0.020 | 3.1: +0.020 ±0.010 | 3.1: +0.020 ±0.010 | "
        "3.1: +0.020 ±0.010 |",
    ]
    assert "last 4,096 of 8,192 tokens" in found["inside/far-heads provenance"]
