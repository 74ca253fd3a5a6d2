"""Paired views: additional views of a batch's images, which do not affect the first."""

import numpy as np
import pytest
import torch

from robustkd.data.augment import max_shift
from robustkd.data.loader import Loader
from robustkd.data.paired_views import PAIRED_VIEWS, Again
from robustkd.errors import UsageError
from robustkd.registry import Entry
from tests.data.test_loader import CLOCK, alike, epoch, make_loader, make_view

WORDS = ("again", "jda0.5", "jda1.0")


def looks(loader: Loader, at: int = 0, number: int = 0) -> dict[int, torch.Tensor]:
    """A view's images by row."""
    batches = epoch(loader, number)
    return {row: image for batch in batches for row, image in zip(batch.index.tolist(), batch.views[at], strict=True)}


def equal(one: dict[int, torch.Tensor], other: dict[int, torch.Tensor]) -> float:
    """The share of rows with equal images."""
    assert one.keys() == other.keys()
    return float(np.mean([torch.equal(one[row], other[row]) for row in one]))


@pytest.mark.parametrize("budget", [None, 0])
@pytest.mark.parametrize("augment", [False, True])
def test_the_first_view_does_not_depend_on_further_ones(augment, budget):
    plain, paired = (
        epoch(make_loader(make_view(flips=True), augment=augment, budget=budget, views=words), 3)
        for words in ((), WORDS)
    )
    assert alike(plain, paired)
    assert all(batch.views == () for batch in plain)


def test_views_are_ordered_and_formatted_like_images():
    view = make_view(flips=True)
    for batch in epoch(make_loader(view, augment=True, views=WORDS)):
        assert len(batch.views) == 3
        for look in batch.views:
            assert (look.shape, look.dtype) == (batch.images.shape, torch.float32)
            assert look.is_contiguous(memory_format=torch.channels_last)
            assert 0 <= look.min() < look.max() <= 1
    turned = make_loader(view, augment=True, views=WORDS[::-1])
    for at, word in enumerate(WORDS):
        alone = make_loader(view, augment=True, views=(word,))
        assert equal(looks(alone), looks(make_loader(view, augment=True, views=WORDS), at)) == 1
        assert equal(looks(alone), looks(turned, 2 - at)) == 1


def test_a_view_has_the_rows_of_its_batch():
    # Nothing is moved or mirrored here, and nothing drawn: the second look is the first.
    for batch in epoch(make_loader(make_view(), views=("again", "jda0.0"))):
        assert all(torch.equal(look, batch.images) for look in batch.views)


def test_again_is_another_crop_of_the_same_image():
    view, pad = make_view(30, flips=True), max_shift(8)
    loader = make_loader(view, augment=True, views=("again",))
    differ = 0
    for batch in epoch(loader):
        for first, second, row in zip(batch.images, batch.views[0], batch.index, strict=True):
            padded = np.pad(view.sources[0].images[view.rows[row]], ((0, 0), (pad, pad), (pad, pad)))
            crops = [padded[:, y : y + 8, x : x + 9] for y, x in np.ndindex(2 * pad + 1, 2 * pad + 1)]
            crops += [crop[:, :, ::-1] for crop in crops]
            assert any((np.rint(second.numpy() * 255) == crop).all() for crop in crops)
            differ += not torch.equal(first, second)
    assert differ > 20  # one in 18 is shifted and mirrored alike by chance


class Inverted:
    draws = 2

    def __call__(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        assert (images.dtype, draws.shape) == (torch.uint8, (len(images), 2))
        assert 0 <= draws.min() < draws.max() < 1
        return 255 - images


@pytest.mark.parametrize("budget", [None, 0])
def test_images_are_transformed_before_they_are_shifted(monkeypatch, budget):
    monkeypatch.setitem(PAIRED_VIEWS._own, "inverted", Entry(Inverted))
    view = make_view(30)
    loader = make_loader(view, augment=True, views=("inverted",), budget=budget)
    pixels = torch.stack(list(looks(loader).values()))
    assert pixels.max() < 1  # no image has a zero of its own, so what moved in from outside would be the brightest
    assert (pixels[:, :, 0] == 0).all(dim=(1, 2)).any()
    for batch in epoch(make_loader(view, views=("inverted",), budget=budget)):
        assert torch.allclose(batch.views[0], 1 - batch.images)


def test_draws_differ_between_images():
    loader = make_loader(make_view(30), views=("jda1.0", "jda0.1"))
    always, seldom = (
        [
            torch.equal(look, first)
            for batch in epoch(loader)
            for look, first in zip(batch.views[at], batch.images, strict=True)
        ]
        for at in (0, 1)
    )
    assert not any(always)
    assert 0 < sum(seldom) < 30


@pytest.mark.parametrize("word", WORDS)
def test_a_view_depends_on_seed_epoch_and_name_only(word):
    view = make_view(30, flips=True)
    loader = make_loader(view, augment=True, views=(word,))
    first = looks(loader, number=4)
    looks(loader, number=5)
    torch.rand(3)
    for other in (
        loader,
        make_loader(view, augment=True, views=(word,)),
        make_loader(view, 7, augment=True, views=(word,)),
    ):
        assert equal(looks(other, number=4), first) == 1
    assert equal(looks(loader, number=5), first) < 0.5
    assert equal(looks(make_loader(view, augment=True, views=(word,), seed=1), number=4), first) < 0.5
    assert equal(looks(make_loader(view, augment=True, views=("jda0.9",)), number=4), first) < 0.5


def test_draws_differ_between_epochs_and_seeds():
    one, other = (make_loader(make_view(30), views=("jda1.0",), seed=seed) for seed in (0, 1))  # nothing is moved here
    assert equal(looks(one), looks(one, number=1)) == equal(looks(one), looks(other)) == 0


@pytest.mark.parametrize("augment", [False, True])
def test_streamed_views_equal_resident_ones(augment):
    resident, streamed = (
        make_loader(make_view(flips=True), augment=augment, budget=budget, views=WORDS) for budget in (None, 0)
    )
    assert resident.resident is not None
    assert streamed.resident is None
    for number in range(2):
        for one, other in zip(epoch(resident, number), epoch(streamed, number), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one.views, other.views, strict=True))


def test_the_global_generator_is_not_used():
    before = torch.get_rng_state()
    epoch(make_loader(make_view(flips=True), augment=True, views=WORDS))
    assert torch.equal(torch.get_rng_state(), before)


def test_again_is_the_identity():
    images = torch.arange(48, dtype=torch.uint8).reshape(1, 4, 4, 3)
    assert PAIRED_VIEWS.parse("again").load() is Again
    assert Again()(images, torch.empty(1, Again.draws)) is images


@pytest.mark.parametrize(("word", "expected"), [("jdb", "did you mean 'jda'"), ("jda1.5", "less than or equal to 1")])
def test_unknown_views_are_refused(word, expected):
    with pytest.raises(UsageError, match=expected):
        next(make_loader(make_view(), views=(word,)).iter_epoch(0, CLOCK))
