"""at, sp and rkd: what ties maps and embeddings together."""

import itertools
import math

import numpy as np
import pytest
import torch
from helpers import FIVE, LABELS, ConstantNetwork, S, T, make_batch, make_network
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.errors import UsageError
from robustkd.methods import METHODS
from robustkd.methods.at import AT, attention_loss
from robustkd.methods.rkd import RKD, angle_cosines, relative_distances
from robustkd.methods.sp import SP, similarity_matrix
from robustkd.models.net import Frozen
from robustkd.types import DatasetInfo, Output


def waves(shape: tuple[int, ...], a: float, b: float) -> Tensor:
    """sin(a k + b) over the flat index k, as the golden values were made."""
    return torch.sin(a * torch.arange(math.prod(shape), dtype=torch.float64) + b).reshape(shape)


FS, FT, FT_LARGE = waves((4, 3, 4, 4), 0.37, 0.2), waves((4, 6, 4, 4), 0.53, 0.5), waves((4, 6, 8, 8), 0.53, 0.5)
ES, ET = waves((6, 4), 0.9, 0.1), waves((6, 7), 0.41, 0.6)
RELATIONS = {"distances": relative_distances, "angles": angle_cosines}


def huber(x: float) -> float:
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def unit(e: Tensor) -> Tensor:
    return e / e.norm(dim=1, keepdim=True)


# --- golden values and oracles -------------------------------------------------------------------------------------


def test_attention_is_golden_with_maps_of_one_size_and_of_two():
    assert attention_loss(FS, FT).item() == pytest.approx(0.017430928821, abs=1e-11)
    assert attention_loss(FS, FT_LARGE).item() == pytest.approx(0.018073241171, abs=1e-11)


def test_similarity_is_golden():
    assert (similarity_matrix(FS) - similarity_matrix(FT)).square().mean().item() == pytest.approx(
        0.147131663989, abs=1e-11
    )


@pytest.mark.parametrize(
    ("relation", "plain", "normalised"),
    [("distances", 0.028119119566, 0.027251652694), ("angles", 0.010965809088, 0.008284961810)],
)
def test_relations_are_golden(relation: str, plain: float, normalised: float):
    of = RELATIONS[relation]
    assert torch.nn.functional.smooth_l1_loss(of(ES), of(ET)).item() == pytest.approx(plain, abs=1e-11)
    assert torch.nn.functional.smooth_l1_loss(of(unit(ES)), of(unit(ET))).item() == pytest.approx(normalised, abs=1e-11)


def test_relations_agree_with_loops_over_triples():
    s, t = ES.numpy(), ET.numpy()

    def mean_distance(e: np.ndarray) -> float:
        return float(np.mean([np.linalg.norm(e[i] - e[j]) for i, j in itertools.permutations(range(6), 2)]))

    def cosine(e: np.ndarray, i: int, j: int, k: int) -> float:
        if j in (i, k):
            return 0.0
        a, b = e[i] - e[j], e[k] - e[j]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    pairs, triples = list(itertools.product(range(6), repeat=2)), list(itertools.product(range(6), repeat=3))
    d = [
        np.linalg.norm(s[i] - s[j]) / mean_distance(s) - np.linalg.norm(t[i] - t[j]) / mean_distance(t)
        for i, j in pairs
    ]
    a = [cosine(s, i, j, k) - cosine(t, i, j, k) for i, j, k in triples]
    terms = rkd().transfer(answer(ES), answer(ET), make_batch())
    assert terms["distance"].item() == pytest.approx(25 * np.mean([huber(x) for x in d]))
    assert terms["angle"].item() == pytest.approx(50 * np.mean([huber(x) for x in a]))


def answer(embedding: Tensor) -> Output:
    return Output(torch.zeros(len(embedding), 5, dtype=embedding.dtype), embedding, ())


