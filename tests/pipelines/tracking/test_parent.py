"""The parent run of a study: provided by `mlflow run`, continued from an earlier command, or new."""

import errno
import time

import pytest
from mlflow import MlflowClient

from pipelines import tracking
from pipelines.tracking import parent
from pipelines.tracking.headline import Headline
from pipelines.tracking.tracked import read_tracked_study
from robustkd.errors import UsageError
from tests.pipelines.conftest import use_store
from tests.pipelines.tracking.run_folders import start_study

NOTE = "mlflow.note.content"
OPTIONS = {"scenario": "noise0.4", "seeds": 3}


@pytest.fixture(autouse=True)
def client(store, monkeypatch):
    use_store(monkeypatch, store)
    return MlflowClient()


def lend_run(client, monkeypatch, name=None):
    """Create a run as `mlflow run` does for the process that it starts; return it with its experiment."""
    experiment = client.create_experiment(f"lent {time.time()}")
    lent = client.create_run(experiment, run_name=name).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", lent)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    return lent, experiment


def run_study(folder, answer="Yes.", gain=0.5, failed=False, params=OPTIONS, experiment=None):
    """Run a study without runs; return the id of its parent run."""
    experiment = experiment or f"parents of {folder.parent.name}"
    tags = {"stage": "run", "study": folder.name}
    tracker = start_study(params=params, tags=tags, experiment=experiment, folder=folder)
    headline = Headline({"best_gain": gain}, answer, "hinton")
    comparison = folder / "comparison"
    tracker.finish_study(
        comparison if comparison.exists() else None, "FAILED" if failed else "FINISHED", lambda: headline
    )
    return tracker.parent.id


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "toy-1234" / "comparison").mkdir(parents=True)
    (tmp_path / "toy-1234" / "comparison" / "report.html").write_text("<p>")
    return tmp_path / "toy-1234"


