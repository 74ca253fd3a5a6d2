"""The section on the transition matrix."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.report.sections.scenario import build_scenario_section
from pipelines.report.study_files import StudyFiles, read_study_files
from robustkd.study import comparison
from robustkd.study.results import read_study
from tests.pipelines import synthetic


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("broken manifest", "the study's manifests cannot be read"),
        ("no manifest", "the study's manifests are missing"),
    ],
)
def test_missing_or_damaged_manifests_are_reported(damage: str, message: str, tmp_path: Path) -> None:
    folder = synthetic.study_folder(tmp_path, seed_count=1)
    manifest = folder / "manifest-0.json"
    if damage == "broken manifest":
        manifest.write_text("{")
    else:
        manifest.unlink()
    compared = comparison.compare_runs(read_study(folder))
    section = build_scenario_section(compared, read_study_files(compared))
    assert message in " ".join(section.notes)
    assert not section.pictures


def test_shares_of_wrong_labels_are_of_all_images() -> None:
    counts = np.array([[6, 2, 0], [0, 1, 0], [0, 1, 0]])
    section = build_scenario_section(synthetic.compared_study(), StudyFiles(Path(), transitions=counts))
    (picture,) = section.pictures
    assert picture.caption == "30.0 % of the training images are shown under a wrong label, over all draws."
    assert "Most frequent: eel as dog 100.0 %, cat as dog 25.0 %." in picture.alt, "of each true class"
    assert section.lead == "noise0.4, as the training images were shown."


def test_without_wrong_labels_there_is_no_matrix() -> None:
    counts = np.diag([3, 2, 1])
    section = build_scenario_section(synthetic.compared_study(), StudyFiles(Path(), transitions=counts))
    assert section.notes == ["Every training image is shown under its true label."]
    assert not section.pictures


def test_unknown_truth_is_reported() -> None:
    section = build_scenario_section(synthetic.compared_study(), StudyFiles(Path()))
    assert section.notes == ["The transition matrix is left out: the truth of the training labels is not known."]
