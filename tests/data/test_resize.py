"""Resizing arrays: the same pixels as decoding a file at that size."""

import numpy as np
from PIL import Image

from robustkd.data import decode, resize
from tests.data.image_files import save_image


def test_resized_arrays_equal_decoded_files(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 12, 8), dtype=np.uint8)
    for row, pixels in enumerate(images):
        save_image(Image.fromarray(pixels.transpose(1, 2, 0)), tmp_path / f"{row}.png")
    for channels, size in ((3, 8), (1, 8), (3, 5), (1, 20)):
        resized = resize.fit_images(images, (channels, size, size))
        assert resized.shape == (3, channels, size, size)
        for row in range(3):
            assert (resized[row] == decode.decode_image(tmp_path / f"{row}.png", size, channels)).all()
    assert resize.fit_images(images, (3, 12, 8)) is images
    grey = resize.fit_images(images, (1, 12, 8))
    assert (resize.fit_images(grey, (3, 12, 8)) == grey).all()  # grey in three channels
