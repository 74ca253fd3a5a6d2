"""Trained networks that the user gives to a study: --teacher and --init."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import cli
from robustkd.study.results import RunResult, read_document
from tests.pipelines.toys import find_study, study_arguments


def result_of(run: str, study: Path | None = None) -> RunResult:
    return read_document((study or find_study()) / "runs" / run / "result.json", RunResult)


def test_a_teacher_and_first_weights_can_be_given(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(study_arguments("run", data, methods="baseline", teacher="resnet8"))
    given = find_study() / "runs" / "baseline-seed0" / "model.pt"
    cli.main(
        study_arguments("run", data, teacher=str(given), init=str(given), out="second", methods="hinton", seeds="2")
    )
    (second,) = Path("second").iterdir()
    assert sorted(path.name for path in (second / "runs").iterdir()) == [
        "hinton-seed0",
        "hinton-seed1",
        "teacher-seed0",
    ]
    assert result_of("teacher-seed0", second).last == result_of("baseline-seed0").last
    wrong = study_arguments("run", data, init=str(given), student="resnet14", out="third")
    with pytest.raises(SystemExit):
        cli.main(wrong)
    assert "its weights are not those of a resnet14" in capsys.readouterr().err


def test_the_classes_of_a_given_network_are_found_by_name(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(study_arguments("run", data, methods="baseline", epochs="6", scenario="clean"))
    given = find_study() / "runs" / "baseline-seed0" / "model.pt"
    with np.load(data) as file:
        arrays = dict(file)
    names = ["checks", "rows", "columns"]
    numbers = [names.index(name) for name in arrays["classes"][arrays["y"]]]
    np.savez("other.npz", **{**arrays, "y": numbers, "classes": names})
    options = {"teacher": str(given), "init": str(given), "methods": "hinton", "scenario": "clean", "epochs": "1"}
    cli.main(study_arguments("run", Path("other.npz"), **options, out="second"))
    printed = capsys.readouterr().out
    for option in ("teacher", "init"):
        assert f"--{option} {given}: its classes are in another order than those of the data set" in printed
    (second,) = Path("second").iterdir()
    accuracy = result_of("baseline-seed0").last.metrics["accuracy"]
    assert accuracy > 0.9
    assert result_of("teacher-seed0", second).last.metrics["accuracy"] == accuracy
    cli.main(study_arguments("run", Path("other.npz"), **options, out="second", teacher_classes="ignore"))
    (third,) = set(Path("second").iterdir()) - {second}  # other results need another folder
    assert result_of("teacher-seed0", third).last.metrics["accuracy"] < 0.1
    assert "paired with those of the data set by position: rows as checks" in capsys.readouterr().out


def test_a_network_trained_on_values_of_another_range_is_reported(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, highest in (("one", 4095), ("two", 60_000)):
        for kind in ("cat", "dog"):
            Path(folder, kind).mkdir(parents=True)
            for number in range(12):
                values = np.random.default_rng([number, ord(kind[0])]).integers(0, highest, (8, 8)).astype(np.uint16)
                values[0, 0] = highest
                Image.fromarray(values).save(Path(folder, kind, f"{number}.png"))
    options = {"methods": "baseline", "epochs": "1", "scenario": "clean", "image_size": "8", "batch": "8"}
    cli.main(study_arguments("run", data, **options, dataset="folder:one"))
    given = str(find_study() / "runs" / "baseline-seed0" / "model.pt")
    capsys.readouterr()
    cli.main(study_arguments("prepare", data, **options, dataset="folder:two", init=given))
    assert (
        f"--init {given}: it was trained on values from 0 to 4095, but of 'folder:two' their values from 0 to 65535 are"
        " scaled to 8 bits; --value-range 0,4095 scales them alike"
    ) in capsys.readouterr().out
    cli.main(study_arguments("prepare", data, **options, dataset="folder:two", init=given, value_range="0,4095"))
    printed = capsys.readouterr().out
    assert "it was trained on values" not in printed
    assert "images of more than 8 bits: their values from 0 to 4095 are scaled to 8 bits" in printed
