import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from freeatten_core.basics.powers import power_, prime_factors


class Operations(TorchDispatchMode):
    """The names of the tensor operations that run inside."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def power(base, p):
    return power_(base.clone(), p, torch.full_like(base, torch.nan))[0]


@pytest.mark.parametrize("p", range(1, 65))
def test_equals_the_power(p):
    base = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(power(base, p), base**p, rtol=1e-14 * p, atol=0)


@pytest.mark.parametrize("p", [1, 2, 7, 15, 64])
def test_zero_and_one_stay_exact(p):
    assert power(torch.tensor([0.0, 1.0]), p).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("p", "most"), [(1, 0), (2, 1), (3, 2), (15, 5), (64, 6)])
def test_costs_few_multiplications_and_nothing_else(p, most):
    base, scratch = torch.rand(4), torch.empty(4)
    with Operations() as operations:
        power_(base, p, scratch)
    assert len(operations.names) <= most
    assert set(operations.names) <= {"aten::mul", "aten::mul_"}


@pytest.mark.parametrize("p", [1, 4, 15])
def test_returns_the_two_tensors_it_was_given(p):
    base, scratch = torch.rand(4), torch.empty(4)
    result, other = power_(base, p, scratch)
    assert {result.data_ptr(), other.data_ptr()} == {base.data_ptr(), scratch.data_ptr()}


@pytest.mark.parametrize(("number", "factors"), [(1, []), (2, [2]), (60, [2, 2, 3, 5]), (61, [61])])
def test_prime_factors_ascend(number, factors):
    assert prime_factors(number) == factors
