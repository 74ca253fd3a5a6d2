"""Perturbation towards a decision boundary, on teachers with known logits."""

import copy
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from robustkd.attacks.boundary import describe_boundary, find_boundary_samples, perturb_towards
from robustkd.data.sources import load_dataset
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Network
from robustkd.types import Batch, Clock
from tests.helpers import make_network

W = torch.tensor([[1.0, 0], [0, 1], [-1, -1]], dtype=torch.float64)


def linear(images: Tensor) -> Tensor:
    return images.flatten(1) @ W.T


def point(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, 2, 1, 1)


def gap(images: Tensor) -> float:
    z = linear(images)
    return (z[0, 0] - z[0, 1]).item()


def test_golden_values_on_a_linear_teacher():
    gaps = [1.0, 0.57569350, 0.33140501, 0.19075935, 0.10978458, 0.06316450, 0.03632365, 0.02087040, 0.01197341]
    gaps += [0.00685110, 0.00390200]
    one = torch.tensor([0]), torch.tensor([1])
    for steps, expected in enumerate(gaps):
        perturbed = perturb_towards(linear, point(2, 1), *one, steps=steps, step=0.3, bounds=None)
        assert gap(perturbed.images) == pytest.approx(expected, abs=1e-8)
        assert not perturbed.in_target.any()


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0, 30.0])
def test_images_end_at_the_boundary_of_a_linear_teacher_of_any_scale(scale: float):
    # The boundary between classes 0 and 1 is x = y: from (2, 1), it is 1 / sqrt 2 away, at (1.5, 1.5).
    def logits(images: Tensor) -> Tensor:
        return scale * linear(images)

    one = torch.tensor([0]), torch.tensor([1])
    perturbed = perturb_towards(logits, point(2, 1), *one, bounds=None)
    torch.testing.assert_close(perturbed.images, point(1.5, 1.5), atol=1e-3, rtol=0)
    assert perturbed.in_target.item(), "the last step crosses the boundary"
    halfway = perturb_towards(logits, point(2, 1), *one, steps=2, approach=0.5, overshoot=0.0, bounds=None)
    torch.testing.assert_close(halfway.images, point(1.5, 1.5))
    first = perturb_towards(logits, point(2, 1), *one, steps=3, approach=0.25, overshoot=0.0, bounds=None)
    torch.testing.assert_close(first.images, point(1.5, 1.5))
    authors = perturb_towards(logits, point(2, 1), *one, step=0.3, bounds=None)
    distance = abs(gap(authors.images)) / 2**0.5
    assert (distance > 0.1) == (scale in (0.1, 30.0, 3.0)), "the authors' step suits gradients of length 1.4"


def test_pixels_that_cannot_move_do_not_shorten_the_steps():
    # Class 0 leads by x + y - 0.3. Both pixels have to fall, but x is 0 already: from (0, 0.8), the boundary is at (0, 0.3).
    def logits(images: Tensor) -> Tensor:
        total = images.flatten(1).sum(dim=1)
        return torch.stack([total - 0.3, 0 * total], dim=1)

    perturbed = perturb_towards(logits, point(0, 0.8), torch.tensor([0]), torch.tensor([1]), steps=1)
    torch.testing.assert_close(perturbed.images, point(0, 0.3), atol=1e-3, rtol=0)
    assert perturbed.in_target.item()


def test_the_margin_is_that_of_the_two_highest_probabilities():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.45, 0.45], [0.2, 0.3, 0.5]]))
    margin, between = describe_boundary(logits, torch.tensor([1, 1, 0]), torch.tensor([0, 2, 1]))
    assert margin.tolist() == pytest.approx([0.2, 0, 0.2], abs=1e-6)
    assert between.tolist() == [True, True, False]


def test_an_image_stops_once_another_class_is_predicted():
    perturbed = perturb_towards(
        linear, point(2, 1), torch.tensor([0]), torch.tensor([1]), steps=40, step=0.8, bounds=None
    )
    assert perturbed.in_target.item()
    assert -0.2 < gap(perturbed.images) < 0
    further = perturb_towards(linear, perturbed.images, torch.tensor([0]), torch.tensor([1]), steps=10, bounds=None)
    assert torch.equal(further.images, perturbed.images)


def test_steps_are_in_units_of_the_normalisation():
    # Images scaled by 0.1 and a network that divides by 0.1: the same perturbation, scaled by 0.1.
    def scaled(images: Tensor) -> Tensor:
        return linear(images / 0.1)

    one = torch.tensor([0]), torch.tensor([1])
    plain = perturb_towards(linear, point(2, 1), *one, steps=3, bounds=None)
    small = perturb_towards(scaled, point(0.2, 0.1), *one, steps=3, unit=0.1, bounds=None)
    torch.testing.assert_close(10 * small.images, plain.images)


