"""The recipe: learning-rate schedules and epochs of a phase."""

import pytest

from robustkd.method import Phase
from robustkd.training.recipe import Recipe


@pytest.mark.parametrize(
    ("progress", "rate"), [(0, 1), (0.299, 1), (0.3, 0.2), (0.6, 0.04), (0.799, 0.04), (0.8, 0.008), (1, 0.008)]
)
def test_the_rate_decreases_at_milestones(progress, rate):
    assert Recipe(lr=1).learning_rate(progress) == pytest.approx(rate)


@pytest.mark.parametrize("epochs", [10, 20, 30, 60, 200])
def test_a_milestone_takes_effect_at_the_first_batch_of_its_epoch(epochs):
    recipe = Recipe(lr=1)
    rates = [recipe.learning_rate(epoch / epochs) for epoch in range(epochs)]
    changes = [epoch for epoch in range(1, epochs) if rates[epoch] != rates[epoch - 1]]
    assert changes == [3 * epochs // 10, 6 * epochs // 10, 8 * epochs // 10]


@pytest.mark.parametrize(("progress", "rate"), [(0, 2), (1 / 3, 1.5), (0.5, 1), (2 / 3, 0.5), (1, 0)])
def test_the_cosine_by_hand(progress, rate):  # cos 60 degrees = 1/2
    assert Recipe(lr=2, schedule="cosine").learning_rate(progress) == pytest.approx(rate, abs=1e-12)


@pytest.mark.parametrize("progress", [0, 0.5, 1])
def test_the_constant_schedule_is_constant(progress):
    assert Recipe(lr=0.3, schedule="constant").learning_rate(progress) == 0.3


@pytest.mark.parametrize("schedule", ["step", "cosine", "constant"])
def test_the_warmup_is_linear_from_zero(schedule):
    recipe = Recipe(lr=2, schedule=schedule, warmup=0.2)
    assert [recipe.learning_rate(progress) for progress in (0, 0.05, 0.1, 0.15)] == pytest.approx([0, 0.5, 1, 1.5])
    assert recipe.learning_rate(0.2) == pytest.approx(2)
    assert recipe.learning_rate(0.1999) == pytest.approx(2, rel=1e-3)


def test_the_cosine_follows_the_warmup():
    recipe = Recipe(lr=2, schedule="cosine", warmup=0.2)
    assert recipe.learning_rate(0.6) == pytest.approx(1)
    assert recipe.learning_rate(1) == pytest.approx(0, abs=1e-12)


def test_fields_that_came_later_identify_a_recipe_only_at_other_values():
    earlier = ["epochs", "lr", "schedule", "milestones", "factor", "warmup", "momentum", "nesterov", "weight_decay"]
    assert [*Recipe(lr=0.5).identity()] == earlier
    assert Recipe(ema=0.9, clip_grad=0.0).identity() == {**Recipe().identity(), "ema": 0.9}


@pytest.mark.parametrize(("fraction", "epochs"), [(None, 10), (0.2, 2), (0.25, 2), (0.01, 1), (0.0, 0), (1.5, 15)])
def test_a_phase_has_its_fraction_of_the_epochs_and_at_least_one_unless_it_is_0(fraction, epochs):
    assert Recipe(epochs=10).phase_epochs(Phase("any", lambda batch: [], [], epochs=fraction)) == epochs
