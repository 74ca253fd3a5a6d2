"""Stein variational gradient descent and adversarial particles, on networks with known logits."""

import numpy as np
import pytest
import torch
from torch import Tensor

from robustkd.attacks.particles import sample_particles, svgd_direction, to_unit_length
from tests.helpers import golden, make_network

# As released with the paper: one step, without repulsion.
RELEASED = {"norm": "l2", "radius": 5e-4, "probe": 2e4, "bandwidth": 7e-4, "steps": 1}
DEFAULTS = {"count": 4, "steps": 5, "step": 0.25, "radius": 8 / 255}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def images(count: int = 3) -> Tensor:
    """Images of which some pixels are 0 or 1."""
    return (1.4 * torch.rand(count, 1, 8, 8, generator=seeded()) - 0.2).clamp(0, 1)


def logits_of(x: Tensor) -> Tensor:
    return make_network("resnet8").eval().requires_grad_(False)(x).logits


def constant(x: Tensor) -> Tensor:
    """A network with constant logits."""
    return torch.arange(3.0) + 0 * x.flatten(1).sum(dim=1, keepdim=True)


def mean_distance(particles: Tensor, count: int = 4) -> Tensor:
    """The mean distance between the particles of an image."""
    groups = particles.reshape(-1, count, 64)
    return torch.cdist(groups, groups).sum() / (len(groups) * count * (count - 1))


def test_two_particles_by_hand():
    # Distance 2, h = 2: K = exp(-1/2) = 0.6065307. Repulsion K (u - u') / h = 0.6065307, halved; scores 1 and 0 are averaged.
    u = torch.tensor([[[0.0], [2.0]]])
    assert svgd_direction(u, torch.zeros_like(u), 1.0).flatten().tolist() == pytest.approx(
        [-0.3032653, 0.3032653], abs=1e-6
    )
    phi = svgd_direction(u, torch.tensor([[[1.0], [0.0]]]), 1.0).flatten().tolist()
    assert phi == pytest.approx([0.5 - 0.3032653, 0.3032653 + 0.3032653], abs=1e-6)


@pytest.mark.parametrize("bandwidth", [0.3, 1.0, 2.5])
def test_svgd_direction_matches_loops(bandwidth):
    u, score = golden((2, 4, 3), 0.7, 0.3), golden((2, 4, 3), 1.3, 0.1)
    expected = np.zeros((2, 4, 3))
    for group in range(2):
        x, s = u[group].numpy(), score[group].numpy()
        pairs = [np.linalg.norm(x[i] - x[j]) for i in range(4) for j in range(i)]
        h = bandwidth * np.median(pairs)
        for i in range(4):
            for j in range(4):
                k = np.exp(-((x[i] - x[j]) ** 2).sum() / (2 * h * h))
                expected[group, i] += (k * s[j] + h * k * (x[i] - x[j]) / h**2) / 4
    np.testing.assert_allclose(svgd_direction(u, score, bandwidth).numpy(), expected, rtol=1e-10)


def test_repulsion_is_opposite_to_the_gradient_of_the_kernel():
    u = golden((1, 4, 3), 0.7, 0.3).requires_grad_()
    distances = torch.cdist(u.detach(), u.detach())[0]
    h = np.median([distances[i, j].item() for i in range(4) for j in range(i)])
    kernel = torch.exp(-(u[0, :, None] - u[0].detach()).square().sum(dim=2) / (2 * h * h))
    (gradient,) = torch.autograd.grad(kernel.sum(), u)
    torch.testing.assert_close(svgd_direction(u.detach(), torch.zeros(1, 4, 3).double(), 1.0), -h * gradient / 4)


def test_with_the_released_bandwidth_particles_do_not_interact():
    u = to_unit_length(torch.rand(3, 4, 64, generator=seeded()) - 0.5)
    score = golden((3, 4, 64), 0.7, 0.3).float()
    assert torch.equal(svgd_direction(u, torch.zeros_like(u), 7e-4), torch.zeros_like(u))
    assert torch.equal(svgd_direction(u, score, 7e-4), score / 4)
    assert svgd_direction(u, torch.zeros_like(u), 1.0).flatten(1).norm(dim=1).min() > 0.1


