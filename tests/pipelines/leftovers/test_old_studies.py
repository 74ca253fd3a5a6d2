"""Superseded studies: found by what is in them, and removed without touching anything else."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import cli
from pipelines.leftovers import old_studies
from pipelines.leftovers.old_studies import OldStudy, find_old_studies, list_study_files
from robustkd.errors import UsageError
from robustkd.hashing import json_digest
from robustkd.locks import hold_lock
from robustkd.study.versions import RESULTS_VERSION
from tests.pipelines.conftest import use_store
from tests.pipelines.toys import find_study, stripes, study_arguments

OLD_NAME = "toy-noise0.2-0123abcd.20260102-030405"  # as --fresh renames a study
OLD_VERSION = f"{RESULTS_VERSION - 1}.1.1"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    """A finished study, logged to MLflow, with every kind of file."""
    folder = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patch:
        use_store(patch, store)
        patch.chdir(folder)
        data = stripes(folder / "toy.npz")
        cli.main(study_arguments("run", data, methods="baseline,dml", tracker="mlflow", ema="0.9"))
        return find_study().resolve()


@pytest.fixture
def out(tmp_path: Path, original: Path) -> Path:
    """A folder with a study that --fresh replaced."""
    shutil.copytree(original, tmp_path / "studies" / OLD_NAME)
    return tmp_path / "studies"


def edit(file: Path, change: Callable[[dict[str, Any]], object], checksum: bool = True) -> None:
    """Change a JSON file, and write its checksum again."""
    content = json.loads(file.read_text())
    change(content)
    if checksum:
        del content["checksum"]
        content["checksum"] = json_digest(content)
    file.write_text(json.dumps(content))


def read_tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def find_one(out: Path) -> OldStudy:
    (study,) = find_old_studies(out)
    return study


def rename(out: Path) -> Path:
    """Give the study a name that a command may lead to."""
    return (out / OLD_NAME).rename(out / "toy-noise0.2-0123abcd")


def test_every_file_of_a_study_is_known(original: Path) -> None:
    files, foreign = list_study_files(original)
    assert foreign == []
    assert {*files} == {path for path in original.rglob("*") if path.is_file()}
    assert {"auxiliary.npz", "ema.pt", "tracked.json", "report.html"} <= {file.name for file in files}
    assert files[-1].name == "study.json"


def test_a_study_that_a_command_continues_is_not_superseded(out: Path) -> None:
    rename(out)
    assert list(find_old_studies(out)) == []


def test_a_study_that_was_replaced_is_removed_and_nothing_else(out: Path, original: Path) -> None:
    shutil.copytree(original, out / original.name)
    (out / "mine.txt").write_text("the user's")
    (out / "link").symlink_to(out / OLD_NAME)
    before = read_tree(out / original.name)
    study = find_one(out)
    assert (study.path, study.reason, study.kept) == (out / OLD_NAME, "--fresh replaced it", "")
    study.remove()
    assert sorted(path.name for path in out.iterdir()) == sorted([original.name, "link", "mine.txt"])
    assert read_tree(out / original.name) == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 1}, "its files have format 1"),
        ({"format": None}, "its files have format 1"),  # of the first format, which had no number
        ({"format": 99}, None),  # of a later version
        ({"robustkd": "0.0.9", "option": "gone"}, "this version has no option gone"),
        ({"robustkd": "99.0", "option": "new"}, None),
        ({"robustkd": "0.0.9", "option": "gone", "checksum": False}, None),  # damaged
        ({"robustkd": "0.0.9"}, None),
        ({"fingerprint": None}, None),  # of another program
    ],
)
def test_what_the_record_says_decides(out: Path, change: dict[str, Any], reason: str | None) -> None:
    def apply(content: dict[str, Any]) -> None:
        for name in ("format", "fingerprint"):
            if name in change:
                content[name] = change[name]
                if change[name] is None:
                    del content[name]
        content["resolved"]["robustkd"] = change.get("robustkd", content["resolved"]["robustkd"])
        if "option" in change:
            content["options"][change["option"]] = 1

    edit(rename(out) / "study.json", apply, change.get("checksum", True))
    found = list(find_old_studies(out))
    assert [study.reason[: len(reason or "")] for study in found] == ([] if reason is None else [reason])


def test_a_study_is_superseded_once_all_its_networks_are(out: Path) -> None:
    trained = sorted((rename(out) / "runs").glob("*/trained.json"))
    assert len(trained) == 2
    for file in trained:
        assert list(find_old_studies(out)) == []
        edit(file, lambda content: content.update(version=OLD_VERSION))
    assert find_one(out).reason.startswith(f"trained by version {RESULTS_VERSION - 1} of results")


FOREIGN = [
    "notes.txt",
    "runs/notes.txt",
    "runs/baseline-seed0/mine.npz",
    "comparison/plot.png",
    "mine/a.txt",
    "runs/mine/x/a",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_study_with_a_foreign_file_is_kept(out: Path, name: str) -> None:
    (out / OLD_NAME / name).parent.mkdir(exist_ok=True, parents=True)
    (out / OLD_NAME / name).write_text("the user's")
    before = read_tree(out)
    study = find_one(out)
    assert study.kept.startswith("it contains ")
    assert study.kept.endswith("which robustkd did not write")
    with pytest.raises(UsageError, match="it contains"):
        study.remove()
    assert read_tree(out) == before


@pytest.mark.parametrize(
    "name", ["model.pt", "runs/baseline-seed0/model.pt", "runs/baseline-seed1", "comparison/cost.png"]
)
def test_a_study_with_a_link_is_kept_and_its_target_too(out: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "valuable").mkdir()
    (tmp_path / "valuable" / "model.pt").write_text("the user's")
    link = out / OLD_NAME / name
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / "valuable" if link.suffix == "" else tmp_path / "valuable" / "model.pt")
    assert f"it contains {name}" in find_one(out).kept
    assert (tmp_path / "valuable" / "model.pt").exists()


def test_a_study_that_mlflow_has_not_received_is_kept(out: Path) -> None:
    (out / OLD_NAME / "outbox.jsonl").write_text("{}\n")
    assert "robustkd sync" in find_one(out).kept


@pytest.mark.parametrize("name", ["", "runs/baseline-seed0"])
def test_a_study_at_work_is_kept(out: Path, name: str) -> None:
    with hold_lock(out / OLD_NAME / name):
        assert find_one(out).kept == "a command is at work on it"
    assert find_one(out).kept == ""


@pytest.mark.parametrize("event", ["file", "lock", "run"])
def test_what_happens_between_listing_and_removal_counts(out: Path, event: str) -> None:
    study = find_one(out)
    before = read_tree(out)
    if event == "file":
        (out / OLD_NAME / "notes.txt").write_text("the user's")
        with pytest.raises(UsageError, match="come into use"):
            study.remove()
        (out / OLD_NAME / "notes.txt").unlink()
    else:
        with hold_lock(out / OLD_NAME / ("" if event == "lock" else "runs/baseline-seed0")), pytest.raises(UsageError):
            study.remove()
    assert read_tree(out) == before


def test_an_interrupted_removal_is_continued(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(rename(out) / "study.json", lambda content: content.update(format=1))
    unlink, count = Path.unlink, iter(range(10))

    def fail_later(path: Path, missing_ok: bool = False) -> None:
        if next(count, None) is None:
            raise OSError("the disk was taken away")
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(old_studies.Path, "unlink", fail_later)
        with pytest.raises(OSError, match="taken away"):
            find_one(out).remove()
    assert find_one(out).files
    find_one(out).remove()
    assert os.listdir(out) == []
