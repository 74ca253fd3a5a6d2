"""Sizes of image files, and the note about images that are much smaller."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustkd.data.file_sizes import describe_reduction, read_sizes
from robustkd.data.sources import load_dataset


def write_images(folder: Path, sizes: list[tuple[int, int]]) -> list[str]:
    """Write an image of each size (width, height) to one of two classes."""
    for number, size in enumerate(sizes):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size[::-1], number, np.uint8)).save(path)
    return [f"{'ab'[number % 2]}/{number}.png" for number in range(len(sizes))]


def test_sizes_are_those_of_the_headers(tmp_path):
    files = write_images(tmp_path, [(30, 20), (7, 9)])
    (tmp_path / "no.png").write_bytes(b"nothing")
    assert read_sizes(tmp_path, [*files, "no.png", "missing.png", files[0]]) == {files[0]: (30, 20), files[1]: (7, 9)}


@pytest.mark.parametrize(("side", "told"), [(31, True), (32, False), (200, False)])
def test_a_side_below_a_quarter_of_the_median_is_reported(tmp_path, side, told):
    files = write_images(tmp_path, [(128, 300), (128, 128), (999, 128), (20, 20), (500, 600)])
    sentences = describe_reduction(tmp_path, files, side)
    assert len(sentences) == told
    assert all("128 pixels (median), reduced to 31" in sentence for sentence in sentences)


def test_files_that_are_gone_are_not_reported(tmp_path):
    assert describe_reduction(tmp_path, ["a/0.png"], 32) == ()
    assert describe_reduction(tmp_path, [], 32) == ()


def test_a_data_set_of_larger_files_says_so_and_keeps_a_margin(tmp_path):
    write_images(tmp_path, [(160, 160)] * 6)
    source = load_dataset(f"folder:{tmp_path}", cache_dir=tmp_path / "cache")
    assert any("--image-size keeps more detail" in note for note in source.notes)
    assert (source.shape, source.stored_shape) == ((1, 32, 32), (1, 32, 32))
    source = load_dataset(f"folder:{tmp_path}", image_size=56, crop_share=0.875, cache_dir=tmp_path / "cache")
    assert not any("--image-size" in note for note in source.notes)
    assert (source.shape, source.stored_shape) == ((1, 56, 56), (1, 64, 64))
