"""Stages on a toy, as a user would call them; everything through files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipelines import cli, planning
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.study import run_folder, scheduler
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Progress, Run, list_runs, teacher_of
from robustkd.study.results import RunResult, read_document
from robustkd.study.run_folder import load_views
from robustkd.training import checkpoint
from tests.pipelines.toys import find_study, parse_options, study_arguments


def weights(run: str, where: Path | None = None) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.load_checkpoint((where or find_study()) / "runs" / run / "model.pt")[
        "weights"
    ]
    return found


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one | other)


def result_of(run: str, where: Path | None = None) -> RunResult:
    """The result of a run of the study."""
    return read_document((where or find_study()) / "runs" / run / "result.json", RunResult)


def test_a_study_ends_in_a_table_and_in_files(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(study_arguments("run", data, methods="baseline,hinton,dml", seeds="2"))
    said = capsys.readouterr().out
    for word in ("teacher", "baseline, stopped early", "hinton", "dml", "rows", "columns", "checks", "along the run"):
        assert word in said
    assert "test labels as given" in said, "nobody has declared the labels of this file clean"
    summary = pd.read_csv(find_study() / "comparison" / "summary.csv", index_col="method")
    assert summary["seeds"].tolist() == [2] * 7, "the teacher, and three methods with a row stopped early each"
    runs = sorted(path.name for path in (find_study() / "runs").iterdir())
    assert runs == sorted(f"{name}-seed{seed}" for name in ("teacher", "baseline", "hinton", "dml") for seed in (0, 1))
    for name in ("model.pt", "early.pt", "epochs.csv", "result.json", "per_class.csv", "confusion.csv"):
        assert (find_study() / "runs" / "hinton-seed1" / name).exists()
    epochs = pd.read_csv(find_study() / "runs" / "hinton-seed0" / "epochs.csv")
    assert epochs["epoch"].tolist() == [1, 2]
    assert epochs[["ce", "kd", "accuracy", "held_out_accuracy"]].notna().all(axis=None)
    result = result_of("hinton-seed0")
    assert result.last.metrics["accuracy"] == pytest.approx(epochs["accuracy"].iloc[-1]), (
        "the last epoch is what is reported"
    )
    assert (find_study() / "comparison" / "per_class.png").stat().st_size > 1000


def test_what_is_finished_is_used_again_and_fresh_is_not(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(study_arguments("run", data))
    before = (find_study() / "runs" / "hinton-seed0" / "model.pt").stat().st_mtime_ns
    capsys.readouterr()
    cli.main(study_arguments("run", data, methods="baseline,hinton,dml"))  # one method more: the others are there
    assert "3 of 4 runs are already finished" in capsys.readouterr().out
    assert (find_study() / "runs" / "hinton-seed0" / "model.pt").stat().st_mtime_ns == before
    old = weights("hinton-seed0")
    cli.main([*study_arguments("run", data), "--fresh"])
    assert len(list(Path("studies").glob("*/study.json"))) == 2, "what was there is kept under another name"
    newest = max(Path("studies").glob("*/study.json"), key=lambda card: card.stat().st_mtime).parent
    assert equal(old, weights("hinton-seed0", newest)), "the same words give the same bits"


def test_stages_by_hand_come_to_what_run_comes_to(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(study_arguments("distil", data))
    assert "run `robustkd teacher` with the same options first" in capsys.readouterr().err
    for stage in ("prepare", "teacher", "distil", "evaluate", "compare"):
        cli.main(study_arguments(stage, data))
    by_hand = weights("hinton-seed0")
    cli.main(study_arguments("run", data, out="others"))
    (other,) = Path("others").iterdir()
    assert equal(by_hand, weights("hinton-seed0", other))
    cli.main(["compare"])
    assert "hinton - baseline" in capsys.readouterr().out


def test_side_by_side_gives_the_bits_of_one_after_another(data: Path) -> None:
    cli.main(study_arguments("run", data, out="one"))
    cli.main(study_arguments("run", data, out="two", jobs="2", threads="2"))
    (one,), (two,) = Path("one").iterdir(), Path("two").iterdir()
    for run in ("teacher-seed0", "baseline-seed0", "hinton-seed0"):
        assert equal(weights(run, one), weights(run, two))


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.main(study_arguments("run", data, out="whole", epochs="4"))
    told = []

    def cut(event: Progress) -> None:
        told.append(event)
        if event.run.method.text == "hinton" and event.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        real = scheduler.execute_runs
        patch.setattr(scheduler, "execute_runs", lambda plan, runs, report, *rest: real(plan, runs, cut))
        with pytest.raises(SystemExit) as stopped:
            cli.main(study_arguments("run", data, out="cut", epochs="4", save_every="0s"))
    assert stopped.value.code == 130
    (left,) = Path("cut").iterdir()
    assert (left / "runs" / "hinton-seed0" / "unfinished.pt").exists()
    cli.main(study_arguments("run", data, out="cut", epochs="4", save_every="0s"))
    (whole,) = Path("whole").iterdir()
    assert equal(weights("hinton-seed0", whole), weights("hinton-seed0", left))
    epochs = [
        pd.read_csv(where / "runs" / "hinton-seed0" / "epochs.csv").drop(columns="seconds") for where in (whole, left)
    ]
    assert (epochs[0] == epochs[1]).all(axis=None)
    assert not (left / "runs" / "hinton-seed0" / "unfinished.pt").exists()


SMOOTHED = {
    "none": ("baseline+balanced", "teacher (resnet8, balanced)", {}),
    "labels": ("smooth+balanced", "teacher (resnet8, balanced, smooth labels)", {"labels": 0.1, "consistency": 0.0}),
    "consistency": (
        "smooth(consistency=1, labels=0)+balanced",
        "teacher (resnet8, balanced, smooth consistency)",
        {"labels": 0.0, "consistency": 1.0},
    ),
}


def test_a_teacher_can_be_trained_to_be_smooth(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for smoothed, (method, named, chosen) in SMOOTHED.items():
        words = {"methods": "hinton", "teacher_criterion": "balanced", "smooth_teacher": smoothed}
        cli.main(study_arguments("run", data, out=smoothed, **words))
        assert f"\n{named} " in capsys.readouterr().out
        (where,) = Path(smoothed).iterdir()
        result = result_of("teacher-seed0", where)
        assert result.run.method == method
        assert result.training is not None
        values = result.training.hyperparameters
        assert {name: values[f"smooth.{name}"] for name in chosen} == chosen
        options = StudyOptions(scenario="noise0.2", dataset=f"npz:{data}", batch=16, out=smoothed, **words)
        teacher, student = list_runs(options, False)[0], Run("student", MethodSpec.parse("hinton"), 0)
        assert teacher_of(planning.draft_study(options).plan, student) == teacher, "what a student waits for is trained"
    for run in ("teacher-seed0", "hinton-seed0"):
        plain, *others = (weights(run, next(Path(smoothed).iterdir())) for smoothed in SMOOTHED)
        assert not any(equal(plain, other) for other in others)


def test_a_teacher_that_is_given_cannot_be_smoothed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(study_arguments("run", data, methods="baseline"))
    given = str(find_study() / "runs" / "baseline-seed0" / "model.pt")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.main(study_arguments("run", data, teacher=given, smooth_teacher="labels", out="second"))
    said = capsys.readouterr().err
    assert f"--smooth-teacher labels: the teacher {given} is already trained, so it cannot be smoothed" in said
    assert said.count("\n") == 1
    assert not Path("second").exists()


def test_a_teacher_can_be_stopped_early(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its row, the dry run and its exported card say so, and what is distilled is the network that was stopped early."""
    words = {"methods": "baseline,hinton", "teacher_stop": "early", "held_out": "0.2"}
    cli.main([*study_arguments("run", data, **words), "--dry-run"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "--recipe" in line]
    assert [line.endswith("; stopped early, by held-out rows") for line in lines] == [True, False]
    cli.main(study_arguments("run", data, **words))
    assert "\nteacher (resnet8, ce, stopped early) " in capsys.readouterr().out
    early = checkpoint.load_checkpoint(find_study() / "runs" / "teacher-seed0" / "early.pt")["weights"]
    assert equal(weights("teacher-seed0"), early)
    cli.main(["export", str(find_study() / "runs" / "teacher-seed0" / "model.pt"), "--to", "out", "--formats", "torch"])
    training = result_of("teacher-seed0").training
    assert training is not None
    assert json.loads(Path("out/card.json").read_text(encoding="utf-8"))["epoch"] == training.early_epoch
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.main(study_arguments("run", data, **{**words, "held_out": "0"}, out="second"))
    said = capsys.readouterr().err
    assert "--teacher-stop early: the epoch is chosen by held-out rows, and no rows are held out" in said
    assert said.count("\n") == 1
    assert not Path("second").exists()


def test_one_failure_does_not_take_the_others_down(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(
        "import torch\n"
        "from robustkd.methods.baseline import Baseline\n"
        "from robustkd.types import Objective\n"
        "class Burst(Baseline):\n"
        "    def objective(self, batch):\n"
        "        return Objective({'ce': super().objective(batch).loss * float('nan')})\n"
        "class Fault(Baseline):\n"
        "    def objective(self, batch):\n"
        "        return {}['nothing']\n"
        "METHODS = {'burst': Burst, 'fault': Fault}\n"
    )
    with pytest.raises(SystemExit) as ended:
        cli.main(study_arguments("run", data, methods="burst,fault,baseline", plug="mine.py"))
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "the term 'ce' is nan in phase 'train', epoch 1" in said.err
    assert "KeyError: 'nothing' (see" in said.err
    assert "Traceback" not in said.err
    assert (find_study() / "runs" / "baseline-seed0" / "result.json").exists()
    assert "KeyError" in (find_study() / "runs" / "fault-seed0" / "error.txt").read_text()


def test_a_users_method_scenario_and_net_need_no_edit_of_the_package(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(
        "from dataclasses import dataclass\n"
        "import torch\n"
        "from robustkd.method import Distiller\n"
        "from scenarios.base import Scenario\n"
        "class Mimic(Distiller):\n"
        "    def __init__(self, student, teacher, criterion, *, weight: float = 0.5):\n"
        "        super().__init__(student, teacher, criterion)\n"
        "        self.weight = weight\n"
        "    def transfer(self, student, teacher, batch):\n"
        "        return {'mimic': self.weight * (student.logits - teacher.logits).square().mean()}\n"
        "@dataclass(frozen=True)\n"
        "class Half(Scenario):\n"
        "    def apply(self, view):\n"
        "        return view.take(view.keys() % 2 == 0)\n"
        "def tiny(channels: int, classes: int, *, width: int = 8):\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(channels, width, 3), torch.nn.ReLU(),\n"
        "        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(4 * width, classes))\n"
        "METHODS, SCENARIOS, MODELS = {'mimic': Mimic}, {'half': Half}, {'tiny': tiny}\n"
    )
    options = {
        "methods": "mimic(weight=0.1)",
        "scenario": "half+noise0.2",
        "student": "tiny(width=4)",
        "plug": "mine.py",
    }
    cli.main(study_arguments("run", data, **options))
    assert "mimic(weight=0.1)" in capsys.readouterr().out
    training = result_of("mimic-weight=0.1-seed0").training
    assert training is not None
    assert training.hyperparameters["mimic.weight"] == 0.1


def test_a_users_view_is_shown_and_a_misspelt_one_refused_before_training(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(
        "from robustkd.methods.baseline import Baseline\n"
        "class Dark:\n"
        "    draws = 0\n"
        "    def __call__(self, images, draws):\n"
        "        return images // 4\n"
        "class Night(Baseline):\n"
        "    views = ('dark',)\n"
        "    def objective(self, batch):\n"
        "        assert batch.views[0].max() <= 63 / 255 < batch.images.max()\n"
        "        return super().objective(batch)\n"
        "class Blind(Night):\n"
        "    views = ('drak',)\n"
        "METHODS, VIEWS = {'night': Night, 'blind': Blind}, {'dark': Dark}\n"
    )
    cli.main(study_arguments("run", data, methods="night", plug="mine.py"))
    assert "night" in capsys.readouterr().out
    with pytest.raises(SystemExit) as refused:
        cli.main(study_arguments("run", data, methods="blind", plug="mine.py", out="other"))
    assert refused.value.code
    assert "no view is called 'drak' (did you mean 'dark'?)" in capsys.readouterr().err
    assert not list(Path("other").glob("*/runs/*"))


def test_an_ensemble_is_measured_beside_its_model(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "robustkd.study.monitor.MONITORED", 5
    )  # fewer than the test rows: what is looked at along the run is a part
    cli.main(study_arguments("run", data, methods="baseline,one"))
    assert "one, ensemble" in capsys.readouterr().out
    run = find_study() / "runs" / "one-seed0"
    result = result_of("one-seed0")
    answers = np.load(run / "auxiliary.npz")["ensemble"]
    labels = np.load(run / "test-last.npz")["labels"]
    assert result.auxiliary["ensemble"].metrics["accuracy"] == pytest.approx((answers.argmax(axis=1) == labels).mean())
    assert not (find_study() / "runs" / "baseline-seed0" / "auxiliary.npz").exists()
    cli.main(["evaluate", *study_arguments("run", data, methods="baseline,one")[1:]])
    assert result_of("one-seed0").auxiliary == result.auxiliary, "it survives another evaluation"


def test_bf16_trains_too(data: Path) -> None:
    cli.main(study_arguments("run", data, precision="bf16"))
    result = result_of("hinton-seed0")
    assert result.training is not None
    assert result.training.precision == "bf16"
    assert np.isfinite(result.last.metrics["accuracy"])


def test_a_study_needs_no_mlflow(data: Path) -> None:
    words = study_arguments("run", data, jobs="2", threads="2")
    code = f"import sys; sys.modules['mlflow'] = None; from pipelines import cli; cli.main({words!r})"
    home = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hinton - baseline" in done.stdout


def test_every_method_takes_another_criterion_and_nets_of_two_families(data: Path) -> None:
    words = [word for word in METHODS if not MethodSpec.parse(word).oracle]  # which need true labels
    cli.main(study_arguments("run", data, methods=",".join(f"{word}+sce" for word in words), student="wrn_10_1"))
    for word in words:
        result = result_of(f"{word}+sce-seed0")
        assert result.run.criterion == "sce"
        assert np.isfinite(result.last.metrics["accuracy"])


def reviewed(data: Path, **arrays: np.ndarray) -> None:
    """The same data set, with what is known of its labels."""
    with np.load(data) as file:
        np.savez(data, **{**dict(file), **arrays})
    run_folder._read_source.cache_clear()


def test_clean_labels_of_a_part_are_measured_on_that_part_and_train_nothing_again(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = np.load(data)["y"]
    words = study_arguments("run", data, methods="baseline", scenario="clean")
    cli.main(words)
    assert "against the truth" not in capsys.readouterr().out, "nothing is known"
    before = weights("baseline-seed0")
    stamp = (find_study() / "runs" / "baseline-seed0" / "model.pt").stat().st_mtime_ns
    clean = np.where(np.arange(len(given)) % 2 == 0, given, -1)
    clean[4] = (given[4] + 1) % 3  # a reviewer found this label wrong
    reviewed(data, clean=clean)
    cli.main(words)
    said = capsys.readouterr().out
    shown = load_views(planning.draft_study(parse_options(words)).plan, 0)
    assert shown.test.truth is not None
    known = int((shown.test.truth >= 0).sum())
    assert 0 < known < len(shown.test)
    assert f"test labels as given; the clean part is {known} of {len(shown.test)} rows with a clean label" in said
    assert "on the test rows with a clean label, recall per class" in said
    clean_part = result_of("baseline-seed0").clean
    assert clean_part is not None
    assert clean_part.rows == known
    right = (
        np.load(find_study() / "runs" / "baseline-seed0" / "test-last.npz")["logits"].argmax(axis=1) == shown.test.truth
    )
    assert clean_part.metrics["accuracy"] == pytest.approx(right[shown.test.truth >= 0].mean())
    assert (find_study() / "runs" / "baseline-seed0" / "model.pt").stat().st_mtime_ns == stamp, "it was trained again"
    assert equal(before, weights("baseline-seed0"))


def test_a_study_may_show_foreign_images_and_counts_what_became_of_them(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = study_arguments("run", data, methods="baseline", scenario="openset(0.25, source=digits)+noise0.2")
    cli.main(words)
    shown = load_views(planning.draft_study(parse_options(words)).plan, 0)
    fit = result_of("baseline-seed0").fit
    assert fit is not None
    assert fit.foreign == shown.train.foreign.sum() == round(0.25 * len(shown.train))
    assert 0 <= fit.metrics["foreign_fitted"] <= 1
    assert (fit.known, fit.metrics["memorised"]) == (0, None), "the labels of its own images are not known to be right"
    assert "memorised" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("statement", "jobs", "end"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "2", "its process was ended by SIGKILL, perhaps for lack of memory"),
        ("os._exit(7)", "1", "its process ended with exit code 7"),
        ("ctypes.string_at(0)", "1", "its process was ended by SIGSEGV"),
    ],
)
def test_a_process_that_is_killed_ends_its_run_only(
    statement: str, jobs: str, end: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("fatal.py").write_text(
        "import ctypes, os, signal\n"
        "from robustkd.methods.baseline import Baseline\n"
        "class Fatal(Baseline):\n"
        "    def objective(self, batch):\n"
        f"        {statement}\n"
        "METHODS = {'fatal': Fatal}\n"
    )
    with pytest.raises(SystemExit) as ended:
        cli.main(study_arguments("run", data, methods="fatal,baseline", plug="fatal.py", jobs=jobs))
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert f"fatal-seed0: {end}" in said.out  # and continued once
    assert f"robustkd: 1 of 2 runs failed; fatal-seed0: {end}" in said.err
    assert "Traceback" not in said.err
    (study,) = Path("studies").iterdir()
    assert (study / "runs" / "baseline-seed0" / "result.json").exists()
