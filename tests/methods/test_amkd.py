"""amkd: triplet loss on boundary samples, boundary the teacher's logits and far from samples of other classes."""

import pytest
import torch
from torch import Tensor

from robustkd.attacks.boundary import BoundarySamples
from robustkd.errors import UsageError
from robustkd.functional import triplet_loss
from robustkd.methods import METHODS
from robustkd.methods.amkd import AMKD, negative_mask, select_negatives
from robustkd.models.net import Frozen
from robustkd.types import Batch, Clock, Output
from tests.helpers import BuiltMethod, build_method, golden, make_loader, make_teacher, small_view

LOGITS = golden((6, 3), 1.9, 0.4, 3)  # a batch of six, three classes
STUDENT_BOUNDARY = golden((2, 3), 0.8, 0.2, 2)
BOUNDARY = BoundarySamples(
    images=torch.zeros(2, 1, 8, 8),
    logits=golden((2, 3), 1.1, 0.7, 2),
    rows=torch.tensor([4, 1]),
    base=torch.tensor([0, 1]),
    target=torch.tensor([1, 2]),
    valid=torch.tensor([True, True]),
    notes={},
)


def output(logits: Tensor) -> Output:
    return Output(logits, logits, ())


def build(word: str = "amkd", **options: object) -> BuiltMethod:
    values = ", ".join(f"{name}={value}" for name, value in options.items())
    return build_method(METHODS.parse(f"{word}({values})"))


def first_batch(epoch: int = 0, epochs: int = 100) -> Batch:
    """Twelve images labelled with the teacher's predictions, so that all of these are correct."""
    (batch,) = make_loader(small_view(), 12).iter_epoch(0, Clock(epoch, epochs))
    return Batch(batch.images, make_teacher()(batch.images).logits.argmax(dim=1), batch.index, batch.clock)


def agreeing(built: BuiltMethod) -> AMKD:
    """A student equal to the teacher: every sample is a candidate."""
    built.method.student = built.method.model = type(built.teacher.net)(
        built.teacher.net.stem, built.teacher.net.stages, built.teacher.net.head, neck=built.teacher.net.neck
    )
    built.method.student.mean, built.method.student.std = built.teacher.net.mean, built.teacher.net.std
    return built.method.eval()


def test_negatives_exclude_both_classes():
    classes, base, target = torch.tensor([0, 1, 2, 0, 2]), torch.tensor([0, 2]), torch.tensor([1, 0])
    assert negative_mask(classes, base, target, target).int().tolist() == [[0, 0, 1, 0, 1], [0, 1, 0, 0, 0]]


@pytest.mark.parametrize(("how", "expected"), [("hardest", 2), ("semihard", 3)])
def test_each_strategy_selects_its_negative(how, expected):
    # The nearest valid one is at 1; the nearest valid one farther than the positive (at 2) is at 4. The one at 0.5 is invalid.
    distance, valid = torch.tensor([[0.5, 9.0, 1.0, 4.0]]), torch.tensor([[False, True, True, True]])
    negative, any_other = select_negatives(distance, torch.tensor([2.0]), valid, how, torch.Generator())
    assert (negative.tolist(), any_other.tolist()) == ([expected], [True])


def test_semihard_falls_back_to_the_farthest():
    distance, valid = torch.tensor([[1.0, 3.0, 2.0, 8.0]]), torch.tensor([[True, True, True, False]])
    negative, _ = select_negatives(distance, torch.tensor([5.0]), valid, "semihard", torch.Generator())
    assert negative.tolist() == [1]


@pytest.mark.parametrize("how", ["random", "hardest", "semihard"])
def test_anchors_without_a_negative_are_invalid(how):
    _, any_other = select_negatives(torch.ones(1, 4), torch.ones(1), torch.zeros(1, 4).bool(), how, torch.Generator())
    assert any_other.tolist() == [False]


def test_random_negatives_are_uniform_over_valid_ones():
    valid = torch.tensor([[True, False, True, True]]).repeat(3000, 1)
    distance = torch.ones(3000, 4)
    negative, _ = select_negatives(distance, torch.ones(3000), valid, "random", torch.Generator().manual_seed(0))
    assert (negative.bincount(minlength=4) / 3000).tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3], abs=0.03)


