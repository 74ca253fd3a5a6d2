"""Batches: every sample once, in an order that seed and epoch alone decide, from memory and from a disk alike."""

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


def view(n: int = 23, flips: bool = False, shape: tuple[int, int, int] = (2, 8, 9)) -> View:
    """The last n of 30 random images in an order of their own; the shown labels are not the source's."""
    random = np.random.default_rng(0)
    images = random.integers(1, 256, (30, *shape), dtype=np.uint8)
    source = Source("noise", images, np.arange(30) % 4, tuple("abcd"), flips=flips)
    shown = View.of(source, random.permutation(30)[:n])
    return shown.relabel((shown.labels + 1) % 4)


def loader(shown: View, size: int = 5, **options: object) -> Loader:
    return Loader(shown, size, CPU, **{"seed": 0, "augment": False, **options})


def epoch(made: Loader, number: int = 0, clock: Clock = CLOCK) -> list[Batch]:
    return list(made.iter_epoch(number, clock))


def order(made: Loader, number: int = 0) -> list[int]:
    return torch.cat([batch.index for batch in epoch(made, number)]).tolist()


def alike(one: list[Batch], other: list[Batch]) -> bool:
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and torch.equal(a.index, b.index)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("budget", [None, 0])
@pytest.mark.parametrize(("n", "size"), [(23, 5), (20, 5), (3, 5), (6, 5), (3, 2), (1, 1), (7, 1)])
def test_an_epoch_shows_every_sample_once_in_equal_batches(n, size, budget):
    made = loader(view(n), size, budget=budget)
    batches = epoch(made)
    sizes = [len(batch.labels) for batch in batches]
    assert sorted(order(made)) == list(range(n))
    assert len(sizes) == len(made) == int(np.ceil(n / size))
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("budget", [None, 0])
def test_an_index_names_the_images_and_labels_of_a_row(budget):
    shown, clock = view(), Clock(3, 7)
    for batch in epoch(loader(shown, budget=budget), clock=clock):
        assert batch.clock == clock
        assert (batch.labels.dtype, batch.index.dtype, batch.images.dtype) == (torch.int64, torch.int64, torch.float32)
        for image, label, row in zip(batch.images, batch.labels, batch.index, strict=True):
            published = shown.sources[0].images[shown.rows[row]]
            assert np.allclose(image.numpy(), published / 255, rtol=0, atol=1e-7)  # without augmentation nothing moves
            assert label == shown.labels[row] != shown.sources[0].labels[shown.rows[row]]


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("augment", [False, True])
def test_streamed_is_resident_bit_for_bit(flips, augment):
    shown = view(flips=flips)
    resident, streamed = (loader(shown, augment=augment, budget=budget) for budget in (None, 0))
    assert resident.resident is not None
    assert streamed.resident is None
    for number in range(3):
        assert alike(epoch(resident, number), epoch(streamed, number))
    for (one, labels), (other, same) in zip(resident.iter_plain(), streamed.iter_plain(), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(labels, same)


def test_a_budget_of_the_very_size_holds_the_set():
    shown = view()
    assert loader(shown, budget=23 * 2 * 8 * 9).resident is not None
    assert loader(shown, budget=23 * 2 * 8 * 9 - 1).resident is None


def test_order_and_augmentation_hang_on_seed_and_epoch_alone():
    made = loader(view(flips=True), augment=True)
    first = epoch(made, 4)
    epoch(made, 5)
    torch.rand(3)
    assert alike(epoch(made, 4), first)
    assert alike(epoch(loader(view(flips=True), augment=True), 4), first)
    assert alike(epoch(loader(view(flips=True), augment=True), 4, Clock(1, 2)), first)


def test_another_epoch_or_seed_is_another_order():
    orders = [order(loader(view(), seed=seed), number) for seed in (0, 1) for number in (0, 1, 2)]
    assert len(set(map(tuple, orders))) == 6


def test_the_order_does_not_hang_on_labels_augmentation_or_the_size_of_batches():
    shown = view()
    others = (loader(shown.relabel(shown.labels * 0)), loader(shown, augment=True), loader(shown, size=7))
    assert all(order(other) == order(loader(shown)) for other in others)


def test_an_image_is_augmented_alike_whatever_batch_it_comes_in():
    shown = view(flips=True)
    fives, sevens = (
        {row: image for batch in epoch(loader(shown, size, augment=True)) for row, image in by_row(batch)}
        for size in (5, 7)
    )
    assert fives.keys() == sevens.keys()
    assert all(torch.equal(fives[row], sevens[row]) for row in fives)


def by_row(batch: Batch) -> Iterator[tuple[int, torch.Tensor]]:
    return zip(batch.index.tolist(), batch.images, strict=True)


def test_each_image_is_moved_by_as_much_as_the_margin_and_mirrored_half_of_the_time():
    shown, pad = view(30, flips=True, shape=(1, 16, 16)), max_shift(16)
    found = set()
    for number in range(8):
        for batch in epoch(loader(shown, augment=True), number):
            for image, row in zip(batch.images[:, 0].numpy(), batch.index, strict=True):
                published = shown.sources[0].images[shown.rows[row], 0]
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


def test_what_a_mirror_would_spoil_is_not_mirrored():
    shown = view(shape=(1, 8, 8))
    image = shown.sources[0].images
    image[:] = np.arange(1, 9, dtype=np.uint8) * 30  # brighter from left to right
    for number in range(3):
        for batch in epoch(loader(shown, augment=True), number):
            inner = batch.images[:, 0, 2:-2, 2:-2]
            assert (inner.diff(dim=2) > 0).all()
    mirroring = replace(shown, sources=(replace(shown.sources[0], flips=True),))
    mirrored = torch.cat([batch.images[:, 0, 2:-2, 2:-2] for batch in epoch(loader(mirroring, augment=True))])
    assert (mirrored.diff(dim=2) < 0).any()


def test_images_lie_in_the_unit_interval_channels_last():
    for batch in epoch(loader(view(), augment=True)):
        assert 0 <= batch.images.min() < batch.images.max() <= 1
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("budget", [None, 0])
def test_plain_shows_all_in_order_and_as_they_are(budget):
    shown = view(flips=True)
    images, labels = map(torch.cat, zip(*loader(shown, augment=True, budget=budget).iter_plain(), strict=True))
    assert np.allclose(images.numpy(), shown.images() / 255, atol=1e-7)
    assert labels.tolist() == shown.labels.tolist()


@pytest.mark.parametrize("budget", [None, 0])
def test_foreign_images_are_shown_in_their_place(budget):
    shown = view()
    foreign = replace(shown.sources[0], images=255 - shown.sources[0].images)
    mixed = replace(shown, sources=(*shown.sources, foreign), origin=np.arange(23) % 2)
    for batch in epoch(loader(mixed, budget=budget)):
        for image, row in zip(batch.images, batch.index.tolist(), strict=True):
            published = mixed.sources[row % 2].images[mixed.rows[row]]
            assert np.allclose(image.numpy(), published / 255, atol=1e-7)


def test_nothing_global_is_drawn_from():
    before = torch.get_rng_state()
    epoch(loader(view(flips=True), augment=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_reader_that_fails_is_heard(monkeypatch):
    made = loader(view(), budget=0)
    monkeypatch.setattr(View, "images", lambda self: (_ for _ in ()).throw(OSError("the disk is gone")))
    with pytest.raises(OSError, match="the disk is gone"):
        epoch(made)
