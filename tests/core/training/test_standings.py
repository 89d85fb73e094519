"""Where a step of training puts its tokens."""

import pytest
import tiny
import torch
from written import clex_frequencies, weights

from freeatten_core.positions import drope
from freeatten_core.positions.clex import drawn
from freeatten_core.training.standings import SALT, Standings

CPU = torch.device("cpu")


def model(name):
    built = tiny.model(name)
    if built.clex is not None:
        up, down = weights(4, 1, 0.5)
        built.clex.up.data.copy_(up)
        built.clex.down.data.copy_(down)
    return built


def angle(angles):
    cos, sin = angles
    return torch.complex(cos, sin).to(torch.complex128)


@pytest.mark.parametrize("name", ["clex", "softmax:position=random"])
def test_a_step_is_turned_by_its_drawn_places(name):
    built = model(name)
    standings, kind = Standings(built, seed=4, device=CPU), name.rpartition("=")[2]
    for step in (0, 3, 300):
        standings.at(step, 500)
        t, places = drawn(16, (4, step, SALT))
        if kind == "clex":
            frequencies = clex_frequencies(built.clex.up, built.clex.down, 10_000.0, t)
        else:
            frequencies = built.rope.frequencies(16)
        wanted = torch.outer(torch.from_numpy(places).double(), frequencies)
        found = angle(standings.places().angles[kind])
        torch.testing.assert_close(found, torch.polar(torch.ones_like(wanted), wanted),
                                   rtol=0, atol=1e-4)  # fmt: skip
    standings.rest()
    resting = built.places(16, CPU).angles[kind]
    for mine, plain in zip(standings.places().angles[kind], resting, strict=True):
        torch.testing.assert_close(mine, plain)


def test_the_tensors_stay_and_what_is_learned_has_a_gradient():
    built = model("clex").requires_grad_(True)
    standings = Standings(built, seed=0, device=CPU)
    before = standings._standing
    step = next(step for step in range(50) if drawn(16, (0, step, SALT))[0] > 1)
    standings.at(step, 500)
    assert all(one is other for one, other in zip(before, standings._standing, strict=True))
    cos, sin = standings.places().angles["clex"]
    (cos[:, 1] * sin[:, 2]).sum().backward()
    for weight in (built.clex.up, built.clex.down):
        assert weight.grad.abs().max() > 0


def test_what_does_not_draw_reads_its_texts_as_they_are():
    built = tiny.model("softmax:position=yarn-alibi")
    standings = Standings(built, seed=0, device=CPU)
    resting = standings.places()
    standings.at(7, 500)
    assert standings.places() is resting


def test_drope_is_rotary_up_to_its_last_eighth():
    built = tiny.model("drope")
    standings = Standings(built, seed=0, device=CPU)
    assert [drope.part(step, 40) for step in (0, 34, 35, 39)] == [
        (0, 35),
        (0, 35),
        (35, 5),
        (35, 5),
    ]
    assert drope.part(1, 2) == (1, 1)
    turned = angle(built.rope.table(16, CPU))
    for step, wanted in ((0, turned), (34, turned), (35, torch.ones_like(turned))):
        standings.at(step, 40)
        standings.rest()  # validation is of the model of that step
        torch.testing.assert_close(angle(standings.places().angles["drope"]), wanted)
