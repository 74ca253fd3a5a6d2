"""balanced: -log softmax(z + log n)_y."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robustkd.criteria.balanced import Balanced
from robustkd.criteria.ce import CE
from tests.helpers import FIVE, LABELS, S, golden, make_batch


def balanced(*counts: int) -> Balanced:
    return Balanced(replace(FIVE, samples=sum(counts), counts=counts)).double()


def test_by_hand():
    # Equal logits, 30 samples of class 0 and 10 of class 1: p = (3/4, 1/4), so labels 0 and 1 cost log(4/3) and log 4:
    # a frequent label is predicted by the class sizes alone, a rare one must be learned.
    losses = balanced(30, 10)(torch.zeros(2, 2), make_batch(torch.tensor([0, 1])))
    assert losses.tolist() == pytest.approx([0.2876821, 1.3862944], abs=1e-6)


def test_matches_a_loop():
    counts = (50, 20, 7, 3, 1)
    losses = balanced(*counts)(S, make_batch()).tolist()
    for z, label, loss in zip(S.tolist(), LABELS.tolist(), losses, strict=True):
        odds = [n * math.exp(value) for n, value in zip(counts, z, strict=True)]
        assert loss == pytest.approx(-math.log(odds[label] / sum(odds)), rel=1e-6)  # the counts are kept in float32


@pytest.mark.parametrize("count", [1, 7, 5000])
def test_equal_counts_give_the_cross_entropy(count):
    assert torch.allclose(balanced(*[count] * 5)(S, make_batch()), CE(FIVE)(S, make_batch()), rtol=1e-6)


def test_only_the_proportions_of_counts_matter():
    one, tenfold = balanced(5, 4, 3, 2, 1)(S, make_batch()), balanced(50, 40, 30, 20, 10)(S, make_batch())
    assert torch.allclose(one, tenfold, rtol=1e-6)


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    criterion = balanced(5, 4, 3, 2, 1)
    assert torch.allclose(criterion(S + shift, make_batch()), criterion(S, make_batch()))


def test_a_class_without_samples_is_never_predicted():
    logits = S.clone().requires_grad_()
    losses = balanced(4, 3, 2, 0, 1)(logits, make_batch())  # LABELS contains no 3
    losses.sum().backward()
    assert losses.isfinite().all()
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, 3] == 0).all()
    kept = [0, 1, 2, 4]
    fewer = balanced(4, 3, 2, 1)(S[:, kept], make_batch(torch.tensor([kept.index(label) for label in LABELS.tolist()])))
    assert torch.allclose(losses, fewer)


def test_counts_are_part_of_the_state():
    other = balanced(1, 1, 1, 1, 1)
    other.load_state_dict(balanced(5, 4, 3, 2, 1).state_dict())
    assert torch.equal(other(S, make_batch()), balanced(5, 4, 3, 2, 1)(S, make_batch()))


def test_gradient():
    def loss(logits: Tensor) -> Tensor:
        return balanced(5, 4, 3, 2, 1)(logits, make_batch())

    assert torch.autograd.gradcheck(loss, (S.clone().requires_grad_(),))
