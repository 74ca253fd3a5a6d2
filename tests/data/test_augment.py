"""Shifts and mirroring of batches, against loops over pixels."""

import numpy as np
import pytest
import torch

from robustkd.data.augment import crop_centre, crop_shifted, max_shift, mirror


def pictures(size=(5, 6, 7, 3)):
    return np.random.default_rng(0).integers(1, 256, size, dtype=np.uint8)


def shift(images, offsets, limit):
    """Shift without a margin."""
    _, h, w, c = images.shape
    return crop_shifted(images, offsets, (c, h, w), limit)


def moved(images, offsets, pad):
    """Shift pixel by pixel; zero where no pixel was."""
    B, H, W, _ = images.shape
    result = np.zeros_like(images)
    for b in range(B):
        for y in range(H):
            for x in range(W):
                from_y, from_x = y + offsets[b][0] - pad, x + offsets[b][1] - pad
                if 0 <= from_y < H and 0 <= from_x < W:
                    result[b, y, x] = images[b, from_y, from_x]
    return result


@pytest.mark.parametrize("pad", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shift_equals_a_loop_over_pixels(pad, dtype):
    images, offsets = pictures(), np.random.default_rng(pad).integers(0, 2 * pad + 1, (5, 2))
    result = shift(torch.from_numpy(images).to(dtype), torch.from_numpy(offsets), pad)
    assert result.dtype is dtype
    assert (result.numpy() == moved(images, offsets, pad)).all()


@pytest.mark.parametrize("corner", [(0, 0), (0, 4), (4, 0), (4, 4)])
def test_the_largest_shifts_reach_the_padding(corner):
    images = pictures((1, 6, 7, 1))
    assert (shift(torch.from_numpy(images), torch.tensor([corner]), 2).numpy() == moved(images, [corner], 2)).all()


def test_an_offset_of_the_padding_changes_nothing():
    images = torch.from_numpy(pictures())
    assert torch.equal(shift(images, torch.full((5, 2), 3), 3), images)


def test_images_are_shifted_independently_and_out_of_place():
    images = torch.from_numpy(pictures())
    before = images.clone()
    alone = [shift(images[b : b + 1], torch.tensor([[b % 3, 2]]), 1) for b in range(5)]
    together = shift(images, torch.tensor([[b % 3, 2] for b in range(5)]), 1)
    assert torch.equal(torch.cat(alone), together)
    assert torch.equal(images, before)


def test_those_named_are_mirrored_left_to_right():
    images, flipped = pictures(), np.array([True, False, True, True, False])
    result = mirror(torch.from_numpy(images), torch.from_numpy(flipped)).numpy()
    for b in range(5):
        for x in range(7):
            assert (result[b, :, x] == images[b, :, 6 - x if flipped[b] else x]).all()


def test_mirrored_twice_is_as_before():
    images, all_of_them = torch.from_numpy(pictures()), torch.ones(5, dtype=torch.bool)
    assert torch.equal(mirror(mirror(images, all_of_them), all_of_them), images)
    assert not torch.equal(mirror(images, all_of_them), images)


@pytest.mark.parametrize(("side", "pixels"), [(4, 1), (8, 1), (28, 3), (32, 4), (64, 8)])
def test_the_largest_shift_is_an_eighth_and_at_least_a_pixel(side, pixels):
    assert max_shift(side) == pixels


@pytest.mark.parametrize("stored", [8, 9, 10, 14])
def test_crops_of_images_with_a_margin_equal_a_loop_over_pixels(stored):
    images, shape, limit = pictures((5, stored, stored + 1, 3)), (3, 8, 8), 2
    offsets = np.array([(0, 0), (0, 4), (4, 0), (2, 2), (1, 3)])
    result = crop_shifted(torch.from_numpy(images), torch.from_numpy(offsets), shape, limit).numpy()
    for b, (down, across) in enumerate(offsets.tolist()):
        top, left = (stored - 8) // 2 + down - limit, (stored + 1 - 8) // 2 + across - limit
        for y in range(8):
            for x in range(8):
                inside = 0 <= top + y < stored and 0 <= left + x < stored + 1
                assert (result[b, y, x] == (images[b, top + y, left + x] if inside else 0)).all()
    centre = crop_shifted(torch.from_numpy(images), torch.full((5, 2), limit), shape, limit)
    assert torch.equal(centre, crop_centre(torch.from_numpy(images), shape))
