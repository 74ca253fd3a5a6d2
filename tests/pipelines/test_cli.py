"""Invalid arguments: one sentence, a non-zero exit code, no traceback, and nothing trained or written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import cli
from tests.pipelines.toys import study_arguments

HOME = Path(__file__).parents[2]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one sentence with which a command is refused."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    message = capsys.readouterr()
    assert exit_.value.code == 2
    assert message.err.startswith("robustkd: ")
    assert message.err.count("\n") == 1, message.err
    assert "Traceback" not in message.err
    assert not list(Path.cwd().glob("*/*/runs")), "nothing is trained"
    return message.err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenario": "noise1.4"}, "rate is 1.4 but should be less than or equal to 1"),
        ({"scenario": "noise-0.1"}, "rate is -0.1 but should be greater than or equal to 0"),
        ({"scenario": "noise"}, "needs a value for rate"),
        ({"scenario": "nois0.4"}, "did you mean 'noise'?"),
        ({"scenario": "noise0.4+"}, "there is nothing on one side"),
        ({"methods": "hintn"}, "no method is called 'hintn' (did you mean 'hinton'?)"),
        ({"methods": "hinton+balancd"}, "no criterion is called 'balancd' (did you mean 'balanced'?)"),
        ({"methods": "hinton(tmperature=2)"}, "has no parameter 'tmperature' (did you mean 'temperature'?)"),
        ({"methods": "hinton(alpha=2)"}, "alpha is 2 but should be less than or equal to 1"),
        ({"methods": "fitnet(hint=9)"}, "hint is 9 but should be at most 3, the number of stages"),
        ({"methods": "baseline+ce+ce"}, "at most one criterion"),
        ({"student": "resent20"}, "no net is called 'resent20' (did you mean 'resnet20'?)"),
        ({"student": "resnet21"}, "6n+2"),
        ({"teacher": "wrn_15_2"}, "6n+4"),
        ({"teacher": "lost/model.pt"}, "there is no such file"),
        ({"init": "lost.pt"}, "there is no such file"),
        ({"teacher_criterion": "c"}, "no criterion is called 'c'"),
        ({"smooth_teacher": "lables"}, "--smooth-teacher is 'lables' but should be 'none', 'labels' or 'consistency'"),
        ({"dataset": "npz:lost.npz"}, "lost.npz"),
        ({"dataset": "folder:lost"}, "lost"),
        ({"dataset": "cifar11"}, "did you mean 'cifar10"),
        ({"dataset": "cifar10"}, "--download"),
        ({"batch": "500"}, "--batch 500 is larger than the training set"),
        ({"seeds": "0"}, "--seeds is '0' but should be greater than or equal to 1"),
        ({"seeds": "many"}, "--seeds"),
        ({"device": "abacus"}, "--device abacus"),
        ({"milestones": "3"}, "--milestones"),
        ({"plug": "lost.py"}, "there is no such file"),
        ({"precison": "bf16"}, "Did you mean --precision?"),
        ({"scenario": "imbalance(0.2, ratio=400)", "held_out": "0"}, "without a training sample"),
    ],
)
def test_invalid_options_are_refused_before_training(
    data: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], message: str
) -> None:
    assert message in refused(study_arguments("run", data, **changes), capsys)


def test_an_unwritable_folder_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").write_text("a file of the user's")
    assert "--out taken/studies: it cannot be written" in refused(
        study_arguments("run", data, out="taken/studies"), capsys
    )
    assert Path("taken").read_text() == "a file of the user's"


def test_invalid_image_folders_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = Path("empty")
    empty.mkdir()
    assert "empty" in refused(study_arguments("run", data, dataset="folder:empty"), capsys)
    one = Path("one/cat")
    one.mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(one / "a.png")
    assert "one class" in refused(study_arguments("run", data, dataset="folder:one"), capsys)
    for name in ("cat", "dog"):
        Path("two", name).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(f"two/{name}/{number}.png")
    Path("two/dog/3.png").write_bytes(Path("two/dog/3.png").read_bytes()[:40])
    assert "3.png" in refused(study_arguments("run", data, dataset="folder:two", image_size="8"), capsys)


def test_a_server_that_does_not_answer_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in refused(study_arguments("run", data, tracker="mlflow"), capsys)
    assert not Path("studies").exists(), "nothing is written before the tracker is open"
    assert "there is no study here" in refused(study_arguments("compare", data), capsys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("seeds: [", "is not YAML"),
        ("- seeds", "should contain lines"),
        ("sedes: 4", "there is no option 'sedes' (did you mean 'seeds'?)"),
        ("seeds: 0", "--seeds is '0'"),
    ],
)
def test_invalid_configuration_files_are_refused(
    data: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    if content is not None:
        Path("study.yaml").write_text(content)
    arguments = ["run", "--scenario", "clean", "--config", "study.yaml"]
    assert message in refused(arguments, capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rum"], "Did you mean"),
        (["run"], "--scenario"),
        (["compare", "nowhere"], "there is no study here"),
        (["compare"], "there is no study here yet"),
        (["methods", "hintn"], "did you mean 'hinton'?"),
        (["models", "resent20"], "did you mean 'resnet20'?"),
        (["describe", "nois0.4"], "did you mean 'noise'?"),
        (["predict", "lost.pt", "folder:."], "there is no such file"),
    ],
)
def test_invalid_arguments_of_other_commands_are_refused(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refused(arguments, capsys)


LIGHT = """
import sys
from pipelines import cli
try:
    cli.main({})
