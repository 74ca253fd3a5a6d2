"""Batches: every sample once, in an order that depends on seed and epoch only, resident or streamed."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from robustkd.data.augment import max_shift
from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.types import Batch, Clock

CPU, CLOCK = torch.device("cpu"), Clock(0, 1)


def make_view(n: int = 23, flips: bool = False, shape: tuple[int, int, int] = (2, 8, 9)) -> View:
    """n of 30 random images in random order; all labels differ from the source's."""
    random = np.random.default_rng(0)
    images = random.integers(1, 256, (30, *shape), dtype=np.uint8)
    source = Source("noise", images, np.arange(30) % 4, tuple("abcd"), flips=flips)
    view = View.of(source, random.permutation(30)[:n])
    return view.relabel((view.labels + 1) % 4)


def make_loader(view: View, size: int = 5, **options: object) -> Loader:
    return Loader(view, size, CPU, **{"seed": 0, "augment": False, **options})


def epoch(loader: Loader, number: int = 0, clock: Clock = CLOCK) -> list[Batch]:
    return list(loader.iter_epoch(number, clock))


def order(loader: Loader, number: int = 0) -> list[int]:
    return torch.cat([batch.index for batch in epoch(loader, number)]).tolist()


def alike(one: list[Batch], other: list[Batch]) -> bool:
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and torch.equal(a.index, b.index)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("budget", [None, 0])
@pytest.mark.parametrize(("n", "size"), [(23, 5), (20, 5), (3, 5), (6, 5), (3, 2), (1, 1), (7, 1)])
def test_an_epoch_contains_every_sample_once_in_equal_batches(n, size, budget):
    loader = make_loader(make_view(n), size, budget=budget)
    batches = epoch(loader)
    sizes = [len(batch.labels) for batch in batches]
    assert sorted(order(loader)) == list(range(n))
    assert len(sizes) == len(loader) == int(np.ceil(n / size))
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("budget", [None, 0])
def test_the_index_identifies_images_and_labels(budget):
    view, clock = make_view(), Clock(3, 7)
    for batch in epoch(make_loader(view, budget=budget), clock=clock):
        assert batch.clock == clock
        assert (batch.labels.dtype, batch.index.dtype, batch.images.dtype) == (torch.int64, torch.int64, torch.float32)
        for image, label, row in zip(batch.images, batch.labels, batch.index, strict=True):
            published = view.sources[0].images[view.rows[row]]
            assert np.allclose(image.numpy(), published / 255, rtol=0, atol=1e-7)  # without augmentation nothing moves
            assert label == view.labels[row] != view.sources[0].labels[view.rows[row]]


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("augment", [False, True])
def test_streamed_batches_equal_resident_ones(flips, augment):
    view = make_view(flips=flips)
    resident, streamed = (make_loader(view, augment=augment, budget=budget) for budget in (None, 0))
    assert resident.resident is not None
    assert streamed.resident is None
    for number in range(3):
        assert alike(epoch(resident, number), epoch(streamed, number))
    for (one, labels), (other, same) in zip(resident.iter_plain(), streamed.iter_plain(), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(labels, same)


def test_a_budget_of_exactly_the_size_suffices():
    view = make_view()
    assert make_loader(view, budget=23 * 2 * 8 * 9).resident is not None
    assert make_loader(view, budget=23 * 2 * 8 * 9 - 1).resident is None


def test_order_and_augmentation_depend_on_seed_and_epoch_only():
    loader = make_loader(make_view(flips=True), augment=True)
    first = epoch(loader, 4)
    epoch(loader, 5)
    torch.rand(3)
    assert alike(epoch(loader, 4), first)
    assert alike(epoch(make_loader(make_view(flips=True), augment=True), 4), first)
    assert alike(epoch(make_loader(make_view(flips=True), augment=True), 4, Clock(1, 2)), first)


def test_epochs_and_seeds_differ_in_order():
    orders = [order(make_loader(make_view(), seed=seed), number) for seed in (0, 1) for number in (0, 1, 2)]
    assert len(set(map(tuple, orders))) == 6


def test_the_order_does_not_depend_on_labels_augmentation_or_batch_size():
    view = make_view()
    others = (make_loader(view.relabel(view.labels * 0)), make_loader(view, augment=True), make_loader(view, size=7))
    assert all(order(other) == order(make_loader(view)) for other in others)


def test_augmentation_does_not_depend_on_the_batch():
    view = make_view(flips=True)
    fives, sevens = (
        {row: image for batch in epoch(make_loader(view, size, augment=True)) for row, image in by_row(batch)}
        for size in (5, 7)
    )
    assert fives.keys() == sevens.keys()
    assert all(torch.equal(fives[row], sevens[row]) for row in fives)


def by_row(batch: Batch) -> Iterator[tuple[int, torch.Tensor]]:
    return zip(batch.index.tolist(), batch.images, strict=True)


def test_images_are_shifted_within_the_padding_and_half_are_mirrored():
    view, pad = make_view(30, flips=True, shape=(1, 16, 16)), max_shift(16)
    found = set()
    for number in range(8):
        for batch in epoch(make_loader(view, augment=True), number):
            for image, row in zip(batch.images[:, 0].numpy(), batch.index, strict=True):
                published = view.sources[0].images[view.rows[row], 0]
                for mirrored in (False, True):
                    padded = np.pad(published, pad)
                    for y, x in np.ndindex(2 * pad + 1, 2 * pad + 1):
                        crop = padded[y : y + 16, x : x + 16][:, :: -1 if mirrored else 1]
                        if (np.rint(image * 255) == crop).all():
                            found.add((number, int(row), y, x, mirrored))
    assert len(found) == 8 * 30  # every image shown is one crop of its own original
    assert len({(row, *how) for _, row, *how in found}) > 6 * 30  # and another in most epochs
    assert {y for *_, y, _, _ in found} == {x for *_, x, _ in found} == set(range(2 * pad + 1))
    assert 0.35 < np.mean([mirrored for *_, mirrored in found]) < 0.65


def test_only_sources_that_allow_it_are_mirrored():
    view = make_view(shape=(1, 8, 8))
    image = view.sources[0].images
    image[:] = np.arange(1, 9, dtype=np.uint8) * 30  # brighter from left to right
    for number in range(3):
        for batch in epoch(make_loader(view, augment=True), number):
            inner = batch.images[:, 0, 2:-2, 2:-2]
            assert (inner.diff(dim=2) > 0).all()
    mirroring = replace(view, sources=(replace(view.sources[0], flips=True),))
    mirrored = torch.cat([batch.images[:, 0, 2:-2, 2:-2] for batch in epoch(make_loader(mirroring, augment=True))])
    assert (mirrored.diff(dim=2) < 0).any()


def test_images_are_in_the_unit_interval_and_channels_last():
    for batch in epoch(make_loader(make_view(), augment=True)):
        assert 0 <= batch.images.min() < batch.images.max() <= 1
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("budget", [None, 0])
def test_iter_plain_yields_all_in_order_without_augmentation(budget):
    view = make_view(flips=True)
    images, labels = map(torch.cat, zip(*make_loader(view, augment=True, budget=budget).iter_plain(), strict=True))
    assert np.allclose(images.numpy(), view.images() / 255, atol=1e-7)
    assert labels.tolist() == view.labels.tolist()


@pytest.mark.parametrize("budget", [None, 0])
def test_foreign_images_are_included(budget):
    view = make_view()
    foreign = replace(view.sources[0], images=255 - view.sources[0].images)
    mixed = replace(view, sources=(*view.sources, foreign), origin=np.arange(23) % 2)
    for batch in epoch(make_loader(mixed, budget=budget)):
        for image, row in zip(batch.images, batch.index.tolist(), strict=True):
            published = mixed.sources[row % 2].images[mixed.rows[row]]
            assert np.allclose(image.numpy(), published / 255, atol=1e-7)


def test_the_global_generator_is_not_used():
    before = torch.get_rng_state()
    epoch(make_loader(make_view(flips=True), augment=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_errors_of_the_reading_thread_are_raised(monkeypatch):
    loader = make_loader(make_view(), budget=0)
    monkeypatch.setattr(View, "images", lambda self: (_ for _ in ()).throw(OSError("the disk is gone")))
    with pytest.raises(OSError, match="the disk is gone"):
        epoch(loader)


def with_margin(n: int = 23, stored: int = 20, crop: int = 16) -> View:
    """Images whose pixels are unequal, of which networks see the central square."""
    view = make_view(n, flips=True, shape=(3, stored, stored))
    return replace(view, sources=(replace(view.sources[0], crop=crop),))


@pytest.mark.parametrize("budget", [None, 0])
def test_evaluation_sees_the_centre_of_images_with_a_margin(budget):
    view = with_margin()
    images = torch.cat([images for images, _ in make_loader(view, augment="photo", budget=budget).iter_plain()])
    assert view.sources[0].shape == images.shape[1:] == (3, 16, 16)
    assert np.array_equal((images * 255).round().byte().numpy(), view.images()[:, :, 2:18, 2:18])
    (batch, *_) = epoch(make_loader(view, augment="none", budget=budget))
    assert np.array_equal((batch.images * 255).round().byte(), view.images()[batch.index][:, :, 2:18, 2:18])


def test_shifts_draw_from_the_margin():
    view, seen = with_margin(), set()
    plain = view.images()
    for batch in (batch for number in range(20) for batch in epoch(make_loader(view, augment="shift"), number)):
        for row, image in zip(batch.index.tolist(), (batch.images * 255).round().byte().numpy(), strict=True):
            crops = {
                (top, left, turned): plain[row][:, top : top + 16, left : left + 16][:, :, :: -1 if turned else 1]
                for top in range(5)
                for left in range(5)
                for turned in (False, True)
            }
            (found,) = (place for place, crop in crops.items() if np.array_equal(crop, image))
            seen.add(found)
    assert len(seen) == 50  # every crop within two pixels, the largest shift, of the centre


@pytest.mark.parametrize("augment", ["shift", "photo"])
def test_streamed_images_are_augmented_alike(augment):
    view = with_margin()
    resident, streamed = (make_loader(view, augment=augment, budget=budget) for budget in (None, 0))
    assert alike(epoch(resident, 3), epoch(streamed, 3))
    assert alike(epoch(resident, 3), epoch(make_loader(view, augment=augment), 3))
    assert not alike(epoch(resident, 3), epoch(resident, 4))


def test_a_stream_that_is_abandoned_ends():
    loader = make_loader(make_view(30), 1, budget=0)
    batches = loader.iter_epoch(0, CLOCK)
    next(batches)
    batches.close()
    assert len(epoch(loader)) == 30
