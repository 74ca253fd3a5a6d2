"""smooth: L = (1 - labels) CE + labels mean_c(-log p_c) + consistency mean_B || z(x + d) - z(x) ||^2."""

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.criteria.balanced import Balanced
from robustkd.criteria.ce import CE
from robustkd.methods.baseline import Baseline
from robustkd.methods.smooth import Smooth, squared_distance, uniform_ce
from robustkd.models.net import Network
from robustkd.types import Output
from tests.helpers import (
    FIVE,
    LABELS,
    SHAPE,
    ConstantNetwork,
    S,
    T,
    dataset_info,
    golden,
    make_batch,
    make_network,
    small_view,
)

IMAGES = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))


class Linear(Network):
    """Logits that are a linear function of the pixels, in units of the normalisation."""

    def __init__(self, std: tuple[float, ...] = (0.5,)) -> None:
        super().__init__((0.3,), std)
        self.head = nn.Linear(64, 3, bias=False)
        self.batch: list[Tensor] = []

    def forward(self, images: Tensor) -> Output:
        self.batch.append(images)
        embedding = self.normalise(images).flatten(1)
        return Output(self.head(embedding), embedding, ())

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        yield from ()

    def replace_head(self, head: nn.Linear) -> None:
        self.head = head


def smooth(net: Network | None = None, seed: int = 0, **options: float) -> Smooth:
    return Smooth(net or ConstantNetwork(S), lambda: CE(FIVE), torch.Generator().manual_seed(seed), **options)


def test_by_hand():
    # p = (3/4, 1/4), label 0, labels 0.2: 0.8 * -log 3/4 = 0.2301457; -log 3/4 and -log 1/4 have the mean 0.8369882,
    # and 0.2 of it is 0.1673976
    method = smooth(ConstantNetwork(torch.tensor([[math.log(3), 0.0]])), labels=0.2)
    terms = method.objective(make_batch(torch.tensor([0]))).terms
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"ce": 0.2301457, "labels": 0.1673976}, abs=1e-6
    )
    # (3 - 1)^2 + (0 - 2)^2 + (5 - 5)^2 = 8
    assert squared_distance(torch.tensor([[1.0, 2.0, 5.0]]), torch.tensor([[3.0, 0.0, 5.0]])).tolist() == [8.0]


@pytest.mark.parametrize("labels", [0.1, 0.7])
def test_it_equals_cross_entropy_with_label_smoothing(labels):
    assert smooth().labels == 0.1
    loss = smooth(labels=labels).objective(make_batch()).loss.item()
    assert loss == pytest.approx(F.cross_entropy(S, LABELS, label_smoothing=labels).item(), rel=1e-12)


def test_without_smoothing_it_is_the_baseline():
    net = make_network()
    ours = smooth(net, labels=0.0).objective(make_batch(torch.tensor([0, 1, 2, 0]), IMAGES)).terms
    theirs = Baseline(net, lambda: CE(FIVE)).objective(make_batch(torch.tensor([0, 1, 2, 0]), IMAGES)).terms
    assert list(ours) == list(theirs)
    assert ours["ce"].item() == theirs["ce"].item()


def test_full_smoothing_ignores_labels_and_favours_uniform_predictions():
    one, other = (smooth(labels=1.0).objective(make_batch(labels)).loss for labels in (LABELS, (LABELS + 1) % 5))
    assert one.item() == other.item()
    uniform = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    uniform_ce(uniform).sum().backward()
    assert uniform.grad.abs().max() < 1e-12
    assert (uniform_ce(S) > math.log(5)).all()


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    assert torch.allclose(uniform_ce(S + shift), uniform_ce(S), rtol=1e-10)
    assert torch.allclose(squared_distance(S + shift, T + shift), squared_distance(S, T), rtol=1e-10)


