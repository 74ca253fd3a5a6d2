"""tracked.json, as it is written, and as an earlier version or another program left it."""

from pathlib import Path

import pytest

from pipelines.tracking.tracked import (
    TrackedRun,
    TrackedStudy,
    read_tracked_run,
    read_tracked_study,
    write_tracked,
)


def test_references_are_read_as_they_were_written(tmp_path: Path) -> None:
    run = TrackedRun("0" * 32, "sqlite:///mlflow.db", "models:/m-1", "ab")
    write_tracked(tmp_path, run)
    assert read_tracked_run(tmp_path) == run
    study = TrackedStudy("http://host:5000", {"run": "0" * 32}, {"run": "cd"})
    write_tracked(tmp_path, study)
    assert read_tracked_study(tmp_path) == study


def test_a_reference_of_an_earlier_version_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "tracked.json").write_text('{"run_id": "a", "tracking_uri": "b", "model_uri": null}')
    assert read_tracked_run(tmp_path) == TrackedRun("a", "b", None, "")


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "{}", '{"run_id": "a"}', '{"other": 1}', '"text"'])
def test_a_file_that_is_missing_or_damaged_is_no_reference(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "tracked.json").write_text(text)
    assert read_tracked_run(tmp_path) is None
    assert read_tracked_study(tmp_path) is None