except SystemExit:
    pass
print(sorted({{'torch', 'mlflow'}} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["methods"],
        ["scenarios"],
        ["models"],
        ["run", "--scenario", "nois0.4"],
        ["run", "--scenario", "noise1.4"],
        ["run", "--scenario", "noise0.4", "--methods", "hintn"],
        ["run", "--scenario", "noise0.4", "--student", "resent20"],
        ["run", "--scenario", "noise0.4", "--sedes", "3"],
    ],
)
def test_help_and_misspelt_names_do_not_import_torch(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(arguments)], cwd=HOME, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_both_spellings_and_flags_with_values_are_accepted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("pipelines.stages.run.main", lambda options, dry_run, spread: seen.append((options, dry_run)))
    lines = ["scenario: noise0.2", "data_dir: there", "seeds: 4", "fresh: true", "held-out: 0.2", "teacher: resnet14"]
    lines += ["methods: [baseline, hinton]", "milestones: 0.5", "augment: false"]
    Path("study.yaml").write_text("\n".join(lines))
    cli.main(["run", "--scenario", "clean", "--data_dir", "here", "--dry_run", "true", "--augment", "none"])
    cli.main(["run", "--scenario", "clean", "--data-dir", "here", "--dry-run", "--augment", "false"])
    cli.main(["run", "--config", "study.yaml", "--seeds", "5", "--fresh", "false"])
    assert seen[0] == seen[1]
    assert (seen[0][0].data_dir, seen[0][1], seen[0][0].augment) == ("here", True, "none")
    mixed = seen[2][0]
    assert (mixed.scenario, mixed.data_dir, mixed.seeds, mixed.fresh, mixed.held_out) == (
        "noise0.2",
        "there",
        5,
        False,
        0.2,
    )
    assert (mixed.teacher, mixed.methods, mixed.milestones, mixed.augment) == (
        "resnet14",
        "baseline,hinton",
        "0.5",
        "none",
    )


def test_every_option_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    from robustkd.study.options import StudyOptions

    cli.main(["run", "--help"])
    message = capsys.readouterr().out
    assert [name for name in StudyOptions.__dataclass_fields__ if f"--{name.replace('_', '-')}" not in message] == []
    assert "[default: 0.1]" in message


@pytest.mark.parametrize("name", ["scenarios", "robustkd"])
def test_a_foreign_package_that_shadows_ours_is_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "scenarios"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HOME)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"the package '{name}' should be in {HOME}, but Python finds {tmp_path / name}" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_option_with_alternatives_is_refused_with_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    for text, rule in (("4", "greater than or equal to 8"), ("big", "a valid integer")):
        with pytest.raises(SystemExit):
            cli.main(["run", "--scenario", "clean", "--image-size", text])
        assert f"--image-size is '{text}' but should be 'auto' or {rule}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), r"\(MemoryError\)"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), r"\(ImportError: libtorch_cpu.so"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), r"\(RuntimeError: DefaultCPUAllocator"),
    ],
)
def test_a_lack_of_memory_is_a_sentence(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("pipelines.cli.check_options", fail)
    with pytest.raises(SystemExit) as exited:
        cli.main(["run", "--scenario", "clean"])
    assert exited.value.code == 1
    assert re.match(rf"robustkd: there is too little memory, .*{reason}", capsys.readouterr().err)


def test_another_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("pipelines.cli.check_options", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        cli.main(["run", "--scenario", "clean"])