def test_images_are_perturbed_independently_and_stay_in_bounds():
    net = make_network("resnet8").eval()
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    base = net(images).logits.argmax(dim=1)
    target = (base + 1) % 3
    together = perturb_towards(lambda x: net(x).logits, images, base, target, unit=net.std).images
    for row in range(5):
        alone = perturb_towards(
            lambda x: net(x).logits, images[row : row + 1], base[row : row + 1], target[row : row + 1], unit=net.std
        )
        torch.testing.assert_close(alone.images[0], together[row], atol=1e-5, rtol=1e-4)
    assert together.min() >= 0
    assert together.max() <= 1
    assert not torch.equal(together, images)


def test_the_network_is_unchanged():
    net = make_network("resnet8").eval()
    before, images = copy.deepcopy(net.state_dict()), torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        perturb_towards(
            lambda x: net(x).logits, images, torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
        )
        assert not torch.is_grad_enabled()
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not images.requires_grad


def test_a_zero_gradient_gives_finite_images():
    flat = perturb_towards(
        lambda x: 0 * x.flatten(1)[:, :2] + torch.tensor([1.0, 0]),
        torch.rand(2, 2, 1, 1),
        *torch.tensor([[0, 0], [1, 1]]),
    )
    assert torch.isfinite(flat.images).all()


def test_target_and_third_class_are_distinguished():
    # Logits (0.1, -0.19, 0.09): a short step down for class 0 leaves class 2 the largest, a long one class 1.
    one = torch.tensor([0]), torch.tensor([1])
    short = perturb_towards(linear, point(0.1, -0.19), *one, steps=1, step=0.3, bounds=None)
    long = perturb_towards(linear, point(0.1, -0.19), *one, steps=1, step=1.5, bounds=None)
    assert (short.in_target.item(), short.in_third.item()) == (False, True)
    assert (long.in_target.item(), long.in_third.item()) == (True, False)


def test_boundary_samples_are_a_fixed_share_of_which_correct_ones_are_valid():
    net, random = make_network("resnet8").eval(), torch.Generator()
    images = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    teacher_logits = net(images).logits.detach()
    predictions = teacher_logits.argmax(dim=1)
    student = teacher_logits.clone()
    student[1:] = -student[1:]  # correct for the first only
    batch = Batch(images, predictions, torch.arange(9), Clock(0, 9))
    samples = find_boundary_samples(
        lambda x: net(x).logits, batch, teacher_logits, student, random.manual_seed(0), share=0.5, unit=net.std
    )
    assert len(samples.images) == 4
    assert samples.valid.tolist() == [True, False, False, False]
    assert samples.rows[0] == 0
    assert torch.equal(samples.base, predictions[samples.rows])
    assert not (samples.target == samples.base).any()
    torch.testing.assert_close(samples.logits, net(samples.images).logits.detach())
    reached = samples.logits[0].argmax() == samples.target[0]
    strict = find_boundary_samples(
        lambda x: net(x).logits,
        batch,
        teacher_logits,
        student,
        random.manual_seed(0),
        share=0.5,
        unit=net.std,
        strict=True,
    )
    assert strict.valid.tolist() == [bool(reached), False, False, False]


def test_a_single_candidate_is_perturbed_and_the_batch_is_filled():
    # Three points of the linear teacher; the student is correct only for the second.
    images = torch.cat([point(0.9, 0.2), point(0.3, 0.8), point(0.7, 0.1)])
    teacher_logits = linear(images)
    student = torch.tensor([[0.0, 1, 0], [0, 2, 0], [0, 0, 3]])
    batch = Batch(images, teacher_logits.argmax(dim=1), torch.arange(3), Clock(0, 1))
    samples = find_boundary_samples(
        linear, batch, teacher_logits, student, torch.Generator().manual_seed(0), share=1.0, steps=40, step=0.8
    )
    assert samples.images.shape == images.shape
    assert samples.rows[0] == 1
    assert samples.valid.tolist() == [True, False, False]
    assert samples.notes["candidates"].item() == pytest.approx(1 / 3)
    assert samples.logits[0].argmax() != 1


@pytest.mark.parametrize("right", [True, False])
def test_a_batch_of_one_is_perturbed(right: bool):
    images = point(0.9, 0.2)
    batch = Batch(images, torch.tensor([0 if right else 2]), torch.arange(1), Clock(0, 1))
    logits = linear(images)
    samples = find_boundary_samples(linear, batch, logits, logits, torch.Generator().manual_seed(0), share=0.25)
    assert samples.images.shape == images.shape
    assert samples.valid.tolist() == [right]
    assert all(torch.isfinite(note) for note in samples.notes.values())


