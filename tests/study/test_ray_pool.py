"""Runs as Ray actors: the results of worker processes, no shared folder, and deaths of processes and machines."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")

import pandas as pd
import psutil

from robustkd.study import ray_cluster, scheduler
from robustkd.study.plan import Plan, Progress, Run, list_runs
from robustkd.study.ray_pool import RayPool
from robustkd.study.results import RunResult
from robustkd.study.stopping import StopRequest
from tests.study.toy_study import PLAIN, read_result, write_study

METHOD = """
from pathlib import Path
from robustkd.methods.hinton import Hinton

class Mine(Hinton):
    version = 1

METHODS = {"mine": Mine}
"""
MEASURED = {
    "cost",
    "files",
    "seconds",
    "images_per_second",
    "peak_memory",
    "finished",
    "teacher_seconds",
    "machines",
    "seconds_per_epoch",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Ray's processes on this machine, with two cores; the folder in which actors have theirs."""
    folder = tmp_path_factory.mktemp("actors")
    with pytest.MonkeyPatch.context() as patch, ray_cluster.ray_session():
        patch.setenv("RAY_ADDRESS", "local")
        patch.setenv("RAY_AUTH_TOKEN", uuid4().hex)  # which Ray would otherwise write into the user's folder
        patch.setenv("TMPDIR", str(folder))
        patch.setenv("RAY_TMPDIR", "/tmp")  # a longer path has no room for the names of sockets
        patch.setattr(signal, "signal", lambda *_: None)  # of pytest
        ray_cluster.connect("ray", cores=2)
        yield folder


def execute(
    plan: Plan, report: Callable[[Progress], None] = lambda progress: None, request: StopRequest | None = None
) -> list[str]:
    """Execute a study, and return the reasons why runs were continued."""
    reasons: list[str] = []
    runs = list_runs(plan.options, False)
    for run, error in scheduler.execute_runs(plan, runs, report, request, lambda run, reason: reasons.append(reason)):
        assert error is None, f"{run.name}: {error}"
    return reasons