def test_mlflow_run_provides_the_parent_run(client, monkeypatch):
    lent, experiment = lend_run(client, monkeypatch)
    client.log_param(lent, "scenario", "noise0.40")
    tracker = start_study(params=OPTIONS, tags={"stage": "run"}, experiment="elsewhere")
    tracker.start_run("hinton-seed0", {}, {})
    tracker.fail_run("hinton-seed0", "no")
    tracker.finish_study(None, "FINISHED")
    run = client.get_run(lent)
    assert run.data.params == {"scenario": "noise0.40", "seeds": "3"}
    assert run.data.tags["stage"] == "run"
    assert run.info.status == "RUNNING"  # `mlflow run` closes it
    (child,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{lent}'")
    assert child.info.run_name == "hinton-seed0"


def test_a_run_that_no_file_can_name_is_closed_at_once(client, folder, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parent, "write_tracked", fail)
    with pytest.raises(UsageError, match=r"MLflow cannot be used .*No space left"):
        run_study(folder, experiment="full")
    (run,) = client.search_runs([client.get_experiment_by_name("full").experiment_id])
    assert run.info.status == "KILLED"


@pytest.mark.parametrize(("given", "shown"), [(None, "study"), ("my first try", "my first try")])
def test_a_provided_run_is_named_after_the_study_unless_the_user_named_it(client, monkeypatch, given, shown):
    lent, experiment = lend_run(client, monkeypatch, given)
    start_study(tags={"stage": "run"})
    assert client.get_run(lent).info.run_name == shown
    assert client.search_runs([experiment], f"attributes.run_name = '{shown}'")[0].info.run_id == lent


@pytest.mark.parametrize("given", [None, "asked for"])
def test_the_experiment_is_requested_or_from_variables_or_the_default(client, given, monkeypatch):
    def chosen():
        return client.get_experiment(start_study(experiment=given).parent.experiment).name

    assert chosen() == (given or "robustkd")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", client.create_experiment(f"by id {given}"))
    assert chosen() == (given or f"by id {given}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "by name")
    assert chosen() == (given or "by name")


def test_two_studies_may_create_the_same_experiment_at_once(client, monkeypatch):
    name = f"twice {time.time()}"
    made = client.create_experiment(name)
    find = MlflowClient.get_experiment_by_name
    answers = iter([lambda *_: None, find])
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda *a: next(answers)(*a))
    assert start_study(experiment=name).parent.experiment == made


def test_the_parent_shows_metrics_and_the_answer_with_links_to_the_report(client, folder):
    run = client.get_run(run_study(folder))
    assert run.data.metrics == {"best_gain": 0.5}
    assert run.data.tags["best_method"] == "hinton"
    address = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/comparison/report.html"
    assert run.data.tags[NOTE] == f"Yes.\n\n[report.html]({address}), files: `{folder}`"
    assert [file.path for file in client.list_artifacts(run.info.run_id, "comparison")] == ["comparison/report.html"]


def test_the_same_command_continues_its_run_and_changes_nothing(client, folder):
    first = run_study(folder)
    before = client.get_run(first).to_dictionary()
    assert run_study(folder) == first
    assert client.get_run(first).to_dictionary() == before
    assert len(client.get_metric_history(first, "best_gain")) == 1
    assert run_study(folder, gain=0.7) == first
    assert client.get_run(first).data.metrics == {"best_gain": 0.7}


def test_other_options_another_stage_or_another_experiment_have_a_run_of_their_own(client, folder):
    first = run_study(folder)
    more = run_study(folder, params={**OPTIONS, "seeds": 5})
    assert client.get_run(more).data.params["seeds"] == "5"
    elsewhere = run_study(folder, experiment="another one")
    assert len({first, more, elsewhere}) == 3
    tracker = start_study(tags={"stage": "prepare"}, params=OPTIONS, folder=folder)
    assert read_tracked_study(folder).run_ids == {"run": elsewhere, "prepare": tracker.parent.id}


def test_a_run_that_failed_is_continued_and_finished(client, folder):
    first = run_study(folder, failed=True)
    assert client.get_run(first).info.status == "FAILED"
    assert run_study(folder) == first
    assert client.get_run(first).info.status == "FINISHED"
    assert len(client.get_metric_history(first, "best_gain")) == 1, "an equal point is not logged again"


@pytest.mark.parametrize("damage", ["deleted", "{", '{"tracking_uri": "x", "of": "another program"}'])
def test_a_run_that_cannot_be_continued_is_replaced(client, folder, damage):
    first = run_study(folder)
    if damage == "deleted":
        client.delete_run(first)
    else:
        (folder / "tracked.json").write_text(damage)
    assert run_study(folder) != first


def test_what_mlflow_run_provides_is_not_continued(client, folder, monkeypatch):
    own = run_study(folder)
    with monkeypatch.context() as patch:
        lent, _ = lend_run(client, patch)
        assert run_study(folder) == lent
    assert run_study(folder) == own


def test_a_description_that_the_user_edited_is_kept(client, folder):
    run_id = run_study(folder)
    run_study(folder, "Still yes.", gain=0.6)
    assert client.get_run(run_id).data.tags[NOTE].startswith("Still yes.")
    client.set_tag(run_id, NOTE, "my own words")
    run_study(folder, "No.", gain=-0.1)
    run = client.get_run(run_id)
    assert (run.data.tags[NOTE], run.data.metrics["best_gain"]) == ("my own words", -0.1)


def test_a_long_description_is_cut_to_what_mlflow_accepts(client, folder):
    run_id = run_study(folder, "word " * 9000)
    assert len(client.get_run(run_id).data.tags[NOTE]) == 8000


def test_a_sweep_is_found_again_and_its_files_are_logged_without_the_trackers_own(client, tmp_path):
    folder = tmp_path / "sweep-abc"
    tracker = start_study(tags={"stage": "sweep"}, folder=folder)
    (folder / "sweep.json").write_text("{}")
    tracker.finish_study(folder, "FINISHED")
    assert start_study(tags={"stage": "sweep"}, folder=folder).parent.id == tracker.parent.id
    assert [file.path for file in client.list_artifacts(tracker.parent.id, "comparison")] == ["comparison/sweep.json"]


def test_a_tracker_of_files_writes_no_reference(folder):
    start_study(tracking.open_tracker("files"), folder=folder)
    assert not (folder / "tracked.json").exists()
