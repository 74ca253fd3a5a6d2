"""Digests of arrays, texts and files."""

from pathlib import Path

import numpy as np
import pytest

from robustkd.hashing import digest, file_digest


def test_digests_do_not_change_between_versions() -> None:
    """Manifests and studies on disk are identified by them."""
    assert digest() == "e4a6a0577479b2b4"
    assert digest(np.arange(3, dtype=np.int64), text="a") == "a5a8972d176d6a1f"


@pytest.mark.parametrize(
    "other",
    [
        np.array([[1, 2, 3, 5]], dtype=np.int64),
        np.array([1, 2, 3, 4], dtype=np.int64),  # another shape
        np.array([[1, 2, 3, 4]], dtype=np.uint64),  # another type of the same bytes
        np.array([[1, 2, 3, 4]], dtype=">i8"),
    ],
)
def test_content_shape_and_type_count(other: np.ndarray) -> None:
    assert digest(other) != digest(np.array([[1, 2, 3, 4]], dtype=np.int64))


def test_the_memory_layout_does_not_count() -> None:
    array = np.arange(12).reshape(3, 4)
    assert digest(np.asfortranarray(array)) == digest(array)
    assert digest(np.repeat(array, 2, axis=1)[:, ::2]) == digest(array)


def test_the_order_of_arrays_counts() -> None:
    one, other = np.arange(3), np.arange(3, 6)
    assert digest(one, other) != digest(other, one)
    assert digest(np.concatenate([one, other])) != digest(one, other)


def test_rows_beyond_the_first_piece_count(tmp_path: Path) -> None:
    array = np.zeros(70_000, dtype=np.uint8)
    before = digest(array)
    np.save(tmp_path / "array.npy", array)
    assert digest(np.load(tmp_path / "array.npy", mmap_mode="r")) == before
    array[-1] = 1
    assert digest(array) != before


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x01\x02")
    assert file_digest(tmp_path / "a") == digest(np.array([1, 2], dtype=np.uint8))
    (tmp_path / "b").write_bytes(b"")
    assert file_digest(tmp_path / "b") == digest(np.array([], dtype=np.uint8))
