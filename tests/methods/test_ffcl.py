"""ffcl: two networks and the classifier of their fused maps; CE of three heads, three KLs, and a virtual teacher."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from robustkd.criteria.ce import CE
from robustkd.functional import kl, sigmoid_rampup
from robustkd.methods.ffcl import FFCL, build_fusion, mutual_loss, virtual_teacher_loss
from robustkd.models.layers import CosineLinear
from robustkd.types import Batch, Clock
from tests.helpers import FIVE, LABELS, S, T, golden, make_batch, make_network

FUSED = golden((4, 5), 0.5, 0.9)
EIGHT = replace(FIVE, shape=(1, 8, 8), counts=(4, 4, 4))
IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def ffcl(bf16: bool = False, word: str = "wrn_10_1", **options: float) -> FFCL:
    return FFCL(
        lambda count: [make_network(word, seed, bf16) for seed in range(count)], EIGHT, lambda: CE(EIGHT), **options
    )


def with_logits(*logits: Tensor, **options: float) -> FFCL:
    """A method whose heads return these logits."""
    method = ffcl(**options)
    method.forward_heads = lambda images: logits
    return method


def late_batch(images: Tensor | None = None, labels: Tensor = LABELS) -> Batch:
    """A batch of an epoch in which w is 1."""
    return replace(make_batch(labels, images), clock=Clock(9, 10))


def test_mutual_loss_by_hand():
    # T = 2. p_1 = (3, 1)/4, p_2 = (1, 3)/4, so p_12 = (1, 1)/2; p_f = (9, 1)/10.
    # KL(p_f || p_1) = 9/10 log(6/5) + 1/10 log(2/5), KL(p_f || p_2) = 9/10 log(18/5) + 1/10 log(2/15),
    # KL(p_12 || p_f) = 1/2 log(5/9) + 1/2 log 5: 0.0724603 + 0.9513501 + 0.5108256 = 1.5346360, times T^2
    a = 2 * math.log(3)
    first, second, fused = (torch.tensor([[z, 0.0]]) for z in (a, -a, 2 * a))
    assert mutual_loss(first, second, fused, 2.0).item() == pytest.approx(4 * 1.5346360, abs=1e-5)


def test_virtual_teacher_loss_by_hand():
    # Three classes: u ~ (0.99, 0.005, 0.005) to the power 1/20 = (0.999498, 0.767270, 0.767270), over their sum
    # (0.394429, 0.302785, 0.302785). Against a third each: 0.394429 log 1.183288 + 0.605570 log 0.908356 = 0.0081743,
    # times 20^2
    loss = virtual_teacher_loss(torch.zeros(2, 3), torch.tensor([1, 2]))
    assert loss.item() == pytest.approx(400 * 0.0081743, abs=1e-3)


def test_a_student_equal_to_the_virtual_teacher_has_zero_loss_and_gradient():
    logits = torch.full((4, 5), math.log(0.01 / 4), dtype=torch.float64)
    logits[torch.arange(4), LABELS] = math.log(0.99)
    logits = (logits + golden((4, 1), 2.3, 0.2, 50)).requires_grad_()  # softmax is invariant to a shift
    loss = virtual_teacher_loss(logits, LABELS)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-10)
    assert logits.grad.abs().max() < 1e-12


def test_loss_matches_a_loop():
    objective = with_logits(S, T, FUSED, temperature=2, virtual=0.5).objective(late_batch())
    assert list(objective.terms) == ["ce/1", "ce/2", "ce/fused", "mutual", "virtual"]
    expected = 0.0
    u = torch.full((4, 5), 0.0025, dtype=torch.float64).scatter(1, LABELS[:, None], 0.99)
    for b, label in enumerate(LABELS.tolist()):
        rows = {"1": S[b], "2": T[b], "f": FUSED[b], "12": (S[b] + T[b]) / 2, "u": u[b].log()}

        def divergence(target: str, own: str, temperature: float, rows: dict[str, Tensor] = rows) -> float:
            p, q = ([math.exp(v / temperature) for v in rows[name].tolist()] for name in (target, own))
            return sum(x / sum(p) * math.log((x / sum(p)) / (y / sum(q))) for x, y in zip(p, q, strict=True))

        expected += sum(math.log(sum(map(math.exp, rows[k].tolist()))) - rows[k][label].item() for k in ("1", "2", "f"))
        expected += 4 * (divergence("f", "1", 2) + divergence("f", "2", 2) + divergence("12", "f", 2))
        expected += 0.5 * 400 * (divergence("u", "1", 20) + divergence("u", "2", 20))
    assert objective.loss.item() == pytest.approx(expected / 4, rel=1e-9)


def test_the_ramp_affects_only_the_mutual_loss():
    method = with_logits(S, T, FUSED, ramp=0.5, virtual=0)
    early, full = (method.objective(replace(late_batch(), clock=Clock(epoch, 10))).terms for epoch in (2, 5))
    assert "virtual" not in full
    assert early["mutual"].item() == pytest.approx(full["mutual"].item() * math.exp(-5 * 0.6**2), rel=1e-10)
    assert all(early[name].item() == full[name].item() for name in ("ce/1", "ce/2", "ce/fused"))
    assert sigmoid_rampup(Clock(0, 10), 0) == sigmoid_rampup(Clock(80, 300), 80 / 300) == 1


def test_invariance_to_swapping_the_networks():
    one, other = (with_logits(*logits, FUSED).objective(late_batch()).loss.item() for logits in ((S, T), (T, S)))
    assert one == pytest.approx(other, rel=1e-12)
    assert mutual_loss(S, S + 1, S - 2, 3.0).item() == pytest.approx(0, abs=1e-12)


def test_targets_are_detached():
    # z_1 and z_2 are pulled to p_f, z_f to p_12, with gradient T (p - target) / B
    first, second, fused = (z.clone().requires_grad_() for z in (S, T, FUSED))
    mutual_loss(first, second, fused, 3.0).backward()
    targets = ((first, FUSED), (second, FUSED), (fused, (S + T) / 2))
    for own, target in targets:
        exact = 3 * (torch.softmax(own.detach() / 3, 1) - torch.softmax(target / 3, 1)) / 4
        assert torch.allclose(own.grad, exact, atol=1e-12)


def test_gradients():
    logits = S.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: virtual_teacher_loss(z, LABELS), (logits,))
    assert torch.autograd.gradcheck(lambda z: kl(FUSED, z, 3.0), (logits,))


def test_the_supervised_loss_of_the_fusion_reaches_both_networks():
    method, batch = ffcl(), late_batch(IMAGES, torch.tensor([0, 1, 2, 0]))
    reached = {"ce/1": (True, False, False), "ce/2": (False, True, False), "ce/fused": (True, True, True)}
    for term, expected in reached.items():
        method.zero_grad(set_to_none=True)
        method.objective(batch).terms[term].backward()
        parts = (*(net.stem for net in method.students), method.fusion)
        assert tuple(any(p.grad is not None for p in part.parameters()) for part in parts) == expected
    assert method.fusion.head.weight.grad.any()


@pytest.mark.parametrize("word", ["wrn_10_1", "resnet8"])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_fusion_takes_the_concatenated_last_maps(bf16, word):
    method = ffcl(bf16, word, layers="last")
    seen = []
    method.fusion.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0]))
    logits = method.forward_heads(IMAGES)
    first, second = (net(IMAGES).maps[-1] for net in method.students)
    assert torch.equal(seen[0], torch.cat([first, second], dim=1))
    assert method.fusion.bf16 == bf16
    assert {z.dtype for z in logits} == {torch.float32}
    assert [z.shape for z in logits] == [(4, 3)] * 3


def test_by_default_the_maps_of_every_stage_are_pooled_and_concatenated():
    method, seen = ffcl(), []
    method.fusion.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0]))
    method.forward_heads(IMAGES)
    first, second = (net(IMAGES).maps for net in method.students)
    assert [m.shape[1:] for m in first[1:]] == [(16, 8, 8), (32, 4, 4), (64, 2, 2)]
    assert seen[0].shape == (4, 2 * (16 + 32 + 64), 2, 2)
    blocks = first[1].reshape(4, 16, 2, 4, 2, 4).mean(dim=(3, 5))
    torch.testing.assert_close(seen[0][:, :16], blocks)
    torch.testing.assert_close(seen[0][:, -64:], second[3])


def test_the_fusion_has_the_students_type_of_head():
    assert type(ffcl().fusion.head) is nn.Linear

    def cosine(count: int) -> list[nn.Module]:
        nets = [make_network(seed=seed) for seed in range(count)]
        for net in nets:
            net.replace_head(CosineLinear(64, 3))
        return nets

    head = FFCL(cosine, EIGHT, lambda: CE(EIGHT)).fusion.head
    assert isinstance(head, CosineLinear)
    assert (head.in_features, head.out_features) == (64, 3)


def test_number_of_parameters_of_the_fusion():
    # Eight channels, four features: depthwise 9 * 8, BN 2 * 8, pointwise 8 * 4, BN 2 * 4, head 4 * 3 + 3
    net = build_fusion(8, nn.Linear(4, 3), bf16=False)
    assert sum(p.numel() for p in net.parameters()) == 72 + 16 + 32 + 8 + 15


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_degenerate_batches_are_finite(dtype):
    for rows, labels in (([0], [3]), ([1, 1, 1], [2, 2, 2])):
        logits = [(20 * z[rows]).to(dtype) for z in (S, T, FUSED)]
        assert mutual_loss(*logits, 3.0).isfinite()
        assert virtual_teacher_loss(logits[0], torch.tensor(labels)).isfinite()


def test_auxiliary_logits():
    auxiliary = with_logits(S, T, FUSED).auxiliary_logits(IMAGES)
    assert auxiliary.keys() == {"fused", "ensemble"}
    assert torch.equal(auxiliary["fused"], FUSED)
    assert torch.equal(auxiliary["ensemble"], (S + T) / 2)


def test_the_first_student_is_the_model():
    method = ffcl()
    assert method.model is method.students[0]
    assert len(method.criteria) == 3
