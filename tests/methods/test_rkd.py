"""rkd: distances and angles between the embeddings of a batch."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.methods import METHODS
from robustkd.methods.rkd import RKD, angle_cosines, relative_distances
from robustkd.models.net import Frozen
from robustkd.types import Output
from tests.helpers import FIVE, LABELS, ConstantNetwork, S, T, golden, make_batch

ES, ET = golden((6, 4), 0.9, 0.1), golden((6, 7), 0.41, 0.6)
RELATIONS = {"distances": relative_distances, "angles": angle_cosines}


def huber(x: float) -> float:
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def unit(e: Tensor) -> Tensor:
    return e / e.norm(dim=1, keepdim=True)


def output(embedding: Tensor) -> Output:
    return Output(torch.zeros(len(embedding), 5, dtype=embedding.dtype), embedding, ())


def rkd(**options: float) -> RKD:
    """A method whose embeddings are not normalised."""
    student, teacher = ConstantNetwork(torch.zeros(4, 5)), ConstantNetwork(torch.zeros(4, 5))
    return RKD(student, Frozen(teacher), lambda: CE(FIVE), normalised=False, **options)


@pytest.mark.parametrize(
    ("name", "plain", "normalised"),
    [("distances", 0.028119119566, 0.027251652694), ("angles", 0.010965809088, 0.008284961810)],
)
def test_golden_values(name: str, plain: float, normalised: float):
    relation = RELATIONS[name]
    assert F.smooth_l1_loss(relation(ES), relation(ET)).item() == pytest.approx(plain, abs=1e-11)
    assert F.smooth_l1_loss(relation(unit(ES)), relation(unit(ET))).item() == pytest.approx(normalised, abs=1e-11)


def test_terms_match_loops_over_pairs_and_triples():
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
    terms = rkd().transfer(output(ES), output(ET), make_batch())
    assert terms["distance"].item() == pytest.approx(25 * np.mean([huber(x) for x in d]))
    assert terms["angle"].item() == pytest.approx(50 * np.mean([huber(x) for x in a]))


def test_by_hand():
    # Three points at 0, 3 and 4 on a line: distances 3, 4, 1 with mean 8 / 3.
    line = torch.tensor([[0.0], [3.0], [4.0]])
    expected = torch.tensor([[0.0, 3, 4], [3, 0, 1], [4, 1, 0]]) * 3 / 8
    torch.testing.assert_close(relative_distances(line), expected)
    # From the middle point the others are in opposite directions, from an end in the same direction.
    assert angle_cosines(line)[1, 0, 2].item() == pytest.approx(-1)
    assert angle_cosines(line)[0, 1, 2].item() == pytest.approx(1)
    assert angle_cosines(line)[0, 0, 2].item() == 0


def test_equal_embeddings_have_zero_loss():
    assert all(term.item() == 0 for term in rkd().transfer(output(ES), output(ES), make_batch()).values())


def test_invariance_to_rotation_translation_and_scale():
    rotation, _ = torch.linalg.qr(golden((4, 4), 1.7, 0.3))
    transformed = 3.5 * ES @ rotation + golden((1, 4), 0.7, 0.1)
    for relation in RELATIONS.values():
        torch.testing.assert_close(relation(transformed), relation(ES))


@pytest.mark.parametrize("name", RELATIONS)
def test_gradient(name: str):
    assert torch.autograd.gradcheck(RELATIONS[name], ES.clone().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["one", "two", "all identical", "two identical", "nearly identical", "zero"])
def test_degenerate_batches_have_small_gradients(case: str, dtype: torch.dtype):
    e = ES.to(dtype)
    points = {
        "one": e[:1],
        "two": e[:2],
        "all identical": e[:1].repeat(4, 1),
        "two identical": torch.cat([e[:3], e[:1]]),
        "nearly identical": torch.cat([e[:3], e[:1] + 1e-7]),
        "zero": torch.zeros(4, 4, dtype=dtype),
    }[case].clone().requires_grad_()  # fmt: skip
    teacher = ET.to(dtype)[: len(points)]
    terms = rkd().transfer(output(points), output(teacher), make_batch())
    sum(terms.values()).backward()
    assert all(torch.isfinite(term) for term in terms.values())
    assert torch.isfinite(points.grad).all()
    assert points.grad.abs().max() < 1e3


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"ce", "distance", "angle"}),
        ({"angle": 0.0}, {"ce", "distance"}),
        ({"distance": 0.0}, {"ce", "angle"}),
        ({"kd": 1.0}, {"ce", "distance", "angle", "kd"}),
    ],
)
def test_terms_with_zero_weight_are_omitted(options: dict[str, float], names: set[str]):
    method = RKD(ConstantNetwork(S), Frozen(ConstantNetwork(T)), lambda: CE(FIVE), **options)
    terms = method.objective(make_batch()).terms
    assert set(terms) == names
    assert terms["ce"].item() == pytest.approx(2.3362513733, abs=1e-10)
    if "kd" in names:
        assert terms["kd"].item() == pytest.approx(1.1528813057, abs=1e-10)  # T = 4, including T^2


def test_embeddings_are_normalised_by_default():
    method = RKD(ConstantNetwork(S), Frozen(ConstantNetwork(T)), lambda: CE(FIVE))
    terms = method.transfer(output(ES), output(ET), make_batch())
    assert terms["distance"].item() == pytest.approx(25 * 0.027251652694, abs=1e-9)
    assert terms["angle"].item() == pytest.approx(50 * 0.008284961810, abs=1e-9)


def test_presets():
    presets = {word: METHODS.parse(word).kwargs() for word in ("rkd_d", "rkd_a", "rkd_da")}
    assert presets == {"rkd_d": {"angle": 0.0}, "rkd_a": {"distance": 0.0}, "rkd_da": {}}


def test_labels_affect_only_the_cross_entropy():
    method = RKD(ConstantNetwork(S), Frozen(ConstantNetwork(T)), lambda: CE(FIVE))
    one, other = (method.objective(make_batch(labels)).terms for labels in (LABELS, (LABELS + 1) % 5))
    assert {name for name in one if one[name].item() != other[name].item()} == {"ce"}


# Networks return float32. Given bfloat16, the loss stays finite. Float16 is not supported: the guard of 1e-8 is 0; but
# ordinary values work.


def relation_loss(name: str, x: Tensor) -> Tensor:
    relation = RELATIONS[name]
    return F.smooth_l1_loss(relation(x), relation(ET.to(x.dtype)[: len(x)]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", RELATIONS)
def test_half_precision_is_close(name: str, dtype: torch.dtype):
    assert relation_loss(name, ES.to(dtype)).item() == pytest.approx(relation_loss(name, ES).item(), rel=0.03)


@pytest.mark.parametrize("name", RELATIONS)
@pytest.mark.parametrize("case", ["one", "identical", "zero", "large"])
def test_degenerate_batches_are_finite_in_bfloat16(name: str, case: str):
    x = {"one": ES[:1], "identical": ES[:1].repeat(4, 1), "zero": 0 * ES[:4], "large": 1e4 * ES[:4]}[case]
    x = x.bfloat16().requires_grad_()
    loss = relation_loss(name, x)
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()
