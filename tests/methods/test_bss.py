"""bss: who is walked, where to, and what counts."""

import pytest
import torch
from helpers import S, T, batches, construct, few

from robustkd.attacks import candidates, drawn_targets
from robustkd.functional import soft_ce
from robustkd.methods import METHODS
from robustkd.records import Batch, Clock

ONE = torch.tensor([0, 1, 2])
SURE = 5.0 * torch.eye(3)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_golden_soft_cross_entropy():
    assert soft_ce(T, S, 3.0).mean().item() == pytest.approx(1.6344142776, abs=1e-10)


def test_candidates_are_right_in_both_and_those_that_differ_most_come_first():
    teacher = torch.stack([SURE[0], SURE[0] + torch.tensor([0, 4.0, 0]), SURE[0], SURE[1]])
    student = torch.stack([SURE[0], SURE[0], SURE[2], SURE[1]])
    labels = torch.tensor([0, 0, 0, 0])  # the third is wrong for the student, the fourth for both
    rows, counted = candidates(teacher, student, labels, 3)
    assert rows[:2].tolist() == [1, 0]
    assert counted.tolist() == [True, True, False]


def test_with_no_candidate_none_counts():
    rows, counted = candidates(SURE, SURE.roll(1, 0), ONE, 2)
    assert len(rows) == 2
    assert not counted.any()


def test_targets_follow_the_teacher_and_are_never_its_first():
    teacher = torch.log(torch.tensor([[0.6, 0.3, 0.1]])).repeat(4000, 1)
    share = drawn_targets(teacher, seeded()).bincount(minlength=3) / 4000
    assert share.tolist() == pytest.approx([0, 0.75, 0.25], abs=0.03)
    certain = torch.tensor([[500.0, 1.0, 0.0]])
    assert drawn_targets(certain, seeded()).tolist() == [1], "all else is lost to rounding: the second-ranked"


def objective(epoch: int, epochs: int, images: torch.Tensor | None = None, **chosen: object):
    made = construct(
        METHODS.read("bss" if not chosen else "bss(" + ", ".join(f"{k}={v}" for k, v in chosen.items()) + ")")
    )
    (shown,) = list(batches(few(), 12).epoch(0, Clock(epoch, epochs)))
    return made.method, made.method.objective(shown)


@pytest.mark.parametrize(
    ("epoch", "alpha", "beta"), [(1, 3.9625, 1.9667), (20, 3.25, 1.3333), (40, 2.5, 0.6667), (60, 1.75, 0), (80, 1, 0)]
)
def test_the_schedule_is_the_authors(epoch: int, alpha: float, beta: float):
    method, made = objective(epoch - 1, 80)
    (shown,) = list(batches(few(), 12).epoch(0, Clock(epoch - 1, 80)))
    with torch.no_grad():
        method.eval()
        plain = soft_ce(method.teacher(shown.images).logits, method.student(shown.images).logits, 3.0).mean()
        again = method.objective(shown)
    assert again.terms["kd"].item() == pytest.approx(alpha * plain.item(), rel=1e-4)
    assert ("boundary" in made.terms) == (beta > 0)


def test_where_nobody_is_right_the_boundary_is_no_term_and_no_nan():
    method, _ = objective(0, 10)
    (shown,) = list(batches(few(), 12).epoch(0, Clock(0, 10)))
    wrong = (method.teacher(shown.images).logits.argmin(dim=1)).detach()
    made = method.objective(Batch(shown.images, wrong, shown.index, shown.clock))
    assert made.terms["boundary"].item() == 0
    made.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


def test_the_paper_counts_only_what_crossed():
    _, everything = objective(0, 10, steps=1)
    _, strict = objective(0, 10, steps=1, reject="paper")
    assert strict.notes["candidates"] <= everything.notes["candidates"]
    assert strict.notes["crossed"].item() in (0.0, 1.0)


def test_the_attack_leaves_no_gradient_behind():
    method, _ = objective(0, 10)
    assert all(parameter.grad is None for parameter in method.parameters())
    assert all(parameter.grad is None for parameter in method.teacher.net.parameters())
