"""clean: nothing is removed before the user agrees."""

import io
import json
import os
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from pipelines import cli
from robustkd.data.image_cache import decode_with_cache
from robustkd.study.results import FORMAT


class Terminal(io.StringIO):
    """A standard stream of a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a superseded study, another one with a file of the user's, and an old cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBUSTKD_CACHE", str(tmp_path / "cache"))
    record = {"format": FORMAT - 1, "methods": [], "options": {}, "seeds": 1, "fingerprint": "a"}
    for name in ("old-0123abcd", "mine-0123abcd"):
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "study.json").write_text(json.dumps(record))
    (tmp_path / "studies" / "mine-0123abcd" / "thesis.tex").write_text("the user's")
    (tmp_path / "photos").mkdir()
    Image.new("L", (8, 8), 50).save(tmp_path / "photos" / "a.png")
    decode_with_cache(tmp_path / "photos", ["a.png"], 8)
    for file in (tmp_path / "cache").iterdir():
        os.utime(file, (time.time() - 40 * 86_400,) * 2)
    return tmp_path


def list_files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    }


def test_a_dry_run_is_the_default(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = list_files(place)
    cli.main(["clean"])
    assert list_files(place) == before
    printed = capsys.readouterr().out
    assert "nothing is removed; the same command with --yes removes 2 items" in printed
    assert "studies/old-0123abcd" in printed
    assert f"its files have format {FORMAT - 1}" in printed
    kept = "studies/mine-0123abcd: superseded"
    assert kept in printed
    assert "but kept: it contains thesis.tex" in printed


def test_with_yes_it_is_removed_and_foreign_files_stay(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["clean", "--yes"])
    assert "2 items removed" in capsys.readouterr().out
    assert list_files(place) == {
        "photos/a.png",
        "studies/mine-0123abcd/study.json",
        "studies/mine-0123abcd/thesis.tex",
    }
    assert not (place / "studies" / "old-0123abcd").exists()
    cli.main(["clean", "--yes"])
    assert "nothing to remove" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "removed"), [("y\n", True), ("n\n", False), ("\n", False), ("", False), ("yeah\n", False)]
)
def test_on_a_terminal_the_user_is_asked(
    place: Path, monkeypatch: pytest.MonkeyPatch, answer: str, removed: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stdout", Terminal())
    cli.main(["clean"])
    assert (place / "studies" / "old-0123abcd").exists() is not removed


def test_newer_caches_are_kept_and_days_must_be_a_number(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["clean", "--days", "50", "--out", "lost"])
    assert "nothing to remove in lost and" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_:
        cli.main(["clean", "--days", "-1"])
    assert exit_.value.code == 2


def test_what_cannot_be_removed_is_named_and_the_rest_is_removed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unlink = Path.unlink

    def refuse_json(path: Path, missing_ok: bool = False) -> None:
        if path.name == "study.json":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse_json)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["clean", "--yes"])
    assert exit_.value.code == 1
    assert "1 of 2 items are not removed" in capsys.readouterr().err
    assert (place / "studies" / "old-0123abcd" / "study.json").exists()
    assert list((place / "cache").glob("*.npy")) == []
