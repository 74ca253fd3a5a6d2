"""A sweep as a user meets it: a grid of ordinary studies, each done once, and one table, recounted here in plain loops."""

import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from pipelines import cli, planning, session
from pipelines.cli_options import SweepOptions
from pipelines.report.charts.epochs import StudyCurves, plot_sweep_curves
from pipelines.report.table import Table
from pipelines.stages import run, sweep
from robustkd import errors
from robustkd.study import comparison
from robustkd.study import run as cell_
from robustkd.study.options import StudyOptions
from tests.pipelines.conftest import surround
from tests.pipelines.toys import OPTIONS, stripes

GRID = ("clean", "noise0.2", "fraction0.5")


def said(data: str, **changes: str) -> list[str]:
    """The words of a sweep of tiny studies."""
    options = {**OPTIONS, "scenarios": ",".join(GRID), "datasets": f"npz:{data}", **changes}
    del options["scenario"]
    return ["sweep", *(word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value))]


BOTH = said(
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
    """The names of the runs that are trained or measured."""
    names: list[str] = []
    work = cell_.work

    def watched(plan: Any, cell: Any, report: Any) -> None:
        names.append(f"{plan.options.scenario}/{cell.name}")
        work(plan, cell, report)

    monkeypatch.setattr("robustkd.study.scheduler.work", watched)
    return names


def own() -> Path:
    """The sweep's folder."""
    (found,) = Path("studies").glob("sweep-*")
    return found


def card() -> dict[str, Any]:
    return dict(json.loads((own() / "sweep.json").read_text(encoding="utf-8")))


def stopped(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What a command that ends badly prints, and the one sentence it ends with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    told = capsys.readouterr()
    assert ended.value.code == code, told.err
    assert told.err.startswith("robustkd: ")
    assert told.err.count("\n") == 1, told.err
    return " ".join(told.out.split()), told.err


def test_every_pair_is_a_study_that_the_same_words_find(here: Path, trained: list[str]) -> None:
    studies = card()["studies"]
    assert [(s["dataset"], s["scenario"]) for s in studies] == [
        ("npz:one.npz", "noise0.2"),
        ("npz:one.npz", "clean"),
        ("npz:zwei & mehr, $.npz", "noise0.2"),
        ("npz:zwei & mehr, $.npz", "clean"),
    ]
    assert {s["state"] for s in studies} == {"finished"}
    assert {f.name for f in Path("studies").iterdir()} == {*(s["folder"] for s in studies), own().name}
    options = {**OPTIONS, "seeds": "2", "scenario": "clean", "dataset": "npz:one.npz"}
    cli.main(["run", *(word for name, value in options.items() for word in (f"--{name}", value))])
    assert trained == []
    assert len([*Path("studies").iterdir()]) == 5


def figures_of(folder: str) -> dict[str, dict[int, float]]:
    """Balanced accuracy by row and seed, read file by file."""
    found: dict[str, dict[int, float]] = {}
    for path in Path("studies", folder, "runs").glob("*/result.json"):
        result = json.loads(path.read_text())
        cell = result["cell"]
        row = "teacher" if cell["role"] == "teacher" else cell["method"]
        found.setdefault(row, {})[cell["seed"]] = result["last"]["balanced_accuracy"]
        if row == "baseline":
            found.setdefault("baseline, stopped early", {})[cell["seed"]] = result["early"]["balanced_accuracy"]
    return found


def test_the_table_says_what_the_runs_say(here: Path) -> None:
    cli.main(BOTH)
    table, methods = pd.read_csv(own() / "table.csv"), ("baseline", "hinton", "dml")
    ranks = pd.read_csv(own() / "ranks.csv", index_col="method")
    places: dict[str, list[float]] = {name: [] for name in methods}
    assert len(table) == 4 * 5
    for study in card()["studies"]:
        found = figures_of(study["folder"])
        means = {name: sum(values.values()) / len(values) for name, values in found.items()}
        lines = table[(table["dataset"] == study["dataset"]) & (table["scenario"] == study["scenario"])]
        assert set(lines["method"]) == set(found) == {"teacher", "baseline, stopped early", *methods}
        for _, line in lines.iterrows():
            name = line["method"]
            assert line["mean"] == pytest.approx(means[name])
            assert line["std"] == pytest.approx(statistics.stdev(found[name].values()))
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


def test_the_page_has_a_block_per_data_set_and_its_rules_once(here: Path) -> None:
    plain, markdown, tex = ((own() / f"table.{end}").read_text(encoding="utf-8") for end in ("txt", "md", "tex"))
    assert plain.index("npz:one.npz: balanced accuracy") < plain.index("npz:zwei & mehr, $.npz: balanced accuracy")
    assert plain.count("average rank") == 2
    assert plain.count("No verdict: the test labels are as given") == 1
    assert plain.count("npz:one.npz: test labels as given") == 1  # nobody has said that they are clean
    heads = [line for line in markdown.splitlines() if line.startswith("|  |")]
    assert heads == ["|  | noise0.2 | clean | average rank |"] * 2
    (line,) = {line for line in markdown.splitlines()[:12] if line.startswith("| teacher")}
    assert line.endswith("| - |"), "the teacher has no rank"
    assert markdown.count("**") >= 2 * (2 + 2), "titles, and a best in each column"
    assert r"zwei \& mehr, \$.npz" in tex
    assert tex.count(r"\begin{longtable}") == 2
    assert (own() / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_number_of_seeds_stands_in_each_cell_where_it_differs(here: Path) -> None:
    folder = Path("studies", card()["studies"][0]["folder"])
    record = comparison.load_record(folder)
    kept = [r for r in record.results if (r["cell"]["method"], r["cell"]["seed"]) != ("hinton", 1)]
    part = sweep.Part(StudyOptions(scenario="noise0.2", dataset="npz:one.npz"), folder)
    for results, differs in ((record.results, False), (kept, True)):
        made = comparison.compare(record._replace(results=results))
        (grid,) = (shown for shown in sweep.page([part], {folder: made}) if isinstance(shown, Table))
        cells = {row[0]: row[1] for row in grid.rows}
        assert cells["hinton"].endswith("(1)") == differs
        assert cells["baseline"].endswith("(2)") == differs
        assert all("(" not in row[-1] for row in grid.rows), "ranks have no seeds"


def test_what_is_there_is_used_and_more_seeds_find_the_same_folder(data: str, trained: list[str]) -> None:
    cli.main(said(data, methods="baseline", scenarios="clean,noise0.2"))
    assert trained == ["clean/baseline-seed0", "noise0.2/baseline-seed0"]
    del trained[:]
    cli.main(said(data, methods="baseline,dml", scenarios="clean,noise0.2", seeds="2"))
    assert sorted(trained) == sorted(
        f"{s}/{m}-seed{n}" for s in ("clean", "noise0.2") for m, n in (("baseline", 1), ("dml", 0), ("dml", 1))
    )
    assert card()["given"]["seeds"] == 2
    assert set(pd.read_csv(own() / "table.csv")["seeds"]) == {2}


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


def test_a_study_that_fails_does_not_stop_the_rest_and_is_named(
    data: str, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(FAULT)
    typed = said(data, methods="baseline,fault", scenarios="clean,fraction0.5,noise0.2", plug="mine.py")
    told, error = stopped(typed, 1, capsys)
    assert error == ("robustkd: 1 of 3 studies are not whole: npz:toy.npz, fraction0.5; the same command tries again\n")
    assert "not whole: npz:toy.npz, fraction0.5: 1 of 2 runs failed; fault-seed0: RuntimeError: no luck" in told
    assert [s["state"] for s in card()["studies"]] == ["finished", "failed", "finished"]
    assert "no luck" in card()["studies"][1]["failure"]
    lines = pd.read_csv(own() / "table.csv").groupby("scenario", sort=False)["method"].apply(list)
    everything = ["baseline", "baseline, stopped early", "fault"]
    assert lines.to_dict() == {"clean": everything, "fraction0.5": everything[:2], "noise0.2": everything}
    del trained[:]
    stopped(typed, 1, capsys)
    assert trained == ["fraction0.5/fault-seed0"], "only what failed is tried again"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.UsageError("somebody else is at it"), "somebody else is at it"),
        (OSError(28, "No space left on device", "model.pt"), "model.pt: No space left on device"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_whatever_stops_a_study_lets_the_others_go_on(
    data: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    told: str,
) -> None:
    whole = run.whole

    def broken(draft: planning.Draft, name: str) -> None:
        if draft.plan.options.scenario == "clean":
            raise error
        whole(draft, name)

    monkeypatch.setattr(run, "whole", broken)
    with pytest.raises(SystemExit) as ended:
        cli.main(said(data, methods="baseline", scenarios="clean,noise0.2"))
    out, err = capsys.readouterr()
    assert ended.value.code == 1
    assert f"npz:toy.npz, clean: {told}" in " ".join(out.split())
    assert ("Traceback" in err) == isinstance(error, ZeroDivisionError), "a fault of ours is not to be lost"
    assert "Nothing is finished yet of: npz:toy.npz, clean." in (own() / "table.txt").read_text()
    assert pd.read_csv(own() / "table.csv")["scenario"].unique().tolist() == ["noise0.2"]


def test_a_study_with_a_damaged_file_is_its_own_failure(
    data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = said(data, methods="baseline", scenarios="clean,noise0.2")
    cli.main(typed)
    (clean,) = Path("studies").glob("toy-clean-*")
    result = clean / "runs" / "baseline-seed0" / "result.json"
    whole = run.whole

    def damaged(draft: planning.Draft, name: str) -> None:
        whole(draft, name)
        if draft.plan.options.scenario == "clean":
            result.write_text("{}")

    with monkeypatch.context() as patch:
        patch.setattr(run, "whole", damaged)
        told, error = stopped(typed, 1, capsys)
    assert "1 of 2 studies are not whole: npz:toy.npz, clean;" in error
    assert f"{result}: this file is damaged, for 'name' is missing or wrong in it" in told
    assert [s["state"] for s in card()["studies"]] == ["failed", "finished"]
    (clean / "study.json").write_text("[]")
    cli.main(typed)
    assert [s["state"] for s in card()["studies"]] == ["finished", "finished"], "the same command mends both files"


def test_what_differs_between_data_sets_is_said_of_its_own(here: Path) -> None:
    parts, made = [], {}
    for study, dropped in zip(card()["studies"][::2], ("dml", "none"), strict=True):
        folder = Path("studies", study["folder"])
        record = comparison.load_record(folder)
        kept = [r for r in record.results if r["cell"]["method"] != dropped]
        parts.append(sweep.Part(StudyOptions(scenario="noise0.2", dataset=study["dataset"]), folder))
        made[folder] = comparison.compare(record._replace(results=kept))
    sentences = [shown for shown in sweep.page(parts, made) if isinstance(shown, str) and "Ranks" in shown]
    assert [sentence.partition(" methods")[0] for sentence in sentences] == [
        "npz:one.npz: Ranks, 1 the best, are among the 2",
        "npz:zwei & mehr, $.npz: Ranks, 1 the best, are among the 3",
    ]


def test_stopping_it_stops_all_and_the_same_command_goes_on(
    data: str, trained: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = run.session.conduct

    def interrupted(plan: Any, cells: Any, tracker: Any) -> None:
        if plan.options.scenario == "noise0.2":
            raise KeyboardInterrupt
        work(plan, cells, tracker)

    typed = said(data, methods="baseline")
    with monkeypatch.context() as patch:
        patch.setattr(session, "conduct", interrupted)
        _, error = stopped(typed, 130, capsys)
    assert error == "robustkd: stopped; the same command continues from here\n"
    assert [s["state"] for s in card()["studies"]] == ["finished", "to do", "to do"]
    assert "clean" in (own() / "table.txt").read_text(), "what is finished is told"
    cli.main(typed)
    assert trained == [f"{scenario}/baseline-seed0" for scenario in GRID]
    assert {s["state"] for s in card()["studies"]} == {"finished"}


@pytest.mark.parametrize(
    ("changes", "told"),
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
        ({"methods": "fitnet(hint=9)"}, "hint is 9, but the nets have 3 stages"),
        ({"scenarios": "clean,fraction0.2"}, "--batch 16 is larger than the training set"),
        ({"seeds": "0"}, "--seeds is '0'"),
        ({"name": "mine"}, "--name mine: studies/sweep-mine is there already and holds no sweep"),
    ],
)
def test_a_wrong_word_anywhere_is_refused_before_anything_is_done(
    data: str, capsys: pytest.CaptureFixture[str], changes: dict[str, str], told: str
) -> None:
    Path("studies/sweep-mine").mkdir(parents=True)
    Path("studies/sweep-mine/notes.txt").write_text("the user's")
    _, error = stopped(said(data, **changes), 2, capsys)
    assert told in error
    assert [path.name for path in Path("studies").rglob("*")] == ["sweep-mine", "notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--methods", "baseline"], "--scenarios is needed"),
        (["--scenarios", "clean", "--scenario", "clean"], "--scenario"),
        (
            ["--scenarios", "clean", "--config", "sweep.yaml"],
            "there is no option 'scenario' (did you mean 'scenarios'?)",
        ),
    ],
)
def test_one_scenario_and_lists_are_not_confused(
    data: str, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    Path("sweep.yaml").write_text("scenario: clean\n")
    assert told in stopped(["sweep", *arguments], 2, capsys)[1]


def test_a_yaml_file_gives_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[SweepOptions] = []
    monkeypatch.setattr(sweep, "main", lambda options, dry_run: given.append(options))
    file = tmp_path / "sweep.yaml"
    file.write_text("scenarios: [clean, 'noise(0.2, convention=inclusive)']\nseeds: 5\ndownload: true\nname: night\n")
    cli.main(["sweep", "--config", str(file), "--seeds", "2"])
    (options,) = given
    assert [s.scenario for s in options.studies()] == ["clean", "noise(0.2, convention=inclusive)"]
    assert {(s.seeds, s.download, s.name, type(s)) for s in options.studies()} == {(2, True, None, StudyOptions)}


def test_a_dry_run_tells_each_study_and_leaves_nothing(
    data: str, capsys: pytest.CaptureFixture[str], trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "estimate", lambda plan, cell, view: (1, 1000.0 * (1 + (cell.role == "teacher"))))
    cli.main([*said(data, scenarios="clean,fraction0.5", seeds="2"), "--dry-run"])
    told = capsys.readouterr().out.splitlines()
    # Two seeds of a teacher, the baseline and hinton: 2 x (2,000 + 1,000 + 1,000) s; half the rows take half of it.
    assert told[0] == "npz:toy.npz, clean: 6 of 6 runs to do, about 2.2 h"
    assert told[1] == "npz:toy.npz, fraction0.5: 6 of 6 runs to do, about 67 min"
    assert "2 studies, 12 runs to do" in told[2]
    assert "about 3.3 h in all" in " ".join(told[2:])
    assert trained == []
    assert [*Path("studies").iterdir()] == []


def test_all_methods_are_tried_on_each_data_set_once(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    rehearse = planning.rehearse
    monkeypatch.setattr(
        planning, "rehearse", lambda plan, cell, view: drawn.append(cell.method) or rehearse(plan, cell, view)
    )
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
    made = list(sweep.drafts(options))
    assert drawn.count("hinton") == 1
    for asked, draft in made:
        assert draft.plan.folder == planning.draft(asked).plan.folder
        assert draft.plan.jobs == made[0][1].plan.jobs
        assert [cell.method for cell in draft.cells if cell.role == "student"] == ["baseline", "hinton"]


def test_data_under_two_paths_are_one_study(data: str) -> None:
    options = SweepOptions(
        scenarios="clean", datasets=f"npz:{data},npz:./{data}", methods="baseline", student="resnet8", batch=16
    )
    assert [asked.dataset for asked, _ in sweep.drafts(options)] == [f"npz:{data}"]


# MLflow


@pytest.fixture
def client(store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    surround(monkeypatch, store)
    return MlflowClient()


@pytest.mark.parametrize("lent", [False, True])
def test_all_runs_stand_in_one_experiment_under_the_sweeps_name(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lent: bool
) -> None:
    data, name = stripes(tmp_path / "toy.npz"), f"sweeps {time.time()}"
    typed = said(
        str(data), tracker="mlflow", methods="baseline", scenarios="clean,noise0.2", out=str(tmp_path), name="night"
    )
    if lent:  # as under `mlflow run`
        experiment = client.create_experiment(name)
        mine = client.create_run(experiment).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", mine)
    cli.main([*typed, "--experiment", "elsewhere" if lent else name])
    found = client.get_experiment_by_name(name)
    assert found is not None
    every = client.search_runs([found.experiment_id])
    tagged = {run.data.tags["study"]: run for run in every if "study" in run.data.tags}
    assert {run.data.tags["sweep"] for run in tagged.values()} == {"night"}
    assert {name.split("-")[1] for name in tagged} == {"clean", "noise0.2"}
    (parent,) = (run for run in every if run.data.tags.get("stage") == "sweep")
    assert len(every) == 1 + 2 + 2, "the sweep, its studies and a run in each"
    assert parent.info.status == ("RUNNING" if lent else "FINISHED"), "MLflow ends what it began"
    assert (parent.info.run_id == mine) if lent else (parent.info.run_name == "sweep-night")
    assert parent.data.params["scenarios"] == "clean,noise0.2"
    artifacts = {artifact.path.split("/")[-1] for artifact in client.list_artifacts(parent.info.run_id, "comparison")}
    assert artifacts == {"sweep.json", "table.csv", "ranks.csv", "table.md", "table.tex", "table.txt", "curves.png"}
    assert client.get_experiment_by_name("elsewhere") is None


def test_a_server_that_does_not_answer_is_refused_first(
    data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in stopped(said(data, tracker="mlflow"), 2, capsys)[1]
    assert [*Path("studies").iterdir()] == []


# The picture


def test_curves_stand_in_a_panel_per_study_with_memorisation_beneath_where_it_is_known() -> None:
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
    assert len(shown) == 5 + 3, "two studies know of no wrong labels"
    first = shown[0]
    baseline, dml, star = first.lines
    assert baseline.get_ydata().tolist() == pytest.approx([100 * (0.505 + 0.05 * e) for e in epochs])
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (4.0, 70.0)
    assert dml.get_color() != baseline.get_color() == star.get_color()
    assert {text.get_text() for text in drawn.legends[0].texts} == {"baseline", "dml", "baseline, stopped early"}
