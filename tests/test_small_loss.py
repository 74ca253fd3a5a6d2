"""Small-loss selection: the mixture against a fit by hand, the schedule by hand, and degenerate losses."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from robustkd.small_loss import SmallLossSelection, select_small, share_to_keep, small_loss_probability
from robustkd.types import Clock


def two_groups(wrong: int = 400, gap: float = 4.0) -> torch.Tensor:
    """Losses of 600 right and some wrong labels."""
    random = np.random.default_rng(0)
    return torch.from_numpy(np.concatenate([random.normal(1, 0.6, 600), random.normal(1 + gap, 0.9, wrong)])).float()


def expectation_maximisation(x: list[float], steps: int) -> list[float]:
    """Fit two normal distributions to numbers in [0, 1] one by one; return the probability of the one that starts low."""
    low, high = np.quantile(x, 0.25), np.quantile(x, 0.75)
    components = [(0.5, low, max(np.var(x), 5e-4)), (0.5, high, max(np.var(x), 5e-4))]
    shares: list[float] = []
    for _ in range(steps):
        densities = [[w * NormalDist(m, v**0.5).pdf(value) for w, m, v in components] for value in x]
        shares = [one / (one + other) for one, other in densities]
        components = []
        for weights in (shares, [1 - share for share in shares]):
            total = sum(weights)
            mean = sum(w * value for w, value in zip(weights, x, strict=True)) / total
            variance = sum(w * (value - mean) ** 2 for w, value in zip(weights, x, strict=True)) / total
            components.append((total / len(x), mean, variance + 5e-4))
    return [share if value > components[0][1] else 1.0 for share, value in zip(shares, x, strict=True)]


def test_probabilities_are_those_of_expectation_maximisation_number_by_number() -> None:
    losses = two_groups()
    scaled = ((losses - losses.min()) / (losses.max() - losses.min())).tolist()
    assert small_loss_probability(losses).tolist() == pytest.approx(expectation_maximisation(scaled, 100), abs=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_scale_and_order_have_no_effect(scale: float) -> None:
    losses, order = two_groups(), torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(
        small_loss_probability(scale * losses + 3)[order], small_loss_probability(losses[order]), atol=1e-3
    )


@pytest.mark.parametrize("wrong", [100, 400, 900])
def test_the_share_of_large_losses_is_estimated(wrong: int) -> None:
    rate = 1 - float(small_loss_probability(two_groups(wrong)).mean())
    assert rate == pytest.approx(wrong / (600 + wrong), abs=0.02)


def test_the_smallest_losses_are_never_doubted() -> None:
    # A wide component of large losses has the higher density far below the mean of the narrow one.
    losses = torch.cat([torch.full((500,), 1.0) + 0.01 * torch.arange(500) / 500, torch.linspace(0.5, 9, 100)])
    assert small_loss_probability(losses)[losses < 1].min() == 1


@pytest.mark.parametrize("losses", [[2.0] * 5, [math.inf] * 5, [1.0], [math.inf, 1.0, 1.0]])
def test_without_differences_nothing_is_doubted(losses: list[float]) -> None:
    assert small_loss_probability(torch.tensor(losses)).tolist() == [1.0] * len(losses)


def test_the_share_falls_after_the_warm_up() -> None:
    # 2 epochs of warm-up, a ramp of 4: 0.5 * (0, 1/4, 2/4, 3/4, 1, 1) is left out.
    shares = [share_to_keep(0.5, Clock(epoch, 20), 0.1, 0.2) for epoch in range(8)]
    assert shares == pytest.approx([1, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.5])
    assert share_to_keep(0.4, Clock(0, 10), 0, 0) == pytest.approx(0.6)
    assert [share_to_keep(0.0, Clock(epoch, 10), 0.2, 0.1) for epoch in (0, 9)] == [1, 1]


def test_selection_keeps_the_smallest_and_at_least_one() -> None:
    losses = torch.tensor([0.3, 0.1, 0.9, 0.2, 0.5])
    assert sorted(select_small(losses, 0.6).tolist()) == [0, 1, 3]
    assert select_small(losses, 0.0).tolist() == [1]
    assert sorted(select_small(losses, 1.0).tolist()) == [0, 1, 2, 3, 4]


def test_the_rate_is_estimated_once_and_is_part_of_the_state() -> None:
    selection = SmallLossSelection(1000, None, 0.2, 0.1)
    for epoch, losses in ((1, two_groups(400, 0)), (2, two_groups(400)), (3, two_groups(100))):
        selection.record(torch.arange(len(losses)), losses)
        selection.begin_epoch(Clock(epoch, 10))
    assert float(selection.estimate) == pytest.approx(0.4, abs=0.02)
    assert selection.share == pytest.approx(0.6, abs=0.02)
    resumed = SmallLossSelection(1000, None, 0.2, 0.1)
    resumed.load_state_dict(selection.state_dict())
    resumed.begin_epoch(Clock(4, 10))
    assert resumed.share == selection.share


def test_a_given_rate_is_used() -> None:
    selection = SmallLossSelection(4, 0.25, 0.0, 0.0)
    selection.begin_epoch(Clock(0, 10))
    assert selection.share == 0.75


def test_rows_without_a_loss_do_not_lower_the_estimated_rate() -> None:
    # With class-balanced sampling, some rows are not drawn before the rate is estimated.
    losses = two_groups(400)
    estimates = []
    for unseen in (0, 3000):
        selection = SmallLossSelection(len(losses) + unseen, None, 0.1, 0.1)
        selection.record(torch.arange(len(losses)), losses)
        selection.begin_epoch(Clock(1, 10))
        estimates.append(float(selection.estimate))
    assert estimates[0] == estimates[1] == pytest.approx(0.4, abs=0.02)
    assert small_loss_probability(torch.cat([losses, torch.tensor([math.nan, math.inf])]))[-2:].tolist() == [1, 1]


def test_a_rate_is_not_estimated_from_nothing() -> None:
    selection = SmallLossSelection(4, None, 0.2, 0.1)
    selection.begin_epoch(Clock(1, 2))
    assert (float(selection.estimate), selection.share) == (0, 1)
