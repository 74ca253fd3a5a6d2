"""Atomic writes: complete contents, the target unchanged on failure, no temporary files left."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from threading import Barrier, Thread
from typing import IO

import pytest

from robustkd.atomic import remove_temporary_files, write_atomically, write_text_atomically


def test_a_file_is_created_and_replaced(tmp_path: Path):
    path = tmp_path / "result.json"
    for text in ("first, longer\n", "Zürich\n"):
        write_text_atomically(path, text)
        assert path.read_bytes() == text.encode("utf-8")
    write_atomically(path, lambda file: file.write(b"\x00\xff"))
    assert path.read_bytes() == b"\x00\xff"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException):
    path = tmp_path / "result.json"
    path.write_text("old")

    def fail(file: IO[bytes]) -> None:
        file.write(b"ne")
        raise error

    with pytest.raises(type(error)):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_concurrent_writers_do_not_share_a_temporary_file(tmp_path: Path):
    path, barrier, seen = tmp_path / "result.json", Barrier(2), []

    def write(letter: str) -> None:
        def content(file: IO[bytes]) -> None:
            barrier.wait(timeout=10)  # both temporary files are open now
            seen.append(sorted(other.name for other in tmp_path.iterdir()))
            barrier.wait(timeout=10)
            file.write(letter.encode() * 1000)

        write_atomically(path, content)

    threads = [Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(names) for names in seen] == [2, 2]
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path):
    kept = [tmp_path / name for name in ("model.pt", ".lock", "notes.tmp")]
    for path in kept:
        write_text_atomically(path, "kept")
    code = "import os, pathlib, robustkd.atomic as a; a.write_atomically(pathlib.Path('model.pt'), lambda file: os._exit(0))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert len(list(tmp_path.iterdir())) == 4
    remove_temporary_files(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert (tmp_path / "model.pt").read_text() == "kept"


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_permissions_are_those_of_a_file_opened_for_writing(tmp_path: Path):
    (tmp_path / "plain").write_text("")
    write_text_atomically(tmp_path / "atomic", "")
    plain, atomic = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic"))
    assert atomic == plain
