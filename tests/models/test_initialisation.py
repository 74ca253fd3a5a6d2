"""Reproducible draws from the global generators."""

import threading

import pytest
import torch

from robustkd.models.initialisation import seeded_generators, seeded_initialisation

CPU = torch.device("cpu")


def test_draws_depend_on_the_seed_alone() -> None:
    draws = []
    for seed in (3, 3, 4):
        torch.rand(5)  # whatever was drawn before
        with seeded_initialisation(seed):
            draws.append(torch.rand(5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_seeds_have_the_stream_of_a_generator_of_their_own() -> None:
    with seeded_initialisation(3):
        draw = torch.rand(5)
    assert torch.equal(draw, torch.rand(5, generator=torch.Generator().manual_seed(3)))


def draw_and_raise() -> None:
    torch.rand(5)
    raise RuntimeError("stop")


@pytest.mark.parametrize("context", [lambda: seeded_initialisation(1), lambda: seeded_generators(CPU, 1)])
def test_the_state_is_restored_even_after_an_error(context) -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="stop"), context():
        draw_and_raise()
    assert torch.equal(torch.get_rng_state(), before)


def test_contexts_can_be_nested() -> None:
    with seeded_initialisation(1):
        whole = torch.rand(4)
    with seeded_initialisation(1):
        first = torch.rand(2)
        with seeded_initialisation(2):
            torch.rand(7)
        second = torch.rand(2)
    assert torch.equal(torch.cat([first, second]), whole)


def test_threads_do_not_mix_their_draws() -> None:
    inside, checked = threading.Event(), threading.Event()
    draws: dict[int, torch.Tensor] = {}

    def other() -> None:
        inside.wait(5)
        with seeded_initialisation(2):
            draws[2] = torch.rand(4)
        checked.set()

    thread = threading.Thread(target=other)
    thread.start()
    with seeded_initialisation(1):
        first = torch.rand(2)
        inside.set()
        assert not checked.wait(0.1), "the other thread waits for the end of this context"
        draws[1] = torch.cat([first, torch.rand(2)])
    thread.join(5)
    for seed, draw in draws.items():
        assert torch.equal(draw, torch.rand(4, generator=torch.Generator().manual_seed(seed)))
    assert draws.keys() == {1, 2}


def test_generators_of_the_device_are_seeded_within_the_context() -> None:
    with seeded_generators(CPU, 3):
        one = torch.nn.functional.dropout(torch.ones(64))
    with seeded_generators(CPU, 3):
        other = torch.nn.functional.dropout(torch.ones(64))
    assert torch.equal(one, other)
