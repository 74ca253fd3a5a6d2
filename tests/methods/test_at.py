"""at: the mean squared difference of attention maps after every stage."""

import numpy as np
import pytest
import torch
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.errors import UsageError
from robustkd.methods import METHODS
from robustkd.methods.at import AT, attention_loss
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Frozen
from robustkd.types import DatasetInfo, Output
from tests.helpers import FIVE, LABELS, ConstantNetwork, S, T, golden, make_batch, make_network

FS, FT, FT_LARGE = golden((4, 3, 4, 4), 0.37, 0.2), golden((4, 6, 4, 4), 0.53, 0.5), golden((4, 6, 8, 8), 0.53, 0.5)
STEM, MIDDLE = golden((4, 2, 8, 8), 0.71, 0.3), golden((4, 3, 4, 4), 0.19, 0.8)


class ConstantMaps(ConstantNetwork):
    """A network with constant maps as well as constant logits."""

    def __init__(self, logits: Tensor, *maps: Tensor) -> None:
        super().__init__(logits)
        self.maps = maps

    def forward(self, images: Tensor) -> Output:
        return Output(1 * self.logits, self.logits, self.maps)


PAIR = ConstantMaps(S, STEM, MIDDLE, FS), Frozen(ConstantMaps(T, 3 + STEM, 2 * MIDDLE.flip(0), FT_LARGE))


def test_golden_values_with_equal_and_different_map_sizes():
    assert attention_loss(FS, FT).item() == pytest.approx(0.017430928821, abs=1e-11)
    assert attention_loss(FS, FT_LARGE).item() == pytest.approx(0.018073241171, abs=1e-11)


def test_by_hand():
    # Two maps of one position each: attention is 1 everywhere, whatever the activation.
    assert attention_loss(torch.full((2, 1, 1, 1), 5.0), torch.full((2, 3, 1, 1), -2.0)).item() == 0
    # A map active in one of two positions against one active in both: (1, 0) and (1, 1) / sqrt 2.
    one, both = torch.tensor([1.0, 0]).reshape(1, 1, 1, 2), torch.tensor([1.0, 1]).reshape(1, 1, 1, 2)
    assert attention_loss(one, both).item() == pytest.approx(((1 - 0.5**0.5) ** 2 + 0.5) / 2)


def test_equal_maps_have_zero_loss():
    assert attention_loss(FS, FS).item() == 0


def test_invariance_to_scale_and_channel_order():
    torch.testing.assert_close(attention_loss(7 * FS, FT), attention_loss(FS, FT))
    permuted = FS[:, [2, 0, 1]]
    torch.testing.assert_close(attention_loss(permuted, FT), attention_loss(FS, FT))


def test_gradient():
    maps = FS[:3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: attention_loss(x, FT[:3]), maps)
    assert torch.autograd.gradcheck(lambda x: attention_loss(x, FT_LARGE[:3]), maps)


@pytest.mark.parametrize(
    "maps", [FS[:1], torch.zeros(3, 2, 4, 4), FS[:1].repeat(3, 1, 1, 1)], ids=["one", "zero", "identical"]
)
def test_degenerate_maps_have_finite_gradients(maps: Tensor):
    maps = maps.float().requires_grad_()
    attention_loss(maps, FT.float()[: len(maps)]).backward()
    assert torch.isfinite(maps.grad).all()


def test_of_a_network_with_more_stages_those_of_the_most_similar_resolution_are_used():
    info = DatasetInfo(10, (5, 5, 0), (1, 8, 8))
    student, teacher = make_network("wrn_10_1"), make_network("resnet8")  # maps of 8, 4 and 2
    teacher.stages = teacher.stages[:2]
    teacher.replace_head(torch.nn.Linear(32, 3))
    method = AT(student, Frozen(teacher), info, lambda: CE(info))
    images = torch.rand(3, 1, 8, 8)
    ours, theirs = student(images), teacher(images)
    expected = attention_loss(ours.maps[1], theirs.maps[1]) + attention_loss(ours.maps[3], theirs.maps[2])
    assert method.transfer(ours, theirs, make_batch())["at"].item() == pytest.approx(
        method.weight * expected.item(), rel=1e-6
    )


