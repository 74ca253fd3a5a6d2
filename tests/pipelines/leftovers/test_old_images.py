"""Old images: only what this program cached, recognised by its content, and only if it was not used."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.leftovers.old_images import find_old_images
from robustkd.data.image_cache import decode_with_cache
from robustkd.data.pixel_cache import load_pixels, store_pixels


def make_old(*paths: Path, days: float = 40) -> None:
    """Set the times of files back."""
    for path in paths:
        os.utime(path, (time.time() - days * 86_400,) * 2)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with an array of each kind, both old."""
    folder, photos = tmp_path / "cache", tmp_path / "photos"
    photos.mkdir()
    Image.new("L", (8, 8), 50).save(photos / "a.png")
    decode_with_cache(photos, ["a.png"], 8, folder)
    store_pixels(folder, "content", (2, 1, 8, 8), lambda pixels: pixels.fill(3), ())
    make_old(*folder.iterdir())
    return folder


def read_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_arrays_of_both_kinds_are_removed_and_made_again(cache: Path, tmp_path: Path) -> None:
    assert list(find_old_images(cache, 50)) == []
    found = list(find_old_images(cache, 30))
    assert {file for leftover in found for file in leftover.files} == set(cache.iterdir())
    assert len(found) == 2
    for leftover in found:
        leftover.remove()
    assert list(cache.iterdir()) == []
    assert decode_with_cache(tmp_path / "photos", ["a.png"], 8, cache).images.shape == (1, 1, 8, 8)


def test_what_was_used_is_not_old(cache: Path, tmp_path: Path) -> None:
    decode_with_cache(tmp_path / "photos", ["a.png"], 8, cache)
    assert len(list(find_old_images(cache, 30))) == 1
    load_pixels(cache, "content")
    assert list(find_old_images(cache, 30)) == []


def test_foreign_files_and_links_are_neither_found_nor_changed(cache: Path, tmp_path: Path) -> None:
    mine, hexadecimal = tmp_path / "mine", "0123456789abcdef"
    mine.mkdir()
    record = next(cache.glob("*.json")).read_text()
    np.save(mine / "array.npy", np.zeros(3))
    (mine / "record.json").write_text(record)
    for folder in cache, mine:  # the same name, other content
        np.save(folder / f"{hexadecimal}.npy", np.zeros(3))
        (folder / f"{hexadecimal}.json").write_text(json.dumps({"checksum": 1, "digest": "a"}))
    (cache / "1111111111111111.json").write_text(record)  # without an array
    (cache / "2222222222222222.json").write_text(record)
    (cache / "2222222222222222.npy").write_text("no array")
    (cache / "3333333333333333.json").write_text(record)
    (cache / "3333333333333333.npy").symlink_to(mine / "array.npy")
    (cache / "4444444444444444.json").symlink_to(mine / "record.json")
    np.save(cache / "4444444444444444.npy", np.zeros(3))
    (cache / "notes.json").write_text(record)
    np.save(cache / "notes.npy", np.zeros(3))
    found = list(find_old_images(cache, 0))
    assert len(found) == 2
    before = read_files(tmp_path)
    for leftover in found:
        leftover.remove()
    after = read_files(tmp_path)
    assert before.keys() - after.keys() == {file for leftover in found for file in leftover.files}
    assert all(before[path] == content for path, content in after.items())


def test_interrupted_decodings_are_removed_after_a_day(cache: Path) -> None:
    for name in ("decoding-abcdefgh", "decoding-ijklmnop", "decoding-new_ones"):
        (cache / name).mkdir()
        np.save(cache / name / "decoded.npy", np.zeros(3))
    (cache / "decoding-ijklmnop" / "notes.txt").write_text("the user's")
    (cache / "decoding-qrstuvwx").symlink_to(cache / "decoding-ijklmnop")
    make_old(*(cache / "decoding-abcdefgh").iterdir(), *(cache / "decoding-ijklmnop").iterdir())
    (found,) = (leftover for leftover in find_old_images(cache, 0) if leftover.path.is_dir())
    assert found.path.name == "decoding-abcdefgh"
    found.remove()
    assert not found.path.exists()
    assert (cache / "decoding-ijklmnop" / "notes.txt").read_text() == "the user's"


def test_a_missing_cache_has_nothing(tmp_path: Path) -> None:
    assert list(find_old_images(tmp_path / "lost", 0)) == []
