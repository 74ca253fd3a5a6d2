"""mtkd_ssr: channels and logits of every stage, L = CE + SCD + SRD + CRD, after training of the teacher's heads."""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustkd.criteria.ce import CE
from robustkd.errors import UsageError
from robustkd.methods import METHODS
from robustkd.methods.mtkd_ssr import MTKDSSR, normalised_distance
from robustkd.models.net import Frozen, Network
from robustkd.types import DatasetInfo, Output
from tests.helpers import CLASSES, FIVE, LABELS, SHAPE, S, T, build_method, golden, make_batch, make_network, small_view

MTKD_SSR = METHODS.parse("mtkd_ssr")
OURS = [golden((4, c, n, n), 0.37, c) for c, n in ((2, 4), (3, 4), (4, 2), (5, 2))]  # of the stem and three stages
THEIRS = [golden((4, c, n, n), 0.53, c, 2) for c, n in ((2, 4), (4, 4), (6, 2), (5, 2))]


class ConstantMaps(Network):
    """A network whose maps and logits are parameters; counts the maps that are iterated over."""

    def __init__(self, maps: Sequence[Tensor], logits: Tensor) -> None:
        super().__init__()
        self.maps = nn.ParameterList(x.clone() for x in maps)
        self.logits = nn.Parameter(logits.clone())
        self.iterated = 0

    def forward(self, images: Tensor) -> Output:
        return Output(1 * self.logits, self.logits, tuple(1 * x for x in self.maps))

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        for x in self.maps:
            self.iterated += 1
            yield 1 * x

    def replace_head(self, head: nn.Linear) -> None:
        raise NotImplementedError


def mtkd_ssr(ours: Sequence[Tensor] = OURS, theirs: Sequence[Tensor] = THEIRS, **options: float) -> MTKDSSR:
    torch.manual_seed(0)
    student, teacher = ConstantMaps(ours, S), ConstantMaps(theirs, T)
    return MTKDSSR(student, Frozen(teacher), FIVE, lambda: CE(FIVE), **options).double()


def kl(target: np.ndarray, logits: np.ndarray, temperature: float) -> float:
    """T^2 KL of softened logits, sample by sample."""
    total = 0.0
    for z_t, z_s in zip(target / temperature, logits / temperature, strict=True):
        p, q = np.exp(z_t) / np.exp(z_t).sum(), np.exp(z_s) / np.exp(z_s).sum()
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(target)


def head_logits(head: nn.Linear, x: np.ndarray) -> np.ndarray:
    """The logits of a head for a map, averaged over positions and normalised."""
    rows = []
    for sample in x:
        f = np.array([channel.mean() for channel in sample])
        f = (f - f.mean()) / np.sqrt(f.var() + 1e-5)
        rows.append(head.weight.detach().numpy() @ f + head.bias.detach().numpy())
    return np.array(rows)


def test_by_hand():
    # (3, 4) and (0, 2): u = (0.6, 0.8) and (0, 1), 0.36 + 0.04 apart. (1, 0) and (-5, 0) are opposite: 4.
    student, teacher = torch.tensor([[3.0, 4], [1, 0]]), torch.tensor([[0.0, 2], [-5, 0]])
    assert normalised_distance(student, teacher).item() == pytest.approx((0.4 + 4) / 2, abs=1e-6)


def test_the_three_targets_match_loops():
    method = mtkd_ssr(channels=0.7, responses=0.3, review=2.0, temperature=3)
    terms = method.objective(make_batch()).terms
    ours, theirs = [x.numpy() for x in OURS[1:]], [x.numpy() for x in THEIRS[1:]]
    z_s = [*(head_logits(h, x) for h, x in zip(method.heads, ours[:2], strict=True)), S.numpy()]
    z_t = [*(head_logits(h, x) for h, x in zip(method.teacher_heads, theirs[:2], strict=True)), T.numpy()]
    distance = 0.0
    for project, s, t in zip(method.projections, ours, theirs, strict=True):
        for b in range(4):
            a = project.weight.detach().numpy() @ s[b].mean((1, 2)) + project.bias.detach().numpy()
            c = t[b].mean((1, 2))
            distance += (2 - 2 * (a @ c) / np.linalg.norm(a) / np.linalg.norm(c)) / 4
    assert terms["channels"].item() == pytest.approx(0.7 * distance, rel=1e-9)
    assert terms["responses"].item() == pytest.approx(0.3 * sum(kl(z_t[l], z_s[l], 3) for l in range(3)), rel=1e-9)
    assert terms["review"].item() == pytest.approx(2.0 * sum(kl(z_s[2], z_s[l], 3) for l in range(2)), rel=1e-9)
    assert terms["ce"].item() == pytest.approx(2.3362513733, abs=1e-10)


def test_the_last_stage_uses_the_logits_of_the_network():
    # With equal heads, only Hinton's loss is left: the golden T^2 KL at T = 4.
    method = mtkd_ssr()
    for part in (*method.heads, *method.teacher_heads):
        nn.init.zeros_(part.weight)
        nn.init.zeros_(part.bias)
    assert method.objective(make_batch()).terms["responses"].item() == pytest.approx(1.1528813057, abs=1e-10)


def test_a_student_equal_to_its_teacher_has_only_the_review_loss():
    method = mtkd_ssr(THEIRS, THEIRS)
    method.student.load_state_dict(method.teacher.net.state_dict())
    method.heads.load_state_dict(method.teacher_heads.state_dict())
    for project in method.projections:
        nn.init.eye_(project.weight)
        nn.init.zeros_(project.bias)
    terms = method.objective(make_batch()).terms
    assert terms["channels"].item() == pytest.approx(0, abs=1e-12)
    assert terms["responses"].item() == pytest.approx(0, abs=1e-12)
    assert terms["review"].item() > 0.1