def triplet_by_hand(reading: str, i: int, j: int, theirs: Tensor) -> float:
    """max(0, |a - p| - |a - n| + 5) of boundary sample i with sample j as its negative, coordinate by coordinate."""
    a, p, n = {
        "I1": (BOUNDARY.logits[i], STUDENT_BOUNDARY[i], LOGITS[j]),
        "I2": (STUDENT_BOUNDARY[i], BOUNDARY.logits[i], theirs[j]),
        "I3": (STUDENT_BOUNDARY[i], LOGITS[BOUNDARY.rows[i]], LOGITS[j]),
    }[reading]
    to_positive, to_negative = (
        sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)) ** 0.5 for b in (p, n)
    )
    return max(0.0, to_positive - to_negative + 5)


@pytest.mark.parametrize("reading", ["I1", "I2", "I3"])
def test_each_reading_matches_a_loop(reading):
    # The teacher predicts class 2 for the last two of six samples and class 0 for one: the negatives, whatever their labels.
    predictions = torch.tensor([1, 1, 0, 1, 2, 2])
    theirs = LOGITS + 20 * torch.eye(3, dtype=torch.float64)[predictions]
    method = build("amkd_annealed", reading=reading, negatives="hardest").method
    loss, valid = method.triplet_losses(output(LOGITS), output(theirs), output(STUDENT_BOUNDARY), BOUNDARY)
    candidates = {0: (4, 5), 1: (2,)}  # neither 0 nor 1; neither 1 nor 2
    hardest = [max(triplet_by_hand(reading, i, j, theirs) for j in candidates[i]) for i in (0, 1)]
    assert valid.tolist() == [True, True]
    assert loss.tolist() == pytest.approx(hardest, abs=1e-5)


@pytest.mark.parametrize("reading", ["I1", "I2", "I3"])
def test_the_margin_is_what_makes_the_teacher_s_own_triplet_zero(reading):
    # The student's outputs are the teacher's: the loss is at its edge, for any scale of the logits.
    predictions = torch.tensor([1, 1, 0, 1, 2, 2])
    for scale in (0.1, 10.0):
        theirs = scale * (LOGITS + 20 * torch.eye(3, dtype=torch.float64)[predictions])
        boundary = BOUNDARY._replace(logits=scale * BOUNDARY.logits)
        method = build(reading=reading, negatives="hardest").method
        loss, _ = method.triplet_losses(output(theirs), output(theirs), output(boundary.logits), boundary)
        assert loss.tolist() == pytest.approx([0, 0], abs=1e-5)


def test_the_triplet_applies_until_the_student_keeps_the_teacher_s_distance():
    predictions = torch.tensor([1, 1, 0, 1, 2, 2])
    theirs = LOGITS + 20 * torch.eye(3, dtype=torch.float64)[predictions]
    method, losses = build(negatives="hardest").method, []
    for scale in (0.5, 0.9, 1.0, 1.1):  # of the student's logits for clean images
        loss, _ = method.triplet_losses(output(scale * theirs), output(theirs), output(BOUNDARY.logits), BOUNDARY)
        losses.append(loss.tolist())
    assert all(near > nearer > 0.5 for near, nearer in zip(*losses[:2], strict=True))
    assert losses[2] == pytest.approx([0, 0], abs=1e-5)
    assert losses[3] == [0, 0]


def test_gradients_reach_only_what_the_reading_trains():
    predictions = torch.eye(3, dtype=torch.float64)[torch.tensor([1, 1, 0, 1, 2, 2])]
    reached = {}
    for reading in ("I1", "I2", "I3"):
        student, perturbed = LOGITS.clone().requires_grad_(), STUDENT_BOUNDARY.clone().requires_grad_()
        method = build(reading=reading, margin=5).method
        loss, _ = method.triplet_losses(output(student), output(2 * predictions), output(perturbed), BOUNDARY)
        loss.sum().backward()
        reached[reading] = (student.grad is not None and bool(student.grad.any()), bool(perturbed.grad.any()))
    assert reached == {"I1": (True, True), "I2": (False, True), "I3": (True, True)}


