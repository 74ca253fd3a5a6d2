"""sp: the mean squared difference of the similarity matrices of a batch."""

import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.methods.sp import SP, similarity_matrix
from robustkd.models.net import Frozen
from robustkd.types import Output
from tests.helpers import FIVE, LABELS, ConstantNetwork, S, T, golden, make_batch

FS, FT, FT_LARGE = golden((4, 3, 4, 4), 0.37, 0.2), golden((4, 6, 4, 4), 0.53, 0.5), golden((4, 6, 8, 8), 0.53, 0.5)


class ConstantMap(ConstantNetwork):
    """A network with one constant map as well as constant logits."""

    def __init__(self, logits: Tensor, last: Tensor) -> None:
        super().__init__(logits)
        self.last = last

    def forward(self, images: Tensor) -> Output:
        return Output(1 * self.logits, self.logits, (self.last.flip(0), self.last))


PAIR = ConstantMap(S, FS), Frozen(ConstantMap(T, FT_LARGE))


def sp_loss(maps: Tensor, teacher: Tensor = FT) -> Tensor:
    return (similarity_matrix(maps) - similarity_matrix(teacher.to(maps.dtype)[: len(maps)])).square().mean()


def test_golden_value():
    assert sp_loss(FS).item() == pytest.approx(0.147131663989, abs=1e-11)


def test_orthogonal_samples_are_similar_only_to_themselves():
    torch.testing.assert_close(similarity_matrix(torch.eye(3).reshape(3, 3, 1, 1) * 7), torch.eye(3))


def test_equal_maps_have_zero_loss():
    assert (similarity_matrix(FS) - similarity_matrix(FS)).abs().max().item() == 0


def test_invariance_to_scale():
    torch.testing.assert_close(similarity_matrix(7 * FS), similarity_matrix(FS))


def test_gradient():
    assert torch.autograd.gradcheck(similarity_matrix, FS[:3].clone().requires_grad_())


@pytest.mark.parametrize(
    "maps", [FS[:1], torch.zeros(3, 2, 4, 4), FS[:1].repeat(3, 1, 1, 1)], ids=["one", "zero", "identical"]
)
def test_degenerate_maps_have_finite_gradients(maps: Tensor):
    maps = maps.float().requires_grad_()
    sp_loss(maps).backward()
    assert torch.isfinite(maps.grad).all()


def test_the_loss_is_that_of_the_last_map():
    for weight in (3000.0, 2.0):
        terms = SP(*PAIR, lambda: CE(FIVE), weight=weight).objective(make_batch()).terms
        expected = (similarity_matrix(FS) - similarity_matrix(FT_LARGE)).square().sum().item() / 16
        assert terms["ce"].item() == pytest.approx(2.3362513733, abs=1e-10)
        assert terms["sp"].item() == pytest.approx(weight * expected, rel=1e-9)
    assert SP(*PAIR, lambda: CE(FIVE)).weight == 3000


def test_labels_affect_only_the_cross_entropy():
    method = SP(*PAIR, lambda: CE(FIVE))
    one, other = (method.objective(make_batch(labels)).terms for labels in (LABELS, (LABELS + 1) % 5))
    assert {name for name in one if one[name].item() != other[name].item()} == {"ce"}


# Networks return float32. Given bfloat16, the loss stays finite; float16 is not supported beyond ordinary values.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(dtype: torch.dtype):
    assert sp_loss(FS.to(dtype)).item() == pytest.approx(sp_loss(FS).item(), rel=0.03)


@pytest.mark.parametrize("case", ["one", "identical", "zero", "large"])
def test_degenerate_batches_are_finite_in_bfloat16(case: str):
    identical = FS[:1].repeat(4, 1, 1, 1)
    x = {"one": FS[:1], "identical": identical, "zero": 0 * FS[:4], "large": 1e4 * FS[:4]}[case]
    x = x.bfloat16().requires_grad_()
    loss = sp_loss(x)
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()