def test_maps_of_one_position_are_refused():
    info = DatasetInfo(10, (5, 5, 0), (1, 8, 8))
    teacher = make_network("resnet8")
    teacher.stages[0].append(torch.nn.AdaptiveAvgPool2d(1))
    with pytest.raises(UsageError, match="at: the maps after all stages have one position"):
        AT(make_network("wrn_10_1"), Frozen(teacher), info, lambda: CE(info))


def test_the_loss_covers_every_stage_but_not_the_stem():
    expected = 0.018073241171 + attention_loss(MIDDLE, MIDDLE.flip(0)).item()
    for weight in (1000.0, 2.0):
        terms = AT(*PAIR, FIVE, lambda: CE(FIVE), weight=weight).objective(make_batch()).terms
        assert terms["ce"].item() == pytest.approx(2.3362513733, abs=1e-10)
        assert terms["at"].item() == pytest.approx(weight * expected, rel=1e-9)
    assert METHODS.parse("at").kwargs() == {}


class Repeated(ConstantMaps):
    """Constant maps, each position repeated."""

    def __init__(self, net: ConstantMaps, factor: int) -> None:
        super().__init__(net.logits, *(m.repeat_interleave(factor, 2).repeat_interleave(factor, 3) for m in net.maps))


def test_the_default_weight_gives_the_same_term_at_every_resolution():
    small = ConstantMaps(S, FS[..., :2, :2]), ConstantMaps(T, FT[..., :2, :2])
    pairs = [tuple(Repeated(net, factor) for net in small) for factor in (1, 2, 4)]
    terms, weights = [], []
    for student, teacher in pairs:
        student.maps, teacher.maps = (STEM, *student.maps), (STEM, *teacher.maps)
        method = AT(student, Frozen(teacher), FIVE, lambda: CE(FIVE))
        terms.append(method.objective(make_batch()).terms["at"].item())
        weights.append(method.weight)
        assert method.resolved == {"weight": method.weight}
    assert weights == [62.5, 250, 1000]
    assert terms == pytest.approx([terms[0]] * 3, rel=1e-10)


@pytest.mark.parametrize(("side", "expected"), [(8, 62.5), (32, 1000.0)])
def test_cifar_sized_images_have_the_authors_weight(side: int, expected: float):
    nets = [
        build_network(MODELS.parse("wrn_10_1"), shape=(3, side, side), classes=5, mean=[0.5], std=[0.2], seed=0)
    ] * 2
    info = DatasetInfo(4, (1, 1, 1, 0, 1), (3, side, side))
    assert AT(nets[0], Frozen(nets[1]), info, lambda: CE(info)).weight == expected
    given = AT(nets[0], Frozen(nets[1]), info, lambda: CE(info), weight=7.0)
    assert (given.weight, given.resolved) == (7.0, {})


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_odd_powers_use_absolute_values(power: float):
    def q(a: np.ndarray) -> np.ndarray:
        rows = (np.abs(a) ** power).mean(axis=1).reshape(len(a), -1)
        return rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))

    expected = float(np.mean((q(FS.numpy()) - q(FT.numpy())) ** 2))
    assert attention_loss(FS, FT, power).item() == pytest.approx(expected, rel=1e-10)
    assert AT(*PAIR, FIVE, lambda: CE(FIVE), power=power).power == power


def test_labels_affect_only_the_cross_entropy():
    method = AT(*PAIR, FIVE, lambda: CE(FIVE))
    one, other = (method.objective(make_batch(labels)).terms for labels in (LABELS, (LABELS + 1) % 5))
    assert {name for name in one if one[name].item() != other[name].item()} == {"ce"}


# Networks return float32. Given bfloat16, the loss stays finite. Float16 is not supported: an activation of 300 overflows when
# it is squared, and the guard of 1e-12 is 0; but ordinary values work.


def half_loss(x: Tensor) -> Tensor:
    return attention_loss(x, FT.to(x.dtype)[: len(x)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(dtype: torch.dtype):
    assert half_loss(FS.to(dtype)).item() == pytest.approx(half_loss(FS).item(), rel=0.03)


@pytest.mark.parametrize("case", ["one", "identical", "zero", "large"])
def test_degenerate_batches_are_finite_in_bfloat16(case: str):
    identical = FS[:1].repeat(4, 1, 1, 1)
    x = {"one": FS[:1], "identical": identical, "zero": 0 * FS[:4], "large": 1e4 * FS[:4]}[case]
    x = x.bfloat16().requires_grad_()
    loss = half_loss(x)
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()
