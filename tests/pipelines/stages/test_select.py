"""Selections from the command line: a race on held-out rows that continues checkpoints, and a confirmation on fresh seeds."""

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from pipelines import api, cli, planning, selecting
from pipelines.cli_options import SelectOptions
from pipelines.racing import judge, rung_runs
from pipelines.stages import select
from robustkd.errors import ExecutionError, UsageError
from robustkd.evaluation.power import Spread
from robustkd.method_spec import MethodSpec
from robustkd.selection import race
from robustkd.selection.budget import Budget, Costs, SelectionPlan, plan_selection
from robustkd.selection.confirm import Evidence
from robustkd.selection.evidence import PLAIN, STOPPED
from robustkd.selection.race import Rung
from robustkd.selection.record import SelectionRecord
from robustkd.study import workers
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Run
from robustkd.study.progress import RunProgress, is_done, read_progress
from robustkd.study.results import read_document, read_study
from robustkd.study.run_folder import execute, load_views
from tests.pipelines.conftest import use_store
from tests.pipelines.toys import OPTIONS, stripes

METHODS = "baseline+sce,baseline+gce,hinton(temperature=1|2)"
RUNGS = (Rung(0.5, 1, 3), Rung(1.0, 2, 2))


def command_line(**changes: str) -> list[str]:
    """The command line of a tiny selection in the working directory."""
    own = {"dataset": "npz:toy.npz", "methods": METHODS, "budget": "0.9", "finalists": "2", "seeds": "5"}
    options = {**OPTIONS, **own, "held_out": "0.25", **changes}
    return ["select", *(word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value))]


def make_options(methods: str) -> SelectOptions:
    """Return the options of a tiny selection."""
    options: dict[str, Any] = {**OPTIONS, "seeds": 5, "dataset": "npz:toy.npz", "methods": methods, "held_out": 0.25}
    return SelectOptions(**options)


def plan_at(options: SelectOptions, text: str, costs: Costs) -> SelectionPlan:
    """Return what a budget pays for, with two jobs."""
    budget = Budget.parse(text)
    return selecting.plan_or_refuse(options, budget, budget.job_seconds(costs, options.seeds, 2), costs, 2)


def read_selection(out: str = "studies") -> SelectionRecord:
    """Read the only selection."""
    (path,) = Path(out).glob("select-*/selection.json")
    return read_document(path, SelectionRecord)


