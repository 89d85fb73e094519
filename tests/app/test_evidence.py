"""What the first screen shows of the inside: stored of one text, worded from its numbers."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest
import torch
from freeatten_app.server.texts import WRITING, Texts, TextSource
from freeatten_app.tabs.evidence import evidence, story

from freeatten_core import load_checkpoint
from freeatten_core.analysis import AttentionMap, capture
from freeatten_core.analysis.reach import reach
from freeatten_core.basics.assets import assets
from freeatten_core.results.stored import stored_comparisons

STORED = json.loads((assets() / "results" / "evidence" / "maps.json").read_text())
ROWS = {row["variant"]: row for row in STORED["rows"]}
TRAINED = ("cube/", "rows/", "controls/cosine")
"""What results begin with whose models are not shipped, or no two of them."""
SHIPPED = [name for name in stored_comparisons() if not name.startswith(TRAINED)]


def test_the_stored_text_is_the_one_that_the_pictures_are_of():
    text = (assets() / "results" / "evidence" / "writing.txt").read_bytes()
    assert hashlib.sha256(text).hexdigest() == STORED["text"]["sha256"]
    checkpoint = load_checkpoint("softmax")
    source = TextSource.of({"kind": WRITING, "name": "", "content": ""}, Texts(None).kinds())
    tokens, name = Texts(None).tokens(source, checkpoint.tokenizer, 8192, 0)
    assert (len(tokens), name) == (8192, "writing.txt")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_results_pictures_are_of_its_own_rows_and_show_what_is_said(name):
    result = stored_comparisons()[name]
    found = evidence(name, result)
    worst, best = found["pictures"]
    losses = {
        row["variant"]: row["loss"][-1]
        for row in result["variants"]
        if row["checkpoint"] != "ceiling" and row["variant"] in ROWS
    }
    shown = [max(losses, key=losses.get), min(losses, key=losses.get)]
    for picture, variant in zip((worst, best), shown, strict=True):
        step = ROWS[variant]["steps"][-1]
        assert step["length"] == 8192
        assert (picture["codes"], picture["trained"]) == (step["codes"], 512 / 8192)
        loss = sum(ROWS[variant]["loss"][64:]) / 64
        assert f"has a loss of {loss:.2f} over the last half" in found["caption"]
        if step["far"] < 0.99:
            assert f"gives {step['far']:.0%}".replace("%", " %") in found["caption"]
        assert "text=writing&len=8192" in picture["link"]


@pytest.mark.parametrize("name", ["cube/code", "rows/full/code", "controls/cosine-code"])
def test_models_that_are_not_shipped_have_no_pictures(name):
    found = evidence(name, stored_comparisons()[name])
    assert found["pictures"] == []
    assert "not shipped" in found["caption"]


def test_the_first_step_is_what_the_library_sees():
    text = Texts(None)
    source = TextSource.of({"kind": WRITING, "name": "", "content": ""}, text.kinds())
    for variant, row in ROWS.items():
        if len(row["steps"]) == 1:
            continue
        checkpoint = load_checkpoint(row["checkpoint"])
        tokens, _ = text.tokens(source, checkpoint.tokenizer, 1025, 0)
        seen = capture(checkpoint, tokens[:1024], layers=[row["layer"]])
        for step in row["steps"][:2]:
            length = step["length"]
            attention = AttentionMap.of(seen, row["layer"], row["head"])
            region = attention.region(0, length, 0, length, step["side"])
            codes = np.frombuffer(base64.b64decode(step["codes"]), np.uint8)
            span = step["scale"]["top"] - step["scale"]["floor"]
            stored = step["scale"]["floor"] + codes.reshape(region.codes.shape) / 255 * span
            here = region.scale.octaves(region.codes)
            # below either scale's floor a weight is 0 in one and tiny in the other
            both = (codes.reshape(region.codes.shape) > 0) & (region.codes > 0)
            assert np.abs(stored - here)[both].max() < 0.2, variant
            far = reach(seen, row["layer"], length // 2, length).beyond(512)[row["head"]]
            assert step["far"] == pytest.approx(float(far), abs=2e-3)
        with torch.no_grad():
            losses = checkpoint.model.token_losses(tokens[None, :-1], tokens[None, 1:])[0]
        means = losses.unflatten(0, (-1, STORED["stretch"])).mean(-1)
        assert row["loss"][:16] == pytest.approx(means.tolist(), abs=2e-3)


def test_every_step_of_the_story_has_its_pictures_and_a_sentence_of_its_numbers():
    found = story()
    assert found["lengths"] == [512, 1024, 2048, 4096, 8192]
    assert len(set(found["sentences"])) == len(found["links"]) == 5
    for at, (length, sentence) in enumerate(zip(found["lengths"], found["sentences"], strict=True)):
        assert sentence.startswith(f"{length:,} tokens")
        said = float(re.search(r"at a loss of (\d+\.\d\d)", sentence)[1])
        first = found["rows"][0]["loss"][length // 128 : length // 64]
        assert said == pytest.approx(sum(first) / len(first), abs=0.006)
        assert f"len={length}" in found["links"][at]
        for row in found["rows"]:
            assert row["pictures"][at]["trained"] == 512 / length