def rkd(**chosen: float) -> RKD:
    says = ConstantNetwork(torch.zeros(4, 5))
    return RKD(says, Frozen(ConstantNetwork(torch.zeros(4, 5))), lambda: CE(FIVE), normalised=False, **chosen)


# --- by hand -------------------------------------------------------------------------------------------------------


def test_by_hand():
    # Three points at 0, 3 and 4 on a line: distances 3, 4, 1 with mean 8 / 3.
    line = torch.tensor([[0.0], [3.0], [4.0]])
    expected = torch.tensor([[0.0, 3, 4], [3, 0, 1], [4, 1, 0]]) * 3 / 8
    torch.testing.assert_close(relative_distances(line), expected)
    # Seen from the middle one the others lie opposite, seen from an end on one side.
    assert angle_cosines(line)[1, 0, 2].item() == pytest.approx(-1)
    assert angle_cosines(line)[0, 1, 2].item() == pytest.approx(1)
    assert angle_cosines(line)[0, 0, 2].item() == 0
    # Two maps of one place each: attention is 1 everywhere, whatever the activation.
    assert attention_loss(torch.full((2, 1, 1, 1), 5.0), torch.full((2, 3, 1, 1), -2.0)).item() == 0
    # A map bright in one of two places against one bright in both: (1, 0) and (1, 1) / sqrt 2.
    one, both = torch.tensor([1.0, 0]).reshape(1, 1, 1, 2), torch.tensor([1.0, 1]).reshape(1, 1, 1, 2)
    assert attention_loss(one, both).item() == pytest.approx(((1 - 0.5**0.5) ** 2 + 0.5) / 2)
    # Samples at right angles are like themselves alone.
    torch.testing.assert_close(similarity_matrix(torch.eye(3).reshape(3, 3, 1, 1) * 7), torch.eye(3))


# --- identities and invariances ------------------------------------------------------------------------------------


def test_what_is_alike_costs_nothing():
    assert attention_loss(FS, FS).item() == 0
    assert (similarity_matrix(FS) - similarity_matrix(FS)).abs().max().item() == 0
    assert all(term.item() == 0 for term in rkd().transfer(answer(ES), answer(ES), make_batch()).values())


def test_relations_do_not_move_with_rotation_shift_and_scale():
    turn, _ = torch.linalg.qr(waves((4, 4), 1.7, 0.3))
    moved = 3.5 * ES @ turn + waves((1, 4), 0.7, 0.1)
    for of in RELATIONS.values():
        torch.testing.assert_close(of(moved), of(ES))


def test_attention_and_similarity_do_not_move_with_scale():
    torch.testing.assert_close(attention_loss(7 * FS, FT), attention_loss(FS, FT))
    torch.testing.assert_close(similarity_matrix(7 * FS), similarity_matrix(FS))
    swapped = FS[:, [2, 0, 1]]
    torch.testing.assert_close(attention_loss(swapped, FT), attention_loss(FS, FT))


# --- gradients -----------------------------------------------------------------------------------------------------


def test_gradients_are_right():
    maps, points = FS[:3].clone().requires_grad_(), ES.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: attention_loss(x, FT[:3]), maps)
    assert torch.autograd.gradcheck(lambda x: attention_loss(x, FT_LARGE[:3]), maps)
    assert torch.autograd.gradcheck(similarity_matrix, maps)
    assert torch.autograd.gradcheck(relative_distances, points)
    assert torch.autograd.gradcheck(angle_cosines, points)


# --- what batches can be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("what", ["one", "two", "all alike", "two alike", "almost alike", "zero"])
def test_degenerate_batches_have_small_gradients(what: str, dtype: torch.dtype):
    e = ES.to(dtype)
    points = {
        "one": e[:1],
        "two": e[:2],
        "all alike": e[:1].repeat(4, 1),
        "two alike": torch.cat([e[:3], e[:1]]),
        "almost alike": torch.cat([e[:3], e[:1] + 1e-7]),
        "zero": torch.zeros(4, 4, dtype=dtype),
    }[what].clone().requires_grad_()  # fmt: skip
    teacher = ET.to(dtype)[: len(points)]
    terms = rkd().transfer(answer(points), answer(teacher), make_batch())
    sum(terms.values()).backward()
    assert all(torch.isfinite(term) for term in terms.values())
    assert torch.isfinite(points.grad).all()
    assert points.grad.abs().max() < 1e3


