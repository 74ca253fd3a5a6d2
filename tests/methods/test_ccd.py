"""ccd: 2 ((1 - b) CE + b T^2 soft) over both views, soft = (mean KL + mean c KL') / 2, c = 1 + cos of the teacher's."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.data.jda import JDA
from robustkd.data.jda_policy import JDAPolicy
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.functional import kl, kl_per_sample
from robustkd.methods import METHODS
from robustkd.methods.ccd import CCD, cosine_confidence
from robustkd.models.net import Frozen
from robustkd.types import Batch, DatasetInfo
from tests.helpers import (
    FIVE,
    LABELS,
    ConstantNetwork,
    S,
    T,
    build_method,
    golden,
    make_batch,
    make_network,
    small_view,
)

S2, T2 = golden((4, 5), 0.5, 0.9), golden((4, 5), 1.1, 0.4, 3)  # the second view


def ccd(student: Tensor, teacher: Tensor, **options: float) -> CCD:
    """A method of networks with these logits: first those for the images, then those for the second view."""
    return CCD(ConstantNetwork(student), Frozen(ConstantNetwork(teacher)), lambda: CE(FIVE), **options)


def paired_batch(labels: Tensor = LABELS) -> Batch:
    images = torch.zeros(len(labels), 1, 2, 2)
    return replace(make_batch(labels, images), views=(images + 1,))


def concat(one: Tensor, other: Tensor) -> Tensor:
    return torch.cat([one, other])


def softened(z: list[float], temperature: float) -> list[float]:
    top = [math.exp(v / temperature) for v in z]
    return [v / sum(top) for v in top]


def reference_loss(
    views: list[tuple[Tensor, Tensor]], labels: Tensor, balance: float = 0.5, temperature: float = 4.0
) -> float:
    """The whole loss, sample by sample; each view is (student, teacher)."""
    ce = soft = 0.0
    for b, label in enumerate(labels.tolist()):
        one, other = views[0][1][b].tolist(), views[1][1][b].tolist()
        dot = sum(x * y for x, y in zip(one, other, strict=True))
        c = 1 + dot / math.hypot(*one) / math.hypot(*other)
        for weight, (student, teacher) in zip((1, c), views, strict=True):
            z = student[b].tolist()
            ce -= math.log(softened(z, 1)[label])
            pairs = zip(softened(teacher[b].tolist(), temperature), softened(z, temperature), strict=True)
            soft += weight * sum(p * math.log(p / q) for p, q in pairs)
    B = len(labels)
    return 2 * ((1 - balance) * ce / (2 * B) + balance * temperature**2 * soft / (2 * B))


def test_by_hand():
    # p_s = (1/2, 1/2) and p_t = (3/4, 1/4) or its reverse: each KL is k = 3/4 log(3/2) + 1/4 log(1/2) = 0.1308120.
    # The teacher's logits of the two views are equal for the first image, c = 2, and orthogonal for the second, c = 1:
    # soft = (k + (2k + k) / 2) / 2 = 1.25 k;  L = log 2 + 1.25 k = 0.6931472 + 0.1635150
    a, b = [math.log(3), 0.0], [0.0, math.log(3)]
    method = ccd(torch.zeros(4, 2), torch.tensor([a, a, a, b]), temperature=1.0)
    objective = method.objective(paired_batch(torch.tensor([0, 1])))
    assert {name: term.item() for name, term in objective.terms.items()} == pytest.approx(
        {"ce": 0.6931472, "kd": 0.1635150}, abs=1e-6
    )
    assert objective.notes["confidence"].item() == pytest.approx(1.5)


def test_golden_value():
    # The two rows of a pair, 0 and 1, 2 and 3, have different labels here, so the cross entropy is computed separately.
    c = cosine_confidence(T[[0, 2]], T[[1, 3]])
    soft = (kl(T[[0, 2]], S[[0, 2]], 4) + (c * kl_per_sample(T[[1, 3]], S[[1, 3]], 4)).mean()) / 2
    assert (F.cross_entropy(S, LABELS) + 16 * soft).item() == pytest.approx(4.3380815681, abs=1e-10)
    method = ccd(concat(S[[0, 2]], S[[1, 3]]), concat(T[[0, 2]], T[[1, 3]]))
    assert method.objective(paired_batch(LABELS[[0, 2]])).terms["kd"].item() == pytest.approx(
        16 * soft.item(), rel=1e-12
    )


@pytest.mark.parametrize(("balance", "temperature"), [(0.5, 4.0), (0.2, 4.0), (0.5, 1.5), (0.0, 4.0), (1.0, 2.0)])
def test_loss_matches_a_loop(balance, temperature):
    method = ccd(concat(S, S2), concat(T, T2), balance=balance, temperature=temperature)
    expected = reference_loss([(S, T), (S2, T2)], LABELS, balance, temperature)
    assert method.objective(paired_batch()).loss.item() == pytest.approx(expected, rel=1e-10)


def test_a_student_equal_to_its_teacher_has_zero_soft_loss():
    method = ccd(concat(T, T2), concat(T, T2) + golden((8, 1), 2.3, 0.2, 5))  # softmax is invariant to a shift
    terms = method.objective(paired_batch()).terms
    assert terms["kd"].item() == pytest.approx(0, abs=1e-12)
    terms["kd"].backward()
    assert method.student.logits.grad.abs().max() < 1e-12


def test_confidence_depends_on_direction_and_lies_between_zero_and_two():
    assert cosine_confidence(T, 7 * T).tolist() == pytest.approx([2] * 4)
    assert cosine_confidence(T, -T).tolist() == pytest.approx([0] * 4, abs=1e-12)
    assert torch.allclose(cosine_confidence(T, T2), cosine_confidence(0.1 * T2, 3 * T))
    assert cosine_confidence(torch.zeros(1, 5), T[:1]).item() == 1  # zero logits have no direction


def test_a_view_with_opposite_teacher_logits_has_zero_weight():
    for second in (S2, -S2):
        terms = ccd(concat(S, second), concat(T, -T)).objective(paired_batch()).terms
        assert terms["kd"].item() == pytest.approx(8 * kl(T, S, 4).item(), rel=1e-12)


def test_invariance_to_the_order_of_rows():
    order = torch.tensor([2, 0, 3, 1])
    turned = ccd(concat(S[order], S2[order]), concat(T[order], T2[order]))
    loss = ccd(concat(S, S2), concat(T, T2)).objective(paired_batch()).loss.item()
    assert turned.objective(paired_batch(LABELS[order])).loss.item() == pytest.approx(loss, rel=1e-12)
    mixed = ccd(concat(S, S2[order]), concat(T, T2[order]))  # other pairs
    assert abs(mixed.objective(paired_batch()).loss.item() - loss) > 0.01


def test_gradient():
    weights = cosine_confidence(T, T2)

    def loss(one: Tensor, other: Tensor) -> Tensor:
        return kl(T, one, 4) + (weights * kl_per_sample(T2, other, 4)).mean()

    assert torch.autograd.gradcheck(loss, (S.clone().requires_grad_(), S2.clone().requires_grad_()))


def test_confidence_is_detached():
    assert not cosine_confidence(T.clone().requires_grad_(), T2.clone().requires_grad_()).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [slice(0, 1), [1, 1, 1], slice(None)])
def test_losses_are_finite(rows, dtype):
    t, t2, s = (z[rows].to(dtype) for z in (20 * T, 20 * T2, 20 * S))
    assert (cosine_confidence(t, t2) * kl_per_sample(t2, s, 4.0)).mean().isfinite()
    assert (cosine_confidence(t, t) * kl_per_sample(t, t, 4.0)).mean() == 0


class RecordingCE(CE):
    """Records the arguments of each call."""

    def __init__(self, data: DatasetInfo) -> None:
        super().__init__(data)
        self.calls: list[tuple[Tensor, Batch]] = []

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        self.calls.append((logits, batch))
        return super().forward(logits, batch)


def test_each_view_has_its_own_criterion():
    criteria: list[RecordingCE] = []

    def criterion() -> RecordingCE:
        criteria.append(RecordingCE(FIVE))
        return criteria[-1]

    method, given = (
        CCD(ConstantNetwork(concat(S, S2)), Frozen(ConstantNetwork(concat(T, T2))), criterion),
        paired_batch(),
    )
    method.objective(given)
    assert [len(one.calls) for one in criteria] == [1, 1]
    (first, own), (second, other) = (criterion.calls[0] for criterion in criteria)
    assert torch.equal(first, S)
    assert torch.equal(second, S2)
    assert own is given
    assert other.images is given.views[0]
    assert other.index is given.index
    assert other.labels is given.labels


def test_both_networks_run_once_for_both_views():
    built = build_method(METHODS.parse("ccd"))
    seen: dict[object, list[tuple[Tensor, bool, bool]]] = {}

    def spy(net: torch.nn.Module, arguments: tuple[Tensor]) -> None:
        seen.setdefault(net, []).append((arguments[0].clone(), net.training, torch.is_grad_enabled()))

    for net in (built.method.model, built.teacher.net):
        net.register_forward_pre_hook(spy)
    _, _, given = next(built.iter_batches(small_view()))
    built.method.objective(given)
    ((learning, *student),), ((taught, *teacher),) = seen[built.method.model], seen[built.teacher.net]
    assert torch.equal(learning, concat(given.images, given.views[0]))
    assert torch.equal(taught, learning)
    assert (student, teacher) == ([True, True], [False, False])


@pytest.mark.parametrize(
    ("word", "probability"),
    [("ccd", 0.5), ("ccd0.3", 0.3), ("ccd0", 0.0), ("ccd(probability=1)", 1.0), ("ccd1e-5", 1e-5)],
)
def test_its_view_is_the_policy_for_cifar10_with_its_probability(word, probability):
    (view,) = build_method(METHODS.parse(word)).method.views
    read = PAIRED_VIEWS.parse(view)
    assert (read.load(), read.kwargs()) == (JDAPolicy, {"policy": "cifar10", "probability": probability})


def test_other_views():
    (view,) = build_method(METHODS.parse("ccd(view=imagenet, probability=0.2)")).method.views
    assert PAIRED_VIEWS.parse(view).kwargs() == {"policy": "imagenet", "probability": 0.2}
    (view,) = build_method(METHODS.parse("ccd(view=random)")).method.views
    assert (PAIRED_VIEWS.parse(view).load(), PAIRED_VIEWS.parse(view).kwargs()) == (JDA, {"probability": 0.5})


def test_without_augmentation_both_views_are_equal():
    built = build_method(METHODS.parse("ccd0"))
    _, _, given = next(built.iter_batches(small_view()))
    assert torch.equal(given.views[0], given.images)
    assert built.method.objective(given).notes["confidence"].item() == pytest.approx(2)
    _, _, changed = next(build_method(METHODS.parse("ccd1")).iter_batches(small_view()))
    assert built.method.objective(changed).notes["confidence"].item() < 1.99


def test_the_model_is_the_student():
    method = CCD(make_network(), Frozen(make_network("resnet8")), lambda: CE(DatasetInfo(4, (2, 1, 1), (1, 8, 8))))
    assert method.model is method.student
    assert {id(p) for p in method.parameters()} == {id(p) for p in method.model.parameters()}
