"""verify: what is damaged or missing in a study, without changing it."""

from pathlib import Path

import pytest

from pipelines import cli
from tests.pipelines.toys import find_study, study_arguments


def verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return the exit status and what is printed."""
    capsys.readouterr()
    try:
        cli.main(["verify", str(folder)])
        status = 0
    except SystemExit as error:
        status = int(error.code or 0)
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def test_what_is_damaged_or_missing_is_named_and_nothing_is_changed(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = study_arguments("run", data, methods="baseline,hinton", epochs="1")
    cli.main(arguments)
    folder = find_study()
    assert verify(folder, capsys) == (0, f"{folder}: the files of 3 runs are as they were written\n")
    run = folder / "runs" / "hinton-seed0"
    (run / "early.pt").unlink()
    for path in (run / "model.pt", run / "result.json", folder / "manifest-0.csv", folder / "study.json"):
        path.write_bytes(path.read_bytes()[:-40])
    (run / "unfinished.pt").write_bytes(b"PK")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, text = verify(folder, capsys)
    assert status == 1
    for part in (
        "runs/hinton-seed0/model.pt: damaged; it will be made again",
        "runs/hinton-seed0/result.json: damaged; it will be made again",
        "runs/hinton-seed0/early.pt: missing; it will be made again",
        "runs/hinton-seed0/unfinished.pt: damaged; the run will start again",
        "manifest-0.csv: ",
        "study.json: this file cannot be read",
        "6 files are damaged or missing; the command that made the study makes them again",
    ):
        assert part in text
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    cli.main(arguments)
    assert verify(folder, capsys)[0] == 0


def test_another_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = verify(tmp_path, capsys)
    assert status == 2
    assert "this is not the folder of a study" in text