@pytest.mark.parametrize(
    "maps", [FS[:1], torch.zeros(3, 2, 4, 4), FS[:1].repeat(3, 1, 1, 1)], ids=["one", "zero", "alike"]
)
def test_degenerate_maps_are_finite(maps: Tensor):
    maps = maps.float().requires_grad_()
    teacher = FT.float()[: len(maps)]
    (attention_loss(maps, teacher) + (similarity_matrix(maps) - similarity_matrix(teacher)).square().mean()).backward()
    assert torch.isfinite(maps.grad).all()


def test_nets_with_other_stages_are_refused():
    facts = DatasetInfo(10, (5, 5, 0), (1, 8, 8))
    student, teacher = make_network("wrn_10_1"), make_network("resnet8")
    teacher.stages = teacher.stages[:2]
    teacher.replace_head(torch.nn.Linear(32, 3))
    with pytest.raises(UsageError, match="the student has 3 stages and the teacher 2"):
        AT(student, Frozen(teacher), facts, lambda: CE(facts))


# --- the methods around them ---------------------------------------------------------------------------------------

CE_OF_S = 2.3362513733


class Shows(ConstantNetwork):
    """Answers with maps and an embedding of its own, besides logits."""

    def __init__(self, logits: Tensor, embedding: Tensor, *maps: Tensor) -> None:
        super().__init__(logits)
        self.shown = (embedding, maps)

    def forward(self, images: Tensor) -> Output:
        embedding, maps = self.shown
        return Output(1 * self.logits, embedding, maps)


STEM, MIDDLE = waves((4, 2, 8, 8), 0.71, 0.3), waves((4, 3, 4, 4), 0.19, 0.8)
PAIR = Shows(S, ES[:4], STEM, MIDDLE, FS), Frozen(Shows(T, ET[:4], 3 + STEM, 2 * MIDDLE.flip(0), FT_LARGE))


def test_attention_is_of_every_stage_but_not_of_the_stem():
    expected = 0.018073241171 + attention_loss(MIDDLE, MIDDLE.flip(0)).item()
    for weight in (1000.0, 2.0):
        terms = AT(*PAIR, FIVE, lambda: CE(FIVE), weight=weight).objective(make_batch()).terms
        assert terms["ce"].item() == pytest.approx(CE_OF_S, abs=1e-10)
        assert terms["at"].item() == pytest.approx(weight * expected, rel=1e-9)
    assert METHODS.parse("at").kwargs() == {}
    assert AT(*PAIR, FIVE, lambda: CE(FIVE)).weight == 1000


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_an_odd_power_is_of_the_size_whatever_the_sign(power: float):
    def q(a: np.ndarray) -> np.ndarray:
        rows = (np.abs(a) ** power).mean(axis=1).reshape(len(a), -1)
        return rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))

    expected = float(np.mean((q(FS.numpy()) - q(FT.numpy())) ** 2))
    assert attention_loss(FS, FT, power).item() == pytest.approx(expected, rel=1e-10)
    assert AT(*PAIR, FIVE, lambda: CE(FIVE), power=power).power == power


