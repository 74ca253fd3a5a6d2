"""psd: L_i = (1 - a_i) CE + a_i w_i T^2 H(p_i', p_i), p' the student's prediction of the previous epoch."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.errors import UsageError
from robustkd.methods import METHODS
from robustkd.methods.psd import PSD
from robustkd.types import Batch, Clock
from tests.helpers import FIVE, LABELS, ConstantNetwork, S, T, build_method, golden, make_batch, small_view


def psd(now: Tensor = S, before: Tensor | None = T, **options: float) -> PSD:
    """A student with logits `now` and previous logits `before`, None in the first epoch."""
    info = replace(FIVE, samples=len(now), counts=(1,) * now.shape[1])
    method = PSD(ConstantNetwork(now), info, lambda: CE(info), **options).to(now.dtype)
    if before is not None:
        method.previous_logits.copy_(before)
        method.seen.fill_(True)
    return method


def batch_at(epoch: int, epochs: int, labels: Tensor = LABELS) -> Batch:
    return replace(make_batch(labels), clock=Clock(epoch, epochs))


def test_by_hand():
    # Now (1/4, 3/4), before (3/4, 1/4); a = 0.8 5/8 = 1/2; H = 3/4 log 4 + 1/4 log 4/3 = 1.1116410
    # label 0, as predicted: (log 4 + H) / 2 = 1.2489677;  label 1: (log 4/3 + 0.3 H) / 2 = 0.3105872
    now, before = torch.tensor([[0, math.log(3)]]), torch.tensor([[math.log(3), 0]])
    for label, loss, right in ((0, 1.2489677, 1), (1, 0.3105872, 0)):
        objective = psd(now, before).objective(batch_at(4, 8, torch.tensor([label])))
        assert objective.loss.item() == pytest.approx(loss, abs=1e-6)
        assert objective.notes["right"].item() == right


@pytest.mark.parametrize("epoch", [0, 3, 9])
def test_with_equal_weights_it_is_ps_kd(epoch):
    # The cross entropy with labels softened by the previous prediction, whose weight rises to 0.8 in the last epoch.
    a = 0.8 * (epoch + 1) / 10
    target = (1 - a) * F.one_hot(LABELS, 5) + a * T.softmax(dim=1)
    objective = psd(right=1.0, wrong=1.0).objective(batch_at(epoch, 10))
    assert objective.loss.item() == pytest.approx(F.cross_entropy(S, target).item(), abs=1e-6)


def test_matches_a_loop_over_samples():
    answers = torch.stack([T[0], 3 * F.one_hot(LABELS, 5)[1], T[2], T[3]]).double()
    alpha, right, wrong, temperature = 0.6, 0.9, 0.2, 3.0
    objective = psd(S, answers, alpha=alpha, right=right, wrong=wrong, temperature=temperature).objective(
        batch_at(1, 4)
    )
    total = agreed = 0.0
    for now, before, label in zip(S.tolist(), answers.tolist(), LABELS.tolist(), strict=True):
        p, q = ([math.exp(z / temperature) for z in row] for row in (before, now))
        H = -sum(x / sum(p) * math.log(y / sum(q)) for x, y in zip(p, q, strict=True))
        agreed += max(range(5), key=before.__getitem__) == label
        weight = right if max(range(5), key=before.__getitem__) == label else wrong
        ce = math.log(sum(math.exp(z) for z in now)) - now[label]
        total += (1 - alpha / 2) * ce + alpha / 2 * weight * temperature**2 * H
    assert 0 < agreed < 4
    assert objective.loss.item() == pytest.approx(total / 4, rel=1e-6)
    assert objective.notes["right"].item() == agreed / 4


def test_unseen_rows_have_only_the_supervised_loss():
    method = psd(before=None)
    objective = method.objective(batch_at(0, 1))  # even with the weight of the last epoch
    assert objective.terms["ce"].item() == pytest.approx(2.3362513733, abs=1e-10)
    assert objective.terms["self"].item() == objective.notes["right"].item() == 0
    assert torch.equal(method.previous_logits, S)
    assert method.seen.all()


def test_previous_logits_are_kept_per_row():
    other = golden((6, 5), 0.5, 0.9)
    method = psd(torch.cat([other, other]), None)
    method.student = method.model = ConstantNetwork(S)
    batch = replace(batch_at(0, 2), index=torch.tensor([7, 0, 3, 9]))
    method.objective(batch)
    assert method.seen.nonzero()[:, 0].tolist() == [0, 3, 7, 9]
    with torch.no_grad():
        method.student.logits.copy_(T)  # an update
    assert torch.equal(method.previous_logits[batch.index], S)
    mixed = method.objective(replace(batch, index=torch.tensor([7, 0, 1, 2]), clock=Clock(1, 2)))
    ce, a = F.cross_entropy(T, LABELS, reduction="none"), torch.tensor([0.8, 0.8, 0, 0])
    assert mixed.terms["ce"].item() == pytest.approx(((1 - a) * ce).mean().item(), rel=1e-6)
    assert torch.equal(method.previous_logits[batch.index], torch.stack([T[0], T[1], S[2], S[3]]))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_gradient(temperature):
    def loss(now: Tensor) -> Tensor:
        method = psd(temperature=temperature)
        del method.student.logits
        method.student.logits = now
        return method.objective(batch_at(0, 1)).loss

    assert torch.autograd.gradcheck(loss, (S.clone().requires_grad_(),))


def test_previous_logits_are_detached():
    method = psd(before=S, right=1.0, wrong=1.0, temperature=4.0)
    method.objective(batch_at(0, 1)).terms["self"].backward()
    assert method.student.logits.grad.abs().max() < 1e-7
    assert not method.previous_logits.requires_grad


def test_correctness_is_with_respect_to_the_label():
    same = psd(T).objective(batch_at(0, 1, T.argmax(dim=1)))
    moved = psd(T).objective(batch_at(0, 1, T.argmin(dim=1)))
    assert moved.terms["self"].item() == pytest.approx(0.3 * same.terms["self"].item())


def test_the_second_epoch_has_a_target_for_every_row():
    built = build_method(METHODS.parse("psd"))
    first, second = built.train(small_view(), epochs=2)
    assert first.terms["self"] == 0
    assert second.terms["self"] > 0
    assert built.method.seen.all()


def test_a_larger_weight_for_wrong_predictions_is_rejected():
    with pytest.raises(UsageError, match=r"wrong is 1 but should be at most right, which is 0\.5"):
        psd(right=0.5, wrong=1.0)
