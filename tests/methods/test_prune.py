"""prune: networks of folds predict the rows they were not trained on; the rows that these doubt are left out."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.label_audit.confident_learning import find_label_issues
from robustkd.methods import METHODS
from robustkd.methods.prune import Prune
from tests.helpers import FIVE, LABELS, ConstantNetwork, S, T, build_method, golden, large_view, make_batch, small_view

THIRD = golden((4, 5), 0.5, 0.9)


def prune(fold: list[int]) -> Prune:
    nets = [ConstantNetwork(z) for z in (S, T, THIRD)]
    method = Prune(lambda count: nets[:count], FIVE, lambda: CE(FIVE), torch.Generator(), folds=2)
    method.fold.copy_(torch.tensor(fold))
    return method


def test_a_network_is_trained_on_the_other_folds_and_predicts_its_own() -> None:
    method, fold = prune([0, 0, 0, 1]), torch.tensor([0, 0, 0, 1])
    for k, (objective, z) in enumerate(zip(method.fold_step(make_batch()), (T, THIRD), strict=True)):
        expected = F.cross_entropy(z[fold != k], LABELS[fold != k])
        assert objective.loss.item() == pytest.approx(expected.item(), rel=1e-10)
        method.zero_grad(set_to_none=True)
        objective.loss.backward()
        assert torch.equal(method.networks[k].logits.grad.any(dim=1), fold != k)
    expected = torch.cat([T[:3], THIRD[3:]]).softmax(dim=1)
    assert torch.allclose(method.probabilities, expected.float())
    assert torch.equal(method.labels, LABELS)


def test_by_hand() -> None:
    # Two of four samples are kept, of one class in two with even odds: the loss is log 2, not log 2 / 2.
    method = prune([0, 0, 1, 1])
    method.model.logits.data = torch.zeros(4, 2, dtype=torch.float64)
    method.kept.copy_(torch.tensor([True, False, True, False]))
    objective = method.objective(make_batch(torch.tensor([0, 1, 1, 0])))
    assert objective.loss.item() == pytest.approx(0.6931472, abs=1e-6)
    assert objective.notes["kept"] == 0.5


def test_if_all_rows_are_kept_it_is_plain_training() -> None:
    assert prune([0, 0, 1, 1]).objective(make_batch()).loss.item() == pytest.approx(
        F.cross_entropy(S, LABELS).item(), rel=1e-10
    )


def test_gradients() -> None:
    def loss(z: Tensor) -> Tensor:
        method = prune([0, 0, 1, 1])
        method.kept[1] = False
        del method.model.logits
        method.model.logits = z
        return method.objective(make_batch()).loss

    assert torch.autograd.gradcheck(loss, S.clone().requires_grad_())


def test_folds_have_equal_sizes_and_depend_on_the_seed() -> None:
    one, again, other = (build_method(METHODS.parse("prune(folds=3)"), seed=seed).method for seed in (0, 0, 1))
    assert one.fold.bincount().tolist() == [4, 4, 4]
    assert torch.equal(one.fold, again.fold)
    assert not torch.equal(one.fold, other.fold)


def test_wrong_labels_are_left_out() -> None:
    labels, wrong = large_view().labels.copy(), torch.zeros(60, dtype=torch.bool)
    wrong[::10] = True
    labels[::10] = (labels[::10] + 1) % 3
    view = large_view().relabel(labels)
    built = build_method(METHODS.parse("prune(folds=2)"), view=view)
    phases = [epoch.phase for epoch in built.train(view, epochs=12, size=12)]
    assert phases == ["folds"] * 12 + ["train"] * 12
    kept, probabilities = built.method.kept, built.method.probabilities.double().numpy()
    assert not kept[wrong].any()
    assert kept[~wrong].float().mean() > 0.9
    assert (find_label_issues(labels, probabilities).is_issue == ~kept.numpy()).all()


def test_rows_that_were_not_seen_are_kept() -> None:
    method = build_method(METHODS.parse("prune"), view=small_view()).method
    method.prune_rows()
    assert method.kept.all()
