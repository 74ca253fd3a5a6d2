"""Identical images: the same rows as a plain loop finds, whatever the image's size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robustkd.data import copies

small_images = arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 3), st.just(2), st.just(2)), elements=st.integers(0, 1)
)


@settings(max_examples=60, deadline=None)
@given(small_images)
def test_copies_and_constant_images_equal_plain_loops(images):
    constant = [all(len(set(channel.ravel().tolist())) == 1 for channel in image) for image in images]
    first = [
        row if constant[row] else next(i for i in range(len(images)) if (images[i] == image).all())
        for row, image in enumerate(images)
    ]
    assert copies.find_exact_copies(images, np.arange(len(images))).tolist() == first
    assert copies.find_constant_images(images).tolist() == constant


def test_copies_are_among_the_given_rows():
    images = np.repeat(np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8), 3, axis=0)
    assert copies.find_exact_copies(images, np.array([1, 2, 4, 5])).tolist() == [1, 1, 4, 4]


@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 33, 31), (3, 600, 700)])
def test_images_of_any_size_are_compared_to_the_last_byte(shape):
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    images[2:] = images[:2]
    images[3, -1, -1, -1] ^= 128
    assert copies.find_exact_copies(images, np.arange(4)).tolist() == [0, 1, 0, 3]


def test_a_memory_mapped_array_is_read(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", np.concatenate([images, images]))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert copies.find_exact_copies(mapped, np.arange(12)).tolist() == [*range(6), *range(6)]


def test_images_with_equal_sums_are_still_different():
    # 2^63 added to two words changes a sum of odd multiples by a multiple of 2^64.
    images = np.random.default_rng(0).integers(0, 128, (2, 1, 4, 4), dtype=np.uint8)
    images[1] = images[0]
    images[1].reshape(-1)[[7, 15]] += 128
    assert (copies._weighted_sums(images, np.arange(2))[:1] == copies._weighted_sums(images, np.arange(2))[1:]).all()
    assert copies.find_exact_copies(images, np.arange(2)).tolist() == [0, 1]