def test_gradient_of_the_first_reading():
    negatives = torch.tensor([4, 2])

    def loss(student: Tensor, perturbed: Tensor) -> Tensor:
        return triplet_loss(BOUNDARY.logits, perturbed, student[negatives], 5.0)

    assert torch.autograd.gradcheck(loss, (LOGITS.clone().requires_grad_(), STUDENT_BOUNDARY.clone().requires_grad_()))


@pytest.mark.parametrize("space", ["unit", "embedding"])
def test_unit_and_embedding_space_are_invariant_to_length(space):
    method = build(space=space, margin=0.5, negatives="hardest").method
    size = {"unit": 3, "embedding": method.student.head.in_features}[space]
    ours, theirs = golden((6, size), 0.9, 0.3).float(), golden((6, 64 if space == "embedding" else 3), 1.3, 0.1).float()
    if space == "embedding":
        with torch.no_grad():
            method.projection.bias.zero_()
    predictions = 9 * torch.eye(3)[torch.tensor([1, 1, 0, 1, 2, 2])]

    def loss(scale: float) -> list[float]:
        pool, teacher_pool = (x * scale for x in (ours, theirs))
        perturbed = pool[:2] + scale
        student, at = Output(pool[:, :3], pool, ()), Output(perturbed[:, :3], perturbed, ())
        boundary = BOUNDARY._replace(logits=BOUNDARY.logits.float())
        return method.triplet_losses(student, Output(predictions, teacher_pool, ()), at, boundary)[0].tolist()

    assert loss(1.0) == pytest.approx(loss(7.0), rel=1e-4)
    assert any(value > 0 for value in loss(1.0))


@pytest.mark.parametrize("space", ["unit", "embedding"])
def test_a_margin_of_at_least_2_is_rejected_for_unit_vectors(space):
    with pytest.raises(UsageError, match=r"margin is 5 but should be below 2 .* at most 2 apart"):
        build(space=space, margin=5)
    assert build(space=space).method.margin is None, "the teacher's distance is one of unit vectors too"


def test_two_classes_are_rejected():
    two = build_method(METHODS.parse("hinton"))
    with pytest.raises(UsageError, match="needs at least 3 classes, but the data set has 2"):
        AMKD(
            two.method.student,
            Frozen(two.teacher.net),
            type("Facts", (), {"classes": 2, "shape": (1, 8, 8)})(),
            lambda: two.method.criterion,
            torch.Generator(),
        )


def test_terms_depend_on_schedule_and_preset():
    def terms(word: str, epoch: int) -> set[str]:
        return set(build(word).method.objective(first_batch(epoch)).terms)

    assert terms("amkd_annealed", 0) == {"ce", "kd", "triplet"}
    assert terms("amkd_bss", 0) == {"ce", "kd", "triplet", "boundary"}
    assert terms("amkd_annealed", 74) == terms("amkd_bss", 80) == {"ce", "kd"}
    assert terms("amkd", 0) == terms("amkd", 99) == {"ce", "kd", "triplet", "boundary"}


def test_the_annealed_preset_is_the_former_default():
    former = {"margin": 5.0, "reject": "none", "annealed": True}
    assert METHODS.parse("amkd_annealed").kwargs() == {**former, "boundary": 0.0, "step": 0.3}
    assert METHODS.parse("amkd_bss").kwargs() == {**former, "boundary": 1.0}


def test_boundary_and_triplet_keep_their_weights_to_the_end():
    early, late = (build(negatives="hardest").method.objective(first_batch(epoch)).terms for epoch in (0, 99))
    assert early["triplet"] == late["triplet"] > 0
    assert early["boundary"] == late["boundary"] > 0
    assert early["kd"] > late["kd"]


