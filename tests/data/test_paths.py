"""Checks of user paths."""

import os
from pathlib import Path

import pytest

from robustkd.data.paths import describe_missing_path, require_file
from robustkd.errors import UsageError


def test_a_regular_file_is_returned(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.touch()
    assert require_file("toy", file) is file
    link = tmp_path / "link"
    link.symlink_to(file)
    assert require_file("toy", link) is link


def test_folders_pipes_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name, message in (
        (".", r"^toy: .* is a folder, not a file$"),
        ("pipe", r"^toy: .*pipe is not a regular file$"),
        ("b.csv", r"^toy: there is no .*b\.csv \(did you mean 'a\.csv'\?\)$"),
        ("broken", r"^toy: there is no .*broken"),
    ):
        with pytest.raises(UsageError, match=message):
            require_file("toy", tmp_path / name)


def test_a_missing_folder_gives_no_hint(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "a.csv"
    assert describe_missing_path("toy", path) == f"toy: there is no {path}"


def test_a_relative_path_is_given_with_the_folder_it_was_looked_for_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    message = describe_missing_path("toy", Path("photo"))
    assert message == f"toy: there is no photo in {tmp_path} (did you mean 'photos'?)"