def test_a_constant_and_saturated_teacher_gives_no_nan():
    def flat(x: Tensor) -> Tensor:
        return 0 * x.flatten(1).sum(dim=1, keepdim=True) + torch.tensor([1e4, 0.0, -1e4])

    images, random = torch.rand(4, 1, 2, 2), torch.Generator().manual_seed(0)
    batch = Batch(images, torch.zeros(4, dtype=torch.long), torch.arange(4), Clock(0, 1))
    samples = find_boundary_samples(flat, batch, flat(images), flat(images), random, share=1.0)
    torch.testing.assert_close(samples.images, images[samples.rows])
    assert samples.target.tolist() == [1, 1, 1, 1]
    assert samples.valid.all()
    assert samples.notes["crossed"].item() == 0


def logits_of(net: Network, images: Tensor) -> Tensor:
    return net(images).logits


def test_student_gradients_are_unaffected_by_a_preceding_attack():
    # The authors' code calls backward in the attack, which leaves gradients in all parameters.
    gradients = []
    for attacked in (True, False):
        student, teacher = make_network("resnet8", seed=1).train(), make_network("resnet8").eval()
        images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        ours, teacher_logits = student(images).logits, teacher(images).logits
        batch = Batch(images, teacher_logits.argmax(dim=1), torch.arange(6), Clock(0, 1))
        if attacked:
            find_boundary_samples(
                partial(logits_of, teacher), batch, teacher_logits, ours, torch.Generator().manual_seed(0), share=0.5
            )
            assert all(parameter.grad is None for net in (student, teacher) for parameter in net.parameters())
        ours.square().mean().backward()
        gradients.append([parameter.grad for parameter in student.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def digits() -> tuple[Tensor, Tensor]:
    source = load_dataset("digits")
    return torch.from_numpy(source.images[:800]).float() / 255, torch.from_numpy(source.labels[:800])


def gratings() -> tuple[Tensor, Tensor]:
    """Return noisy colour images of 32x32: gratings of three directions and phases."""
    random = torch.Generator().manual_seed(0)
    labels, phase = torch.arange(240) % 3, 6 * torch.rand(240, 3, 1, 1, generator=random)
    angle = (labels / 3 * math.pi)[:, None, None]
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    waves = torch.sin(0.5 * (x * angle.cos() + y * angle.sin())[:, None] + phase)
    return (0.5 + 0.2 * waves + 0.15 * torch.randn(240, 3, 32, 32, generator=random)).clamp(0, 1), labels


def train_teacher(images: Tensor, labels: Tensor) -> Network:
    std = images.std(dim=(0, 2, 3)).tolist()
    net = build_network(
        MODELS.parse("resnet8"), shape=tuple(images.shape[1:]), classes=int(labels.max()) + 1, mean=std, std=std, seed=0
    ).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for step in range(20):
        rows = (torch.arange(40) + 40 * step) % len(images)
        loss = torch.nn.functional.cross_entropy(net(images[rows]).logits, labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval().requires_grad_(False)


@pytest.mark.parametrize("data", [digits, gratings])
def test_images_end_near_the_boundary_of_trained_teachers_of_any_scale(data: Callable[[], tuple[Tensor, Tensor]]):
    images, labels = data()
    net = train_teacher(images, labels)
    base, target = net(images[:40]).logits.topk(2, dim=1).indices.T
    margins = {}
    for scale in (0.3, 3.0):  # of the logits, and so of their gradients
        for step in (None, 0.3):
            perturbed = perturb_towards(
                lambda x, scale=scale: scale * net(x).logits, images[:40], base, target, unit=net.std, step=step
            )
            margins[scale, step] = describe_boundary(perturbed.logits, base, target)[0].median().item()
    assert max(margin for (_, step), margin in margins.items() if step is None) < 0.01
    assert max(margin for (_, step), margin in margins.items() if step == 0.3) > 0.1, (
        "the authors' step suits one scale"
    )


def test_two_images_are_perturbed_where_the_share_is_less():
    """Batch norm cannot be trained with a single image whose maps have one pixel."""
    images = torch.cat([point(0.9, 0.2), point(0.3, 0.8), point(0.7, 0.1), point(0.2, 0.6)])
    batch = Batch(images, torch.tensor([0, 1, 0, 1]), torch.arange(4), Clock(0, 1))
    logits = linear(images)
    samples = find_boundary_samples(linear, batch, logits, logits, torch.Generator().manual_seed(0), share=0.25)
    assert len(samples.images) == 2
