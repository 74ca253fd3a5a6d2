"""The load of the machine, logged on request."""

import importlib.util

import pytest
from mlflow import MlflowClient

from pipelines import tracking
from pipelines.tracking import run_logger
from robustkd.errors import UsageError
from tests.pipelines.conftest import use_store
from tests.pipelines.tracking.run_folders import start_study


@pytest.fixture(autouse=True)
def client(store, monkeypatch):
    use_store(monkeypatch, store)
    return MlflowClient()


class Monitor:
    """A monitor that counts how often it was started and stopped."""

    def __init__(self):
        self.started, self.stopped = [], 0

    def start(self, run_id, _):
        self.started.append(run_id)
        return self

    def finish(self):
        self.stopped += 1


def test_without_psutil_it_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"^--system-metrics: MLflow .* psutil, .* not installed: pip install psutil$"):
        tracking.open_tracker("mlflow", system_metrics=True)


def test_files_alone_have_no_system_metrics():
    with pytest.raises(
        UsageError, match=r"^--system-metrics: only MLflow records them, so this needs --tracker mlflow$"
    ):
        tracking.open_tracker("files", system_metrics=True)


def test_the_machine_is_measured_while_the_parent_runs(tmp_path, monkeypatch):
    monitor = Monitor()
    monkeypatch.setattr(run_logger, "start_monitor", monitor.start)
    monkeypatch.setattr("pipelines.tracking.system_metrics.require_psutil", lambda: None)

    def run(*names, system_metrics=True):
        tracker = tracking.open_tracker("mlflow", "measured", system_metrics=system_metrics)
        start_study(tracker, tags={"stage": "run"}, folder=tmp_path)
        for name in names:
            tracker.start_run(name, {}, {})
            tracker.fail_run(name, "no")
        tracker.finish_study(None, "FINISHED")
        return tracker.parent.id

    parent = run("a", "b")
    assert (monitor.started, monitor.stopped) == ([parent], 1)
    assert run() == parent
    assert (monitor.started, monitor.stopped) == ([parent], 1), "nothing was done"
    run("c")
    assert (monitor.started, monitor.stopped) == ([parent, parent], 2)
    run("d", system_metrics=False)
    assert monitor.stopped == 2


def test_mlflow_logs_the_load_to_the_parent(client, tmp_path, monkeypatch, capfd):
    pytest.importorskip("psutil")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    tracker = tracking.open_tracker("mlflow", "measured", system_metrics=True)
    start_study(tracker, tags={"stage": "run"}, folder=tmp_path)
    tracker.sender.send()
    for _ in range(200):
        metrics = client.get_run(tracker.parent.id).data.metrics
        if "system/cpu_utilization_percentage" in metrics:
            break
    tracker.finish_study(None, "FINISHED")
    assert 0 < metrics["system/system_memory_usage_percentage"] < 100
    assert capfd.readouterr() == ("", "")
