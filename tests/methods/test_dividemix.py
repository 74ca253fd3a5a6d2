"""dividemix: labels with large losses are replaced by predictions, and two networks are trained semi-supervised."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from robustkd.methods import METHODS
from robustkd.methods.dividemix import DivideMix, refine_targets, sharpen
from robustkd.types import Clock
from tests.helpers import BuiltMethod, build_method, large_view, make_loader, small_view


def built(text: str = "dividemix", **options: object) -> BuiltMethod:
    return build_method(METHODS.parse(text), **options)


def test_targets_by_hand() -> None:
    # Row 1 is labelled with w 3/4: 3/4 (1, 0) + 1/4 (0.2, 0.8) = (0.8, 0.2), squared and normalised (0.64, 0.04) / 0.68.
    # Row 2 is not: the mean prediction of both networks (0.6, 0.4), squared and normalised (0.36, 0.16) / 0.52.
    clean, labels = torch.tensor([0.75, 0.5]), torch.tensor([[1, 0], [0, 1]])
    own, both = torch.tensor([[0.2, 0.8], [0.5, 0.5]]), torch.tensor([[0.5, 0.5], [0.6, 0.4]])
    targets = refine_targets(clean, labels, own, both, 0.5)
    assert targets.tolist() == [pytest.approx([64 / 68, 4 / 68]), pytest.approx([36 / 52, 16 / 52])]


def test_sharpening_at_one_changes_nothing_and_towards_zero_is_one_hot() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2]])
    assert torch.allclose(sharpen(p, 1.0), p)
    assert torch.allclose(sharpen(p, 0.02), torch.tensor([[1.0, 0.0, 0.0]]), atol=1e-6)


def test_a_clean_label_with_probability_one_is_its_own_target() -> None:
    labels = torch.eye(3)
    assert torch.allclose(refine_targets(torch.ones(3), labels, labels.flip(0), labels.flip(0), 0.5), labels)


def test_gradients() -> None:
    p = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    assert torch.autograd.gradcheck(lambda x: sharpen(x, 0.5), p.requires_grad_())


def test_the_warm_up_is_plain_training_of_two_networks() -> None:
    ours, plain = built(), build_method(METHODS.parse("baseline"))
    for method in (ours, plain):
        next(iter(method.train(small_view(), epochs=5)))
    for name, value in plain.method.model.state_dict().items():
        assert torch.equal(ours.method.model.state_dict()[name], value)


def test_each_network_is_divided_by_the_losses_of_the_other() -> None:
    method: DivideMix = built().method
    method.losses[0] = torch.tensor([0.0] * 6 + [5.0] * 6)
    method.losses[1] = torch.tensor([0.0, 5.0] * 6)
    method.divide(Clock(0, 10))
    assert method.clean.min() == 1, "there is nothing to divide in the warm-up"
    method.divide(Clock(3, 10))
    assert method.clean[1].round().tolist() == [1.0] * 6 + [0.0] * 6
    assert method.clean[0].round().tolist() == [1.0, 0.0] * 6


@pytest.mark.parametrize("losses", [1.0, math.inf])
def test_a_division_that_fails_leaves_all_labels(losses: float) -> None:
    method = built().method
    method.losses.fill_(losses)
    method.divide(Clock(3, 10))
    assert method.clean.min() == 1


def objective_terms(clean: float, **options: object) -> dict[str, float]:
    """Return the terms of the first network after the warm-up."""
    method = built(**options).method.train()
    method.clean.fill_(clean)
    (batch,) = make_loader(small_view(), 12, views=("again",)).iter_epoch(0, Clock(9, 10))
    return {name: value.item() for name, value in next(iter(method.step(batch))).terms.items()}


def test_with_all_or_no_labels_one_of_the_terms_is_zero() -> None:
    assert objective_terms(1.0)["unlabelled/1"] == 0
    assert objective_terms(1.0)["labelled/1"] > 0
    assert objective_terms(0.0)["labelled/1"] == 0
    assert objective_terms(0.0)["unlabelled/1"] > 0


def test_predictions_are_targets_without_a_gradient_and_labels_do_not_matter_where_they_are_doubted() -> None:
    swapped = small_view().relabel((small_view().labels + 1) % 3)

    def loss(labels: object) -> float:
        method = built().method.train()
        method.clean.fill_(0.2)
        (batch,) = make_loader(labels, 12, views=("again",)).iter_epoch(0, Clock(9, 10))
        return next(iter(method.step(batch))).loss.item()

    assert loss(small_view()) == loss(swapped)


def test_the_weight_of_unlabelled_samples_rises_after_the_warm_up() -> None:
    method = built("dividemix(warmup=0.2, ramp=0.4, unsupervised=8)").method
    weights = [method.unlabelled_weight(Clock(epoch, 10)) for epoch in (2, 3, 4, 6, 9)]
    assert weights == pytest.approx([0, 2, 4, 8, 8])


def test_mixing_weights_follow_the_larger_half_of_the_beta_distribution() -> None:
    method = built().method
    targets = torch.eye(2)
    shares = [float(method.mix(torch.zeros(2, 1, 1, 1), targets)[1].diagonal().min()) for _ in range(600)]
    mixed = [share for share in shares if share < 1]  # half of the permutations of two change nothing
    assert min(mixed) >= 0.5
    expected = stats.beta(4, 4)
    assert stats.kstest(mixed, lambda x: 2 * expected.cdf(x) - 1).pvalue > 0.01
    assert np.mean(mixed) == pytest.approx(0.637, abs=0.02)


def test_wrong_labels_lose_their_influence() -> None:
    labels, wrong = large_view().labels.copy(), torch.zeros(60, dtype=torch.bool)
    wrong[::5] = True
    labels[::5] = (labels[::5] + 1) % 3
    view = large_view().relabel(labels)
    trained = built(view=view)
    for _ in trained.train(view, epochs=20, size=12):
        pass
    assert trained.method.clean[:, ~wrong].mean() > trained.method.clean[:, wrong].mean() + 0.2
