"""mffkd: stages fused from the top down with attention, and a contrastive loss: L = CE + weight sum_l InfoNCE(s_l, t_l)."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustkd.criteria.ce import CE
from robustkd.errors import UsageError
from robustkd.functional import kl
from robustkd.methods import METHODS
from robustkd.methods.mffkd import MFFKD, TopDownFusion, info_nce
from robustkd.models.net import Frozen
from robustkd.types import DatasetInfo, Output
from tests.helpers import (
    CLASSES,
    FIVE,
    SHAPE,
    S,
    T,
    build_method,
    golden,
    large_view,
    make_batch,
    make_network,
    small_view,
)

VS, VT = golden((4, 6), 0.9, 0.1), golden((4, 6), 0.41, 0.6, 2)
MAPS = [golden((4, 2, 8, 8), 0.37, 0.2), golden((4, 3, 4, 4), 0.61, 0.4), golden((4, 5, 2, 2), 0.29, 0.7)]


def reference_info_nce(student: Tensor, teacher: Tensor, tau: float, classes: Sequence[int] | None = None) -> float:
    """InfoNCE pair by pair."""
    s, t = ([row - v.numpy().mean(axis=0) for row in v.numpy()] for v in (student, teacher))
    total = 0.0
    for i, a in enumerate(s):
        near = [math.exp(a @ b / np.linalg.norm(a) / np.linalg.norm(b) / tau) for b in t]
        met = [j for j in range(len(t)) if j == i or classes is None or classes[j] != classes[i]]
        total -= math.log(near[i] / sum(near[j] for j in met))
    return total / len(s)


def fusion(side: int = 8, width: int = 3) -> TopDownFusion:
    torch.manual_seed(0)
    return TopDownFusion([2, 3, 5], width, side).double()


def output(maps: Sequence[Tensor], logits: Tensor) -> Output:
    return Output(logits, logits, [maps[0], *maps])  # the map of the stem is not used


def mffkd(**options: object) -> MFFKD:
    info = DatasetInfo(10, (5, 5, 0), SHAPE)
    torch.manual_seed(0)
    return MFFKD(make_network("wrn_10_1"), Frozen(make_network("resnet8")), info, lambda: CE(info), **options)


# --- the contrastive loss -------------------------------------------------------------------------------------------


def test_by_hand():
    # Two centred vectors have u = 1 and u = -1, wherever they are: log(1 + exp(-1 - 1)) = 0.126928
    student, teacher = torch.tensor([[7.0], [3.0]]), torch.tensor([[-1.0], [-2.0]])
    assert info_nce(student, teacher, 1.0).item() == pytest.approx(0.126928, abs=1e-6)
    # In the reverse order each is closest to the other one: 2 more.
    assert info_nce(student, -teacher, 1.0).item() == pytest.approx(2.126928, abs=1e-6)


@pytest.mark.parametrize("tau", [0.1, 0.7])
def test_matches_a_loop(tau):
    assert info_nce(VS, VT, tau).item() == pytest.approx(reference_info_nce(VS, VT, tau), rel=1e-10)
    for classes in ([0, 1, 0, 2], [1, 1, 1, 0]):
        expected = reference_info_nce(VS, VT, tau, classes)
        assert info_nce(VS, VT, tau, torch.tensor(classes)).item() == pytest.approx(expected, rel=1e-10)


def test_samples_of_the_same_class_are_no_negatives():
    plain = info_nce(VS, VT)
    assert info_nce(VS, VT, classes=torch.arange(4)).item() == plain.item()
    assert info_nce(VS, VT, classes=torch.tensor([0, 1, 0, 2])) < plain
    assert info_nce(VS, VT, classes=torch.zeros(4)).item() == 0


def test_invariance_to_shift_scale_rotation_and_order():
    turn, _ = torch.linalg.qr(golden((6, 6), 1.7, 0.3))
    order = torch.tensor([2, 0, 3, 1])
    moved = 3 * VS @ turn + 5, 0.5 * VT @ turn - golden((6,), 0.7, 0.1)
    torch.testing.assert_close(info_nce(*moved), info_nce(VS, VT))
    torch.testing.assert_close(info_nce(VS[order], VT[order]), info_nce(VS, VT))
    assert info_nce(VS[order], VT) > info_nce(VS, VS)


def test_unrelated_vectors_cost_log_b():
    assert info_nce(VS, VT[:1].repeat(4, 1)).item() == pytest.approx(math.log(4))


def test_gradients():
    s, t = VS.clone().requires_grad_(), VT.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: info_nce(s, t, 0.5), (s, t))
    assert torch.autograd.gradcheck(lambda s, t: info_nce(s, t, 0.5, torch.tensor([0, 1, 0, 2])), (s, t))
    maps = [x[:2, :, :n, :n].clone().requires_grad_() for x, n in zip(MAPS, (4, 2, 1), strict=True)]
    method = fusion(side=2)
    assert torch.autograd.gradcheck(lambda *maps: tuple(method(maps)), maps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", ["one", "two", "identical", "two alike", "zero"])
def test_degenerate_batches_have_small_gradients(rows: str, dtype: torch.dtype):
    student = {
        "one": VS[:1],
        "two": VS[:2],
        "identical": VS[:1].repeat(4, 1),
        "two alike": torch.cat([VS[:3], VS[:1]]),
        "zero": torch.zeros(4, 6),
    }[rows].to(dtype).requires_grad_()  # fmt: skip
    teacher = VT[: len(student)].to(dtype).requires_grad_()
    loss = info_nce(student, teacher)
    loss.backward()
    assert loss.isfinite()
    assert rows != "one" or loss.item() == 0
    assert max(v.grad.abs().max() for v in (student, teacher)) < 2e4


# --- the fusion ----------------------------------------------------------------------------------------------------


def test_fusion_with_constant_gates_by_hand():
    # One channel. Top: mean 2, times 1 + 1/2 twice: 4.5. Below: 10 + 2 = 12 on average, 27.
    towers = TopDownFusion([1, 1], 1, 8)
    for p in towers.parameters():
        nn.init.zeros_(p)
    for stage in towers.stages:
        nn.init.ones_(stage.lateral.weight)
        nn.init.ones_(stage.project.weight)
    low, top = torch.full((1, 1, 2, 2), 10.0), torch.tensor([[[[2.0]]]])
    assert [v.item() for v in towers([low, top])] == [27, 4.5]


def test_fusion_with_constant_gates_sums_the_stages_for_any_side():
    # A mean of sums is a sum of means: J_l mean F_l and all above it, times 1.5 for each of two gates.
    for side in (1, 2, 8):
        method = fusion(side)
        for stage in method.stages:
            for gate in (stage.channel_gate, stage.spatial_gate):
                nn.init.zeros_(gate.weight)
                nn.init.zeros_(gate.bias)
        total = np.zeros((4, 3))
        for stage, x, vectors in reversed(list(zip(method.stages, MAPS, method(MAPS), strict=True))):
            weight, bias = stage.lateral.weight[:, :, 0, 0].detach().numpy(), stage.lateral.bias.detach().numpy()
            total = total + x.mean((2, 3)).numpy() @ weight.T + bias
            expected = 2.25 * total @ stage.project.weight.detach().numpy().T + stage.project.bias.detach().numpy()
            np.testing.assert_allclose(vectors.detach().numpy(), expected, rtol=1e-10)


def test_gates_match_loops_over_positions():
    stage = fusion().stages[1]
    fused, vectors = stage(MAPS[1], golden((4, 3, 2, 2), 0.83, 0.9))
    for p, vector in zip(fused.detach().numpy(), vectors, strict=True):
        channels = (
            stage.channel_gate.weight.detach().numpy() @ p.mean((1, 2)) + stage.channel_gate.bias.detach().numpy()
        )
        r = np.zeros(3)
        for y, x in np.ndindex(4, 4):
            q = p[:, y, x] * (1 + 1 / (1 + np.exp(-channels)))
            place = stage.spatial_gate.weight.detach().numpy()[0, :, 0, 0] @ q + stage.spatial_gate.bias.item()
            r += q * (1 + 1 / (1 + math.exp(-place))) / 16
        expected = stage.project.weight.detach().numpy() @ r + stage.project.bias.detach().numpy()
        np.testing.assert_allclose(vector.detach().numpy(), expected, rtol=1e-10)


def test_a_stage_depends_on_the_stages_above_it_only():
    maps = [x.clone().requires_grad_() for x in MAPS]
    vectors = fusion()(maps)
    for l, vector in enumerate(vectors):
        gradients = torch.autograd.grad(vector.sum(), maps, retain_graph=True, allow_unused=True)
        assert [g is not None and bool(g.any()) for g in gradients] == [k >= l for k in range(3)]


def test_maps_are_pooled_to_at_most_the_side():
    for side, sizes in ((8, (8, 4, 2)), (4, (4, 4, 2)), (1, (1, 1, 1))):
        seen = []
        method = fusion(side)
        for stage in method.stages:
            stage.lateral.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out.shape[2]))
        method(MAPS)
        assert tuple(reversed(seen)) == sizes


# --- the method ----------------------------------------------------------------------------------------------------


def test_terms():
    student, teacher = output(MAPS, S), output([2 * x.cos() for x in MAPS], T)
    torch.manual_seed(0)
    method = mffkd(width=3, kd=0.5, temperature=4, weight=0.3, tau=0.2)
    method.student_fusion, method.teacher_fusion = fusion(), fusion()
    terms = method.transfer(student, teacher, make_batch())
    pairs = zip(method.student_fusion(student.maps[1:]), method.teacher_fusion(teacher.maps[1:]), strict=True)
    expected = sum(reference_info_nce(s.detach(), t.detach(), 0.2) for s, t in pairs)
    assert terms["contrast"].item() == pytest.approx(0.3 * expected, rel=1e-9)
    assert terms["kd"].item() == pytest.approx(0.5 * 1.1528813057, abs=1e-9)
    assert terms["kd"].item() == pytest.approx(8 * kl(T, S, 4).item())
    assert list(
        mffkd().transfer(*(make_network("wrn_10_1")(torch.rand(3, *SHAPE)) for _ in range(2)), make_batch())
    ) == ["contrast"]


def test_negatives_follow_the_teachers_predictions():
    method, losses = mffkd(negatives="teacher"), []
    method.student_fusion, method.teacher_fusion = fusion(), fusion()
    for predictions in ([0, 1, 2, 3], [0, 1, 0, 2], [3, 3, 3, 3]):  # all different; two equal; all equal
        teacher = output([2 * x.cos() for x in MAPS], torch.eye(5, dtype=torch.float64)[predictions])
        losses.append(method.transfer(output(MAPS, S), teacher, make_batch())["contrast"].item())
    method.negatives = "all"
    assert method.transfer(output(MAPS, S), teacher, make_batch())["contrast"].item() == losses[0]
    assert losses[0] > losses[1] > losses[2] == 0


def test_both_fusions_are_trained():
    built = build_method(METHODS.parse("mffkd"))
    before = {name: tensor.clone() for name, tensor in built.method.state_dict().items() if "_fusion" in name}
    built.train_fully(small_view())
    after = built.method.state_dict()
    assert {name.split(".")[0] for name in before} == {"student_fusion", "teacher_fusion"}
    assert not any(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_training_reduces_the_contrastive_loss():
    built = build_method(METHODS.parse("mffkd"), view=large_view())
    *_, last = built.train(large_view(), epochs=6, size=12)
    random_guess = built.method.weight * 3 * math.log(12)
    assert last.terms["contrast"] < 0.7 * random_guess


def test_a_batch_of_one_has_no_negatives():
    method = mffkd()
    batch = make_batch(torch.tensor([1]), torch.rand(1, *SHAPE))
    assert method.objective(batch).terms["contrast"].item() == 0


def test_of_a_network_with_more_stages_only_the_paired_ones_are_fused():
    info, teacher = DatasetInfo(10, (5, 5, 0), SHAPE), make_network("resnet8")
    teacher.stages = teacher.stages[:2]
    teacher.replace_head(nn.Linear(32, len(CLASSES)))
    student, images = make_network("wrn_10_1"), torch.rand(3, *SHAPE)
    method = MFFKD(student, Frozen(teacher), info, lambda: CE(info))
    outputs = student(images), teacher(images)
    assert method.transfer(*outputs, make_batch())["contrast"].item() > 0
    assert [stage.lateral.in_channels for stage in method.student_fusion.stages] == [16, 64]
    assert [stage.lateral.in_channels for stage in method.teacher_fusion.stages] == [16, 32]


def test_a_network_without_a_stage_is_refused():
    info, teacher = DatasetInfo(10, (5, 5, 0), SHAPE), make_network("resnet8")
    teacher.stages = teacher.stages[:0]
    teacher.replace_head(nn.Linear(16, len(CLASSES)))
    with pytest.raises(
        UsageError, match="mffkd: the teacher has 1 feature map but needs that of a stem and of a stage"
    ):
        MFFKD(make_network("wrn_10_1"), Frozen(teacher), info, lambda: CE(FIVE))
