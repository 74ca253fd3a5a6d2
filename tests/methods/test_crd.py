"""crd: contrastive loss between embeddings and memory banks, L = CE + weight (N(s, M_t) + N(t, M_s))."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.data.view import View
from robustkd.methods import METHODS
from robustkd.methods.crd import CRD, estimate_log_z, nce_loss
from robustkd.models.net import Frozen
from robustkd.types import Batch
from tests.helpers import FIVE, ConstantNetwork, S, T, build_method, golden, make_batch, make_source, small_view

NONE = torch.tensor(0.0, dtype=torch.float64)
MIXED = golden((4, 5), 0.61, 0.4, 2)  # a teacher that predicts the classes 2, 0, 2, 0
ALL = torch.ones(4, 6, dtype=torch.bool)
OWN, OTHERS = golden((4,), 0.7, 0.3, 14), golden((4, 6), 1.3, 0.1, 14)  # cosines at tau 0.07 reach 14


def crd(teacher: Tensor = MIXED, **options: object) -> CRD:
    """A method whose embeddings are the logits, with four rows, all of them in the batch."""
    random = torch.Generator().manual_seed(0)
    return CRD(
        ConstantNetwork(S),
        Frozen(ConstantNetwork(teacher)),
        FIVE,
        lambda: CE(FIVE),
        random,
        **{"dimension": 3, **options},
    ).double()


def with_rows(batch: Batch, *rows: int) -> Batch:
    """The same batch with other row numbers."""
    return replace(batch, index=torch.tensor(rows))


def test_by_hand():
    # Two of three rows are valid, N = 2 and Z = 1, so that m / N = 1 and h = q / (q + 1).
    # own q = 3: -log 3/4;  q = 1: -log(1 - 1/2);  q = 1/3: -log(1 - 1/4);  together 2 log 4/3 + log 2 = 1.2685113
    own, others = torch.tensor([math.log(3)]), torch.tensor([[0.0, 77.0, -math.log(3)]])
    loss = nce_loss(own, others, torch.tensor([[True, False, True]]), torch.tensor(0.0), 2)
    assert loss.tolist() == pytest.approx([1.2685113], abs=1e-6)


def test_equal_scores_give_a_uniform_probability():
    # If all scores are equal, Z = N exp(score), h = 1 / (1 + m) for every row, whatever the score.
    for score in (0.0, 3.0, 80.0):
        own, others = torch.full((4,), score), torch.full((4, 6), score)
        log_z = estimate_log_z(own, others, ALL, 50)
        assert log_z.item() == pytest.approx(score + math.log(50), rel=1e-6)
        loss = nce_loss(own, others, ALL, log_z, 50)
        assert loss.tolist() == pytest.approx([math.log(7) + 6 * math.log(7 / 6)] * 4, rel=1e-5)


def test_gradient_is_zero_for_invalid_negatives():
    valid = ALL.clone()
    valid[1], valid[2, ::2] = False, False
    others = OTHERS.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda own, others: nce_loss(own, others, valid, NONE + 5, 9), (OWN.clone().requires_grad_(), others)
    )
    nce_loss(OWN, others, valid, NONE, 9).sum().backward()
    assert torch.equal(others.grad != 0, valid)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1, 1000])
def test_large_scores_and_no_negatives_are_finite(dtype, scale):
    own, others = (x.to(dtype).mul(scale).requires_grad_() for x in (OWN, OTHERS))
    for valid in (ALL, ~ALL, ALL.tril()):
        log_z = estimate_log_z(own, others, valid, 9).detach()
        loss = nce_loss(own, others, valid, log_z, 9)
        assert loss.isfinite().all()
        assert all(g.isfinite().all() for g in torch.autograd.grad(loss.sum(), (own, others)))
    assert nce_loss(OWN, OTHERS, ~ALL, NONE, 1).tolist() == pytest.approx(np.log1p(np.exp(-OWN.numpy())).tolist())


def reference_loss(
    method: CRD, all_rows: bool, index: list[int], rows: list[int], log_z: list[float]
) -> tuple[list[float], list[float], float]:
    """Both terms, both log Z and the fraction removed, anchor by anchor with plain exponentials."""
    unit = [layer(z).detach().numpy() for layer, z in ((method.embed_s, S), (method.embed_t, MIXED))]
    unit = [e / np.linalg.norm(e, axis=1, keepdims=True) for e in unit]
    predictions, left, terms = MIXED.numpy().argmax(axis=1), 0, []
    for which, (anchors, bank) in enumerate(
        zip(unit, (method.teacher_bank.numpy(), method.student_bank.numpy()), strict=True)
    ):
        scores = []
        for b, anchor in enumerate(anchors):
            same_class = method.teacher_classes == predictions[b]
            negatives = [k for k in rows if k != index[b] and (all_rows or not same_class[k])]
            scores.append([math.exp(anchor @ bank[k] / method.tau) for k in (index[b], *negatives)])
            left += len(negatives)
        if math.isinf(log_z[which]):
            log_z[which] = math.log(len(bank) * np.mean([q for one in scores for q in one]))
        total = 0.0
        for own, *others in scores:
            c = max(len(others), 1) / len(bank) * math.exp(log_z[which])
            total -= math.log(own / (own + c)) + sum(math.log(1 - q / (q + c)) for q in others)
        terms.append(method.weight * total / len(anchors))
    return terms, log_z, 1 - left / 2 / len(index) / len(rows)


@pytest.mark.parametrize("draws", [4096, 3])
@pytest.mark.parametrize("negatives", ["teacher", "all"])
def test_three_steps_match_loops(negatives, draws):
    method, random = crd(negatives=negatives, draws=draws), torch.Generator().manual_seed(0)
    log_z = [math.inf, math.inf]
    for index in ([0, 1, 2, 3], [3, 1, 0, 2], [0, 1, 2, 3]):
        rows = torch.randperm(4, generator=random)[:draws].tolist()
        expected, log_z, removed = reference_loss(method, negatives == "all", index, rows, log_z)
        objective = method.objective(with_rows(make_batch(), *index))
        assert [objective.terms[name].item() for name in ("student", "teacher")] == pytest.approx(expected, rel=1e-5)
        assert objective.notes["removed"].item() == pytest.approx(removed)
        assert method.log_z.tolist() == pytest.approx(log_z, rel=1e-6)  # fixed after the first batch


def test_memory_banks_are_updated_with_momentum():
    method = crd()
    ours, s = method.student_bank.clone(), method.embed_s(S).detach()
    s = s / s.norm(dim=1, keepdim=True)
    method.objective(with_rows(make_batch(), 2, 0, 1, 3))
    mixed = ours[[2, 0, 1, 3]] / 2 + s / 2
    assert method.student_bank[[2, 0, 1, 3]].numpy() == pytest.approx((mixed / mixed.norm(dim=1, keepdim=True)).numpy())
    assert method.teacher_classes[[2, 0, 1, 3]].tolist() == MIXED.argmax(dim=1).tolist()
    for momentum, expected in ((0.0, s), (1.0, ours)):
        other = crd(momentum=momentum)
        other.load_state_dict({**method.state_dict(), "student_bank": ours})
        other.objective(make_batch())
        assert other.student_bank.numpy() == pytest.approx(expected.numpy())


def test_each_term_reaches_its_own_side_only():
    method = crd()
    terms = method.objective(make_batch()).terms
    for name, expected in (("student", {"model", "embed_s"}), ("teacher", {"embed_t"})):
        method.zero_grad(set_to_none=True)
        terms[name].backward(retain_graph=True)
        reached = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}
        assert reached == expected  # the model is the student


@pytest.mark.parametrize(("term", "layer"), [("student", "embed_s"), ("teacher", "embed_t")])
def test_gradient_of_a_step(term, layer):
    method = crd(
        momentum=1.0, negatives="all"
    )  # constant memory banks: from the second step on, Z and everything else is constant
    method.objective(make_batch())

    def loss(weight: Tensor) -> Tensor:
        del getattr(method, layer).weight
        getattr(method, layer).weight = weight
        return method.objective(make_batch()).terms[term]

    start = getattr(method, layer).weight.detach().clone()
    assert torch.autograd.gradcheck(loss, (start.requires_grad_(),))


def test_optional_kd_term():
    assert "kd" not in crd().objective(make_batch()).terms
    assert crd(T, kd=0.5).objective(make_batch()).terms["kd"].item() == pytest.approx(1.1528813057 / 2, abs=1e-10)


@pytest.mark.parametrize("word", ["crd", "crd(negatives=all)", "crd(draws=1)"])
def test_class_imbalance_of_a_hundred_to_one(word):
    labels = make_source(100).labels
    imbalanced = View.of(make_source(100)).take(
        np.concatenate([np.flatnonzero(labels == k)[:n] for k, n in enumerate((100, 9, 1))])
    )
    assert tuple(imbalanced.counts) == (100, 9, 1)
    built = build_method(METHODS.parse(word), view=imbalanced)
    for epoch in built.train(imbalanced, epochs=2, size=55):
        assert all(math.isfinite(value) for value in epoch.terms.values())


def test_a_teacher_with_constant_predictions_leaves_no_negatives():
    built = build_method(METHODS.parse("crd"))
    with torch.no_grad():
        built.teacher.net.head.weight.zero_()
    first, second = built.train(small_view(), epochs=2)
    assert first.terms["removed"] < 1
    assert second.terms["removed"] == 1
    assert math.isfinite(second.terms["student"])
