"""Float16 ends at 65,504: what is computed on the way to an output that fits must not."""

import pytest
import torch

from freeatten_core import attention, row_statistics
from freeatten_core.ops.definitions import staged

LARGE = 256.0
"""Of query and key: `q·k/√D` of 64 dimensions is 524,288."""


def vectors(length, size):
    draw = torch.Generator().manual_seed(0)
    value = (torch.rand(1, 1, length, 64, generator=draw) / 100).half()
    return torch.full((1, 1, length, 64), size).half(), value


@pytest.mark.parametrize(
    "variant", ["relu", "stages:score=dot:positivity=softplus:normalise=count"]
)
def test_scores_beyond_the_range_are_divided_by_the_number_of_keys(variant):
    same, value = vectors(40, LARGE)
    output = attention(same, same, value, variant)
    exact = attention(*(tensor.double() for tensor in (same, same, value)), variant)
    assert float(exact.max()) > 5000
    torch.testing.assert_close(output.double(), exact, rtol=2e-3, atol=0)
    sums = row_statistics(same, same, variant).row_sum
    torch.testing.assert_close(sums.double(), torch.full_like(sums, 524_288.0).double())


def test_small_weights_of_long_rows_keep_their_digits():
    draw = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 1, 4000, 16, generator=draw).half() / 30 for _ in range(2))
    value = torch.rand(1, 1, 4000, 16, generator=draw).half()
    output = attention(query[:, :, -8:], key, value, "relu").double()
    exact = attention(*(x.double() for x in (query[:, :, -8:], key, value)), "relu")
    assert float(exact.max()) < 1e-3  # weights near 1e-7, which float16 holds with one digit
    assert float((output - exact).norm() / exact.norm()) < 2e-3


@pytest.mark.parametrize("variant", ["softplus", "softplus-r:p=3", "lssa", "lssar:p=15"])
def test_the_row_sums_of_the_reference_stay_in_range(variant):
    length = 8192
    key, value = vectors(length, 8.0)
    query = key[:, :, -4:]  # q·k/√D is 512; softplus sums of 8,192 pass 65,504
    output = staged.reference_attention(query, key, value, variant)
    exact = staged.reference_attention(*(x.double() for x in (query, key, value)), variant)
    assert bool(output.isfinite().all())
    torch.testing.assert_close(output.double(), exact, rtol=5e-3, atol=1e-5)
