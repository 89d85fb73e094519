"""Heads that are found do what is said of them."""

import pytest
import torch

from freeatten_core import load_checkpoint
from freeatten_core.analysis import capture, head_table
from freeatten_core.analysis.finding import findings, repeated
from freeatten_core.analysis.reach import reach
from freeatten_core.data.documents import Document
from freeatten_core.data.selection import select_prefix

WORDS = "".join(f"word {number} follows {number - 1}.\n" for number in range(400))


@pytest.fixture(scope="module")
def found():
    checkpoint = load_checkpoint("softmax")
    text = select_prefix([Document("x", WORDS)], checkpoint.tokenizer, 1024, 0)
    tokens = torch.from_numpy(text.tokens)
    seen, twice = capture(checkpoint, tokens), capture(checkpoint, repeated(tokens))
    return seen, twice, findings(seen, twice)


def of(found, kind):
    return [(each.layer, each.head, each.score) for each in found if each.kind == kind]


def test_a_block_is_read_twice():
    assert repeated(torch.arange(7)).tolist() == [0, 1, 2, 0, 1, 2]
    assert len(repeated(torch.arange(1000))) == 128


def test_the_first_of_a_kind_is_the_head_with_the_most_of_it(found):
    seen, twice, heads = found
    half = twice.length // 2
    for kind, distance in (("previous token", 1), ("induction-like", half - 1)):
        shares = {
            (layer, head): share
            for layer in twice.layers
            for head, share in enumerate(
                reach(twice, layer, half, 2 * half).by_distance[:, distance].tolist()
            )
        }
        ranked = sorted(shares, key=shares.get, reverse=True)[:3]
        assert [each[:2] for each in of(heads, kind)] == ranked
        assert of(heads, kind)[0][2] == pytest.approx(shares[ranked[0]])
    strongest = head_table(seen).sorted("sink").heads[0]
    assert of(heads, "sink")[0] == (strongest.layer, strongest.head, strongest.sink)


def test_a_change_is_between_the_end_of_training_and_what_lies_beyond(found):
    seen, _, heads = found
    layer, head, score = of(heads, "changed beyond training")[0]
    values = [
        next(
            each.values["relative_entropy"]
            for each in head_table(seen, *rows)
            if (each.layer, each.head) == (layer, head)
        )
        for rows in ((256, 512), (512, 1024))
    ]
    assert score == pytest.approx(abs(values[1] - values[0]))
    (said,) = [each.sentence for each in heads if each.score == score]
    assert f"{values[0]:.2f} up to 512" in said
    assert f"{values[1]:.2f} beyond" in said


def test_a_short_text_has_no_change_to_speak_of():
    checkpoint = load_checkpoint("softmax")
    tokens = torch.arange(100, 180)
    heads = findings(capture(checkpoint, tokens), capture(checkpoint, repeated(tokens)))
    assert of(heads, "changed beyond training") == []
    assert len(of(heads, "sink")) == 3