def test_similarity_is_of_the_last_map():
    for weight in (3000.0, 2.0):
        terms = SP(*PAIR, lambda: CE(FIVE), weight=weight).objective(make_batch()).terms
        last = (similarity_matrix(FS) - similarity_matrix(FT_LARGE)).square().sum().item() / 16
        assert terms["ce"].item() == pytest.approx(CE_OF_S, abs=1e-10)
        assert terms["sp"].item() == pytest.approx(weight * last, rel=1e-9)
    assert SP(*PAIR, lambda: CE(FIVE)).weight == 3000


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ({}, {"ce", "distance", "angle"}),
        ({"angle": 0.0}, {"ce", "distance"}),
        ({"distance": 0.0}, {"ce", "angle"}),
        ({"kd": 1.0}, {"ce", "distance", "angle", "kd"}),
    ],
)
def test_relations_are_weighed_and_those_of_no_weight_are_not_asked_for(chosen: dict[str, float], names: set[str]):
    terms = (
        RKD(ConstantNetwork(S), Frozen(ConstantNetwork(T)), lambda: CE(FIVE), **chosen).objective(make_batch()).terms
    )
    assert set(terms) == names
    assert terms["ce"].item() == pytest.approx(CE_OF_S, abs=1e-10)
    if "kd" in names:
        assert terms["kd"].item() == pytest.approx(1.1528813057, abs=1e-10)  # T = 4, its square included


def test_embeddings_are_brought_to_length_one_first():
    terms = RKD(ConstantNetwork(S), Frozen(ConstantNetwork(T)), lambda: CE(FIVE)).transfer(
        answer(ES), answer(ET), make_batch()
    )
    assert terms["distance"].item() == pytest.approx(25 * 0.027251652694, abs=1e-9)
    assert terms["angle"].item() == pytest.approx(50 * 0.008284961810, abs=1e-9)


def test_the_words_of_rkd():
    chosen = {word: METHODS.parse(word).kwargs() for word in ("rkd_d", "rkd_a", "rkd_da")}
    assert chosen == {"rkd_d": {"angle": 0.0}, "rkd_a": {"distance": 0.0}, "rkd_da": {}}


def test_labels_reach_the_cross_entropy_and_nothing_else():
    for method in (AT(*PAIR, FIVE, lambda: CE(FIVE)), SP(*PAIR, lambda: CE(FIVE)), RKD(*PAIR, lambda: CE(FIVE))):
        one, other = (method.objective(make_batch(labels)).terms for labels in (LABELS, (LABELS + 1) % 5))
        assert {name for name in one if one[name].item() != other[name].item()} == {"ce"}


# --- half precision ------------------------------------------------------------------------------------------------

# Nets hand out float32, whatever they compute in. Handed bfloat16, all of this stays finite. Float16 is no input for it: an
# activation of 300 overflows when it is squared, and the guards of 1e-12 and 1e-8 are 0 there; ordinary values pass.
HALVES = {
    "attention": lambda x: attention_loss(x, FT.to(x.dtype)[: len(x)]),
    "similarity": lambda x: (similarity_matrix(x) - similarity_matrix(FT.to(x.dtype)[: len(x)])).square().mean(),
    "distances": lambda x: torch.nn.functional.smooth_l1_loss(
        relative_distances(x), relative_distances(ET.to(x.dtype)[: len(x)])
    ),
    "angles": lambda x: torch.nn.functional.smooth_l1_loss(angle_cosines(x), angle_cosines(ET.to(x.dtype)[: len(x)])),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", HALVES)
def test_in_half_precision_losses_are_near(name: str, dtype: torch.dtype):
    given = FS if name in ("attention", "similarity") else ES
    assert HALVES[name](given.to(dtype)).item() == pytest.approx(HALVES[name](given).item(), rel=0.03)


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("what", ["one", "alike", "zero", "large"])
def test_in_bfloat16_degenerate_batches_are_finite(name: str, what: str):
    given = FS if name in ("attention", "similarity") else ES
    alike = given[:1].repeat(4, *[1] * (given.dim() - 1))
    x = {"one": given[:1], "alike": alike, "zero": 0 * given[:4], "large": 1e4 * given[:4]}[what]
    x = x.bfloat16().requires_grad_()
    loss = HALVES[name](x)
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()
