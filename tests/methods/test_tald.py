"""tald: the squared gap between the losses of student and teacher, on images and on particles around them."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.methods import METHODS
from robustkd.methods.tald import TALD
from robustkd.models.net import Frozen
from robustkd.types import Batch, Clock
from tests.helpers import FIVE, ConstantNetwork, S, T, build_method, make_batch, make_loader, small_view

RELEASED = {"norm": "l2", "radius": 5e-4, "probe": 2e4, "bandwidth": 7e-4, "steps": 1}


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
