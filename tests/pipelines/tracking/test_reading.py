"""Studies read from MLflow equal those read from their files."""

import re
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from pipelines import cli, tracking
from pipelines.cli_options import StudySelection
from pipelines.report.renderers.terminal import render_text
from pipelines.report.study_table import summarise_studies
from pipelines.stages import compare
from pipelines.tracking.run_logger import RunLogger
from robustkd.errors import UsageError
from robustkd.study import comparison
from robustkd.study.comparison import Comparison
from robustkd.study.results import LoadedStudy, RunKey, read_study
from tests.pipelines.conftest import use_store
from tests.pipelines.documents import make_record, make_result
from tests.pipelines.toys import stripes, study_arguments

NAMES = ["a, b", "a; b", "süß | 50 %"]  # to MLflow the first two are one
NOWHERE = "0" * 32


def write_data_with_odd_names(path: Path) -> Path:
    """Write the toy data with class names of which MLflow cannot distinguish two."""
    made = dict(np.load(stripes(path)))
    np.savez(path, **{**made, "classes": np.array(NAMES)})
    return path


def assert_same_comparison(one: Comparison, other: Comparison) -> None:
    """Check that two comparisons differ only in their folder."""
    for name, mine, theirs in zip(Comparison._fields, one, other, strict=True):
        if isinstance(mine, pd.DataFrame):
            pd.testing.assert_frame_equal(mine, theirs, check_exact=True, obj=name)
        elif name != "folder":
            assert mine == theirs, name


RUN = RunKey(role="student", method="hinton", criterion="ce", seed=0)


def record_text(seeds: int) -> str:
    """A study.json that is recognised by its number of seeds."""
    return make_record(seeds=seeds).model_dump_json()


def result_text(name: str, mark: int) -> str:
    """A result.json that is recognised by its number of parameters."""
    result = make_result(name, RUN, np.array([0, 1]), np.eye(2, 3))
    return result.model_copy(update={"cost": result.cost.model_copy(update={"parameters": mark})}).model_dump_json()


def marks(study: LoadedStudy) -> list[tuple[str, int]]:
    return [(result.name, result.cost.parameters) for result in study.results]


def list_parents(experiment: str) -> list[str]:
    """The parent runs of an experiment, oldest first."""
    client = MlflowClient()
    where = client.get_experiment_by_name(experiment).experiment_id
    runs = client.search_runs([where], "tags.stage LIKE '%'", order_by=["start_time ASC"])
    return [run.info.run_id for run in runs]


