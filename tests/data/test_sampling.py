"""Sampling: class probabilities by hand, natural sampling as a permutation, and observed frequencies."""

import numpy as np
import pytest
import torch

from robustkd.data.loader import Loader
from robustkd.data.sampling import class_probabilities, draw_rows
from robustkd.data.view import Source, View
from robustkd.types import Clock, Sampling

CPU, CLOCK = torch.device("cpu"), Clock(0, 1)
LABELS = torch.tensor([0] * 900 + [1] * 90 + [3] * 10)  # class 2 has no rows


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ("natural", [0.9, 0.09, 0.0, 0.01]),
        ("sqrt", [30 / 42.649111, 9.486833 / 42.649111, 0.0, 3.162278 / 42.649111]),
        ("balanced", [1 / 3, 1 / 3, 0.0, 1 / 3]),
    ],
)
def test_probabilities_are_those_of_the_equation(sampling: Sampling, expected: list[float]) -> None:
    probabilities = class_probabilities(LABELS.bincount(), sampling, CLOCK)
    assert probabilities.tolist() == pytest.approx(expected, abs=1e-7)


def test_progressive_goes_from_natural_to_balanced() -> None:
    # After a quarter of the epochs: 3/4 of 0.9 and 1/4 of 1/3.
    counts = LABELS.bincount()
    assert class_probabilities(counts, "progressive", Clock(2, 8)).tolist() == pytest.approx(
        [0.758333, 0.150833, 0.0, 0.090833], abs=1e-6
    )
    first = class_probabilities(counts, "progressive", Clock(0, 8))
    assert torch.equal(first, class_probabilities(counts, "natural", Clock(0, 8)))


def test_balanced_classes_are_sampled_equally_by_all() -> None:
    samplings: tuple[Sampling, ...] = ("natural", "sqrt", "balanced", "progressive")
    for sampling in samplings:
        assert class_probabilities(torch.tensor([7, 7]), sampling, Clock(1, 3)).tolist() == pytest.approx([0.5, 0.5])


def test_natural_sampling_uses_every_row_once() -> None:
    rows = draw_rows(LABELS, "natural", CLOCK, seeded())
    assert torch.equal(rows, torch.randperm(1000, generator=seeded()))


@pytest.mark.parametrize("sampling", ["sqrt", "balanced"])
def test_frequencies_match_probabilities(sampling: Sampling) -> None:
    rows = torch.cat([draw_rows(LABELS, sampling, CLOCK, seeded(seed)) for seed in range(20)])
    observed = LABELS[rows].bincount(minlength=4).double() / len(rows)
    expected = class_probabilities(LABELS.bincount(), sampling, CLOCK)
    # 20,000 draws: a standard error of at most 0.0035.
    assert observed.tolist() == pytest.approx(expected.tolist(), abs=0.014)
    assert set(rows[LABELS[rows] == 3].tolist()) == set(range(990, 1000)), "rows of a class are not used alike"


def test_an_epoch_has_as_many_samples_and_depends_on_seed_and_epoch_only() -> None:
    def order(seed: int, number: int) -> list[int]:
        loader = Loader(view, 64, CPU, seed=seed, sampling="balanced")
        return torch.cat([batch.index for batch in loader.iter_epoch(number, CLOCK)]).tolist()

    source = Source("noise", np.zeros((1000, 1, 8, 8), np.uint8), LABELS.numpy(), tuple("abcd"))
    view = View.of(source, np.arange(1000))
    assert len(order(0, 0)) == 1000
    assert order(0, 1) == order(0, 1)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_the_sampling_of_a_phase_replaces_that_of_the_loader() -> None:
    source = Source("noise", np.zeros((1000, 1, 8, 8), np.uint8), LABELS.numpy(), tuple("abcd"))
    loader = Loader(View.of(source, np.arange(1000)), 64, CPU)
    index = torch.cat([batch.index for batch in loader.iter_epoch(0, CLOCK, "balanced")])
    assert 260 < int((LABELS[index] == 3).sum()) < 410  # a third, not a hundredth


@pytest.mark.parametrize("budget", [None, 0])
def test_a_row_that_is_drawn_twice_is_augmented_twice(budget: int | None) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1000, 1, 8, 8), dtype=np.uint8)
    view = View.of(Source("noise", images, LABELS.numpy(), tuple("abcd")), np.arange(1000))
    loader = Loader(view, 500, CPU, sampling="balanced", budget=budget)
    batches = list(loader.iter_epoch(0, CLOCK))
    rare = torch.cat([batch.images[batch.index == 990] for batch in batches])
    assert len(rare) > 9
    assert len(rare.flatten(1).unique(dim=0)) > 3, "all copies of a row are shifted alike"
    plain = Loader(view, 500, CPU, sampling="balanced", budget=budget, augment=False)
    for batch in plain.iter_epoch(0, CLOCK):
        assert torch.equal(batch.images, torch.from_numpy(images)[batch.index].float() / 255)
