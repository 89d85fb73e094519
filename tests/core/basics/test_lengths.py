"""Context lengths as people write them."""

import pytest
from strategies import refused

from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.lengths import parse_lengths

GIVEN = [
    ("16x", [512], [512, 1024, 2048, 4096, 8192]),
    ("16X", [512], [512, 1024, 2048, 4096, 8192]),
    ("16×", [512], [512, 1024, 2048, 4096, 8192]),
    ("8192", [512], [512, 1024, 2048, 4096, 8192]),
    ("1x", [512], [512]),
    ("512", [512], [512]),
    ("1x,4x,16x", [512], [512, 2048, 8192]),
    (" 16x , 4x ", [512], [512, 2048, 8192]),
    ("4x,4x,2048", [512], [512, 2048]),
    ("8x,4096,1024", [512], [512, 1024, 4096]),
    ("12x", [512], [512, 1024, 2048, 6144]),
    ("3x", [512], [512, 1536]),
    ("64x", [16], [16, 32, 64, 128, 256, 512, 1024]),
    ("16x", [512, 512], [512, 1024, 2048, 4096, 8192]),
    ("8192", [1024, 512], [512, 1024, 2048, 4096, 8192]),
    ("512,4096", [1024, 512], [512, 1024, 4096]),
    ("1536", [768, 512], [512, 768, 1536]),
]

REFUSED = [
    ("0x", [512], ["--len '0x'", "'0x' is not a length", "16x, 8192 or 1x,4x,16x"]),
    ("0", [512], ["'0' is not a length"]),
    ("-1", [512], ["'-1' is not a length"]),
    ("abc", [512], ["'abc' is not a length"]),
    ("", [512], ["'' is not a length"]),
    ("1x,,4x", [512], ["--len '1x,,4x'", "'' is not a length"]),
    ("1.5x", [512], ["'1.5x' is not a length"]),
    ("x", [512], ["'x' is not a length"]),
    ("16xx", [512], ["'16xx' is not a length"]),
    ("1e3", [512], ["'1e3' is not a length"]),
    ("٣x", [512], ["is not a length"]),
    ("1" * 10, [512], ["is not a length"]),
    ("3x,16x", [512], ["1536 tokens do not divide the longest, 8192", "the same tokens"]),
    ("256,8192", [512], ["256 tokens are less than the training length, 512", "start at 1x"]),
    ("256", [512], ["256, is not a multiple of the training length 512; 512 would be"]),
    ("1000", [512], ["1000, is not a multiple of the training length 512; 1024 would be"]),
    ("16x", [512, 1024], ["trained at [512, 1024] tokens", "give lengths in tokens"]),
    ("512", [512, 1024], ["512, is not a multiple of the training length 1024; 1024 would be"]),
]


@pytest.mark.parametrize(("text", "trained", "lengths"), GIVEN)
def test_lengths(text, trained, lengths):
    assert parse_lengths(text, trained) == lengths


@pytest.mark.parametrize(("text", "trained", "words"), REFUSED)
def test_what_is_not_a_length_is_refused_with_what_would_be(text, trained, words):
    with refused(UsageError, words):
        parse_lengths(text, trained)


@pytest.mark.parametrize("factor", range(1, 65))
def test_every_length_divides_the_longest_and_1x_is_there(factor):
    lengths = parse_lengths(f"{factor}x", [24])
    assert lengths[0] == 24
    assert lengths[-1] == 24 * factor
    assert [length for length in lengths if lengths[-1] % length] == []
