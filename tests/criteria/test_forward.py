"""forward: correction by a transition matrix, estimated, read or known."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.criteria.forward import Forward, forward_loss
from robustkd.errors import UsageError
from robustkd.method_spec import MethodSpec
from robustkd.study.construct import check_constructible
from robustkd.study.plan import Run
from robustkd.study.versions import method_version
from robustkd.types import Batch, Clock
from tests.helpers import FIVE, LABELS, S, golden, make_batch, make_settings, small_view

T = golden((5, 5), 0.9, 0.4).abs() + 2 * torch.eye(5)
T = T / T.sum(dim=1, keepdim=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "T.csv"
    path.write_text("0.8,0.2,0\n0,1,0\n0.1,0.2,0.7\n")
    return path


def at(epoch: int, epochs: int = 8, labels: Tensor = LABELS) -> Batch:
    return replace(make_batch(labels), clock=Clock(epoch, epochs))


def test_by_hand():
    # p = (3/4, 1/4); a fifth of class 0 is labelled 1: label 0 has 0.6, label 1 has 0.25 + 0.15.
    z, matrix = torch.tensor([[math.log(3), 0.0]] * 2), torch.tensor([[0.8, 0.2], [0.0, 1.0]])
    losses = forward_loss(z, torch.tensor([0, 1]), matrix)
    assert losses.tolist() == pytest.approx([-math.log(0.6), -math.log(0.4)], abs=1e-6)


def test_matches_a_loop():
    p = S.softmax(dim=1).tolist()
    for row, label, loss in zip(p, LABELS.tolist(), forward_loss(S, LABELS, T).tolist(), strict=True):
        assert loss == pytest.approx(-math.log(sum(T[i, label].item() * row[i] for i in range(5))), rel=1e-9)


def test_the_identity_gives_the_cross_entropy():
    assert torch.allclose(forward_loss(S, LABELS, torch.eye(5, dtype=torch.float64)), CE(FIVE)(S, make_batch()))


def test_the_best_prediction_for_noisy_labels_is_the_true_class():
    # Of all distributions, that of the true class has the least expected loss under its labels: the point of the correction.
    matrix = torch.tensor([[0.6, 0.4, 0.0], [0.0, 0.6, 0.4], [0.4, 0.0, 0.6]], dtype=torch.float64)
    labels, z = torch.tensor([0, 1, 2]), torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([z], max_iter=100)

    def closure() -> float:
        optimiser.zero_grad()
        loss = (matrix[0] * forward_loss(z.expand(3, 3), labels, matrix)).sum()
        loss.backward()
        return loss.item()

    optimiser.step(closure)
    assert z.softmax(dim=1)[0, 0] > 0.99


def test_gradient():
    assert torch.autograd.gradcheck(lambda z: forward_loss(z, LABELS, T), (S.clone().requires_grad_(),))


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    assert torch.allclose(forward_loss(S + shift, LABELS, T), forward_loss(S, LABELS, T))


# --- its own estimate -------------------------------------------------------------------------------------------------


def test_it_is_the_cross_entropy_until_the_matrix_is_estimated():
    criterion, plain = Forward(FIVE), CE(FIVE)(S, make_batch())
    for epoch in (0, 1):
        assert torch.equal(criterion(S, at(epoch)), plain)
    assert not torch.allclose(criterion(S, at(2)), plain)
    assert torch.equal(Forward(FIVE)(S, at(0, epochs=1)), plain)


def test_rows_are_weighted_means_of_the_predictions_in_the_last_epoch_of_the_warm_up():
    criterion = Forward(FIVE).double()
    criterion(3 * S, at(0))
    assert torch.equal(criterion.matrix, torch.eye(5, dtype=torch.float64)), "the first of two epochs does not count"
    seen = [golden((4, 5), 0.7, start, 2) for start in (0.3, 1.1, 2.5)]
    for z in seen:
        criterion(z, at(1))
    p = torch.cat(seen).softmax(dim=1).tolist()
    for label in range(5):
        total = sum(row[label] ** 4 for row in p)
        expected = [sum(row[label] ** 4 * row[other] for row in p) / total for other in range(5)]
        assert criterion.matrix[label].tolist() == pytest.approx(expected, abs=1e-4)
    before = criterion.matrix.clone()
    losses = criterion(S, at(2))
    assert torch.equal(criterion.matrix, before)
    assert torch.allclose(losses, forward_loss(S, LABELS, before))


def test_the_estimate_is_that_of_a_network_that_predicts_labels_exactly():
    # Images that are surely of a class are labelled by its row of the matrix; a few images between classes weigh little.
    sure, between = torch.eye(5, dtype=torch.float64).repeat(20, 1), torch.full((5, 5), 0.2, dtype=torch.float64)
    posterior = torch.cat([sure, between]) @ T
    criterion = Forward(FIVE).double()
    batch = at(1, labels=torch.zeros(105, dtype=torch.long))
    criterion(posterior.log(), batch)
    assert (criterion.matrix - T).abs().sum(dim=1).max() < 0.25
    assert (torch.eye(5) - T).abs().sum(dim=1).max() > 0.5


def test_a_class_that_is_never_predicted_has_the_row_of_the_identity():
    criterion = Forward(FIVE)
    criterion(torch.tensor([[0.0, 1.0, 2.0, -1e4, 0.5]] * 4), at(1))
    assert criterion.matrix[3].tolist() == [0, 0, 0, 1, 0]
    assert criterion.matrix.sum(dim=1).tolist() == pytest.approx([1] * 5)


def test_saturated_predictions_leave_no_label_impossible():
    criterion = Forward(FIVE)
    criterion(torch.tensor([[1e4, 0.0, 0.0, 0.0, 0.0]]), at(1, labels=torch.tensor([0])))
    z = 1e4 * S.float().requires_grad_()
    losses = criterion(z, at(7))
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    assert losses.isfinite().all()
    assert gradient.isfinite().all()


# --- a matrix from a file ---------------------------------------------------------------------------------------------


def test_a_file_is_used_from_the_first_epoch(file: Path):
    data = replace(FIVE, samples=3, counts=(1, 1, 1), names=("a", "b", "c"))
    for criterion in (Forward(data, matrix=str(file)), Forward(data, estimate=str(file))):
        losses = criterion(torch.zeros(3, 3), at(0, labels=torch.tensor([0, 1, 2])))
        assert losses.tolist() == pytest.approx([-math.log(0.9 / 3), -math.log(1.4 / 3), -math.log(0.7 / 3)], abs=1e-6)


def test_classes_are_matched_by_name(file: Path):
    file.write_text(",c,a,b\nc,0.7,0.1,0.2\na,0,0.8,0.2\nb,0,0,1\n")  # as an audit's transition.csv
    data = replace(FIVE, samples=3, counts=(1, 1, 1), names=("a", "b", "c"))
    expected = torch.tensor([[0.8, 0.2, 0], [0, 1, 0], [0.1, 0.2, 0.7]])
    assert torch.allclose(Forward(data, estimate=str(file)).matrix, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "forward: there is no "),
        ("1,0\n0,1\n", "has 2 lines of 2 values, but 3 classes need 3 of 3"),
        ("1,0,0\n0,2,0\n0,0,1\n", "row 'middle' sums to 2, but should sum to 1"),
        (
            "1,0,0\n1,0,0\n0,0,1\n",
            "column 'middle' is all 0, so this label should not occur, but 4 training samples have it",
        ),
        (",left,middle,wrong\nleft,1,0,0\nmiddle,0,1,0\nwrong,0,0,1\n", "class 'wrong'"),
    ],
)
def test_a_wrong_file_is_refused_before_training(file: Path, content: str | None, message: str):
    file.unlink() if content is None else file.write_text(content)
    run = Run("student", MethodSpec.parse(f"hinton+forward(estimate={file})"), 0)
    with pytest.raises(UsageError, match=message) as error:
        check_constructible(small_view(), run, make_settings())
    assert "\n" not in str(error.value)


def test_two_files_are_refused(file: Path):
    with pytest.raises(UsageError, match="set matrix or estimate, not both"):
        Forward(FIVE, matrix=str(file), estimate=str(file))


def test_only_a_given_matrix_is_oracle(file: Path):
    specs = [MethodSpec.parse(f"hinton+forward{text}") for text in ("", f"(estimate={file})", f"(matrix={file})")]
    assert [spec.oracle for spec in specs] == [False, False, True]


def test_the_content_of_the_file_is_part_of_the_version(file: Path):
    spec, plain = MethodSpec.parse(f"hinton+forward(estimate={file})"), MethodSpec.parse("hinton+forward")
    assert spec.files() == (file,)
    version = method_version(spec)
    assert version.startswith(method_version(plain))
    file.write_text(file.read_text() + "\n")
    changed = method_version(spec)
    assert len({version, changed, method_version(plain)}) == 3
    file.unlink()
    assert method_version(spec) not in (version, changed)
