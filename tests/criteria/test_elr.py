"""elr: agreement with the moving average of the predictions for the same sample."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.criteria.elr import ELR
from robustkd.errors import UsageError
from robustkd.method_spec import MethodSpec
from robustkd.study.construct import check_constructible
from robustkd.study.plan import Run
from tests.helpers import (
    FIVE,
    LABELS,
    S,
    build_method,
    build_study_method,
    golden,
    large_view,
    make_batch,
    make_settings,
    small_view,
    states_equal,
)


def test_by_hand():
    # p = (3/4, 1/4), beta 0.7: first m = 0.3 p, <p, m> = 0.3 (9/16 + 1/16) = 0.1875; then m = 0.7 * 0.3 p + 0.3 p = 0.51 p.
    z, batch = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64), make_batch(torch.tensor([1]))
    criterion = ELR(replace(FIVE, samples=1, counts=(0, 1)))
    first, second = (criterion(z, batch).item() for _ in range(2))
    assert first == pytest.approx(math.log(4) + 3 * math.log(1 - 0.1875), abs=1e-6)
    assert second == pytest.approx(math.log(4) + 3 * math.log(1 - 0.51 * 0.625), abs=1e-6)
    assert criterion.average.tolist() == [pytest.approx([0.51 * 0.75, 0.51 * 0.25])]


def test_matches_a_loop_over_samples_and_epochs():
    data, memory = replace(FIVE, samples=6), {row: [0.0] * 5 for row in range(6)}
    criterion = ELR(data, weight=2.0, beta=0.9).double()
    for epoch, rows in enumerate(([5, 0, 2, 4], [4, 1, 0, 3], [0, 5, 1, 2])):
        z = golden((4, 5), 0.7, 0.3 * epoch, 3)
        losses = criterion(z, replace(make_batch(), index=torch.tensor(rows)))
        for row, logits, label, loss in zip(rows, z.tolist(), LABELS.tolist(), losses.tolist(), strict=True):
            total = sum(map(math.exp, logits))
            p = [min(max(math.exp(value) / total, 1e-4), 1 - 1e-4) for value in logits]
            memory[row] = [0.9 * m + 0.1 * value / sum(p) for m, value in zip(memory[row], p, strict=True)]
            inner = sum(a * b for a, b in zip(p, memory[row], strict=True))
            expected = math.log(total) - logits[label] + 2 * math.log(1 - inner)
            assert loss == pytest.approx(expected, rel=1e-9)
    assert criterion.average.tolist() == [pytest.approx(memory[row]) for row in range(6)]


def test_without_weight_it_is_the_cross_entropy():
    assert torch.equal(ELR(FIVE, weight=0)(S, make_batch()), CE(FIVE)(S, make_batch()))


def test_gradient_with_a_given_memory():
    criterion = ELR(FIVE, beta=1).double()  # the memory stays as it is
    criterion.average.copy_(golden((4, 5), 1.3, 0.1).abs() / 5)

    def loss(logits: Tensor) -> Tensor:
        return criterion(logits, make_batch())

    assert torch.autograd.gradcheck(loss, (S.clone().requires_grad_(),))


def test_the_memory_has_no_gradient():
    criterion, z = ELR(FIVE), S.clone().requires_grad_()
    criterion(z, make_batch()).sum().backward()
    assert not criterion.average.requires_grad
    criterion(z.detach(), make_batch())
    assert criterion.average.sum(dim=1).tolist() == pytest.approx([0.3 + 0.7 * 0.3] * 4)


def test_the_order_of_a_batch_does_not_matter():
    order = torch.tensor([2, 0, 3, 1])
    batch = make_batch()
    shuffled = replace(batch, labels=batch.labels[order], index=batch.index[order])
    one, other = ELR(FIVE), ELR(FIVE)
    assert torch.equal(one(S, batch)[order], other(S[order], shuffled))
    assert torch.equal(one.average, other.average)


def test_the_visits_of_a_sample_in_one_batch_are_averaged():
    criterion, index = ELR(FIVE, beta=0.5).double(), torch.tensor([2, 0, 2, 2])
    losses = criterion(S, replace(make_batch(LABELS[[0, 1, 0, 0]]), index=index))
    p = S.softmax(dim=1)
    assert torch.allclose(criterion.average[2], p[[0, 2, 3]].mean(dim=0) / 2)
    assert torch.allclose(criterion.average[0], p[1] / 2)
    assert criterion.average[[1, 3]].eq(0).all()
    assert losses.unique().numel() == 4, "the losses are those of each row's own prediction"


def test_each_network_has_its_own_memory():
    method = build_study_method("dml+elr", view=small_view())
    memories = [part.average for part in method.modules() if isinstance(part, ELR)]
    assert len(memories) == 2
    assert memories[0].data_ptr() != memories[1].data_ptr()
    assert memories[0].shape == (12, 3)


def test_a_resumed_run_is_bit_equal():
    spec = MethodSpec.parse("baseline").method
    whole = build_method(spec, criterion=ELR, view=large_view())
    states = [epoch.state() for epoch in whole.train(large_view(), epochs=2)]
    interrupted = build_method(spec, criterion=ELR, view=large_view())
    first = next(iter(interrupted.train(large_view(), epochs=2))).state()
    resumed = build_method(spec, criterion=ELR, view=large_view())
    last = [epoch.state() for epoch in resumed.train(large_view(), epochs=2, state=first)]
    assert len(last) == 1
    assert states_equal(last[0]["method"], states[-1]["method"])
    assert any(name.endswith("average") for name in last[0]["method"])


def test_mixed_images_are_refused():
    settings = replace(make_settings(), mixing="mixup")
    with pytest.raises(UsageError, match=r"--mixing mixup: 'hinton\+elr' is not defined for mixed images"):
        check_constructible(small_view(), Run("student", MethodSpec.parse("hinton+elr"), 0), settings)
    check_constructible(small_view(), Run("student", MethodSpec.parse("hinton+gce"), 0), settings)