def test_invariance_to_scale_and_position_of_the_teachers_maps():
    changed = [3 * x.flip(2).transpose(2, 3) for x in THEIRS]
    one, other = (mtkd_ssr(theirs=theirs).objective(make_batch()).terms for theirs in (THEIRS, changed))
    for name in one:
        assert other[name].item() == pytest.approx(one[name].item(), rel=1e-4), (
            name
        )  # the normalisation before the heads has an epsilon


def test_which_parameters_each_term_trains():
    method = mtkd_ssr()

    def reached(term: str) -> set[str]:
        method.zero_grad(set_to_none=True)
        method.objective(make_batch()).terms[term].backward()
        return {name for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}

    both = {f"heads.{l}.{kind}" for l in (0, 1) for kind in ("weight", "bias")}
    lower, last = {"model.maps.1", "model.maps.2"}, {"model.maps.3"}
    linear = {f"projections.{l}.{kind}" for l in (0, 1, 2) for kind in ("weight", "bias")}
    assert reached("channels") == linear | lower | last
    assert reached("responses") == both | lower | {"model.logits"}
    assert reached("review") == both | lower  # the final logits are detached
    assert reached("ce") == {"model.logits"}


def test_only_the_teachers_heads_are_trained_on_labels():
    method, wrong = mtkd_ssr(), make_batch((LABELS + 1) % 5)
    (one,), (other,) = method.heads_step(make_batch()), method.heads_step(wrong)
    assert list(one.terms) == ["head/1", "head/2"]
    assert one.loss.item() != other.loss.item()
    first = head_logits(method.teacher_heads[0], THEIRS[1].numpy())
    expected = np.mean([math.log(np.exp(z).sum()) - z[y] for z, y in zip(first, LABELS, strict=True)])
    assert one.terms["head/1"].item() == pytest.approx(expected, rel=1e-9)
    terms = [method.objective(batch).terms for batch in (make_batch(), wrong)]
    assert all(terms[0][name].item() == terms[1][name].item() for name in ("channels", "responses", "review"))


def test_the_first_phase_runs_no_stage_above_the_highest_head():
    method = mtkd_ssr()
    list(method.heads_step(make_batch()))
    assert method.teacher.net.iterated == 3  # the stem and two of three stages


def test_each_phase_updates_its_own_parameters():
    built = build_method(MTKD_SSR)
    states = {"before": copy.deepcopy(built.method.state_dict())}
    for epoch in built.train(small_view()):
        states[epoch.phase] = copy.deepcopy(built.method.state_dict())

    def changed(one: str, other: str) -> set[str]:
        a, b = states[one], states[other]
        return {name.split(".")[0] for name in a if name != "_extra_state" and not torch.equal(a[name], b[name])}

    heads, train = built.method.phases()
    assert (heads.epochs, train.epochs) == (0.1, None)
    assert not {id(p) for p in heads.parameters} & {id(p) for p in train.parameters}
    assert changed("before", "heads") == {"teacher_heads"}
    assert changed("heads", "train") == {"model", "student", "heads", "projections"}


def test_without_responses_there_is_no_heads_phase():
    method = mtkd_ssr(responses=0)
    assert [phase.name for phase in method.phases()] == ["train"]
    assert method.objective(make_batch()).terms["responses"].item() == 0


def test_gradient():
    maps = [x[:2, :, :2, :2].clone().requires_grad_() for x in OURS[1:]]
    method = mtkd_ssr()
    teacher = Output(T[:2], T[:2], [x[:2] for x in THEIRS])
    # The target of the review is detached, but finite differences of the logits would change it: only the maps are varied.
    fixed = S[:2].clone()

    def loss(*maps: Tensor) -> Tensor:
        return torch.stack(
            list(method.transfer(Output(fixed, fixed, [OURS[0], *maps]), teacher, make_batch()).values())
        ).sum()

    assert torch.autograd.gradcheck(loss, tuple(maps))
    assert torch.autograd.gradcheck(lambda s: normalised_distance(s, T), (S.clone().requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", ["one", "identical", "zero"])
def test_degenerate_vectors_have_bounded_gradients(rows: str, dtype: torch.dtype):
    student = (
        {"one": S[:1], "identical": S[:1].repeat(4, 1), "zero": torch.zeros(4, 5)}[rows].to(dtype).requires_grad_()
    )
    loss = normalised_distance(student, T[: len(student)].to(dtype))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.abs().max() < 1e4


def test_unsupported_numbers_of_stages_are_rejected():
    info = DatasetInfo(10, (5, 5, 0), SHAPE)

    def truncated(stages: int, width: int) -> Network:
        net = make_network("resnet8")
        net.stages = net.stages[:stages]
        net.replace_head(nn.Linear(width, len(CLASSES)))
        return net

    method = MTKDSSR(make_network("wrn_10_1"), Frozen(truncated(2, 32)), info, lambda: CE(info))
    assert [(pair.student, pair.teacher) for pair in method.pairs] == [(1, 1), (3, 2)]
    assert len(method.heads) == len(method.teacher_heads) == 1
    with pytest.raises(UsageError, match="one of the networks has one stage, but both need at least 2"):
        MTKDSSR(truncated(1, 16), Frozen(truncated(1, 16)), info, lambda: CE(info))


def test_heads_match_the_criterion():
    class CosineCE(CE):
        head = "cosine"

    info = replace(FIVE, shape=SHAPE)
    method = MTKDSSR(make_network("wrn_10_1"), Frozen(make_network("resnet8")), info, lambda: CosineCE(info))
    assert {type(part).__name__ for part in (*method.heads, *method.teacher_heads)} == {"CosineLinear"}
