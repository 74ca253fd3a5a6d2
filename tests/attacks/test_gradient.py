"""FGSM and PGD: hand-computed values, a loop on a linear model, and bounds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.attacks.boundary import LogitsFn
from robustkd.attacks.gradient import fgsm, misclassification_log_odds, misclassification_margin, pgd
from tests.helpers import large_view, make_loader, make_teacher, small_view


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def linear(weight: Tensor, bias: Tensor | float = 0.0) -> LogitsFn:
    """A linear classifier of the pixels."""
    return lambda images: images.flatten(1) @ weight.T + bias


def teacher_logits(images: Tensor) -> Tensor:
    return make_teacher()(images).logits


def test_fgsm_by_hand():
    # Logits 2a - b and b - a: the gradient of the second minus the first with respect to (a, b) is (-3, 2).
    net = linear(torch.tensor([[2.0, -1], [-1, 1]]))
    images = torch.tensor([[0.5, 0.5], [0.05, 0.95], [0.5, 0.5]]).reshape(3, 1, 1, 2)
    perturbed = fgsm(net, images, torch.tensor([0, 0, 1]), seeded(), eps=0.1)
    torch.testing.assert_close(perturbed.reshape(3, 2), torch.tensor([[0.4, 0.6], [0.0, 1.0], [0.6, 0.4]]))


def reference_pgd(
    w: np.ndarray, b: np.ndarray, x: np.ndarray, y: int, starts: np.ndarray, eps: float, steps: int
) -> np.ndarray:
    """PGD of one image on a linear model with scalars; of several starts, the result with the largest margin."""
    ends = []
    for start in starts:
        at = [min(1.0, max(0.0, x[i] + start[i])) for i in range(len(x))]
        for _ in range(steps):
            z = [sum(w[k, i] * at[i] for i in range(len(x))) + b[k] for k in range(len(b))]
            e = [np.exp(v - max(z)) for v in z]
            p = [v / sum(e) for v in e]
            for i in range(len(x)):
                slope = sum((p[k] - (k == y)) * w[k, i] for k in range(len(b)))
                moved = at[i] + eps / 4 * np.sign(slope)
                at[i] = min(1.0, x[i] + eps, max(0.0, x[i] - eps, moved))
        z = w @ np.array(at) + b
        ends.append((max(z[k] for k in range(len(b)) if k != y) - z[y], at))
    return np.array(max(ends, key=lambda end: end[0])[1])


@pytest.mark.parametrize("restarts", [1, 3])
def test_pgd_matches_a_loop_on_a_linear_model(restarts: int):
    generator = np.random.default_rng(0)
    W, b, images = generator.normal(size=(4, 6)), generator.normal(size=4), generator.random((5, 6))
    labels, eps, steps = np.array([0, 1, 2, 3, 0]), 0.3, 3
    net = linear(torch.tensor(W), torch.tensor(b))
    x = torch.tensor(images).reshape(5, 1, 2, 3)
    moved = pgd(net, x, torch.tensor(labels), seeded(), eps=eps, steps=steps, restarts=restarts)
    draws = seeded()
    starts = [eps * torch.empty_like(x).uniform_(-1, 1, generator=draws).numpy().reshape(5, 6) for _ in range(restarts)]
    for row in range(5):
        expected = reference_pgd(W, b, images[row], labels[row], np.array([s[row] for s in starts]), eps, steps)
        np.testing.assert_allclose(moved[row].flatten().numpy(), expected, atol=1e-12)


def test_the_loss_increases_with_the_steps():
    net = teacher_logits
    ((images, labels),) = make_loader(large_view(), 60).iter_plain()
    losses = [F.cross_entropy(net(images), labels).item()]
    for steps in (1, 2, 5, 20):
        moved = pgd(net, images, labels, seeded(), eps=0.2, steps=steps)
        losses.append(F.cross_entropy(net(moved), labels).item())
    assert losses == sorted(losses)
    assert losses[-1] > 3 * losses[1]


@pytest.mark.parametrize("eps", [0.0, 8 / 255, 0.3])
def test_images_stay_in_the_ball_and_in_range(eps: float):
    ((images, labels),) = make_loader(small_view(), 12).iter_plain()
    images = images.clone()
    images[0], images[1] = 0, 1
    for moved in (
        fgsm(teacher_logits, images, labels, seeded(), eps=eps),
        pgd(teacher_logits, images, labels, seeded(), eps=eps, steps=7, restarts=2),
    ):
        assert (moved - images).abs().max() <= eps + 1e-6
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert torch.equal(moved, images) == (eps == 0)


def test_log_odds_and_margin_by_hand():
    # p = (3/4, 1/4): odds against label 0 of 1/3, against label 1 of 3.
    logits, labels = torch.tensor([[np.log(3.0), 0.0]] * 2), torch.tensor([0, 1])
    assert misclassification_log_odds(logits, labels).tolist() == pytest.approx([-np.log(3), np.log(3)], rel=1e-6)
    logits = torch.tensor([[1.0, 4.0, 2.0]] * 2)
    assert misclassification_margin(logits, torch.tensor([1, 2])).tolist() == [-2, 2]
