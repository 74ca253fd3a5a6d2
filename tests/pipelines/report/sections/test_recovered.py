"""The section on recovered labels."""

import json
from pathlib import Path

import pytest

from pipelines.report.examples import Examples, select_examples
from pipelines.report.recovered_images import RecoveredImages
from pipelines.report.section import LabelledImage
from pipelines.report.sections import recovered
from pipelines.report.sections.recovered import build_recovered_section
from pipelines.report.thumbnails import Thumbnail
from robustkd.study import comparison
from robustkd.study.results import read_study
from tests.pipelines import synthetic
from tests.pipelines.report.cases import compare_changed, not_started, without_fit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("another data set", "Images are left out: the data set is not the one that the study used"),
        ("no predictions", "(fit-last.npz) are missing"),
        ("no data", "Images are left out: npz:"),
    ],
)
def test_missing_or_damaged_files_are_reported_instead_of_images(damage: str, message: str, tmp_path: Path) -> None:
    folder = synthetic.study_folder(tmp_path, seed_count=1)
    document = json.loads((folder / "study.json").read_text())
    del document["checksum"]
    if damage == "another data set":
        document["fingerprint"] = "f" * 16
    elif damage == "no data":
        document["options"]["dataset"] = f"npz:{tmp_path / 'without_files.npz'}"
    else:
        for path in folder.glob("runs/*/fit-last.npz"):
            path.unlink()
    (folder / "study.json").write_text(json.dumps(document))
    compared = comparison.compare_runs(read_study(folder))
    section = build_recovered_section(compared, select_examples(compared))
    assert section is not None
    assert message in " ".join(section.notes)
    assert not section.images


@pytest.mark.parametrize(
    ("reference", "total", "lead"),
    [
        (
            "baseline",
            3,
            "hinton (seed 2) gives the true one: 3 in all. First the 2 for which baseline gives the wrong one, then by"
            " row. 1 are shown.",
        ),
        (None, 1, "hinton (seed 2) gives the true one: 1 in all."),
    ],
)
def test_the_lead_states_how_many_there_are(
    reference: str | None, total: int, lead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [LabelledImage(Thumbnail("data:", True), "an image", [])]
    monkeypatch.setattr(recovered, "load_recovered_images", lambda *_: RecoveredImages(images, 2, total, 2))
    section = build_recovered_section(synthetic.compared_study(), Examples(reference, "hinton", ["hinton"]))
    assert section is not None
    assert section.lead == f"Training images under a wrong label to which {lead}"
    assert section.images == images


def test_without_known_truth_or_a_method_there_is_no_section() -> None:
    examples = Examples("baseline", "hinton", ["hinton"])
    assert build_recovered_section(compare_changed(without_fit), examples) is None
    assert build_recovered_section(not_started(), Examples(None, None)) is None


def test_an_error_without_a_message_is_reported_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> RecoveredImages:
        raise MemoryError

    monkeypatch.setattr(recovered, "load_recovered_images", fail)
    section = build_recovered_section(synthetic.compared_study(), Examples("baseline", "hinton", ["hinton"]))
    assert section is not None
    assert section.notes == ["Images are left out: MemoryError"]
