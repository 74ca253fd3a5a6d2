"""baseline: L = CE(z, y)."""

import math

import pytest
import torch
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.criteria.ce import CE
from robustkd.errors import UsageError
from robustkd.methods.baseline import Baseline, Longer, OracleClean, OracleSubset
from robustkd.training.recipe import Recipe
from robustkd.types import Batch
from tests.helpers import FIVE, ConstantNetwork, S, golden, make_batch


def loss(logits: Tensor) -> Tensor:
    """The loss of the baseline for these logits, differentiable with respect to them."""
    net = ConstantNetwork(logits)
    del net.logits
    net.logits = logits
    return Baseline(net, lambda: CE(FIVE)).objective(make_batch()).loss


def test_golden_value():
    assert loss(S).item() == pytest.approx(2.3362513733, abs=1e-10)


def test_by_hand():
    # p = (3/4, 1/4): labels 0 and 1 cost -log 3/4 = 0.2876821 and -log 1/4 = 1.3862944, 0.8369882 on average
    method = Baseline(ConstantNetwork(torch.tensor([[math.log(3), 0.0]] * 2)), lambda: CE(FIVE))
    assert method.objective(make_batch(torch.tensor([0, 1]))).loss.item() == pytest.approx(0.8369882, abs=1e-6)


def test_uniform_predictions_cost_log_k():
    assert loss(torch.zeros_like(S)).item() == pytest.approx(math.log(5))


def test_invariance_to_a_shift_of_logits():
    assert loss(S + golden((4, 1), 2.3, 0.2, 50)).item() == pytest.approx(loss(S).item(), rel=1e-12)


def test_gradient():
    assert torch.autograd.gradcheck(loss, (S.clone().requires_grad_(),))


class Tenfold(Criterion):
    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return 10.0 * batch.index + 0 * logits.sum(dim=1)


def test_loss_is_the_mean_of_the_criterion():
    assert (
        Baseline(ConstantNetwork(S), lambda: Tenfold(FIVE)).objective(make_batch()).loss.item() == 15
    )  # 0, 10, 20 and 30


@pytest.mark.parametrize(("ratio", "cost_ratio", "epochs"), [(None, 2.5, 25), (3.0, 2.5, 30), (0.01, None, 1)])
def test_longer_trains_for_the_measured_or_named_ratio(ratio, cost_ratio, epochs):
    method = Longer(ConstantNetwork(S), lambda: CE(FIVE), cost_ratio, ratio=ratio)
    (phase,) = method.phases()
    assert Recipe(epochs=10).phase_epochs(phase) == epochs
    assert method.objective(make_batch()).loss.item() == loss(S).item(), (
        "it differs from the baseline in its length only"
    )


def test_longer_without_a_ratio_is_refused():
    with pytest.raises(UsageError, match=r"name the ratio, as in longer\(ratio=3\)"):
        Longer(ConstantNetwork(S), lambda: CE(FIVE), None)


def test_oracles_are_the_baseline_with_other_labels():
    labels = {method: method.training_labels for method in (Baseline, OracleClean, OracleSubset)}
    assert labels == {Baseline: "given", OracleClean: "true", OracleSubset: "untouched"}
    assert [method.oracle for method in labels] == [False, True, True]
