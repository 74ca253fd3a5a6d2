"""crt: plain training, then a new classifier of constant features with class-balanced sampling."""

import pytest
import torch

from robustkd.criteria.ce import CE
from robustkd.methods import METHODS
from robustkd.methods.crt import CRT
from robustkd.types import Clock
from tests.helpers import (
    BuiltMethod,
    build_method,
    dataset_info,
    large_view,
    make_batch,
    make_loader,
    make_network,
    small_view,
    states_equal,
)


def built() -> BuiltMethod:
    return build_method(METHODS.parse("crt"))


def test_the_first_phase_is_plain_training() -> None:
    crt, plain = built(), build_method(METHODS.parse("baseline"))
    first = next(iter(crt.train(small_view(), epochs=1)))
    next(iter(plain.train(small_view(), epochs=1)))
    assert first.phase == "train"
    assert states_equal(crt.method.model.state_dict(), plain.method.model.state_dict())


def test_the_second_phase_changes_the_classifier_only() -> None:
    crt, states = built(), []
    for epoch in crt.train(small_view(), epochs=4):
        states.append((epoch.phase, {name: value.clone() for name, value in crt.method.model.state_dict().items()}))
    assert [phase for phase, _ in states] == ["train"] * 4 + ["classifier"] * 2  # half of the epochs
    before, after = states[3][1], states[-1][1]
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"head.weight", "head.bias"}


def test_the_loss_of_the_classifier_by_hand() -> None:
    # With weights of zero all classes have the same probability; the gradient of the bias is p - e_y, averaged.
    net = make_network()
    method = CRT(net, lambda: CE(dataset_info(small_view())), torch.Generator())
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.zeros_(net.head.bias)
    (objective,) = method.classifier_step(make_batch(torch.tensor([0, 0, 1, 2]), torch.rand(4, 1, 8, 8)))
    objective.loss.backward()
    assert objective.loss.item() == pytest.approx(1.0986123, abs=1e-6)  # log 3
    assert net.head.bias.grad.tolist() == pytest.approx([1 / 3 - 1 / 2, 1 / 3 - 1 / 4, 1 / 3 - 1 / 4], abs=1e-6)
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["head.weight", "head.bias"]


def test_features_are_those_of_evaluation_mode() -> None:
    method = built().method.train()
    images = torch.rand(4, 1, 8, 8)
    alone = [next(method.classifier_step(make_batch(torch.tensor([0]), images[i : i + 1]))).loss for i in range(4)]
    together = next(method.classifier_step(make_batch(torch.zeros(4, dtype=torch.int64), images))).loss
    assert together.item() == pytest.approx(torch.stack(alone).mean().item(), abs=1e-5)
    assert all(module.training for module in method.modules())


def test_the_new_classifier_is_drawn_from_the_runs_generator() -> None:
    one, other = built().method, built().method
    old = one.model.head.weight.detach().clone()
    for method in (one, other):
        method.reset_head()
    assert torch.equal(one.model.head.weight, other.model.head.weight)
    assert not torch.equal(one.model.head.weight, old)
    assert one.model.head.weight.abs().max() <= 1 / one.model.head.in_features**0.5


def test_the_second_phase_samples_classes_equally() -> None:
    labels = large_view().labels
    rare = large_view().take([row for row, label in enumerate(labels) if label != 2 or row < 6])  # 20, 20 and 2 rows
    assert rare.counts.tolist() == [20, 20, 2]
    phase = built().method.phases()[1]
    loader = make_loader(rare)
    drawn = torch.cat([b.labels for n in range(20) for b in loader.iter_epoch(n, Clock(0, 1), phase.sampling)])
    assert drawn.bincount().tolist() == pytest.approx([len(drawn) / 3] * 3, rel=0.15)
