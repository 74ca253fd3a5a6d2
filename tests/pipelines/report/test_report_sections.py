"""Several sections of one report."""

import json
from pathlib import Path

import pytest

from pipelines.report.examples import select_examples
from pipelines.report.sections.metrics import build_metric_section
from pipelines.report.sections.recovered import build_recovered_section
from pipelines.report.sections.scenario import build_scenario_section
from pipelines.report.sections.verdicts import build_verdict_section
from pipelines.report.study_files import read_study_files
from robustkd.study import comparison
from robustkd.study.results import load_study
from tests.pipelines import synthetic


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("another set", "the data set is not the one that the study used"),
        ("no answers", "(fit-last.npz) are missing"),
        ("no data", "Images are left out: npz:"),
        ("broken manifest", "the study's manifests cannot be read"),
        ("no manifest", "the study's manifests are missing"),
    ],
)
def test_missing_or_damaged_files_are_reported_instead_of_images(damage: str, message: str, tmp_path: Path) -> None:
    folder = synthetic.study_folder(tmp_path, seed_count=1)
    document = json.loads((folder / "study.json").read_text())
    if damage == "another set":
        document["fingerprint"] = "f" * 16
    elif damage == "no data":
        document["options"]["dataset"] = f"npz:{tmp_path / 'without_files.npz'}"
    elif damage == "no answers":
        for path in folder.glob("runs/*/fit-last.npz"):
            path.unlink()
    elif damage == "broken manifest":
        (folder / "manifest-0.json").write_text("{")
    else:
        (folder / "manifest-0.json").unlink()
    (folder / "study.json").write_text(json.dumps(document))
    compared = comparison.compare(load_study(folder))
    files, examples = read_study_files(compared), select_examples(compared)
    scenario, recovered = build_scenario_section(compared, files), build_recovered_section(compared, examples)
    assert recovered is not None
    assert message in " ".join([*scenario.notes, *recovered.notes])


def test_mlflow_and_files_give_the_same_tables(tmp_path: Path) -> None:
    folder = synthetic.study_folder(tmp_path, seed_count=1)
    record = load_study(folder)
    with_files, without_files = comparison.compare(record), comparison.compare(record._replace(folder=None))
    assert build_metric_section(with_files) == build_metric_section(without_files)
    assert build_verdict_section(without_files, False).tables == build_verdict_section(with_files, False).tables  # type: ignore[union-attr]
    assert read_study_files(without_files).counts is None
    assert read_study_files(with_files).counts is not None
