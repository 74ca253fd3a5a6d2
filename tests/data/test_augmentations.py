"""Augmentations of training images: drawn by seed and epoch, before shifts and flips, and checked before training."""

from typing import Any

import pytest
import torch
from torch import Tensor

from robustkd.data.augmentations import AUGMENTATIONS, build_augmentation, check_augmentation
from robustkd.errors import UsageError
from tests.data.test_loader import alike, epoch, make_loader, make_view

SHAPE = (1, 8, 8)


class Brighter:
    """Adds up to `most` to all pixels of an image."""

    draws = 1

    def __init__(self, *, most: int = 50) -> None:
        self.most = most

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return (images + (self.most * draws)[:, :, None, None]).clamp(0, 255).to(torch.uint8)


class _Returns:
    draws = 0

    def __init__(self, result: Any = None) -> None:
        self.result = result

    def __call__(self, images: Tensor, draws: Tensor) -> Any:
        return self.result


class Fails(Brighter):
    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        raise RuntimeError("no such thing")


class Floats(Brighter):
    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return images.float()


@pytest.fixture(autouse=True)
def _registered() -> None:
    AUGMENTATIONS.add("brighter", Brighter)


@pytest.mark.parametrize("budget", [None, 0])
def test_it_is_applied_to_each_image_with_draws_of_its_own(budget: int | None) -> None:
    view = make_view()
    plain = {
        r: i for b in epoch(make_loader(view, augment=False)) for r, i in zip(b.index.tolist(), b.images, strict=True)
    }
    loader = make_loader(view, augment=False, transform="brighter(most=40)", budget=budget)
    added = []
    for batch in epoch(loader, 1):
        for row, image in zip(batch.index.tolist(), batch.images, strict=True):
            unsaturated = image < 1
            change = ((image - plain[row]) * 255)[unsaturated]
            assert change.std() < 1
            added.append(round(change.mean().item()))
    assert 0 <= min(added) < max(added) <= 40
    assert len(set(added)) > 5


def test_epochs_differ_and_are_reproducible() -> None:
    def images(number: int, seed: int = 0) -> Tensor:
        loader = make_loader(make_view(flips=True), augment=True, transform="brighter", seed=seed)
        batches = epoch(loader, number)
        return torch.cat([b.images for b in batches])[torch.cat([b.index for b in batches]).argsort()]

    assert torch.equal(images(1), images(1))
    assert not torch.equal(images(1), images(2))
    assert not torch.equal(images(1), images(1, seed=5))


def test_without_one_batches_are_as_before_and_views_draw_their_own() -> None:
    view = make_view(flips=True)
    assert alike(epoch(make_loader(view, augment=True), 2), epoch(make_loader(view, augment=True, transform="none"), 2))
    (batch, *_) = epoch(make_loader(view, augment=False, transform="brighter", views=("again",)), 2)
    assert not torch.equal(batch.images, batch.views[0])


def test_what_is_ours_is_found_by_word() -> None:
    assert build_augmentation("none") is None
    check_augmentation("none", SHAPE)
    for shape in (SHAPE, (3, 8, 12)):
        check_augmentation("jda(probability=0.2)", shape)
        check_augmentation("brighter(most=3)", shape)


@pytest.mark.parametrize(
    ("target", "text", "message"),
    [
        (Brighter, "brigter", "did you mean 'brighter'"),
        (Brighter, "brighter(less=3)", "no parameter 'less'"),
        (lambda images: images, "own", "should be a class with `draws`"),
        (dict, "own", "should be a class with `draws`"),
        (Fails, "own", "it failed with RuntimeError: no such thing"),
        (Floats, "own", r"it returns float32 \(2, 8, 8, 1\), but uint8 \(2, 8, 8, 1\) is wanted"),
        (_Returns, "own", r"it returns NoneType \(\), but uint8"),
    ],
)
def test_what_does_not_work_is_refused(target: Any, text: str, message: str) -> None:
    if target is not Brighter:
        AUGMENTATIONS.add("own", target)
    with pytest.raises(UsageError, match=message):
        check_augmentation(text, SHAPE)