def interrupt_after(runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt once, when so many runs were executed."""
    executed = []

    def interrupted(plan: Any, run: Run, *rest: Any) -> None:
        executed.append(run.name)
        if len(executed) == runs + 1:
            raise KeyboardInterrupt
        execute(plan, run, *rest)

    monkeypatch.setattr(workers, "execute", interrupted)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small data set, which is the working directory; the race has two rungs whatever the machine's speed."""
    monkeypatch.chdir(tmp_path)
    stripes(tmp_path / "toy.npz")
    planned = plan_selection

    def plan(*arguments: Any) -> Any:
        return planned(*arguments)._replace(rungs=RUNGS, screened=2, screening=0.0)

    monkeypatch.setattr(selecting, "plan_selection", plan)
    monkeypatch.setattr(select, "replan_places", lambda rungs, *rest: rungs[0].places)
    monkeypatch.setattr(race, "NOISE", 1e9)  # two finalists remain
    return tmp_path


def test_a_selection_races_confirms_and_answers(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(command_line())
    record, printed = read_selection(), " ".join(capsys.readouterr().out.split())
    assert record.contenders == ["baseline+sce", "baseline+gce", "hinton(temperature=1)", "hinton(temperature=2)"]
    first, second = record.rungs
    assert (first.share, first.seeds, len(first.standings)) == (0.5, 1, 4)
    assert (second.share, second.seeds, len(second.standings)) == (1.0, 2, len(first.kept))
    assert len(record.rungs[0].kept) <= 3
    assert set(record.rungs[-1].kept) <= set(record.rungs[0].kept)
    final = read_study(Path("studies") / str(record.final_study))
    assert list(final.record.seed_numbers) == [3, 4, 5, 6, 7], "seeds that the race did not see"
    assert final.record.methods == ["baseline", *record.finalists]
    assert record.answer in printed or " ".join(record.answer.split()) in printed
    assert Path(str(record.student)).is_file()
    assert 0 < record.seconds / record.grid < 2
    folder = next(Path("studies").glob("select-*"))
    assert {"report.html", "selection.txt", "selection.md"} <= {path.name for path in folder.iterdir()}
    assert (f"{record.winner}:" in record.answer) == (record.winner is not None)


@pytest.fixture
def screened(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, where a rung leaves three contenders to be screened, two after one seed and one after two."""
    planned = selecting.plan_selection

    def plan(*arguments: Any) -> Any:
        return planned(*arguments)._replace(rungs=RUNGS[:1], screened=3, screening=100.0)

    monkeypatch.setattr(selecting, "plan_selection", plan)
    return toy


def test_the_screening_keeps_those_that_are_best_on_the_test_set_with_fresh_seeds(
    screened: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(command_line(finalists="1"))
    record, printed = read_selection(), " ".join(capsys.readouterr().out.split())
    assert "screening: 3 methods on the test set, 1 fresh seed" in printed
    assert "screening: 2 methods on the test set, 2 fresh seeds" in printed
    first, second = record.screening
    assert {each.contender for each in first.standings} == set(record.entrants)
    assert {each.contender for each in second.standings} == set(first.kept)
    assert (first.seeds, len(first.kept), second.seeds, len(second.kept)) == (1, 2, 2, 1)
    study = read_study(Path("studies") / str(record.final_study))
    results = {(result.run.method, result.run.seed): result for result in study.results if result.run.role != "teacher"}
    for rung in record.screening:
        scores = {
            each.contender: np.mean(
                [results[each.contender, 3 + n].last.metrics["balanced_accuracy"] for n in range(rung.seeds)]
            )
            for each in rung.standings
        }
        assert {each.contender: each.score for each in rung.standings} == pytest.approx(scores)
        assert rung.standings[0].score == max(scores.values())
    (finalist,) = record.finalists
    trained = {name: sorted(seed for method, seed in results if method == name) for name in record.entrants}
    (dropped,) = {*record.entrants} - {*first.kept}
    seeds = {finalist: [3, 4, 5, 6, 7], dropped: [3]}
    assert trained == {name: seeds.get(name, [3, 4]) for name in record.entrants}
    assert {finding.finalist for finding in record.last_findings} == {finalist}
    assert record.last_findings[0].level == pytest.approx(0.05 / 3, rel=1e-6), "over all that were screened"
    assert record.seconds == sum(rung.seconds for rung in record.rungs) + record.looks[-1].seconds
    assert record.looks[-1].seconds > second.seconds > first.seconds


def test_a_screening_that_was_interrupted_goes_on_and_decides_alike(
    screened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.main(command_line(out="whole", finalists="1"))
    interrupt_after(7, monkeypatch)
    with pytest.raises(SystemExit):
        cli.main(command_line(out="parts", finalists="1"))
    assert read_selection("parts").rungs
    assert not read_selection("parts").screening
    cli.main(command_line(out="parts", finalists="1"))
    whole, parts = read_selection("whole"), read_selection("parts")
    assert len(whole.screening) == 2
    assert [rung.standings for rung in whole.screening] == [rung.standings for rung in parts.screening]
    assert whole.last_findings == parts.last_findings


def test_a_contender_that_cannot_be_trained_is_dropped_by_the_screening(
    screened: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing: list[str] = []

    def fails(plan: Any, run: Run, *rest: Any) -> None:
        if run.seed >= 3 and run.role != "teacher" and run.method.text != "baseline":
            failing[:] = failing or [run.method.text]
            if run.method.text == failing[0]:
                raise ExecutionError("no memory is left")
        execute(plan, run, *rest)

    monkeypatch.setattr(workers, "execute", fails)
    cli.main(command_line())
    record, printed = read_selection(), " ".join(capsys.readouterr().out.split())
    assert "the selection continues without what failed" in printed
    (rung,) = record.screening
    assert [each.contender for each in rung.standings if each.reason == "failed"] == failing
    assert failing[0] not in record.finalists
    assert len(record.finalists) == 2


def test_the_race_is_never_evaluated_on_the_test_set(toy: Path) -> None:
    cli.main(command_line())
    race = Path("studies") / read_selection().race_study
    evaluated = {path.parent.name for path in race.glob("runs/*/result.json")}
    assert evaluated == {"teacher-seed0", "teacher-seed1"}, "no student, trained whole or paused"
    assert list(race.glob("runs/*/unfinished.pt")), "a dropped contender keeps its state"


def test_the_same_command_repeats_nothing(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.main(command_line())
    record = read_selection()
    monkeypatch.setattr(workers, "execute", lambda *_: pytest.fail("something is trained again"))
    monkeypatch.setattr(select, "time_costs", lambda *_: pytest.fail("something is timed again"))
    cli.main(command_line())
    assert read_selection().rungs == record.rungs
    assert read_selection().answer == record.answer


def test_an_interrupted_selection_goes_on_and_decides_alike(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.main(command_line(out="whole"))
    interrupt_after(7, monkeypatch)
    with pytest.raises(SystemExit):
        cli.main(command_line(out="parts"))
    cli.main(command_line(out="parts"))
    whole, parts = read_selection("whole"), read_selection("parts")
    for one, other in zip(whole.rungs, parts.rungs, strict=True):
        assert one.standings == other.standings
    assert [look.findings for look in whole.looks] == [look.findings for look in parts.looks]


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_a_damaged_record_is_set_aside_and_made_again(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    cli.main(command_line())
    record = read_selection()
    (path,) = Path("studies").glob("select-*/selection.json")
    text = path.read_text(encoding="utf-8")
    damaged = text[: len(text) // 2] if damage == "truncated" else text.replace('"kept": true', '"kept": false', 1)
    path.write_text(damaged, encoding="utf-8")
    capsys.readouterr()
    monkeypatch.setattr(workers, "execute", lambda *_: pytest.fail("something is trained again"))
    cli.main(command_line())
    printed = " ".join(capsys.readouterr().out.split())
    assert "it is kept as selection.json.damaged, and its decisions are made again from the runs so far" in printed
    assert (path.parent / "selection.json.damaged").read_text(encoding="utf-8") == damaged
    again = read_selection()
    assert [rung.standings for rung in again.rungs] == [rung.standings for rung in record.rungs]
    assert [look.findings for look in again.looks] == [look.findings for look in record.looks]
    assert (again.winner, again.student, again.command) == (record.winner, record.student, record.command)


def test_a_rung_continues_the_checkpoint_of_the_one_before(toy: Path) -> None:
    """Bit for bit: the curve of a run that was paused is that of one that was not."""
    options = StudyOptions(**{**OPTIONS, "dataset": "npz:toy.npz", "methods": "baseline", "epochs": 4})  # type: ignore[arg-type]
    run = Run("student", MethodSpec.parse("baseline"), 0)
    histories: list[RunProgress] = []
    for out, shares in (("paused", (0.25, 0.75, 1.0)), ("whole", (1.0,))):
        plan = planning.draft_study(replace(options, out=out)).write()
        for share in shares:
            at_share = replace(plan, share=share)
            assert not is_done(at_share, run)
            execute(at_share, run, lambda progress: None)
            assert is_done(at_share, run)
            progress = read_progress(plan, run)
            assert progress is not None
            assert (progress.epochs, progress.total) == (share * 4, 4)
            assert len(progress.held_out) == progress.epochs
        assert progress is not None
        histories.append(progress)
    one, other = (each.history.drop(columns="seconds") for each in histories)
    pd.testing.assert_frame_equal(one, other)
    assert (histories[0].held_out == histories[1].held_out).all()


def test_the_score_is_that_of_the_held_out_rows(toy: Path) -> None:
    """Recomputed in plain loops from the accuracy that training recorded."""
    options = make_options(METHODS)
    draft, _ = selecting.draft_race(options)
    plan, rung = replace(draft.write(), share=0.5), Rung(0.5, 1, 2)
    contenders = ["baseline+sce", "baseline+gce"]
    for run in rung_runs(plan, contenders, rung):
        execute(plan, run, lambda progress: None)
    labels = load_views(plan, 0).held_out.labels
    for standing in judge(plan, contenders, rung):
        progress = read_progress(plan, Run("student", MethodSpec.parse(standing.contender), 0))
        assert progress is not None
        predicted = progress.held_out[0]
        assert (predicted == labels).mean() == pytest.approx(progress.history["held_out_accuracy"][0])
        recalls = [(predicted[labels == c] == c).mean() for c in np.unique(labels)]
        assert standing.score == pytest.approx(np.mean(recalls))


def test_a_dry_run_says_what_it_would_take_and_trains_nothing(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([*command_line(), "--dry-run", "--spread", "0.9"])
    printed = capsys.readouterr().out
    assert "rung 1: 4 methods, 50% of their epochs, 1 seed" in printed
    assert "power: at a spread of 0.9 points over seeds, the final finds gains of" in printed
    assert not Path("studies").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": "much"}, "--budget much: it should be a time, as in 4h or 30m, or a share of the grid, as in 0.2"),
        (
            {"budget": "0.001"},
            "it is too small for one rung of 4 methods and a first look at 2 finalists with 5 seeds; the",
        ),
        ({"methods": "baseline"}, "there is nothing to select"),
        ({"methods": "oracle_clean"}, "there is nothing to select"),
        ({"held_out": "0"}, "--held-out 0: the race is decided on held-out rows"),
        ({"methods": "hintn"}, "did you mean 'hinton'?"),
        ({"seeds": "4"}, "--seeds"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    toy: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(command_line(**changes))
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not Path("studies").exists()


def test_the_least_budget_that_is_named_is_accepted(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = make_options(METHODS)
    costs = Costs({"a": 2.0, "b": 1.0, "c": 1.0, "d": 1.0}, 1.0, 1.0)
    for text in ("0.001", "1s"):
        with pytest.raises(UsageError) as error:
            plan_at(options, text, costs)
        least = str(error.value).rsplit(" ", 1)[1]
        assert plan_at(options, least, costs).looks == (5,)


def test_oracles_are_left_out_and_named(toy: Path) -> None:
    options = make_options("dml,oracle_clean")
    draft, left_out = selecting.draft_race(options)
    assert draft.plan.options.methods == "dml"
    assert list(left_out) == ["oracle_clean"]


def test_a_finalist_that_is_behind_is_not_trained_further(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is better ends the confirmation."""

    first: list[str] = []

    def evidence(study: Any, finalist: str, seeds: Sequence[int], level: float) -> dict[str, Evidence]:
        first.append(finalist)
        gain, p = (0.1, 0.5 if len(seeds) == 5 else 1e-9) if finalist == first[0] else (-0.1, 0.5)
        return dict.fromkeys((PLAIN, STOPPED), Evidence(gain, p, gain - 0.01, gain + 0.01, Spread(0.01)))

    monkeypatch.setattr(select, "read_evidence", evidence)
    monkeypatch.setattr(select.Selection, "_affordable_looks", lambda self: (5, 10, 15))
    cli.main(command_line(seeds="15", budget="1"))
    record = read_selection()
    assert [[finding.state for finding in look.findings] for look in record.looks] == [["open", "behind"], ["better"]]
    assert record.winner == first[0]
    dropped = record.looks[0].findings[1].finalist
    runs = Path("studies") / str(record.final_study) / "runs"
    assert len(list(runs.glob(f"{Run('student', MethodSpec.parse(dropped), 0).name.removesuffix('0')}*"))) == 5
    assert len(list(runs.glob("baseline-seed*"))) == 10
    assert f"{first[0]}: +10.0 points over plain training" in record.answer
    assert f"{Run('student', MethodSpec.parse(first[0]), 3).name}/model.pt" in str(record.student)


def test_the_command_that_is_named_is_the_confirmation(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.main(command_line())
    record = read_selection()
    monkeypatch.setattr(workers, "execute", lambda *_: pytest.fail("something is trained again"))
    cli.main(shlex.split(str(record.command))[1:])
    assert json.loads((Path("studies") / str(record.final_study) / "study.json").read_text())["seeds"] == 5


def test_from_python_it_is_what_the_command_shows(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = command_line()[1:]
    options: dict[str, Any] = dict(zip((w[2:].replace("-", "_") for w in words[::2]), words[1::2], strict=True))
    selected = api.select(**options | {"methods": METHODS.split(",")}, verbose=False)
    assert not capsys.readouterr().out
    record = read_selection()
    cli.main(command_line())
    printed = " ".join(capsys.readouterr().out.split())
    assert " ".join(repr(selected).split()) in printed
    assert "trained for" not in printed
    assert "runs to do" not in printed
    assert (selected.answer, selected.winner, selected.command) == (record.answer, record.winner, record.command)
    assert selected.race.groupby("rung")["method"].count().tolist() == [4, len(record.rungs[0].kept)]
    assert set(selected.finalists["method"]) == set(record.finalists)
    assert set(selected.finalists["reference"]) == {PLAIN, STOPPED}
    assert selected.confirmation.folder.name == record.final_study
    assert selected.student.is_file()
    with pytest.raises(UsageError, match="did you mean 'budget'"):
        api.select(scenario="clean", budgt="4h")


@pytest.fixture
def client(store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    use_store(monkeypatch, store)
    return MlflowClient()


def test_its_runs_in_mlflow_are_nested(toy: Path, client: MlflowClient) -> None:
    name = f"selections {time.time()}"
    places = {"dataset": f"npz:{toy / 'toy.npz'}", "out": str(toy / "studies")}
    cli.main([*command_line(tracker="mlflow", **places), "--experiment", name])
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    every = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}
    below = {run_id: run.data.tags.get("mlflow.parentRunId") for run_id, run in every.items()}
    (top,) = (run_id for run_id, above in below.items() if above is None)
    studies = {run_id for run_id, above in below.items() if above == top}
    assert {every[run_id].data.tags["stage"] for run_id in studies} == {"race", "run"}
    assert {above for above in below.values() if above not in (None, top)} == studies
    assert all(run.info.status == "FINISHED" for run in every.values())
