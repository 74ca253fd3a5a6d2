"""Sweeps from the command line: a grid of ordinary studies, each run once, and one table, recomputed here in plain loops."""

import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from pipelines import cli, forecast, planning, session, tracking
from pipelines.cli_options import SweepOptions
from pipelines.report.charts.epochs import StudyCurves, plot_sweep_curves
from pipelines.report.table import Table
from pipelines.stages import run, sweep
from robustkd import errors
from robustkd.data.view import View
from robustkd.models.net import Network
from robustkd.study import comparison, conclusions, workers
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run, Settings
from robustkd.study.results import read_study
from robustkd.study.run import Estimate
from tests.pipelines.conftest import use_store
from tests.pipelines.toys import OPTIONS, stripes

GRID = ("clean", "noise0.2", "fraction0.5")


def command_line(data: str, **changes: str) -> list[str]:
    """The command line of a sweep of tiny studies."""
    options = {**OPTIONS, "scenarios": ",".join(GRID), "datasets": f"npz:{data}", **changes}
    del options["scenario"]
    return ["sweep", *(word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value))]


BOTH = command_line(
    "",
    datasets='npz:one.npz,"npz:zwei & mehr, $.npz",npz:one.npz',
    scenarios="noise0.2,clean,noise0.2",
    methods="baseline,hinton,dml",
    seeds="2",
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep over two data sets."""
    home = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        stripes(Path("one.npz"))
        stripes(Path("zwei & mehr, $.npz"), per_class=30)
        cli.main(BOTH)
    return home


@pytest.fixture
def here(swept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(swept)
    return swept


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return stripes(tmp_path / "toy.npz").name


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are trained or evaluated, in this process or another."""
    names: list[str] = []
    for pool in (workers.InlinePool, workers.WorkerPool):
        monkeypatch.setattr(pool, "start", record_start(pool.start, names))
    return names


def record_start(start: Callable[[Any, Run], None], names: list[str]) -> Callable[[Any, Run], None]:
    def record(pool: Any, run: Run) -> None:
        names.append(f"{pool.plan.options.scenario}/{run.name}")
        start(pool, run)

    return record


def sweep_folder() -> Path:
    """The sweep's folder."""
    (folder,) = Path("studies").glob("sweep-*")
    return folder


def sweep_record() -> dict[str, Any]:
    """The content of sweep.json."""
    return dict(json.loads((sweep_folder() / "sweep.json").read_text(encoding="utf-8")))


def run_failing(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """The output of a command that exits with a code, and the one sentence it ends with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert end.value.code == code, err
    assert err.startswith("robustkd: ")
    assert err.count("\n") == 1, err
    return " ".join(out.split()), err


def test_every_pair_is_a_study_that_run_finds_by_the_same_options(here: Path, trained: list[str]) -> None:
    studies = sweep_record()["studies"]
    assert [(s["dataset"], s["scenario"]) for s in studies] == [
        ("npz:one.npz", "noise0.2"),
        ("npz:one.npz", "clean"),
        ("npz:zwei & mehr, $.npz", "noise0.2"),
        ("npz:zwei & mehr, $.npz", "clean"),
    ]
    assert {s["state"] for s in studies} == {"finished"}
    assert {f.name for f in Path("studies").iterdir()} == {*(s["folder"] for s in studies), sweep_folder().name}
    options = {**OPTIONS, "seeds": "2", "scenario": "clean", "dataset": "npz:one.npz"}
    cli.main(["run", *(word for name, value in options.items() for word in (f"--{name}", value))])
    assert trained == []
    assert len([*Path("studies").iterdir()]) == 5


def balanced_accuracies(folder: str) -> dict[str, dict[int, float]]:
    """Balanced accuracy by row and seed, read file by file."""
    values: dict[str, dict[int, float]] = {}
    for path in Path("studies", folder, "runs").glob("*/result.json"):
        result = json.loads(path.read_text())
        run = result["run"]
        row = "teacher" if run["role"] == "teacher" else run["method"]
        values.setdefault(row, {})[run["seed"]] = result["last"]["metrics"]["balanced_accuracy"]
        if row != "teacher":
            early = result["early"]["metrics"]["balanced_accuracy"]
            values.setdefault(f"{row}, stopped early", {})[run["seed"]] = early
    return values


def test_the_table_holds_the_means_over_the_runs(here: Path) -> None:
    cli.main(BOTH)
    table, methods = pd.read_csv(sweep_folder() / "table.csv"), ("baseline", "hinton", "dml")
    ranks = pd.read_csv(sweep_folder() / "ranks.csv", index_col="method")
    places: dict[str, list[float]] = {name: [] for name in methods}
    assert len(table) == 4 * 7
    for study in sweep_record()["studies"]:
        accuracies = balanced_accuracies(study["folder"])
        means = {name: sum(values.values()) / len(values) for name, values in accuracies.items()}
        lines = table[(table["dataset"] == study["dataset"]) & (table["scenario"] == study["scenario"])]
        stopped = {f"{name}, stopped early" for name in methods}
        assert set(lines["method"]) == set(accuracies) == {"teacher", *stopped, *methods}
        for _, line in lines.iterrows():
            name = line["method"]
            assert line["mean"] == pytest.approx(means[name])
            assert line["std"] == pytest.approx(statistics.stdev(accuracies[name].values()))
            assert line["seeds"] == 2
            assert line["best"] == (name in methods and means[name] == max(means[m] for m in methods))
            assert line["below"] == (means[name] < means["baseline"])
            assert math.isnan(line["difference"]) if name == "baseline" else True
        for name in methods:
            above = sum(means[m] > means[name] for m in methods)
            ties = sum(means[m] == means[name] for m in methods)
            places[name].append(above + (ties + 1) / 2)
    for name in methods:
        assert ranks.loc[name, "rank"] == pytest.approx(sum(places[name]) / 4)
        assert ranks.loc[name, "npz:one.npz"] == pytest.approx(sum(places[name][:2]) / 2)
    assert set(ranks["studies"]) == {4}


def test_the_page_has_a_table_per_data_set_and_its_rules_once(here: Path) -> None:
    plain, markdown, tex = (
        (sweep_folder() / f"table.{end}").read_text(encoding="utf-8") for end in ("txt", "md", "tex")
    )
    assert plain.index("npz:one.npz: balanced accuracy") < plain.index("npz:zwei & mehr, $.npz: balanced accuracy")
    assert plain.count("average rank") == 2
    assert plain.count(conclusions.AS_GIVEN) == 1
    assert plain.count("npz:one.npz: test labels as given") == 1  # they are not known to be clean
    heads = [line for line in markdown.splitlines() if line.startswith("| method |")]
    assert heads == ["| method | noise0.2 | clean | average rank |"] * 2
    (line,) = {line for line in markdown.splitlines()[:12] if line.startswith("| teacher")}
    assert line.endswith("| - |"), "the teacher has no rank"
    assert markdown.count("**") >= 2 * (2 + 2), "titles, and a best in each column"
    assert r"zwei \& mehr, \$.npz" in tex
    assert tex.count(r"\begin{longtable}") == 2
    assert (sweep_folder() / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_number_of_seeds_is_in_each_cell_where_it_differs(here: Path) -> None:
    folder = Path("studies", sweep_record()["studies"][0]["folder"])
    study = read_study(folder)
    kept = [r for r in study.results if (r.run.method, r.run.seed) != ("hinton", 1)]
    part = sweep.SweepStudy(StudyOptions(scenario="noise0.2", dataset="npz:one.npz"), folder)
    for results, differs in ((study.results, False), (kept, True)):
        compared = comparison.compare_runs(study._replace(results=results))
        (grid,) = (shown for shown in sweep.build_sweep_page([part], {folder: compared}) if isinstance(shown, Table))
        cells = {row.cells[0].text: row.cells[1].full_text for row in grid.rows}
        assert cells["hinton"].endswith("(1)") == differs
        assert cells["baseline"].endswith("(2)") == differs
        assert all("(" not in row.cells[-1].full_text for row in grid.rows), "ranks have no seeds"


def test_finished_runs_are_reused_and_more_seeds_find_the_same_folder(data: str, trained: list[str]) -> None:
    cli.main(command_line(data, methods="baseline", scenarios="clean,noise0.2"))
    assert trained == ["clean/baseline-seed0", "noise0.2/baseline-seed0"]
    del trained[:]
    cli.main(command_line(data, methods="baseline,dml", scenarios="clean,noise0.2", seeds="2"))
    assert sorted(trained) == sorted(
        f"{s}/{m}-seed{n}" for s in ("clean", "noise0.2") for m, n in (("baseline", 1), ("dml", 0), ("dml", 1))
    )
    assert sweep_record()["given"]["seeds"] == 2
    assert set(pd.read_csv(sweep_folder() / "table.csv")["seeds"]) == {2}


FAULT = """
from robustkd.methods.baseline import Baseline

class Fault(Baseline):
    def __init__(self, student, criterion, data):
        super().__init__(student, criterion)
        self.rows = data.samples

    def objective(self, batch):
        if self.rows < 40:
            raise RuntimeError("no luck")
        return super().objective(batch)

METHODS = {"fault": Fault}
"""


def test_a_failed_study_does_not_stop_the_rest_and_is_named(
    data: str, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(FAULT)
    typed = command_line(data, methods="baseline,fault", scenarios="clean,fraction0.5,noise0.2", plug="mine.py")
    out, error = run_failing(typed, 1, capsys)
    assert error == (
        "robustkd: 1 of 3 studies are incomplete: npz:toy.npz, fraction0.5; the same command tries again\n"
    )
    assert "incomplete: npz:toy.npz, fraction0.5: 1 of 2 runs failed; fault-seed0: RuntimeError: no luck" in out
    assert [s["state"] for s in sweep_record()["studies"]] == ["finished", "failed", "finished"]
    assert "no luck" in sweep_record()["studies"][1]["failure"]
    lines = pd.read_csv(sweep_folder() / "table.csv").groupby("scenario", sort=False)["method"].apply(list)
    everything = ["baseline", "baseline, stopped early", "fault", "fault, stopped early"]
    assert lines.to_dict() == {"clean": everything, "fraction0.5": everything[:2], "noise0.2": everything}
    del trained[:]
    run_failing(typed, 1, capsys)
    assert trained == ["fraction0.5/fault-seed0"], "only what failed is tried again"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.UsageError("another command is at work"), "another command is at work"),
        (OSError(28, "No space left on device", "model.pt"), "model.pt: No space left on device"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_any_error_in_a_study_lets_the_others_continue(
    data: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    message: str,
) -> None:
    run_stages = run.run_stages

    def fail(draft: planning.Draft, group: session.Group) -> None:
        if draft.plan.options.scenario == "clean":
            raise error
        run_stages(draft, group)

    monkeypatch.setattr(run, "run_stages", fail)
    with pytest.raises(SystemExit) as end:
        cli.main(command_line(data, methods="baseline", scenarios="clean,noise0.2"))
    out, err = capsys.readouterr()
    assert end.value.code == 1
    assert f"npz:toy.npz, clean: {message}" in " ".join(out.split())
    assert ("Traceback" in err) == isinstance(error, ZeroDivisionError), "the traceback of an unexpected error is shown"
    assert "No run is finished yet in: npz:toy.npz, clean." in (sweep_folder() / "table.txt").read_text()
    assert pd.read_csv(sweep_folder() / "table.csv")["scenario"].unique().tolist() == ["noise0.2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": 2}', "this file is damaged: 'run' is missing or wrong in it"),
        ("{}", "this file has format 1, written by another version of robustkd"),
    ],
)
def test_a_damaged_file_fails_its_own_study_only(
    data: str, content: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = command_line(data, methods="baseline", scenarios="clean,noise0.2")
    cli.main(typed)
    (clean,) = Path("studies").glob("toy-clean-*")
    result = clean / "runs" / "baseline-seed0" / "result.json"
    run_stages = run.run_stages

    def damage(draft: planning.Draft, group: session.Group) -> None:
        run_stages(draft, group)
        if draft.plan.options.scenario == "clean":
            result.write_text(content)

    with monkeypatch.context() as patch:
        patch.setattr(run, "run_stages", damage)
        out, error = run_failing(typed, 1, capsys)
    assert "1 of 2 studies are incomplete: npz:toy.npz, clean;" in error
    assert f"{result}: {message}" in out
    assert [s["state"] for s in sweep_record()["studies"]] == ["failed", "finished"]
    (clean / "study.json").write_text("[]")
    cli.main(typed)
    assert [s["state"] for s in sweep_record()["studies"]] == ["finished", "finished"], (
        "the same command writes both files again"
    )


def test_sentences_that_differ_between_data_sets_name_theirs(here: Path) -> None:
    parts, comparisons = [], {}
    for study, dropped in zip(sweep_record()["studies"][::2], ("dml", "none"), strict=True):
        folder = Path("studies", study["folder"])
        loaded = read_study(folder)
        kept = [r for r in loaded.results if r.run.method != dropped]
        parts.append(sweep.SweepStudy(StudyOptions(scenario="noise0.2", dataset=study["dataset"]), folder))
        comparisons[folder] = comparison.compare_runs(loaded._replace(results=kept))
    sentences = [
        shown for shown in sweep.build_sweep_page(parts, comparisons) if isinstance(shown, str) and "Ranks" in shown
    ]
    assert [sentence.partition(" methods")[0] for sentence in sentences] == [
        "npz:one.npz: Ranks, 1 the best, are among the 2",
        "npz:zwei & mehr, $.npz: Ranks, 1 the best, are among the 3",
    ]


def test_an_interrupt_stops_all_and_the_same_command_continues(
    data: str, trained: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    execute_and_track = run.execute_and_track

    def interrupt(plan: Plan, runs: Sequence[Run], tracker: tracking.Tracker) -> None:
        if plan.options.scenario == "noise0.2":
            raise KeyboardInterrupt
        execute_and_track(plan, runs, tracker)

    typed = command_line(data, methods="baseline")
    with monkeypatch.context() as patch:
        patch.setattr(run, "execute_and_track", interrupt)
        _, error = run_failing(typed, 130, capsys)
    assert error == "robustkd: stopped; the same command continues from here\n"
    assert [s["state"] for s in sweep_record()["studies"]] == ["finished", "to do", "to do"]
    assert "clean" in (sweep_folder() / "table.txt").read_text(), "the table has what is finished"
    cli.main(typed)
    assert trained == [f"{scenario}/baseline-seed0" for scenario in GRID]
    assert {s["state"] for s in sweep_record()["studies"]} == {"finished"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenarios": "clean,nois0.2"}, "no scenario is called 'nois' (did you mean 'noise'?)"),
        ({"scenarios": "clean,noise1.4"}, "rate is 1.4 but should be less than or equal to 1"),
        ({"scenarios": "clean,,noise0.2"}, "--scenarios 'clean,,noise0.2': there is nothing on one side of a ','"),
        ({"scenarios": "noise(0.2"}, "--scenarios 'noise(0.2': a bracket is not closed"),
        ({"scenarios": "clean,counts(99, 1, 1)"}, "counts"),
        ({"scenarios": "clean,imbalance(0.2, ratio=400)"}, "without a training sample"),
        ({"datasets": "npz:toy.npz,npz:lost.npz"}, "lost.npz"),
        ({"datasets": "npz:toy.npz,digit"}, "did you mean 'digits'?"),
        ({"datasets": "npz:toy.npz,cifar10"}, "--download"),
        ({"datasets": "'npz:toy.npz"}, "--datasets ''npz:toy.npz': a quote is not closed"),
        ({"methods": "baseline,hintn"}, "did you mean 'hinton'?"),
        ({"methods": "fitnet(hint=9)"}, "hint is 9 but should be at most 3, the number of stages"),
        ({"scenarios": "clean,fraction0.2"}, "--batch 16 is larger than the training set"),
        ({"seeds": "0"}, "--seeds is '0'"),
        ({"name": "mine"}, "--name mine: studies/sweep-mine exists already and is not a sweep"),
    ],
)
def test_an_invalid_option_is_refused_before_anything_is_written(
    data: str, capsys: pytest.CaptureFixture[str], changes: dict[str, str], message: str
) -> None:
    Path("studies/sweep-mine").mkdir(parents=True)
    Path("studies/sweep-mine/notes.txt").write_text("the user's")
    _, error = run_failing(command_line(data, **changes), 2, capsys)
    assert message in error
    assert [path.name for path in Path("studies").rglob("*")] == ["sweep-mine", "notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "baseline"], "--scenarios is needed"),
        (["--scenarios", "clean", "--scenario", "clean"], "--scenario"),
        (
            ["--scenarios", "clean", "--config", "sweep.yaml"],
            "there is no option 'scenario' (did you mean 'scenarios'?)",
        ),
    ],
)
def test_scenario_is_no_option_of_a_sweep(
    data: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    Path("sweep.yaml").write_text("scenario: clean\n")
    assert message in run_failing(["sweep", *arguments], 2, capsys)[1]


def test_a_yaml_file_may_contain_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[SweepOptions] = []
    monkeypatch.setattr(sweep, "main", lambda options, dry_run: given.append(options))
    file = tmp_path / "sweep.yaml"
    file.write_text("scenarios: [clean, 'noise(0.2, convention=inclusive)']\nseeds: 5\ndownload: true\nname: night\n")
    cli.main(["sweep", "--config", str(file), "--seeds", "2"])
    (options,) = given
    assert [s.scenario for s in options.studies()] == ["clean", "noise(0.2, convention=inclusive)"]
    assert {(s.seeds, s.download, s.name, type(s)) for s in options.studies()} == {(2, True, None, StudyOptions)}


def test_a_dry_run_reports_each_study_and_writes_nothing(
    data: str, capsys: pytest.CaptureFixture[str], trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimate(view: View, run: Run, settings: Settings, *, teacher: Network | None) -> Estimate:
        return Estimate(1, 1000.0 * (1 + (run.role == "teacher")), {})

    monkeypatch.setattr(forecast, "estimate_training", estimate)
    monkeypatch.setattr(forecast, "measure_other_load", lambda: 0.0)
    cli.main([*command_line(data, scenarios="clean,fraction0.5", seeds="2"), "--dry-run"])
    printed = capsys.readouterr().out.splitlines()
    assert "npz:toy.npz, teacher: 1 updates, about 33 min for each of 2 seeds" in printed
    lines = [line for line in printed if "to do" in line or "in all" in line]
    # Two seeds of a teacher, the baseline and hinton: 2 x (2,000 + 1,000 + 1,000) s; half the rows take half of it.
    assert lines[0] == "npz:toy.npz, clean: 6 of 6 runs to do, about 2.2 h"
    assert lines[1] == "npz:toy.npz, fraction0.5: 6 of 6 runs to do, about 67 min"
    assert "2 studies, 12 runs to do" in lines[2]
    assert "about 3.3 h in all" in " ".join(lines[2:])
    assert trained == []
    assert not Path("studies").exists()


def test_methods_are_constructed_once_for_each_data_set(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    constructed: list[str] = []
    check_constructible = planning.check_constructible

    def record(view: View, run: Run, settings: Settings, **networks: Network | None) -> None:
        constructed.append(run.method.text)
        check_constructible(view, run, settings, **networks)

    monkeypatch.setattr(planning, "check_constructible", record)
    options = SweepOptions(
        scenarios=",".join(GRID),
        datasets=f"npz:{data}",
        methods="baseline,hinton",
        student="resnet8",
        teacher="resnet8",
        batch=16,
        seeds=1,
        threads=2,
    )
    drafts = list(sweep.draft_studies(options))
    assert constructed.count("hinton") == 1
    for asked, draft in drafts:
        assert draft.plan.folder == planning.draft_study(asked).plan.folder
        assert draft.plan.jobs == drafts[0][1].plan.jobs
        assert [each.method.text for each in draft.runs if each.role == "student"] == ["baseline", "hinton"]


def test_the_same_data_at_two_paths_is_one_study(data: str) -> None:
    options = SweepOptions(
        scenarios="clean", datasets=f"npz:{data},npz:./{data}", methods="baseline", student="resnet8", batch=16
    )
    assert [asked.dataset for asked, _ in sweep.draft_studies(options)] == [f"npz:{data}"]


# MLflow


@pytest.fixture
def client(store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    use_store(monkeypatch, store)
    return MlflowClient()


@pytest.mark.parametrize("lent", [False, True])
def test_all_runs_are_in_one_experiment_and_tagged_with_the_sweeps_name(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lent: bool
) -> None:
    data, name = stripes(tmp_path / "toy.npz"), f"sweeps {time.time()}"
    typed = command_line(
        str(data), tracker="mlflow", methods="baseline", scenarios="clean,noise0.2", out=str(tmp_path), name="night"
    )
    if lent:  # as under `mlflow run`
        mine = client.create_run(client.create_experiment(name)).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", mine)
    cli.main([*typed, "--experiment", "elsewhere" if lent else name])
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    every = client.search_runs([experiment.experiment_id])
    tagged = {run.data.tags["study"]: run for run in every if "study" in run.data.tags}
    assert {run.data.tags["sweep"] for run in tagged.values()} == {"night"}
    assert {name.split("-")[1] for name in tagged} == {"clean", "noise0.2"}
    (parent,) = (run for run in every if run.data.tags.get("stage") == "sweep")
    assert {run.data.tags["mlflow.parentRunId"] for run in tagged.values() if "stage" in run.data.tags} == {
        parent.info.run_id
    }
    assert len(every) == 1 + 2 + 2, "the sweep, its studies and a run in each"
    assert parent.info.status == ("RUNNING" if lent else "FINISHED"), "MLflow ends what it began"
    assert (parent.info.run_id == mine) if lent else (parent.info.run_name == "sweep-night")
    assert parent.data.params["scenarios"] == "clean,noise0.2"
    artifacts = {artifact.path.split("/")[-1] for artifact in client.list_artifacts(parent.info.run_id, "comparison")}
    assert artifacts == {
        "sweep.json",
        "table.csv",
        "ranks.csv",
        "rank_tests.csv",
        "table.md",
        "table.tex",
        "table.txt",
        "curves.png",
    }
    assert client.get_experiment_by_name("elsewhere") is None


def test_a_server_that_does_not_answer_is_reported_first(
    data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in run_failing(command_line(data, tracker="mlflow"), 2, capsys)[1]
    assert not Path("studies").exists()


# The picture


def test_curves_have_a_panel_per_study_and_one_of_memorisation_where_it_is_known() -> None:
    epochs = np.arange(1, 9)
    runs_ = [
        {"method": method, "seed": seed, "epoch": e, "accuracy": 0.5 + 0.05 * e + 0.01 * seed, "memorised": 0.1 * seed}
        for method in ("baseline", "dml", "hinton")
        for seed in (0, 1)
        for e in epochs
    ]
    noisy = pd.DataFrame(runs_)
    clean = noisy.drop(columns="memorised")
    panels = [(f"study {number}", clean if number % 2 else noisy, (4.0, 0.7)) for number in range(5)]
    drawn = plot_sweep_curves([StudyCurves(*panel) for panel in panels], ["baseline", "dml"])
    shown = [axes for axes in drawn.axes if axes.axison]
    assert [axes.get_title() for axes in shown if axes.get_title()] == [f"study {number}" for number in range(5)]
    assert len(shown) == 5 + 3, "wrong labels are unknown in two studies"
    first = shown[0]
    baseline, dml, star = first.lines
    assert baseline.get_ydata().tolist() == pytest.approx([100 * (0.505 + 0.05 * e) for e in epochs])
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (4.0, 70.0)
    assert dml.get_color() != baseline.get_color() == star.get_color()
    assert {text.get_text() for text in drawn.legends[0].texts} == {"baseline", "dml", "baseline, stopped early"}
