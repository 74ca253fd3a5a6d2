"""one: branches on a shared trunk and their gated ensemble; L = CE of each head + w(e) T^2 sum_m KL(p_e || p_m)."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from robustkd.criteria.ce import CE
from robustkd.errors import UsageError
from robustkd.functional import kl, sigmoid_rampup
from robustkd.methods.one import ONE, Gate, ensemble_kl, gated_logits
from robustkd.models.external import wrap_classifier
from robustkd.models.net import StagedNetwork
from robustkd.types import Clock
from tests.helpers import FIVE, LABELS, S, golden, make_batch, make_network

BRANCHES = (S, golden((4, 5), 0.5, 0.9), golden((4, 5), 1.1, 0.4))
GATES = torch.softmax(torch.relu(golden((4, 3), 0.8, 0.2)), dim=1)
EIGHT = replace(FIVE, shape=(1, 8, 8), counts=(4, 4, 4))
IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def one(word: str = "wrn_10_1", bf16: bool = False, **options: float) -> ONE:
    return ONE(
        lambda count: [make_network(word, seed, bf16) for seed in range(count)], EIGHT, lambda: CE(EIGHT), **options
    )


def with_logits(*logits: Tensor, gates: Tensor = GATES, **options: float) -> ONE:
    """A method whose heads return these logits and gates."""
    method = one(branches=len(logits), **options)
    method.forward_heads = lambda images: (list(logits), gates)
    return method


def late_batch(images: Tensor | None = None, labels: Tensor = LABELS):
    """A batch of an epoch in which w is 1."""
    return replace(make_batch(labels, images), clock=Clock(9, 10))


def test_golden_values():
    terms = with_logits(*BRANCHES).objective(late_batch()).terms
    assert list(terms) == ["ce/1", "ce/2", "ce/3", "ce/ensemble", "kl"]
    *supervised, kl = terms.values()
    assert sum(supervised).item() == pytest.approx(7.3610898367, abs=1e-10)
    assert kl.item() == pytest.approx(0.3613680888, abs=1e-10)


def test_by_hand():
    # z_1 = (2 log 3, 0), z_2 = (-log 9, 0), g = (3/4, 1/4): z_e = (3/2 log 3 - 1/2 log 3, 0) = (log 3, 0); T = 1
    # p_e = (3/4, 1/4), p_1 = (9/10, 1/10), p_2 = (1/10, 9/10)
    # 3/4 log(5/6) + 1/4 log(5/2) + 3/4 log(15/2) + 1/4 log(5/18) = 0.0923315 + 1.1909438
    logits = [torch.tensor([[2 * math.log(3), 0.0]]), torch.tensor([[-math.log(9), 0.0]])]
    ensemble = gated_logits(torch.tensor([[0.75, 0.25]]), logits)
    assert ensemble.tolist() == [[pytest.approx(math.log(3)), 0]]
    assert ensemble_kl(ensemble, logits, 1.0).item() == pytest.approx(1.2832753, abs=1e-6)


def test_the_weight_of_the_kl_term_rises():
    # the authors' run: it rises over 80 of 300 epochs
    risen = {epoch: sigmoid_rampup(Clock(epoch, 300), 80 / 300) for epoch in (0, 20, 40, 80, 299)}
    assert risen == pytest.approx({0: 0.0067379, 20: 0.0600547, 40: 0.2865048, 80: 1, 299: 1}, abs=1e-7)
    assert sigmoid_rampup(Clock(0, 10), 0) == 1
    early, full = (
        with_logits(*BRANCHES, ramp=0.5).objective(replace(late_batch(), clock=Clock(epoch, 10))).terms["kl"].item()
        for epoch in (2, 5)
    )
    assert early == pytest.approx(full * math.exp(-5 * 0.6**2), rel=1e-10)


def test_equal_branches_have_zero_kl():
    shifted = [S + shift for shift in (0.0, 3.0, -50.0)]  # softmax is invariant to a shift
    assert with_logits(*shifted).objective(late_batch()).terms["kl"].item() == pytest.approx(0, abs=1e-12)


def test_a_single_branch_has_zero_kl_with_itself():
    alone = gated_logits(torch.ones(4, 1, dtype=torch.float64), [S])
    assert torch.equal(alone, S)
    student = S.clone().requires_grad_()
    loss = ensemble_kl(alone, [student], 3.0)
    loss.backward()
    assert loss.item() == pytest.approx(9 * kl(S, S, 3.0).item(), abs=1e-12) == 0
    assert student.grad.abs().max() < 1e-15


def test_invariance_to_the_order_of_branches():
    turned = [2, 0, 1]
    terms = with_logits(*BRANCHES).objective(late_batch())
    other = with_logits(*(BRANCHES[m] for m in turned), gates=GATES[:, turned]).objective(late_batch())
    assert other.loss.item() == pytest.approx(terms.loss.item(), rel=1e-12)


def test_gradient_of_the_kl_term():
    gates, target = GATES, gated_logits(GATES, BRANCHES)
    inputs = tuple(z.clone().requires_grad_() for z in BRANCHES)
    assert torch.autograd.gradcheck(lambda *z: ensemble_kl(target, z, 3.0), inputs)
    assert torch.autograd.gradcheck(lambda g, *z: gated_logits(g, z), (gates.clone().requires_grad_(), *inputs))


def test_the_ensemble_is_detached_as_a_target():
    method = one()
    method.objective(late_batch(IMAGES, torch.tensor([0, 1, 2, 0]))).terms["kl"].backward()
    assert all(p.grad is None for p in method.gate.parameters())
    method.objective(late_batch(IMAGES, torch.tensor([0, 1, 2, 0]))).terms["ce/ensemble"].backward()
    assert all(p.grad.any() for p in method.gate.parameters())


def test_branches_share_everything_below_the_last_stage():
    method, labels = one(), torch.tensor([0, 1, 2, 0])
    tops = [[method.model.stages[-1], method.model.neck, method.model.head], *([b] for b in method.branches)]
    assert len(tops) == 3
    for branch in range(3):
        method.zero_grad(set_to_none=True)
        method.objective(late_batch(IMAGES, labels)).terms[f"ce/{branch + 1}"].backward()
        reached = [any(p.grad is not None for part in top for p in part.parameters()) for top in tops]
        assert reached == [number == branch for number in range(3)]
        assert method.model.stem.weight.grad.any()


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("word", ["wrn_10_1", "resnet8"])
def test_a_branch_equals_the_whole_network(word, bf16):
    # With the weights of the first branch the others equal the model, in the same memory layout.
    method = one(word, bf16)
    for branch in method.branches:
        branch.stem.load_state_dict(method.model.stages[-1].state_dict())
        branch.neck.load_state_dict(method.model.neck.state_dict())
        branch.head.load_state_dict(method.model.head.state_dict())
    seen = []
    method.branches[0].stem.register_forward_pre_hook(lambda part, inputs: seen.append(inputs[0]))
    logits, gates = method.forward_heads(IMAGES.contiguous(memory_format=torch.channels_last))
    assert torch.equal(logits[0], method.model(IMAGES).logits)
    for z in logits[1:]:
        assert z.dtype is torch.float32
        assert (z - logits[0]).abs().max() < (0.05 if bf16 else 1e-5)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert all(branch.bf16 == bf16 for branch in method.branches)
    assert gates.sum(dim=1).tolist() == pytest.approx([1.0] * 4)


def test_gate_by_hand():
    # One channel, weights 1, 0, -1 on pooled 1 and 3: BN gives -1, 1 for the first branch and 1, -1 for the last, 0 between.
    gate = Gate(1, 3)
    with torch.no_grad():
        gate.linear.weight.copy_(torch.tensor([[1.0], [0.0], [-1.0]]))
    x = torch.stack([torch.full((1, 2, 2), 1.0), torch.full((1, 2, 2), 3.0)])
    low, high = 1 / (2 + math.e), math.e / (2 + math.e)
    expected = [low, low, high, high, low, low]
    assert gate(x).flatten().tolist() == pytest.approx(expected, abs=1e-4)


def test_a_single_sample_is_gated_with_running_statistics():
    gate = Gate(2, 3)
    for _ in range(3):
        gate(torch.rand(8, 2, 2, 2))
    before = gate.norm.running_mean.clone()
    single = gate(torch.ones(1, 2, 2, 2))
    assert gate.training
    assert torch.equal(gate.norm.running_mean, before)
    assert torch.equal(single, gate.eval()(torch.ones(1, 2, 2, 2)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_single_samples_are_finite(dtype):
    logits = [20 * z[:1].to(dtype) for z in BRANCHES]
    ensemble = gated_logits(GATES[:1].to(dtype), logits)
    assert ensemble.isfinite().all()
    assert ensemble_kl(ensemble, logits, 3.0).isfinite()


def test_auxiliary_logits_and_notes():
    method = with_logits(*BRANCHES)
    assert torch.equal(method.auxiliary_logits(IMAGES)["ensemble"], gated_logits(GATES, BRANCHES))
    assert method.objective(late_batch()).notes["gate"].item() == pytest.approx(GATES.mean(dim=0).max().item())


def test_the_model_is_the_complete_first_student():
    method = one()
    assert method.model.state_dict().keys() == make_network().state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(method.model.parameters(), make_network().parameters(), strict=True))
    upper = {id(p) for b in method.branches for p in b.parameters()}
    assert not upper & {id(p) for p in method.model.parameters()}
    assert len(method.criteria) == 4


def test_an_external_network_is_rejected():
    parts = (nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    foreign = wrap_classifier(nn.Sequential(*parts), (1, 8, 8))
    with pytest.raises(UsageError, match=r"^one: .* cannot be split"):
        ONE(lambda count: [foreign] * count, EIGHT, lambda: CE(EIGHT))


def test_a_network_of_one_stage_is_rejected():
    def short() -> StagedNetwork:
        return StagedNetwork(nn.Conv2d(1, 2, 3), [nn.Identity()], nn.Linear(2, 3))

    with pytest.raises(UsageError, match=r"^one: .* 1 stages but needs at least 2"):
        ONE(lambda count: [short() for _ in range(count)], EIGHT, lambda: CE(EIGHT))