def test_single_or_coincident_particles_follow_the_score():
    score = golden((2, 1, 5), 0.7, 0.3)
    torch.testing.assert_close(svgd_direction(torch.ones_like(score), score, 1.0), score)
    together = svgd_direction(torch.ones(1, 3, 5).double(), score[:1].expand(1, 3, 5), 1.0)
    torch.testing.assert_close(together, score[:1].expand(1, 3, 5))


def test_particles_spread_on_a_constant_network():
    start = sample_particles(constant, images(), seeded(), **{**DEFAULTS, "steps": 0})
    particles = sample_particles(constant, images(), seeded(), **DEFAULTS)
    assert mean_distance(particles) > 1.1 * mean_distance(start)
    unmoved = sample_particles(constant, images(), seeded(), **DEFAULTS, bandwidth=7e-4)
    torch.testing.assert_close(unmoved, start)


@pytest.mark.parametrize("radius", [8 / 255, 0.3])
def test_particles_stay_in_the_ball_and_in_range(radius):
    x = images()
    particles = sample_particles(logits_of, x, seeded(), **{**DEFAULTS, "radius": radius})
    assert particles.shape == (12, 1, 8, 8)
    assert (particles.min() >= 0) & (particles.max() <= 1)
    offset = particles - x.repeat_interleave(4, dim=0)
    assert offset.abs().max() == pytest.approx(radius, rel=1e-4)
    assert not particles.requires_grad


def test_step_size_is_relative_to_the_radius_and_inputs_are_in_range():
    inputs = []
    walks = ({**DEFAULTS, "steps": steps, "step": 0.1, "radius": 0.2} for steps in (0, 1))
    start, particles = (
        sample_particles(lambda x: inputs.append(x) or logits_of(x), images(), seeded(), **walk) for walk in walks
    )
    assert all((x.min() >= -1e-6) & (x.max() <= 1 + 1e-6) for x in inputs)
    assert (particles - start).abs().max() == pytest.approx(0.1 * 0.2, rel=1e-4)


def test_steps_move_predictions_further_away():
    def deviation(steps: int) -> Tensor:
        particles = sample_particles(logits_of, images(), seeded(), **{**DEFAULTS, "steps": steps})
        clean = logits_of(images()).softmax(dim=1).repeat_interleave(4, dim=0)
        return (logits_of(particles).softmax(dim=1) - clean).square().sum(dim=1).mean()

    assert deviation(5) > 1.5 * deviation(0)


def test_images_do_not_affect_each_other():
    x = images(2)
    one = sample_particles(logits_of, x, seeded(), **DEFAULTS)
    other = sample_particles(logits_of, torch.stack([x[0], 1 - x[1]]), seeded(), **DEFAULTS)
    torch.testing.assert_close(one[:4], other[:4])
    assert not torch.equal(one[4:], other[4:])


def test_released_particles_match_a_loop():
    # For each direction: the gradient at x + 10 d, in the network's normalisation, of length 5e-4. No repulsion.
    net, x = make_network("resnet8").eval().requires_grad_(False), 0.2 + 0.6 * images()
    particles = sample_particles(logits_of, x, seeded(), count=4, step=1.0, unit=net.std, **RELEASED)
    start = 2 * torch.rand(12, 1, 8, 8, generator=seeded()) - 1
    for row in range(12):
        clean = x[row // 4][None]
        d = (start[row] / start[row].norm())[None].requires_grad_()
        far = net(clean + 10 * d * net.std).logits.softmax(dim=1)
        (g,) = torch.autograd.grad(torch.nn.functional.mse_loss(far, net(clean).logits.softmax(dim=1)), d)
        torch.testing.assert_close(particles[row][None] - clean, 5e-4 * net.std * g / g.norm(), rtol=0.01, atol=1e-6)
    assert (particles - x.repeat_interleave(4, dim=0)).abs().max() < 5e-4


def test_unit_length_of_tiny_and_zero_vectors():
    v = torch.tensor([[3.0, 4.0], [3e-30, 4e-30], [0.0, 0.0]])
    torch.testing.assert_close(to_unit_length(v), torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]]))
