"""Files are looked at without following links."""

import os
import time
from pathlib import Path

from pipelines.leftovers.leftover import is_plain_file, list_folders, read_json
from pipelines.leftovers.old_images import OldImages


def test_links_are_neither_files_nor_folders(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.json").write_text('{"a": 1}')
    (tmp_path / "link.json").symlink_to(tmp_path / "file.json")
    (tmp_path / "linked").symlink_to(tmp_path / "folder")
    (tmp_path / "broken").symlink_to(tmp_path / "lost")
    assert [path.name for path in tmp_path.iterdir() if is_plain_file(path)] == ["file.json"]
    assert list(list_folders(tmp_path)) == [tmp_path / "folder"]
    assert list(list_folders(tmp_path / "lost")) == []
    assert read_json(tmp_path / "file.json") == {"a": 1}
    assert read_json(tmp_path / "link.json") == {}


def test_what_is_no_object_is_empty(tmp_path: Path) -> None:
    for content in (b"[1]", b"{", b"\xff", b""):
        (tmp_path / "file.json").write_bytes(content)
        assert read_json(tmp_path / "file.json") == {}


def test_size_is_that_of_all_files_and_age_that_of_the_newest_without_locks(tmp_path: Path) -> None:
    now = time.time()
    for name, days, count in (("a", 9, 10), ("b", 5, 20), (".lock", 1, 0)):
        (tmp_path / name).write_bytes(bytes(count))
        os.utime(tmp_path / name, (now, now - days * 86_400))
    leftover = OldImages(tmp_path, tuple(sorted(tmp_path.iterdir())), "old")
    assert leftover.bytes == 30
    assert 5 <= leftover.age / 86_400 < 5.1
