"""A command at work on a study: its lock, progress, failures and the runs that it logs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import cli, session, tracking
from pipelines.planning import draft_study
from pipelines.tracking import headline
from robustkd.errors import ExecutionError, StudyPaused, UsageError
from robustkd.study import scheduler
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Progress, Report, Run, Settings, list_runs
from robustkd.study.results import write_document
from tests.pipelines.documents import make_result, make_training
from tests.pipelines.toys import find_study, parse_options, study_arguments


def test_a_second_command_on_a_study_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(study_arguments("prepare", data))
    with session.study_lock(find_study()), pytest.raises(SystemExit) as refused:
        cli.main(study_arguments("run", data))
    assert refused.value.code == 2
    assert "another command is at work on this study" in capsys.readouterr().err
    assert not (find_study() / "runs").exists()


class Recorder:
    """A tracker that records its calls."""

    location = "nowhere"

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **keywords: self.calls.append((name, *arguments, *keywords.items()))


def make_plan(folder: Path, **options: Any) -> Plan:
    given = StudyOptions(scenario="clean", methods="baseline", seeds=2, **options)
    return Plan(given, Settings.of(given, "cpu", False, (0.5,), (0.5,)), folder, None, None, 1, 1)


def write_result(plan: Plan, run: Run, finished: float = 1000.0, **values: Any) -> None:
    """Write the files of a finished run that took three seconds, without training it."""
    folder = plan.run_folder(run)
    folder.mkdir(parents=True)
    labels = np.array([0, 1, 2])
    training = make_training(finished=finished, seconds=3.0, **values)
    write_document(folder / "result.json", make_result(run.name, run.key, labels, np.eye(3), training=training))
    (folder / "epochs.csv").write_text(
        "epoch,phase,seconds,ce,accuracy,held_out_accuracy\n1,train,1.5,0.9,0.5,0.4\n2,train,3.0,0.7,0.75,0.6\n"
    )


def test_a_finished_run_is_logged_from_its_folder(tmp_path: Path) -> None:
    plan, tracker = make_plan(tmp_path / "study-1234"), Recorder()
    run = list_runs(plan.options, False)[0]
    write_result(plan, run)
    session.log_finished(plan, run, tracker)
    ((call, name, tags, params, folder),) = tracker.calls
    assert (call, name, folder) == ("log_finished_run", run.name, plan.run_folder(run))
    assert tags == {"role": "student", "method": "baseline", "seed": "0", "study": "study-1234"}
    assert params == session.run_params(plan, run)


def test_a_run_has_the_options_that_decide_its_results_as_parameters(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, dataset="npz:toy.npz", lr=0.05, student="resnet8", jobs=2, out="elsewhere")
    run = list_runs(plan.options, False)[1]
    params = session.run_params(plan, run)
    expected = {"role": "student", "method": "baseline", "criterion": "ce", "seed": 1, "dataset": "npz:toy.npz"}
    expected |= {
        "scenario": "clean",
        "student": "resnet8",
        "teacher": "wrn_16_1",
        "epochs": 30,
        "lr": 0.05,
        "batch": 64,
    }
    assert params.items() >= expected.items()
    assert params["optimiser"] == "sgd", "what the recipe decides is logged as well"
    assert not params.keys() & {"methods", "seeds", "jobs", "threads", "out", "tracker", "device", "precision"}


def test_a_run_that_is_only_evaluated_is_logged_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, tracker = make_plan(tmp_path), Recorder()
    run = list_runs(plan.options, False)[0]

    def execute(plan: Plan, runs: Sequence[Run], report: Report, *_: object) -> Iterator[tuple[Run, None]]:
        write_result(plan, run)
        yield run, None

    monkeypatch.setattr(scheduler, "execute_runs", execute)
    session.execute_and_track(plan, [run], tracker)
    assert [call[:2] for call in tracker.calls] == [("log_finished_run", run.name)]


def test_notes_on_a_run_and_its_skipped_updates_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(tmp_path)
    run = list_runs(plan.options, False)[0]

    def execute(plan: Plan, runs: Sequence[Run], report: Report, *_: object) -> Iterator[tuple[Run, None]]:
        row = {"epoch": 1, "phase": "train", "ce": 0.5, "accuracy": 0.25}
        report(Progress(run, 1, 2, row, is_earlier=True, note="it continues elsewhere"))
        write_result(plan, run, skipped_updates=2)
        yield run, None

    monkeypatch.setattr(scheduler, "execute_runs", execute)
    session.execute_and_track(plan, [run], Recorder())
    shown = capsys.readouterr().out
    assert "baseline-seed0: it continues elsewhere\n" in shown
    assert ", updates skipped: 2 (" in shown


def test_failures_are_raised_together_after_the_other_runs_are_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, tracker = make_plan(tmp_path), Recorder()
    first, second = list_runs(plan.options, False)

    def execute(
        plan: Plan, runs: Sequence[Run], report: Report, *_: object
    ) -> Iterator[tuple[Run, ExecutionError | None]]:
        row = {"epoch": 1, "phase": "train", "ce": 0.5, "accuracy": 0.25}
        report(Progress(second, 1, 2, row))
        yield second, ExecutionError("the term 'ce' is nan")
        report(Progress(first, 2, 2, row))
        write_result(plan, first)
        yield first, None

    monkeypatch.setattr(scheduler, "execute_runs", execute)
    with pytest.raises(ExecutionError, match=r"^1 of 2 runs failed; baseline-seed1: the term 'ce' is nan$"):
        session.execute_and_track(plan, [first, second], tracker)
    assert [call[:2] for call in tracker.calls] == [
        ("start_run", second.name),
        ("log_epoch", second.name),
        ("fail_run", second.name),
        ("start_run", first.name),
        ("log_epoch", first.name),
        ("finish_run", first.name),
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["tracked as nowhere", "2 runs to do"]
    assert lines[2].startswith("[1/2] baseline-seed1: failed: the term 'ce' is nan (")
    assert lines[3].startswith("[2/2] baseline-seed0: accuracy 1.000 (")


def test_a_stage_is_refused_without_the_networks_that_it_builds_on(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    with pytest.raises(UsageError, match=r"^baseline-seed0 is not trained yet: run `robustkd teacher` with the same"):
        session.refuse_untrained(plan, list_runs(plan.options, False), "teacher")


@pytest.mark.parametrize(
    ("stage", "error", "status"),
    [
        ("prepare", None, "FINISHED"),
        ("run", KeyError, "FAILED"),
        ("run", KeyboardInterrupt, "KILLED"),
        ("run", StudyPaused, "KILLED"),
    ],
)
def test_a_session_closes_its_tracked_run_and_its_lock(
    stage: str, error: type[BaseException] | None, status: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Recorder()
    monkeypatch.setattr(tracking, "open_tracker", lambda *_, **__: tracker)
    draft = draft_study(parse_options(study_arguments(stage, data)))
    with (
        suppress(KeyError, KeyboardInterrupt, StudyPaused),
        session.open_session(draft, stage, group=session.Group("sweep", "two of them", "")) as (plan, _),
    ):
        assert (plan.folder / "study.json").exists()
        with pytest.raises(UsageError, match="another command is at work"), session.study_lock(plan.folder):
            pass
        if error is not None:
            raise error
    start, end = tracker.calls
    assert start[:2] == ("start_study", plan.folder.name if stage == "run" else f"{plan.folder.name} (prepare)")
    assert dict(start[2:])["tags"] == {"stage": stage, "study": plan.folder.name, "sweep": "two of them"}
    assert end[:3] == ("finish_study", None, status)
    assert end[3]() == (None if stage == "prepare" else headline.read_headline(plan.folder))
    assert ("folder", plan.folder) in start
    with session.study_lock(plan.folder):
        pass


def test_off_a_terminal_a_run_has_a_line_per_minute_or_longer_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(tmp_path)
    quick, slow = list_runs(plan.options, False)
    monitor = session.ProgressMonitor(plan, 2, Recorder())  # type: ignore[arg-type]
    row = {"phase": "train", "ce": 0.51234, "kd": 12.0, "accuracy": 0.5, "held_out_accuracy": 0.4, "memorised": 0.1}
    with monitor.display():
        for epoch in range(1, 11):
            monitor.report(Progress(quick, epoch, 10, {**row, "epoch": epoch, "seconds": 25.0 * epoch}))
        for epoch in range(1, 4):
            monitor.report(Progress(slow, epoch, 3, {**row, "epoch": epoch, "seconds": 300.0 * epoch}))
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        *(f"{quick.name}: epoch {epoch} of 10" for epoch in (3, 6, 9)),
        *(f"{slow.name}: epoch {epoch} of 3" for epoch in (1, 2)),
    ]
    assert ", ce 0.512, kd 12, accuracy 0.5 (0 s, about 0 s left)" in lines[0]
