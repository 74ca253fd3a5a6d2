"""ensemble: two networks trained independently; their average is evaluated next to the model."""

import math

import pytest
import torch

from robustkd.criteria.ce import CE
from robustkd.errors import UsageError
from robustkd.methods.ensemble import Ensemble, mean_log_probabilities
from robustkd.training.recipe import Recipe
from tests.helpers import FIVE, ConstantNetwork, S, T, build_study_method, make_batch, small_view


def ensemble(ratio: float | None = None, cost_ratio: float | None = 3.0) -> Ensemble:
    networks = [ConstantNetwork(S), ConstantNetwork(T)]
    return Ensemble(lambda count: networks[:count], lambda: CE(FIVE), cost_ratio, ratio=ratio)


def test_average_by_hand():
    # p = (1/2, 1/2) and (1/4, 3/4): mean (3/8, 5/8)
    first, second = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]])
    assert mean_log_probabilities(first, second).exp().tolist() == [pytest.approx([3 / 8, 5 / 8])]


def test_average_of_equal_logits_is_their_distribution():
    assert torch.allclose(mean_log_probabilities(S, S + 5), S.log_softmax(dim=1), atol=1e-12)


def test_average_of_extreme_logits_is_finite():
    extreme = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    average = mean_log_probabilities(extreme, -extreme)
    assert torch.allclose(average, torch.full_like(average, math.log(0.5)))


def test_gradient():
    inputs = (S.clone().requires_grad_(), T.clone().requires_grad_())
    assert torch.autograd.gradcheck(mean_log_probabilities, inputs)


def test_each_loss_is_that_of_the_baseline():
    method = ensemble()
    assert method.objective(make_batch()).loss.item() == pytest.approx(2.3362513733, abs=1e-10)
    (other,) = method.other_step(make_batch())
    assert other.loss.item() == pytest.approx(torch.nn.functional.cross_entropy(T, make_batch().labels).item())


@pytest.mark.parametrize(("ratio", "cost_ratio", "epochs"), [(None, 3.0, 15), (4.0, 3.0, 20), (4.0, None, 20)])
def test_each_network_is_trained_for_half_of_the_cost(ratio, cost_ratio, epochs):
    recipe = Recipe(epochs=10)
    assert [recipe.phase_epochs(phase) for phase in ensemble(ratio, cost_ratio).phases()] == [epochs, epochs]


def test_without_a_measured_or_named_ratio_it_is_refused():
    with pytest.raises(UsageError, match=r"name the ratio, as in ensemble\(ratio=3\)"):
        ensemble(None, None)


def test_the_networks_start_from_different_weights_and_share_no_parameters():
    method = build_study_method("ensemble", view=small_view())
    first, second = (list(phase.parameters) for phase in method.phases())
    assert not {*map(id, first)} & {*map(id, second)}
    assert not torch.equal(method.model.head.weight, method.other.head.weight)
