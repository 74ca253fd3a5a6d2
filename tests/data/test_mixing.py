"""Mixing: values by hand, the loss of mixtures, the pairs of an epoch, and what is refused."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from robustkd.criteria.ce import CE
from robustkd.data.loader import Loader
from robustkd.data.mixing import MIXINGS, CutMix, Mixup, Remix, beta_quantile, mix_batch, parse_mixing
from robustkd.errors import UsageError
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.study.construct import construct_method
from robustkd.study.plan import Run
from robustkd.types import Batch, Clock
from tests.helpers import CPU, TEACHER, large_view, make_network, make_settings

CLOCK, COUNTS = Clock(0, 1), torch.tensor([90, 30, 10])
LABELS, PARTNERS = torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1])


def make_batch(size: int = 4) -> Batch:
    images = torch.arange(3.0)[:, None, None, None].expand(3, 1, size, size).contiguous()
    return Batch(images, LABELS, torch.tensor([10, 11, 12]), CLOCK, views=(images + 100,))


def test_mixup_by_hand() -> None:
    # With alpha 1 the share is the draw. Image i has the value i: 0.25 of its own, 0.75 of its partner's.
    mixed = mix_batch(make_batch(), Mixup(), PARTNERS, [0.25], COUNTS)
    assert mixed.images[:, 0, 0, 0].tolist() == [1.5, 0.25, 1.25]
    assert mixed.views[0][:, 0, 0, 0].tolist() == [101.5, 100.25, 101.25]
    assert mixed.labels.tolist() == [0, 1, 2]
    assert mixed.mixed is not None
    assert mixed.mixed.labels.tolist() == [2, 0, 1]
    assert mixed.mixed.index.tolist() == [12, 10, 11]
    assert mixed.mixed.weight.tolist() == [0.25, 0.25, 0.25]


def test_cutmix_by_hand() -> None:
    # A share of 0.75 is a box of half the side, 2 of 4 pixels, here in the corner: 1 pixel of 16 is left inside.
    mixing = CutMix(probability=1)
    mixed = mix_batch(make_batch(), mixing, PARTNERS, [0.75, 0.0, 0.0, 0.5], COUNTS)
    expected = torch.zeros(4, 4)
    expected[0, 0] = 2
    assert torch.equal(mixed.images[0, 0], expected)
    assert mixed.mixed is not None
    assert mixed.mixed.weight.tolist() == [1 - 1 / 16] * 3
    centre = mix_batch(make_batch(), mixing, PARTNERS, [0.75, 0.5, 0.5, 0.5], COUNTS)
    assert centre.images[0, 0].sum() == 2 * 4
    untouched = mix_batch(make_batch(), CutMix(), PARTNERS, [0.75, 0.5, 0.5, 0.5], COUNTS)
    assert torch.equal(untouched.images, make_batch().images)


@pytest.mark.parametrize(
    ("share", "weights"),
    [
        (0.25, [0.0, 0.25, 0.25]),  # class 0 is at least 3 times class 2, so the label is that of class 2
        (0.75, [0.75, 1.0, 1.0]),  # class 1 is a third of class 0, class 2 a third of class 1
        (0.5, [0.5, 0.5, 0.5]),  # neither share is below the threshold
    ],
)
def test_remix_by_hand(share: float, weights: list[float]) -> None:
    labels, partners = torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1])
    weight = Remix().label_weight(share, COUNTS[labels], COUNTS[labels[partners]])
    assert weight.tolist() == weights


def test_remix_of_balanced_classes_is_mixup() -> None:
    counts = torch.tensor([5, 5])
    assert torch.equal(Remix().label_weight(0.2, counts, counts), Mixup().label_weight(0.2, counts, counts))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    draws = torch.rand(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = [beta_quantile(alpha, draw) for draw in draws.tolist()]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_the_loss_of_a_mixture_is_that_of_the_mixed_target() -> None:
    from tests.helpers import dataset_info

    batch = mix_batch(make_batch(), Mixup(), PARTNERS, [0.25], COUNTS)
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    target = 0.25 * torch.eye(3)[LABELS] + 0.75 * torch.eye(3)[LABELS[PARTNERS]]
    expected = -(target * logits.log_softmax(dim=1)).sum(dim=1)
    loss = CE(dataset_info(large_view()))(logits, batch)
    assert torch.allclose(loss, expected)
    # A weight of 1 is the loss without mixing.
    assert batch.mixed is not None
    whole = replace(batch, mixed=replace(batch.mixed, weight=torch.ones(3)))
    criterion = CE(dataset_info(large_view()))
    assert torch.equal(criterion(logits, whole), criterion(logits, replace(batch, mixed=None)))


def epoch(mixing: str, number: int = 0, seed: int = 0) -> list[Batch]:
    loader = Loader(large_view(), 12, CPU, seed=seed, mixing=mixing, views=("again",))
    return list(loader.iter_epoch(number, CLOCK))


@pytest.mark.parametrize("word", MIXINGS)
def test_an_epoch_mixes_the_same_batches_reproducibly(word: str) -> None:
    plain, mixed, again = epoch("none"), epoch(word), epoch(word)
    for one, two, three in zip(plain, mixed, again, strict=True):
        assert torch.equal(one.labels, two.labels)
        assert torch.equal(one.index, two.index)
        assert one.mixed is None
        assert two.mixed is not None
        assert torch.equal(two.images, three.images)
        assert sorted(two.mixed.index.tolist()) == sorted(two.index.tolist())
        assert torch.equal(two.mixed.labels, torch.from_numpy(large_view().labels)[two.mixed.index])
        assert two.mixed.weight.dtype is torch.float32
        assert 0 <= float(two.mixed.weight.min()) <= float(two.mixed.weight.max()) <= 1
    assert any(not torch.equal(a.images, b.images) for a, b in zip(plain, mixed, strict=True))
    assert any(not torch.equal(a.images, b.images) for a, b in zip(mixed, epoch(word, seed=1), strict=True))


def test_mixed_images_are_what_their_weights_say() -> None:
    for one, two in zip(epoch("none"), epoch("mixup(alpha=0.5)"), strict=True):
        assert two.mixed is not None
        rows = one.index.tolist()
        partners = torch.tensor([rows.index(row) for row in two.mixed.index.tolist()])
        weight = two.mixed.weight[:, None, None, None]
        for a, b in zip((one.images, *one.views), (two.images, *two.views), strict=True):
            assert torch.allclose(b, weight * a + (1 - weight) * a[partners], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mixpu", r"no mixing is called 'mixpu' \(did you mean 'mixup'\?\)"),
        ("mixup(alpha=0)", "mixing 'mixup.alpha=0.': alpha is 0 but should be greater than 0"),
        ("remix(ratio=1)", "ratio is 1 but should be greater than 1"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_mixing(text)


def build(text: str, mixing: str = "mixup") -> None:
    spec = Run("student", MethodSpec.parse(text), 0)
    settings = replace(make_settings(), mixing=mixing)
    construct_method(large_view(), spec, settings, torch.Generator(), teacher=partial(make_network, TEACHER))


def test_a_method_that_needs_one_label_per_image_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^--mixing mixup: 'dkd' is not defined for mixed images"):
        build("dkd")
    build("dkd", "none")
    build("kdcl(target=naive)")
    with pytest.raises(UsageError, match="'kdcl' is not defined for mixed images"):
        build("kdcl")


class Memory(CE):
    """A criterion with a state for each row."""

    supports_mixing = False

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().forward(logits, batch)


def test_a_criterion_with_a_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustkd.criteria.ce.CE", Memory)
    with pytest.raises(UsageError, match="'baseline' is not defined for mixed images"):
        build("baseline")


def test_some_methods_support_mixing_and_some_do_not() -> None:
    supported = {word for word in METHODS if METHODS.parse(word).load().supports_mixing}
    assert {"baseline", "hinton", "dml", "rkd_da"} <= supported
    assert not supported & {"dkd", "bss", "psd", "crd"}
    assert np.mean([word in supported for word in METHODS]) > 0.5