def test_gradients_and_half_precision():
    assert torch.autograd.gradcheck(uniform_ce, (S.clone().requires_grad_(),))
    assert torch.autograd.gradcheck(squared_distance, (S.clone().requires_grad_(), T.clone().requires_grad_()))
    for dtype in (torch.float16, torch.bfloat16):
        assert uniform_ce(30 * S.to(dtype)).isfinite().all()
        assert squared_distance(30 * S.to(dtype), 30 * T.to(dtype)).isfinite().all()


def test_another_criterion_replaces_the_cross_entropy():
    method = Smooth(make_network(), lambda: Balanced(dataset_info(small_view())), torch.Generator(), labels=0.25)
    method.criterion.log_counts += torch.tensor([0.0, 1.0, 2.0])
    batch = make_batch(torch.tensor([0, 1, 2, 0]), IMAGES)
    terms, logits = method.objective(batch).terms, method.model(IMAGES).logits
    assert terms["ce"].item() == pytest.approx(0.75 * method.criterion(logits, batch).mean().item(), rel=1e-5)
    assert terms["labels"].item() == pytest.approx(0.25 * uniform_ce(logits).mean().item(), rel=1e-5)


@pytest.mark.parametrize("distance", [0.15, 0.6])
def test_noise_is_gaussian_in_units_of_the_normalisation(distance):
    # With z = w (x - mean) / std and d = distance * std * n, z(x + d) - z(x) = distance * w n: E || . ||^2 = distance^2 ||w||^2
    net, rows = Linear(std=(0.02,)), torch.full((4000, *SHAPE), 0.5)
    terms = smooth(net, consistency=2.0, distance=distance).objective(make_batch(torch.zeros(4000).long(), rows)).terms
    expected = 2 * distance**2 * net.head.weight.square().sum().item()
    assert terms["consistency"].item() == pytest.approx(expected, rel=0.1)
    noise = (net.batch[0][4000:] - 0.5) / 0.02 / distance
    assert abs(noise.mean()) < 0.01
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert noise.pow(4).mean() == pytest.approx(3, abs=0.1)  # as for a Gaussian


def test_one_forward_for_clean_and_noisy_images_and_labels_for_clean_only():
    net = Linear()
    batch = make_batch(torch.tensor([0, 1, 2, 0]), IMAGES)
    terms = smooth(net, consistency=1.0, labels=0.0).objective(batch).terms
    assert [len(images) for images in net.batch] == [8]
    assert torch.equal(net.batch[0][:4], IMAGES)
    assert terms["ce"].item() == pytest.approx(F.cross_entropy(net(IMAGES).logits, batch.labels).item(), rel=1e-6)


def test_the_consistency_gradient_flows_through_both_outputs():
    # The term is quadratic in the weights, so <gradient, w> is twice its value; with one output detached it would be less.
    net = Linear()
    term = smooth(net, consistency=1.0).objective(make_batch(torch.tensor([0, 1, 2, 0]), IMAGES)).terms["consistency"]
    term.backward()
    assert (net.head.weight.grad * net.head.weight).sum().item() == pytest.approx(2 * term.item(), rel=1e-4)
    assert squared_distance(S, S).abs().max() == 0


def test_noise_is_resampled_from_its_own_generator_only_if_needed():
    def drawn(seed: int) -> list[float]:
        method = smooth(Linear(), seed, consistency=1.0)
        nn.init.ones_(method.model.head.weight)
        batch = make_batch(torch.tensor([0, 1, 2, 0]), IMAGES)
        return [method.objective(batch).terms["consistency"].item() for _ in range(2)]

    assert drawn(0) == drawn(0) != drawn(1)
    assert drawn(0)[0] != drawn(0)[1]
    plain = smooth()
    before = plain.random.get_state()
    plain.objective(make_batch())
    assert torch.equal(before, plain.random.get_state())


@pytest.mark.parametrize("labels", [torch.tensor([1]), torch.full((4,), 2)])
def test_a_single_sample_and_a_single_class(labels):
    images = IMAGES[:1].expand(len(labels), *SHAPE)  # identical rows
    objective = smooth(make_network(), consistency=1.0).objective(make_batch(labels, images))
    objective.loss.backward()
    assert objective.loss.isfinite()
