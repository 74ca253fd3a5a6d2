"""What the manifests of a study's folder say."""

import json
from pathlib import Path

import pytest

from pipelines.report.study_files import read_study_files
from robustkd.study import comparison
from robustkd.study.comparison import Comparison
from robustkd.study.results import LoadedStudy
from tests.records import make_record

ROWS = (  # split, row, label, truth, origin
    *(("train", 0, 0, 0, 0), ("train", 1, 1, 0, 0), ("train", 2, 1, 1, 0)),
    *(("train", 3, 1, -1, 0), ("train", 0, 0, 1, 1), ("test", 4, 0, 1, 0)),
)


def compare_in_folder(folder: Path | None) -> Comparison:
    """Compare a study without runs whose manifests are in a folder."""
    return comparison.compare_runs(LoadedStudy(make_record(["baseline"], 2), [], {}))._replace(folder=folder)


def write_manifest(folder: Path, seed: int, rows: tuple[tuple[object, ...], ...] = ROWS, origin: bool = True) -> None:
    """Write the files of a manifest by hand."""
    titles = ["split", "row", "label", "truth", *(["origin"] if origin else [])]
    lines = [",".join(map(str, row[: len(titles)])) for row in rows]
    (folder / f"manifest-{seed}.csv").write_text("\n".join([",".join(titles), *lines]) + "\n")
    (folder / f"manifest-{seed}.json").write_text(json.dumps({"digest": {"train": f"digest {seed}"}}))


def test_counts_are_means_and_transitions_are_sums_over_the_draws(tmp_path: Path) -> None:
    write_manifest(tmp_path, 0)
    write_manifest(tmp_path, 1, ROWS[:3])
    files = read_study_files(compare_in_folder(tmp_path))
    assert files.counts is not None
    assert files.counts.to_dict() == {"cat": 1.5, "dog": 2.5}, "as shown, foreign images included, test rows not"
    assert files.transitions is not None
    assert files.transitions.tolist() == [[2, 2], [0, 2]], "only of the data set's own images with a known truth"
    assert files.digests == {"0": "digest 0", "1": "digest 1"}
    assert files.missing == ""


def test_without_an_origin_all_images_are_of_the_data_set(tmp_path: Path) -> None:
    write_manifest(tmp_path, 0, ROWS[:3], origin=False)
    transitions = read_study_files(compare_in_folder(tmp_path)).transitions
    assert transitions is not None
    assert transitions.tolist() == [[1, 1], [0, 1]]


def test_without_a_known_truth_there_are_no_transitions(tmp_path: Path) -> None:
    write_manifest(tmp_path, 0, (("train", 0, 0, -1, 0), ("train", 1, 1, -1, 0)))
    files = read_study_files(compare_in_folder(tmp_path))
    assert files.transitions is None
    assert files.counts is not None
    assert files.missing == ""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest-0.json", "{"),
        ("manifest-0.json", "{}"),
        ("manifest-0.csv", ""),
        ("manifest-0.csv", "split,row\ntrain,0\n"),
        ("manifest-0.csv", "split,row,label,truth,origin\ntrain,0,7,0,0\n"),
    ],
)
def test_a_damaged_manifest_is_described(name: str, content: str, tmp_path: Path) -> None:
    write_manifest(tmp_path, 0)
    (tmp_path / name).write_text(content)
    files = read_study_files(compare_in_folder(tmp_path))
    assert files.missing.startswith("the study's manifests cannot be read (")
    assert (files.counts, files.transitions, files.digests) == (None, None, {})


def test_missing_manifests_are_described(tmp_path: Path) -> None:
    assert read_study_files(compare_in_folder(tmp_path)).missing == "the study's manifests are missing"
    assert "was read from MLflow" in read_study_files(compare_in_folder(None)).missing
