"""bss: selection, perturbation and weighting of boundary samples."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from robustkd.attacks.boundary import sample_target_classes, select_base_samples
from robustkd.criteria.ce import CE
from robustkd.functional import soft_ce
from robustkd.methods import METHODS, bss
from robustkd.methods.bss import BSS
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, Clock, DatasetInfo, Output
from tests.helpers import S, T, build_method, make_loader, reload_state, small_view, states_equal

ONE = torch.tensor([0, 1, 2])
SURE = 5.0 * torch.eye(3)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_golden_soft_cross_entropy():
    assert soft_ce(T, S, 3.0).mean().item() == pytest.approx(1.6344142776, abs=1e-10)


def test_base_samples_are_correct_in_both_and_ranked_by_difference():
    teacher = torch.stack([SURE[0], SURE[0] + torch.tensor([0, 4.0, 0]), SURE[0], SURE[1]])
    student = torch.stack([SURE[0], SURE[0], SURE[2], SURE[1]])
    labels = torch.tensor([0, 0, 0, 0])  # the student misclassifies the third, both the fourth
    rows, counted = select_base_samples(teacher, student, labels, 3)
    assert rows[:2].tolist() == [1, 0]
    assert counted.tolist() == [True, True, False]


def test_without_candidates_no_row_is_valid():
    rows, counted = select_base_samples(SURE, SURE.roll(1, 0), ONE, 2)
    assert len(rows) == 2
    assert not counted.any()


def test_targets_follow_the_teachers_probabilities_except_its_prediction():
    teacher = torch.log(torch.tensor([[0.6, 0.3, 0.1]])).repeat(4000, 1)
    share = sample_target_classes(teacher, seeded()).bincount(minlength=3) / 4000
    assert share.tolist() == pytest.approx([0, 0.75, 0.25], abs=0.03)
    certain = torch.tensor([[500.0, 1.0, 0.0]])
    assert sample_target_classes(certain, seeded()).tolist() == [1]  # all others are rounded to zero


def run_objective(epoch: int, epochs: int, images: torch.Tensor | None = None, **options: object):
    built = build_method(
        METHODS.parse("bss" if not options else "bss(" + ", ".join(f"{k}={v}" for k, v in options.items()) + ")")
    )
    (batch,) = list(make_loader(small_view(), 12).iter_epoch(0, Clock(epoch, epochs)))
    return built.method, built.method.objective(batch)


@pytest.mark.parametrize(
    ("epoch", "alpha", "beta"), [(1, 3.9625, 1.9667), (20, 3.25, 1.3333), (40, 2.5, 0.6667), (60, 1.75, 0), (80, 1, 0)]
)
def test_schedule_matches_the_authors(epoch: int, alpha: float, beta: float):
    method, objective = run_objective(epoch - 1, 80)
    (batch,) = list(make_loader(small_view(), 12).iter_epoch(0, Clock(epoch - 1, 80)))
    with torch.no_grad():
        method.eval()
        plain = soft_ce(method.teacher(batch.images).logits, method.student(batch.images).logits, 3.0).mean()
        again = method.objective(batch)
    assert again.terms["kd"].item() == pytest.approx(alpha * plain.item(), rel=1e-4)
    assert ("boundary" in objective.terms) == (beta > 0)


def test_without_correct_samples_the_boundary_term_is_zero():
    method, _ = run_objective(0, 10)
    (batch,) = list(make_loader(small_view(), 12).iter_epoch(0, Clock(0, 10)))
    wrong = (method.teacher(batch.images).logits.argmin(dim=1)).detach()
    objective = method.objective(Batch(batch.images, wrong, batch.index, batch.clock))
    assert objective.terms["boundary"].item() == 0
    objective.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


def test_reject_paper_counts_only_crossed_samples():
    _, everything = run_objective(0, 10, steps=1)
    _, strict = run_objective(0, 10, steps=1, reject="paper")
    crossed = strict.notes["crossed"] * strict.notes["candidates"]
    assert strict.notes["kept"].item() == pytest.approx(crossed.item())
    assert everything.notes["kept"] == everything.notes["candidates"] == strict.notes["candidates"]


def test_the_attack_leaves_no_gradients():
    method, _ = run_objective(0, 10)
    assert all(parameter.grad is None for parameter in method.parameters())
    assert all(parameter.grad is None for parameter in method.teacher.net.parameters())


# --- a perturbation by hand -----------------------------------------------------------------------------------------


class Plane(Network):
    """Logits that are linear in two pixels."""

    def __init__(self, slope: float, third: float = -50.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[slope, 0], [0, slope], [0, 0]], dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor([0, 0, third], dtype=torch.float64))

    def forward(self, images: Tensor) -> Output:
        logits = images.flatten(1) @ self.weight.T + self.bias
        return Output(logits, logits, ())

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        yield from ()

    def replace_head(self, head: nn.Linear) -> None:
        raise NotImplementedError


POINTS = [(0.8, 0.2), (0.1, 0.6), (0.9, 0.3), (0.7, 0.4)]


def evaluate_planes(labels: list[int], epoch: int = 0, slope: float = 4.0, **options: object) -> dict[str, float]:
    """Terms and notes of bss for POINTS with these labels. Both networks predict 0, 1, 0, 0, the student less confidently.

    Each point is there twice, as two images at least are perturbed.
    """
    info = DatasetInfo(8, (2, 2, 4), (1, 1, 2))
    method = BSS(Plane(slope / 2), Frozen(Plane(slope)), lambda: CE(info), seeded(), **options)
    images = torch.tensor(2 * POINTS, dtype=torch.float64).reshape(8, 1, 1, 2)
    objective = method.objective(Batch(images, torch.tensor(2 * labels), torch.arange(8), Clock(epoch, 10)))
    objective.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())
    return {name: value.item() for name, value in {**objective.terms, **objective.notes}.items()}


def boundary_loss_by_hand(x: float, y: float, temperature: float = 3.0) -> float:
    """H(p_t, p_s) of the perturbed image. The logit of the third class is too low to be sampled or to contribute."""
    own, other = max(x, y), min(x, y)
    while own >= other:  # a step is 0.3 of the gap, plus 1e-4, along the unit vector (1, -1) / sqrt 2
        stride = 0.3 * (4 * (own - other) + 1e-4) / math.sqrt(2)
        own, other = own - stride, other + stride
    p, q = (1 / (1 + math.exp(-slope * (own - other) / temperature)) for slope in (4, 2))
    return -p * math.log(q) - (1 - p) * math.log(1 - q)


@pytest.mark.parametrize(
    ("labels", "right"),
    [
        ([0, 2, 1, 1], [0]),  # exactly one candidate
        ([1, 1, 2, 2], [1]),
        ([0, 1, 2, 2], [0, 1]),
        ([1, 0, 1, 2], []),
    ],
)
def test_boundary_is_the_mean_over_samples_correct_in_both_networks(labels: list[int], right: list[int]):
    results = evaluate_planes(labels, share=0.5, step=0.3)
    expected = sum(boundary_loss_by_hand(*POINTS[row]) for row in right) / max(1, len(right))
    assert results["boundary"] == pytest.approx((2 - 8 / 3 / 10) * expected, rel=1e-6)
    assert results["candidates"] == len(right) / 2
    assert results["crossed"] == (len(right) > 0)


def test_excess_candidates_are_ranked_by_the_difference_of_the_networks():
    # For pixels that differ by d, the teacher's probability is 1 / (1 + e^(-4 d)), the student's 1 / (1 + e^(-2 d)):
    # 0.769 and 0.646 for d = 0.3, 0.881 and 0.731 for 0.5, 0.917 and 0.769 for 0.6. The second point is selected.
    assert evaluate_planes([0, 1, 0, 0], share=0.25, step=0.3)["boundary"] == pytest.approx(
        26 / 15 * boundary_loss_by_hand(0.1, 0.6), rel=1e-6
    )


def test_temperature_applies_to_both_soft_terms_without_its_square():
    warm, cold = (evaluate_planes([0, 1, 0, 0], step=0.3, temperature=t) for t in (3.0, 1.0))
    assert cold["boundary"] == pytest.approx(26 / 15 * boundary_loss_by_hand(0.1, 0.6, 1.0), rel=1e-6)
    images = torch.tensor(POINTS, dtype=torch.float64)
    for results, temperature in ((warm, 3.0), (cold, 1.0)):
        p, q = (1 / (1 + torch.exp(-slope * (images[:, 0] - images[:, 1]) / temperature)) for slope in (4, 2))
        plain = -(p * q.log() + (1 - p) * (1 - q).log()).mean().item()
        assert results["kd"] == pytest.approx(3.7 * plain, rel=1e-6)


def test_reject_paper_with_no_crossed_sample_counts_none():
    # Ten steps of 0.01 do not reach the boundary.
    assert evaluate_planes([0, 2, 2, 2], step=0.01)["candidates"] == 1
    assert evaluate_planes([0, 2, 2, 2], step=0.01)["boundary"] > 0
    strict = evaluate_planes([0, 2, 2, 2], step=0.01, reject="paper")
    assert (strict["candidates"], strict["kept"], strict["boundary"]) == (1, 0, 0)
    assert evaluate_planes([0, 2, 2, 2], reject="paper")["kept"] == 1


@pytest.mark.parametrize("slope", [0.4, 4.0, 40.0])
def test_by_default_images_end_at_the_boundary_whatever_the_teacher_s_scale(slope: float):
    # There, two classes are equally probable for both networks: the soft cross entropy is log 2.
    results = evaluate_planes([0, 1, 0, 0], slope=slope)
    assert results["boundary"] == pytest.approx(26 / 15 * math.log(2), rel=1e-3)
    assert (results["crossed"], results["astray"]) == (1, 0)
    assert results["margin"] < 1e-3


# --- side effects of the attack -------------------------------------------------------------------------------------


def test_student_gradients_are_equal_with_and_without_the_attack(monkeypatch: pytest.MonkeyPatch):
    (batch,) = list(make_loader(small_view(), 12).iter_epoch(0, Clock(0, 10)))
    gradients = []
    for beta in (0.0, 2.0):
        monkeypatch.setattr(bss, "boundary_weights", lambda clock, beta=beta: (1.0, beta))
        method = build_method(METHODS.parse("bss")).method.train()
        for parameter in method.student.parameters():
            parameter.grad = torch.ones_like(parameter)
        objective = method.objective(batch)
        assert all((parameter.grad == 1).all() for parameter in method.student.parameters())
        assert ("boundary" in objective.terms) == (beta > 0)
        (objective.terms["ce"] + objective.terms["kd"]).backward()
        gradients.append([parameter.grad for parameter in method.student.parameters()])
        assert all(p.grad is None and not p.requires_grad for p in method.teacher.net.parameters())
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@pytest.mark.parametrize("statistics", [True, False])
def test_batch_norm_collects_statistics_of_perturbed_images_if_enabled(statistics: bool):
    (batch,) = list(make_loader(small_view(), 12).iter_epoch(0, Clock(0, 10)))
    with_attack, without = (
        build_method(METHODS.parse(f"bss(statistics={statistics})")).method.train() for _ in range(2)
    )
    with_attack.objective(batch)
    without.student(batch.images)
    states = (
        {k: v for k, v in reload_state(m.student.state_dict()).items() if "running" in k}
        for m in (with_attack, without)
    )
    assert states_equal(*states) == (not statistics)


def test_a_batch_of_one_class_is_attacked():
    method = build_method(METHODS.parse("bss")).method.train()
    (batch,) = list(make_loader(small_view(), 12).iter_epoch(0, Clock(0, 10)))
    alike = Batch(batch.images[:1].repeat(4, 1, 1, 1), batch.labels[:1].repeat(4), batch.index[:4], batch.clock)
    objective = method.objective(alike)
    objective.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.student.parameters())
