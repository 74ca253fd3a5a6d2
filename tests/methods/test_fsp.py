"""fsp: FSP matrices of consecutive maps in the first phase, then Hinton's loss."""

import numpy as np
import pytest
import torch

from robustkd.criteria.ce import CE
from robustkd.errors import UsageError
from robustkd.methods import METHODS
from robustkd.methods.fsp import FSP, fsp_matrix
from robustkd.models.net import Frozen
from robustkd.types import Output
from tests.helpers import (
    FIVE,
    ConstantNetwork,
    S,
    T,
    build_method,
    dataset_info,
    golden,
    make_batch,
    make_network,
    small_view,
)

P1, P2 = golden((4, 3, 4, 4), 0.37, 0.2), golden((4, 5, 2, 2), 0.61, 0.4)
Q1, Q2 = golden((4, 3, 4, 4), 0.29, 0.7), golden((4, 5, 2, 2), 0.83, 0.9)


def fsp(student: str = "resnet8", teacher: str = "resnet14", **options: object) -> FSP:
    info = dataset_info(small_view())
    return FSP(make_network(student), Frozen(make_network(teacher, seed=1)), info, lambda: CE(info), **options)


def test_golden_values():
    difference = fsp_matrix(P1, P2) - fsp_matrix(Q1, Q2)
    assert difference.square().mean().item() == pytest.approx(0.241850097382, abs=1e-11)
    assert difference.square().sum((1, 2)).mean().item() == pytest.approx(3.627751460728, abs=1e-11)


def test_by_hand_and_by_loops():
    a = torch.tensor([1.0, 2, 3, 4]).reshape(1, 1, 2, 2)
    assert fsp_matrix(a, a).item() == pytest.approx((1 + 4 + 9 + 16) / 4)
    assert fsp_matrix(a, torch.ones(1, 1, 1, 1)).item() == 4  # pooled to its maximum, not to its mean of 2.5
    built, x, y = fsp_matrix(P1, Q1).numpy(), P1.numpy(), Q1.numpy()
    for b, i, j in np.ndindex(4, 3, 3):
        expected = sum(x[b, i, h, w] * y[b, j, h, w] for h in range(4) for w in range(4)) / 16
        assert built[b, i, j] == pytest.approx(expected)


def test_invariance_to_the_order_of_positions():
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    shuffled = [x.flatten(2)[:, :, order].reshape(x.shape) for x in (P1, Q1)]
    torch.testing.assert_close(fsp_matrix(*shuffled), fsp_matrix(P1, Q1))


def test_gradient():
    x = P1[:2].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: fsp_matrix(x, P2[:2]), x)


def test_equal_networks_have_zero_loss():
    method = fsp("resnet8", "resnet8")
    method.student.load_state_dict(method.teacher.net.state_dict())
    method.eval()
    (objective,) = method.flow_step(make_batch(images=torch.rand(4, 1, 8, 8)))
    assert objective.loss.item() == 0


def test_the_first_phase_updates_the_stages_but_not_the_head():
    method = fsp()
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    flow_phase, train = method.phases()
    assert {names[id(parameter)].split(".")[1] for parameter in flow_phase.parameters} == {"stem", "stages"}
    assert {names[id(parameter)] for parameter in train.parameters} == set(names.values())
    assert (flow_phase.epochs, train.epochs) == (0.2, None)


def test_the_second_phase_is_hinton_or_plain():
    method, plain = fsp(alpha=0.7), fsp(second="plain")
    assert method.ce == pytest.approx(0.3)
    assert plain.ce == 1
    batch = make_batch(torch.tensor([0, 1, 2, 0]), torch.rand(4, 1, 8, 8))
    assert set(plain.objective(batch).terms) == {"ce"}


def test_different_channels_are_rejected():
    with pytest.raises(UsageError, match=r"the student's maps have \[16, 16, 32, 64\] channels .* \[16, 32, 64, 128\]"):
        fsp("wrn_10_1", "wrn_10_2")


def test_all_consecutive_maps_are_paired_including_the_stem():
    method = fsp()
    method.eval()
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = ([m.double().numpy() for m in net(images).maps] for net in (method.student, method.teacher.net))

    def pooled(x: np.ndarray, size: int) -> np.ndarray:
        n, c, side, _ = x.shape
        return x.reshape(n, c, size, side // size, size, side // size).max((3, 5))

    expected = 0.0
    for pair in range(3):
        small = ours[pair + 1].shape[2]
        flows = [
            np.einsum("bihw,bjhw->bij", pooled(maps[pair], small), maps[pair + 1]) / small**2 for maps in (ours, theirs)
        ]
        expected += float(np.mean((flows[0] - flows[1]) ** 2))
    assert [m.shape[2] for m in ours] == [8, 8, 4, 2]
    for labels in ([0, 1, 2], [2, 2, 2]):  # labels are not used
        (objective,) = method.flow_step(make_batch(torch.tensor(labels), images))
        assert objective.loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_first_phase_leaves_neck_and_head_unchanged():
    built = build_method(METHODS.parse("fsp"))
    before = {name: tensor.clone() for name, tensor in built.method.model.state_dict().items()}
    assert next(built.train(small_view())).phase == "flow"
    after = built.method.model.state_dict()
    # Including running statistics: the neck is not run.
    upper = {name for name in before if name.startswith(("neck", "head"))}
    assert upper
    assert {name for name in before if torch.equal(after[name], before[name])} == upper | {"mean", "std"}


class ConstantMaps(ConstantNetwork):
    """A network of constant logits, with two maps of zeros."""

    def forward(self, images: torch.Tensor) -> Output:
        return super().forward(images)._replace(maps=(images.new_zeros(len(images), 1, 2, 2),) * 2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 1.2712183125),
        ({"alpha": 1.0}, 1.1528813057),
        ({"alpha": 1.0, "temperature": 1.0}, 0.7890244234),
        ({"second": "plain"}, 2.3362513733),
    ],
)
def test_golden_values_of_the_second_phase(options: dict[str, object], expected: float):
    method = FSP(ConstantMaps(S), Frozen(ConstantMaps(T)), FIVE, lambda: CE(FIVE), **options)
    assert method.objective(make_batch()).loss.item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    "maps", [P1[:1], 0 * P1, P1[:1].repeat(4, 1, 1, 1), 1e4 * P1], ids=["one", "zero", "identical", "large"]
)
def test_degenerate_maps_have_finite_gradients(maps: torch.Tensor):
    maps = maps.float().requires_grad_()
    (fsp_matrix(maps, P2[: len(maps)].float()) - fsp_matrix(Q1, Q2)[: len(maps)].float()).square().mean().backward()
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_close(dtype: torch.dtype):
    # Networks return float32, which is required: in float16 maps of a few hundred overflow.
    torch.testing.assert_close(
        fsp_matrix(P1.to(dtype), P2.to(dtype)).double(), fsp_matrix(P1, P2), rtol=0.05, atol=0.01
    )
