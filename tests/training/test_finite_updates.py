"""Updates that are not finite: what is dropped, what is counted, and where training stops."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from robustkd.method import Method
from robustkd.methods.baseline import Baseline
from robustkd.training.engine import DivergedError, Epoch, fit
from robustkd.training.finite_updates import are_finite
from robustkd.training.recipe import Recipe
from robustkd.types import Batch, Objective
from tests.helpers import RECIPE, build_method, large_view, make_loader, states_equal, toy_spec

BATCHES = 10  # of an epoch
FACTORS = [1.0 + number for number in range(BATCHES)]
CONSTANT = Recipe(1, 0.1, "constant", weight_decay=0.0)


class Scripted(Method):
    """Two updates for each batch, by the gradients 1 and f, the factor of the batch."""

    def __init__(self, factors: list[float]) -> None:
        super().__init__()
        self.x, self.y = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("unknown", torch.full((2,), math.inf))  # a memory may begin at infinity
        self.factors = iter(factors)

    def step(self, batch: Batch) -> Iterator[Objective]:
        factor = next(self.factors)
        self.total = self.total + factor
        yield Objective({"y": self.y.sum()})
        yield Objective({"x": factor * self.x.sum()}, {"factor": torch.tensor(factor)})


def train(method: Method, recipe: Recipe = CONSTANT, batches: int = BATCHES, **options: Any) -> Epoch:
    loader = make_loader(large_view().take(range(6 * batches)))
    (epoch,) = fit(method, loader, recipe, **{"on_nonfinite": "skip", **options})
    return epoch


@pytest.mark.parametrize("bad", [0, 4, 9])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "recipe", [CONSTANT, replace(CONSTANT, optimiser="adamw"), replace(CONSTANT, clip_grad=1.0)], ids=str
)
def test_a_dropped_update_leaves_what_training_without_its_batch_results_in(
    bad: int, value: float, recipe: Recipe
) -> None:
    spoiled, without = (
        Scripted([*FACTORS[:bad], value, *FACTORS[bad + 1 :]]),
        Scripted(FACTORS[:bad] + FACTORS[bad + 1 :]),
    )
    epoch, other = train(spoiled, recipe), train(without, recipe, BATCHES - 1)
    assert (epoch.skipped, other.skipped) == (1, 0)
    assert states_equal(spoiled.state_dict(), without.state_dict())
    assert epoch.terms == other.terms


def test_accumulated_gradients_are_dropped_together() -> None:
    recipe = replace(CONSTANT, accumulate=2)
    spoiled, without = Scripted([*FACTORS[:4], math.nan, *FACTORS[5:]]), Scripted(FACTORS[:4] + FACTORS[6:])
    assert train(spoiled, recipe).skipped == 1
    train(without, recipe, BATCHES - 2)
    assert states_equal(spoiled.state_dict(), without.state_dict())


class Overflowing(Scripted):
    """The loss of batches with a negative factor is finite, and its gradient is not."""

    def step(self, batch: Batch) -> Iterator[Objective]:
        factor = next(self.factors)
        yield Objective({"x": (0 * self.x).sqrt().sum() if factor < 0 else factor * self.x.sum()})


def test_a_gradient_that_is_not_finite_is_dropped() -> None:
    spoiled, without = Overflowing([1.0, 2.0, -1.0, *FACTORS[3:]]), Overflowing([1.0, 2.0, *FACTORS[3:]])
    assert train(spoiled).skipped == 1
    train(without, batches=BATCHES - 1)
    assert states_equal(spoiled.state_dict(), without.state_dict())


def test_an_update_whose_squared_gradient_is_infinite_is_dropped() -> None:
    # AdamW divides by it: the weights would stay finite, and would not move for the rest of the run
    spoiled = Scripted([*FACTORS[:4], 1e30, *FACTORS[5:]])
    assert train(spoiled, replace(CONSTANT, optimiser="adamw")).skipped == 1
    assert spoiled.x.isfinite().all()


class Spoiled(Baseline):
    """Is shown one batch of images that are not numbers, which reach the batch statistics."""

    batches = 0

    def objective(self, batch: Batch) -> Objective:
        self.batches += 1
        return super().objective(replace(batch, images=batch.images * math.nan) if self.batches == 5 else batch)


def test_batch_statistics_and_averages_stay_finite() -> None:
    built = build_method(toy_spec("method", Spoiled), view=large_view())
    epoch = train(built.method, replace(RECIPE, ema=0.9))
    average = epoch.average()
    assert epoch.skipped == 1
    assert average is not None
    assert are_finite(average.state_dict().values()).all()
    assert are_finite(built.method.state_dict().values()).all()


def test_without_the_option_training_stops_at_the_end_of_the_epoch() -> None:
    with pytest.raises(DivergedError, match=r"the term 'x' is nan in phase 'train', epoch 1: a smaller --lr"):
        train(Scripted([*FACTORS[:4], math.nan, *FACTORS[5:]]), on_nonfinite="stop")


def test_weights_that_the_last_update_spoils_are_refused() -> None:
    with pytest.raises(DivergedError, match="weights are not finite in phase 'train', epoch 1"):
        train(Overflowing([*FACTORS[:9], -1.0]), on_nonfinite="stop")


def test_more_than_a_tenth_of_an_epoch_stops_training() -> None:
    with pytest.raises(
        DivergedError,
        match=r"2 of 10 updates were skipped in phase 'train', epoch 1 .* at most 1 may be: a smaller --lr",
    ):
        train(Scripted([math.nan, *FACTORS[1:9], math.inf]))


def test_which_tensors_are_finite() -> None:
    tensors = [torch.ones(2), torch.tensor([1.0, math.nan]), torch.tensor(-math.inf), torch.arange(3), torch.zeros(0)]
    assert are_finite(tensors).tolist() == [True, False, False]
    assert are_finite([torch.arange(3)]).all()