def find_actors() -> list[psutil.Process]:
    """Return the processes of actors, the end of which Ray may not have collected."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # of which a zombie is one
            found += [child] if "RunActor" in " ".join(child.cmdline()) else []
    return found


def without_times(content: Any) -> Any:
    """Return a result without what was measured, and without the digests of files that have it."""
    if isinstance(content, dict):
        left = {name: value for name, value in content.items() if name not in MEASURED}
        return {name: without_times(value) for name, value in left.items()}
    return [without_times(value) for value in content] if isinstance(content, list) else content


def assert_alike(plan: Plan, other: Plan) -> None:
    """Require two studies to have the same weights, arrays and results."""
    for run in list_runs(plan.options, False):
        folders = [each.run_folder(run) for each in (plan, other)]
        names, same = ({path.name for path in folder.iterdir()} - {".lock"} for folder in folders)
        assert names == same
        for name in names - {"epochs.csv", "trained.json", "result.json"}:
            assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
        one, two = (pd.read_csv(folder / "epochs.csv").drop(columns="seconds") for folder in folders)
        pd.testing.assert_frame_equal(one, two, check_exact=True)
        results: list[RunResult] = [read_result(each, run) for each in (plan, other)]
        contents = [without_times(result.model_dump()) for result in results]
        assert contents[0] == contents[1]


def test_two_actors_give_the_bits_of_two_worker_processes(data: Path, tmp_path: Path, cluster: Path) -> None:
    """With a plugin from another folder, in an actor that has none of the files; and nothing is left of it."""
    plug = tmp_path / "elsewhere" / "mine.py"
    plug.parent.mkdir()
    plug.write_text(METHOD)
    options: dict[str, Any] = {"methods": "baseline,mine", "seeds": 1, "jobs": 2, "threads": 2, "plug": str(plug)}
    plans = [write_study(data, name=on or "processes", on=on, **options) for on in (None, "ray")]
    reported: list[tuple[str, int]] = []
    for plan in plans:
        reported.clear()
        assert execute(plan, lambda progress: reported.append((progress.run.name, progress.epoch))) == []
        for run in list_runs(plan.options, False):
            assert [epoch for name, epoch in reported if name == run.name] == [1, 2, 3, 4]
    assert_alike(*plans)
    assert list(cluster.glob("robustkd-ray-*")) == []
    _, left = psutil.wait_procs(find_actors(), timeout=60)  # Ray ends processes when it gets to it
    assert left == []


@pytest.mark.usefixtures("cluster")
def test_a_run_whose_process_is_killed_loses_an_epoch_and_the_study_completes(data: Path) -> None:
    options: dict[str, Any] = {"methods": "baseline", "seeds": 1, "epochs": 12, "save_every": "0s", "threads": 1}
    plan = write_study(data, name="killed", on="ray", **options)
    reported: list[Progress] = []

    def report(progress: Progress) -> None:
        reported.append(progress)
        if progress.epoch == 4 and not progress.is_earlier:
            os.kill(find_actors()[0].pid, signal.SIGKILL)

    (reason,) = execute(plan, report)
    assert reason.startswith("its process on ")
    earlier = [progress.epoch for progress in reported if progress.is_earlier]
    assert earlier == list(range(1, len(earlier) + 1))
    assert len(earlier) >= 4, "the state of the last epoch that was reported had been sent"
    assert [progress.epoch for progress in reported[-12 + len(earlier) :]] == list(range(len(earlier) + 1, 13))
    whole = write_study(data, name="whole", **options)
    execute(whole)
    assert_alike(plan, whole)


@pytest.mark.usefixtures("cluster")
def test_after_a_request_the_state_is_in_the_folder_of_the_study_which_continues_anywhere(data: Path) -> None:
    options: dict[str, Any] = {"methods": "baseline", "seeds": 1, "epochs": 12, "threads": 1}
    plan, request = write_study(data, name="stopped", on="ray", **options), StopRequest()
    assert execute(plan, lambda progress: request.receive(15), request) == []
    assert [path.name for path in plan.run_folder(PLAIN).iterdir() if path.name != ".lock"] == ["unfinished.pt"]
    here, epochs = replace(plan, options=replace(plan.options, on=None)), list[Progress]()
    execute(here, epochs.append)
    assert epochs[0].is_earlier
    assert [progress.epoch for progress in epochs] == list(range(1, 13))
    whole = write_study(data, name="whole", **options)
    execute(whole)
    assert_alike(here, whole)


@pytest.mark.usefixtures("cluster")
def test_a_run_that_waits_for_a_machine_takes_the_place_of_one_that_ended(data: Path) -> None:
    """Two runs side by side need four cores, of which there are two."""
    plan = write_study(data, methods="baseline", seeds=2, on="ray")
    plan = replace(plan, jobs=2, threads=2)
    pool = RayPool(plan, list_runs(plan.options, False), lambda progress: None)
    try:
        for seed in (0, 1):
            pool.start(Run("student", PLAIN.method, seed))
        assert not pool.has_room()
        names: list[str] = []
        for _ in range(600):
            names += [ended.run.name for ended in pool.wait(0.2) if ended.error is None]
            if len(names) == 2:
                break
        assert sorted(names) == ["baseline-seed0", "baseline-seed1"]
        assert len(pool.workers) == 1
    finally:
        pool.close()


@pytest.mark.slow
def test_the_runs_of_a_lost_machine_are_continued_on_another(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # as Cluster starts its nodes
    simulated = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        machines = [simulated.add_node(num_cpus=1) for _ in range(2)]
        monkeypatch.setenv("RAY_ADDRESS", simulated.address)
        monkeypatch.setattr(
            ray_cluster, "_require_listener", lambda on, address: None
        )  # by Python's sockets, as forbidden
        options: dict[str, Any] = {"methods": "baseline", "seeds": 2, "epochs": 40, "save_every": "0s"}
        reported: list[Progress] = []

        def report(progress: Progress) -> None:
            reported.append(progress)
            if len({each.run for each in reported}) == 2 and machines and progress.epoch >= 3:
                simulated.remove_node(machines.pop())

        with ray_cluster.ray_session():
            plan = write_study(data, name="lost", on="ray", jobs=2, **options)
            assert plan.threads == 1
            reasons = execute(
                plan, lambda progress: report(progress) if len(machines) > 1 else reported.append(progress)
            )
        assert reasons
        assert all("was lost" in reason for reason in reasons)
        whole = write_study(data, name="whole", threads=1, **options)
        execute(whole)
        assert_alike(plan, whole)
    finally:
        simulated.shutdown()
