"""Npz files, whose large arrays are mapped."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustkd.data import npz_file
from robustkd.data.npz_file import NpzFile
from robustkd.errors import UsageError

ARRAYS = {
    "c": np.arange(600, dtype=np.uint8).reshape(10, 60),
    "fortran": np.asfortranarray(np.arange(600.0).reshape(10, 60)),
    "one": np.arange(700, dtype=">i4"),
    "text": np.array(["ä", "b"] * 100),
    "none": np.zeros((0, 3)),
    "scalar": np.array(7),
}


@pytest.mark.parametrize("limit", [1, 1 << 30])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("scratch", [True, False])
def test_arrays_are_equal_however_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Any, limit: int, scratch: bool
) -> None:
    monkeypatch.setattr(npz_file, "MAP_BYTES", limit)
    arrays = {key: array for key, array in ARRAYS.items() if limit > 1 or array.size > 1}
    save(tmp_path / "a.npz", **arrays)
    file = NpzFile("toy", tmp_path / "a.npz")
    (tmp_path / "scratch").mkdir()
    file.scratch = tmp_path / "scratch" if scratch else None
    assert list(file) == list(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(file[key], array)
        assert file[key].dtype == array.dtype
        assert file.length(key) == (len(array) if array.ndim else 0)
        assert isinstance(file[key], np.memmap) == (limit == 1 and (save is np.savez or scratch))
        assert file.size(key) > array.nbytes


def test_arrays_may_be_renamed_and_are_not_read_by_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.arange(4))
    file = NpzFile("toy", tmp_path / "a.npz")
    before = file.content_digest("x")
    file.rename({"X": "x"})
    np.testing.assert_array_equal(file["X"], np.arange(3))
    assert file.content_digest("X") != before  # names count
    monkeypatch.setattr(NpzFile, "__getitem__", lambda *_: pytest.fail("read"))
    assert "X" in file
    assert "y" not in file


def test_the_digest_depends_on_the_content(tmp_path: Path) -> None:
    digests = set()
    for value in (1, 2):
        np.savez(tmp_path / "a.npz", x=np.full(5, value))
        digests.add(NpzFile("toy", tmp_path / "a.npz").content_digest("x"))
    assert len(digests) == 2


@pytest.mark.parametrize("limit", [1, 1 << 30])
def test_damaged_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(npz_file, "MAP_BYTES", limit)
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([{}], object))
    with pytest.raises(UsageError, match=r"toy: .*a\.npz is not a file of plain arrays"):
        NpzFile("toy", path)["x"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"no array")
    with pytest.raises(UsageError, match="is not a file of plain arrays"):
        NpzFile("toy", path)["x"]
    path.write_bytes(b"PK")
    with pytest.raises(UsageError, match="is not a file of plain arrays"):
        NpzFile("toy", path)