def test_only_images_close_to_the_boundary_of_the_two_classes_are_kept():
    kept = {}
    for margin in (0.0, 0.1, 1.0):
        objective = build(max_margin=margin).method.objective(first_batch())
        kept[margin] = objective.notes["kept"].item()
    everything = build(reject="none").method.objective(first_batch()).notes
    assert 0 == kept[0.0] < kept[0.1] <= kept[1.0] <= everything["kept"].item() == everything["candidates"].item()


def test_a_student_equal_to_its_teacher_agrees_at_the_boundary():
    method = agreeing(build("amkd_bss"))
    objective = method.objective(first_batch())
    loss = objective.terms["boundary"]
    (slope,) = (
        torch.autograd.grad(loss, method.student.head.bias, allow_unused=True, materialize_grads=True)
        if (loss.requires_grad)
        else (torch.zeros(1),)
    )
    assert objective.notes["candidates"] == 1
    assert slope.abs().max() < 1e-5


def test_without_candidates_the_terms_are_zero():
    method = build("amkd_bss").method
    batch = first_batch()
    # All predictions of the teacher are wrong.
    mislabelled = Batch(batch.images, (batch.labels + 1) % 3, batch.index, batch.clock)
    objective = method.objective(mislabelled)
    assert objective.terms["triplet"] == objective.terms["boundary"] == objective.notes["candidates"] == 0
    objective.loss.backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


def test_batch_norm_collects_no_statistics_of_perturbed_images():
    one, other = build("amkd").method.train(), build("amkd").method.train()
    one.objective(first_batch())
    other.student(first_batch().images)
    pairs = zip(one.student.named_buffers(), other.student.buffers(), strict=True)
    assert all(torch.equal(a, b) for (name, a), b in pairs if "num_batches" not in name)


def test_the_attack_leaves_existing_gradients_unchanged():
    method, before = build("amkd").method.train(), {}
    for name, parameter in method.student.named_parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
        before[name] = parameter.grad
    method.objective(first_batch())
    assert all((p.grad is before[name]) and (p.grad == 2).all() for name, p in method.student.named_parameters())
    assert all(p.grad is None for p in method.teacher.net.parameters())


def test_a_sample_without_a_negative_is_invalid():
    method = build(negatives="hardest").method
    predictions = 20 * torch.eye(3, dtype=torch.float64)[torch.tensor([0, 1, 1, 0, 1, 1])]
    loss, valid = method.triplet_losses(output(LOGITS), output(predictions), output(STUDENT_BOUNDARY), BOUNDARY)
    assert valid.tolist() == [False, True]  # no sample is of class 2; class 0 remains for the second
    assert loss.isfinite().all()


def test_the_predicted_class_of_a_perturbed_image_is_no_negative():
    method = build(negatives="hardest").method
    predictions = 20 * torch.eye(3, dtype=torch.float64)[torch.tensor([1, 1, 0, 1, 2, 2])]
    in_third = BOUNDARY._replace(
        logits=torch.tensor([[0.0, 0, 1], [0, 0, 1]], dtype=torch.float64)
    )  # both are now predicted as class 2
    _, valid = method.triplet_losses(output(LOGITS), output(predictions), output(STUDENT_BOUNDARY), in_third)
    assert valid.tolist() == [False, True]  # perturbed from 0 towards 1: only class 2 would be left


def test_triplets_are_averaged_over_the_batch():
    # Three of twelve images are perturbed: the sum over the valid ones, divided by twelve, times beta of epoch 1 of 100.
    method, batch = build("amkd_annealed", negatives="hardest").method.eval(), first_batch()
    seen = {}
    original = method.triplet_losses

    def metric(*args: object) -> tuple[Tensor, Tensor]:
        seen["loss"], seen["valid"] = original(*args)
        return seen["loss"], seen["valid"]

    method.triplet_losses = metric
    term = method.objective(batch).terms["triplet"].item()
    assert len(seen["loss"]) == 3
    expected = sum(l for l, c in zip(seen["loss"].tolist(), seen["valid"].tolist(), strict=True) if c)
    assert expected > 0
    assert term == pytest.approx(2 * (1 - 4 / 300) * expected / 12, rel=1e-5)
