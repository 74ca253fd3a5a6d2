"""tald: the squared gap between the losses of student and teacher, on images and on particles around them."""

import math

import numpy as np
import pytest
import torch
from helpers import FIVE, ConstantNetwork, S, T, build_method, golden, make_batch, make_loader, make_network, small_view
from torch import Tensor

from robustkd.attacks.particles import sample_particles, svgd_direction, to_unit_length
from robustkd.criteria.ce import CE
from robustkd.methods import METHODS
from robustkd.methods.tald import TALD
from robustkd.models.net import Frozen
from robustkd.types import Batch, Clock

RELEASED = {"norm": "l2", "radius": 5e-4, "probe": 2e4, "bandwidth": 7e-4, "steps": 1}
DEFAULTS = {"count": 4, "steps": 5, "step": 0.25, "radius": 8 / 255}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def tald(student: Tensor = S, teacher: Tensor = T, **options: object) -> TALD:
    return TALD(
        ConstantNetwork(student),
        Frozen(ConstantNetwork(teacher)),
        lambda: CE(FIVE),
        seeded(),
        **{"share": 0.0, **options},
    )


def build(**options: object) -> TALD:
    return build_method(METHODS.parse("tald(" + ", ".join(f"{k}={v}" for k, v in options.items()) + ")")).method


def first_batch(size: int = 12) -> Batch:
    return next(iter(make_loader(small_view(), size).iter_epoch(0, Clock(0, 1))))


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


def test_golden_value():
    terms = tald(weight=1).objective(make_batch()).terms
    assert terms["gap"].item() == pytest.approx(1.0410358231, abs=1e-10)
    assert (terms["ce"] + terms["kd"]).item() == pytest.approx(1.2712183125, abs=1e-10)  # Hinton's


def test_gap_by_hand():
    # -log 3/4 = 0.2876821 against log 2 = 0.6931472: the square of 0.4054651, halved
    method = tald(torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2), weight=0.5)
    assert method.objective(make_batch(torch.tensor([0]))).terms["gap"].item() == pytest.approx(0.0822010, abs=1e-6)


def test_equal_losses_have_zero_gap():
    others = torch.tensor([[0.0, 1, 2, 3, 4]])
    gap = tald(others, others[:, [0, 4, 3, 1, 2]]).objective(make_batch(torch.tensor([0]))).terms["gap"]
    assert gap.item() == pytest.approx(0, abs=1e-12)


def test_gradient_of_the_gap():
    method = tald(weight=1)
    assert torch.autograd.gradcheck(lambda _: method.objective(make_batch()).terms["gap"], (method.student.logits,))


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


@pytest.mark.parametrize(("size", "share", "attacked"), [(1, 10 / 64, 1), (2, 1.0, 2), (12, 0.5, 6), (12, 0.0, 0)])
def test_a_share_of_the_batch_gets_particles(size, share, attacked):
    clean = first_batch(size)
    extended = build(share=share, particles=3).add_particles(clean)
    assert len(extended.images) == len(extended.labels) == len(extended.index) == 3 * attacked + size
    assert torch.equal(extended.images[3 * attacked :], clean.images)
    for row in range(3 * attacked):
        assert extended.labels[row] == clean.labels[row // 3]
        assert extended.index[row] == clean.index[row // 3]
        offset = (extended.images[row] - clean.images[row // 3]).abs().max()
        assert offset.item() == pytest.approx(8 / 255, rel=1e-3)  # in image units, not in those of the normalisation


def test_the_released_radius_is_in_units_of_the_normalisation():
    method, clean = build(share=1.0, particles=1, **RELEASED), first_batch()
    offsets = (method.add_particles(clean).images[:12] - clean.images) / method.teacher.net.std
    lengths = offsets.flatten(1).norm(dim=1)
    assert method.teacher.net.std.item() == 0.25
    assert (lengths > 4e-4).all()  # clipped where the image would leave the range
    assert (lengths < 5.1e-4).all()


def test_ten_of_sixty_four():
    zeros = torch.zeros(64, dtype=torch.int64)
    extended = build().add_particles(Batch(images(64), zeros, zeros, Clock(0, 1)))
    assert len(extended.images) == 4 * 10 + 64


def test_ce_and_kd_use_clean_rows_and_the_gap_uses_all_rows():
    method, clean = build(weight=1, alpha=0.5, radius=0.3).train(), first_batch()
    state = method.random.get_state()
    objective = method.objective(clean)
    terms = objective.terms
    method.random.set_state(state)
    extended = method.add_particles(clean)
    with torch.no_grad():
        z, t = method.student(extended.images).logits, method.teacher(extended.images).logits
    own, theirs = ([-row.log_softmax(0)[y].item() for row, y in zip(x, extended.labels, strict=True)] for x in (z, t))
    assert terms["ce"].item() == pytest.approx(0.5 * np.mean(own[-12:]), rel=1e-5)
    assert terms["gap"].item() == pytest.approx(np.mean((np.array(own) - np.array(theirs)) ** 2), rel=1e-4)
    predictions = t.argmax(dim=1).tolist()
    first = len(predictions) - 12
    assert objective.notes["flipped"].item() == pytest.approx(
        np.mean([predictions[row] != predictions[first + row // 4] for row in range(first)])
    )
    p, q = ((x[-12:] / 4).log_softmax(dim=1) for x in (t, z))
    assert terms["kd"].item() == pytest.approx(0.5 * 16 * (p.exp() * (p - q)).sum().item() / 12, rel=1e-4)


@pytest.mark.parametrize("options", [{}, RELEASED], ids=["tald", "released"])
def test_the_particles_leave_no_gradients(options):
    method = build(share=1.0, **options).train()
    method.add_particles(first_batch())
    assert all(p.grad is None for p in (*method.parameters(), *method.teacher.net.parameters()))
    assert not any(part.training for part in method.teacher.net.modules())
    objective = method.objective(first_batch())
    objective.loss.backward()
    assert all(p.grad.isfinite().all() for p in method.student.parameters())
    assert all(p.grad is None for p in method.teacher.net.parameters())


def test_identical_images_and_a_single_class_are_finite():
    method, clean = build(share=1.0, particles=1).train(), first_batch()
    same = Batch(clean.images[:1].repeat(4, 1, 1, 1), clean.labels[:1].repeat(4), clean.index[:4], clean.clock)
    assert method.objective(same).loss.isfinite()
