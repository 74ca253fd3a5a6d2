"""tau_norm: plain training; the classifier is normalised for the evaluation after every epoch."""

import pytest
import torch

from robustkd.methods import METHODS
from robustkd.methods.tau_norm import tau_normalise
from tests.helpers import BuiltMethod, S, build_method, small_view


def built(text: str = "tau_norm") -> BuiltMethod:
    return build_method(METHODS.parse(text))


def test_by_hand() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.0, 4.0]])  # norms 5 and 4
    assert tau_normalise(weight, 0.5).tolist() == [pytest.approx([3 / 5**0.5, 4 / 5**0.5]), pytest.approx([0.0, 2.0])]
    assert tau_normalise(weight, 2.0).tolist() == [pytest.approx([3 / 25, 4 / 25]), pytest.approx([0.0, 0.25])]


def test_at_zero_weights_stay_as_they_are() -> None:
    assert torch.equal(tau_normalise(S, 0.0), S)


def test_at_one_all_classes_have_norm_one_and_their_scales_have_no_effect() -> None:
    normalised = tau_normalise(S, 1.0)
    assert torch.allclose(normalised.norm(dim=1), torch.ones(4, dtype=torch.float64))
    scales = torch.tensor([[0.1], [1.0], [7.0], [100.0]])
    assert torch.allclose(tau_normalise(scales * S, 1.0), normalised)


def test_gradients() -> None:
    assert torch.autograd.gradcheck(lambda weight: tau_normalise(weight, 0.7), S.clone().requires_grad_())


def test_a_class_without_weights_is_finite() -> None:
    assert tau_normalise(torch.zeros(2, 3), 2.0).isfinite().all()


@pytest.mark.parametrize("epochs", [1, 3])
def test_training_is_plain_training_and_the_result_is_normalised(epochs: int) -> None:
    method, plain = built(), built("baseline")
    method.train_fully(small_view(), epochs=epochs)
    plain.train_fully(small_view(), epochs=epochs)
    ours, theirs = method.method.model.state_dict(), plain.method.model.state_dict()
    assert {name for name in ours if not torch.equal(ours[name], theirs[name])} == {"head.weight", "head.bias"}
    assert torch.equal(ours["head.weight"], tau_normalise(theirs["head.weight"], 1.0))
    assert not ours["head.bias"].any()
    assert torch.equal(method.method.weight, theirs["head.weight"])
    assert torch.equal(method.method.bias, theirs["head.bias"])


def test_the_network_is_normalised_after_every_epoch() -> None:
    method = built()
    for _ in method.train(small_view(), epochs=3):
        norms = method.method.model.head.weight.norm(dim=1)
        assert torch.allclose(norms, torch.ones(3))