@pytest.fixture(scope="module")
def logged(store: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two studies in an experiment; one of them was run with one seed first, then with two."""
    data = write_data_with_odd_names(tmp_path_factory.mktemp("data") / "toy.npz")
    out = tmp_path_factory.mktemp("studies")
    words = {"tracker": "mlflow", "experiment": "read", "out": str(out)}
    with pytest.MonkeyPatch.context() as patch:
        use_store(patch, store)
        patch.setattr(RunLogger, "_log_model", lambda *_: None)  # no test needs the models
        cli.main(study_arguments("run", data, **words))
        cli.main(study_arguments("run", data, **words, seeds="2", methods="baseline,hinton,dml"))
        cli.main(study_arguments("run", data, **words, scenario="clean"))
    clean, noise = sorted(out.iterdir())
    return SimpleNamespace(out=out, clean=clean, noise=noise, data=data, words=words)


@pytest.fixture(autouse=True)
def in_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_store(monkeypatch, store)


def test_a_study_from_mlflow_equals_the_one_from_files(logged: SimpleNamespace) -> None:
    ids = tracking.list_studies("read")
    assert set(ids) == {logged.clean.name, logged.noise.name}
    for folder in (logged.clean, logged.noise):
        files, mlflow = read_study(folder), tracking.load_record(ids[folder.name])
        assert mlflow.record == files.record
        assert mlflow.results == files.results
        assert list(mlflow.epochs) == list(files.epochs)
        assert (mlflow.folder, files.folder) == (None, folder)
        assert_same_comparison(comparison.compare_runs(mlflow), comparison.compare_runs(files))
        assert_same_comparison(comparison.compare_runs(mlflow, True), comparison.compare_runs(files, True))
        assert list(comparison.compare_runs(mlflow).per_class.index) == NAMES
    pages = [
        render_text(summarise_studies(compare.load_comparisons(*places)))
        for places in ((logged.out,), [ids[name] for name in sorted(ids)])
    ]
    assert pages[0] == pages[1]


def test_runs_logged_twice_count_once_for_any_parent_run(logged: SimpleNamespace) -> None:
    first, second, _ = list_parents("read")
    assert tracking.list_studies("read")[logged.noise.name] == second
    before, after = tracking.load_record(first), tracking.load_record(second)
    assert before.record == after.record
    assert after.record.seeds == 2
    assert before.results == after.results
    assert len({result.name for result in after.results}) == len(after.results) == 8


def test_a_study_restarted_and_stopped_keeps_its_finished_runs() -> None:
    client = MlflowClient()
    where = client.create_experiment("begun again")

    def begin(at: int, study: str = "mine", seeds: int | None = 1, status: str = "FINISHED") -> str:
        run = client.create_run(where, at, {"stage": "run", "study": study}).info.run_id
        if seeds is not None:
            client.log_text(run, record_text(seeds), "config.json")
        client.set_terminated(run, status, at + 500)
        return run

    def child(parent: str, name: str, mark: int, ended: int, **tags: str) -> str:
        tags = {"role": "student", "mlflow.parentRunId": parent, **tags}
        run = client.create_run(where, 0, tags, name).info.run_id
        client.log_text(run, result_text(name, mark), "result.json")
        client.set_terminated(run, "FINISHED", ended)
        return run

    whole = begin(1000, seeds=2)
    first = child(whole, "a", 1, 1100)
    for name in "bc":
        child(whole, name, 1, 1200)
    other = begin(1500, "another")
    child(other, "a", 9, 9000)
    killed = begin(2000, seeds=3, status="KILLED")
    child(killed, "a", 2, 1100, reused_from=first)  # with the times of the one it repeats
    child(killed, "b", 2, 1200, reused_from="mine")  # logged on another machine, where the id was unknown
    barely = begin(3000, seeds=None, status="KILLED")
    for parent in (whole, killed, barely):
        record = tracking.load_record(parent)
        assert record.record.seeds == 3
        assert marks(record) == [("a", 2), ("b", 2), ("c", 1)]
    assert tracking.list_studies("begun again") == {"mine": barely, "another": other}


def test_failed_runs_are_left_out_and_the_newest_run_counts(logged: SimpleNamespace) -> None:
    client = MlflowClient()
    where = client.get_experiment_by_name("read").experiment_id
    parent = client.create_run(where, tags={"stage": "run", "study": "failed in part"})
    client.log_text(parent.info.run_id, record_text(1), "config.json")

    def child(name: str, mark: int, status: str = "FINISHED", ended: int | None = None, **tags: str) -> str:
        tags = {"role": "student", "mlflow.parentRunId": parent.info.run_id, **tags}
        run = client.create_run(where, tags=tags, run_name=name).info.run_id
        client.log_text(run, result_text(name, mark), "result.json")
        client.set_terminated(run, status, ended)
        return run

    child("a", 1, ended=2000)
    child("a", 2, ended=3000)
    child("a", 3, ended=1000)
    child("b", 4, "FAILED")
    first = child("c", 5, ended=3000)
    child("c", 6, ended=2500, reused_from=first)  # measured again later, with the times of its training
    child("d", 7, "KILLED")
    client.create_run(where, tags={"mlflow.parentRunId": parent.info.run_id})  # a user's own
    record = tracking.load_record(parent.info.run_id)
    assert marks(record) == [("a", 2), ("c", 6)]
    assert record.epochs == {}
    client.delete_run(parent.info.run_id)
    with pytest.raises(UsageError, match="was deleted"):
        tracking.load_record(parent.info.run_id)


def test_a_study_is_listed_by_its_newest_parent_run_of_any_stage() -> None:
    client = MlflowClient()
    where = client.create_experiment("staged")
    began = iter(range(1000, 9000, 1000))

    def begin(stage: str, study: str, **tags: str) -> str:
        return client.create_run(where, next(began), {"stage": stage, "study": study, **tags}).info.run_id

    begin("prepare", "a")
    teacher = begin("teacher", "a")
    assert tracking.list_studies("staged") == {"a": teacher}
    begin("run", "a")
    other = begin("evaluate", "b")
    last = begin("distil", "a")
    client.create_run(where, 9000, {"stage": "sweep", "sweep": "c"})
    assert list(tracking.list_studies("staged").items()) == [("a", last), ("b", other)], "the newest first"


def test_compare_reads_run_ids_names_and_experiments(
    logged: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = tracking.list_studies("read")

    def output(*typed: str) -> str:
        capsys.readouterr()
        cli.main(["compare", *typed])
        return capsys.readouterr().out

    one = output(ids[logged.clean.name])
    assert "mean ± standard deviation over seeds" in one
    assert one == output("--from", "mlflow", "--experiment", "read", logged.clean.name)
    assert one == output("--from", "mlflow", "--experiment", "read", str(logged.clean))
    assert one == output(*study_arguments("", logged.data, **logged.words, scenario="clean")[1:], "--from", "mlflow")
    assert one in output(str(logged.clean)), "the files add where they are"
    every = output("--from", "mlflow", "--experiment", "read")
    assert "average rank" in every
    assert every == output(str(logged.out))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "read")
    assert one == output("--from", "mlflow"), "the newest"


def test_all_experiments_are_searched_by_default(logged: SimpleNamespace) -> None:
    """`mlflow run` puts a study into Default, `robustkd run` into robustkd."""
    client, tags = MlflowClient(), {"study": "elsewhere", "stage": "run"}
    run = client.create_run("0", tags=tags)
    every = tracking.list_studies()
    assert next(iter(every)) == "elsewhere", "the newest first"
    assert every == {**every, **tracking.list_studies("read"), "elsewhere": run.info.run_id}
    client.delete_run(run.info.run_id)


def test_a_study_restarted_in_another_experiment_keeps_its_runs(logged: SimpleNamespace) -> None:
    client, tags = MlflowClient(), {"study": logged.clean.name, "stage": "run"}
    run = client.create_run("0", tags=tags).info.run_id  # and stopped at once
    assert tracking.list_studies()[logged.clean.name] == run
    assert tracking.load_record(run).results == read_study(logged.clean).results
    client.delete_run(run)


def test_an_error_of_the_store_is_reported_in_one_sentence(
    logged: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "99")
    with pytest.raises(SystemExit) as end:
        cli.main(["compare", "--from", "mlflow"])
    assert end.value.code == 2
    assert re.fullmatch(r"robustkd: sqlite:.*mlflow.db cannot be read \(No Experiment .*\)\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (f"{NOWHERE}", f"{NOWHERE}: sqlite:///*mlflow.db has no such run"),
        ("--from mlflow --experiment raed", "has no experiment of this name (did you mean 'read'?)"),
        ("--from mlflow --experiment empty", "experiment 'empty' in sqlite:///*mlflow.db has no study yet"),
        ("--from mlflow --experiment read toy-claen", "no study of this name (did you mean 'toy-clean"),
    ],
)
def test_missing_runs_experiments_and_studies_are_refused_in_one_sentence(
    logged: SimpleNamespace, capsys: pytest.CaptureFixture[str], typed: str, sentence: str
) -> None:
    if MlflowClient().get_experiment_by_name("empty") is None:
        MlflowClient().create_experiment("empty")
    with pytest.raises(SystemExit) as end:
        cli.main(["compare", *typed.split()])
    output = capsys.readouterr().err
    assert end.value.code == 2
    assert output.count("\n") == 1
    first, _, last = sentence.partition("*")
    assert first in output
    assert last in output


def test_a_child_run_is_refused_with_the_id_of_its_parent(logged: SimpleNamespace) -> None:
    _, parent, _ = list_parents("read")
    client = MlflowClient()
    where = client.get_run(parent).info.experiment_id
    child = client.search_runs([where], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=1)[0]
    with pytest.raises(UsageError, match=f"not a study's, '{child.info.run_name}'; it belongs to run {parent}"):
        tracking.load_record(child.info.run_id)
    stranger = client.create_run(where, run_name="stranger").info.run_id
    with pytest.raises(UsageError, match=r"this run is not a study's, 'stranger'$"):
        tracking.load_record(stranger)


def test_missing_or_damaged_files_are_refused_in_one_sentence(logged: SimpleNamespace) -> None:
    client = MlflowClient()
    where = client.get_experiment_by_name("read").experiment_id
    bare = client.create_run(where, tags={"stage": "run", "study": "bare"}).info.run_id
    with pytest.raises(UsageError, match=f"{bare}: sqlite:.*does not provide its files") as error:
        tracking.load_record(bare)
    assert "\n" not in str(error.value)
    client.log_text(bare, "{", "config.json")
    with pytest.raises(UsageError, match=f"{bare}, config.json: this file cannot be read"):
        tracking.load_record(bare)
    client.log_text(bare, '{"format": 2}', "config.json")
    with pytest.raises(UsageError, match=f"{bare}, config.json: this file is damaged: 'methods' is missing or wrong"):
        compare.load_comparisons(bare)
    client.log_text(bare, record_text(1), "config.json")
    tags = {"role": "student", "mlflow.parentRunId": bare}
    child = client.create_run(where, tags=tags, run_name="x").info.run_id
    client.log_text(child, "{}", "result.json")
    client.set_terminated(child)
    with pytest.raises(UsageError, match=rf"{bare}, result.json of x: this file has format 1"):
        tracking.load_record(bare)
    client.log_text(child, '{"format": 2, "name": "x"}', "result.json")
    with pytest.raises(UsageError, match=rf"{bare}, result.json of x: this file is damaged: 'run' is missing or wrong"):
        tracking.load_record(bare)
    client.delete_run(bare)


def test_looking_for_a_store_does_not_create_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    for uri in (None, f"sqlite:///{tmp_path / 'other.db'}"):
        if uri:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(UsageError, match=r"there is no MLflow store .*\.db; set MLFLOW_TRACKING_URI"):
            compare.select_studies([], "mlflow", StudySelection())
    assert not list(tmp_path.iterdir())


def test_a_server_that_does_not_answer_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    begun = time.monotonic()
    for call in (lambda: tracking.list_studies("read"), lambda: tracking.load_record(NOWHERE)):
        with pytest.raises(UsageError, match=r"no MLflow server answers at http://127.0.0.1:9"):
            call()
    assert time.monotonic() - begun < 5


@pytest.mark.slow
def test_a_study_from_a_server_equals_the_one_from_files(
    server: str,
    logged: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    cli.main(study_arguments("run", logged.data, **{**logged.words, "experiment": "served", "scenario": "clean"}))
    (run_id,) = tracking.list_studies("served").values()
    assert MlflowClient().get_run(run_id).info.artifact_uri.startswith("mlflow-artifacts:/")
    assert_same_comparison(
        comparison.compare_runs(tracking.load_record(run_id)), comparison.compare_runs(read_study(logged.clean))
    )
    with pytest.raises(UsageError, match=f"{NOWHERE}: {server} has no such run"):
        tracking.load_record(NOWHERE)
    with pytest.raises(UsageError, match=r"did you mean 'served'\?"):
        tracking.list_studies("sreved")
    capsys.readouterr()
    cli.main(["compare", "--from", "mlflow", "--experiment", "served"])
    out = capsys.readouterr()
    assert "mean ± standard deviation over seeds" in out.out
    assert out.err == ""
    assert {path.name for path in tmp_path.iterdir()} <= {"server.db", "server.log", "served"}
