"""Runs that several processes train together."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robustkd.errors import ExecutionError, UsageError
from robustkd.method_spec import MethodSpec
from robustkd.study.peers import check_processes
from robustkd.study.plan import Plan, Progress
from robustkd.study.run_folder import execute, is_finished
from robustkd.study.stopping import RunStopped
from robustkd.training.checkpoint import load_net
from tests.study.toy_study import PLAIN, read_result, write_study


@pytest.fixture
def plan(data: Path, tmp_path: Path) -> Plan:
    return write_study(data, seeds=1, data_parallel=2, epochs=3, threads=2, out=str(tmp_path / "together"))


def weights(plan: Plan) -> dict[str, torch.Tensor]:
    return load_net(plan.run_folder(PLAIN) / "model.pt")[0].state_dict()


def test_a_run_of_two_processes_is_that_of_one_and_continues_in_either(plan: Plan, data: Path, tmp_path: Path) -> None:
    reports: list[Progress] = []
    with pytest.raises(RunStopped):
        execute(plan, PLAIN, reports.append, lambda: len(reports) == 1)  # asked before the first report
    execute(plan, PLAIN, reports.append)
    assert [progress.epoch for progress in reports if not progress.is_earlier] == [1, 2, 3]
    assert is_finished(plan, PLAIN)
    alone = write_study(data, seeds=1, epochs=3, threads=2, out=str(tmp_path / "alone"))
    assert alone.folder.name == plan.folder.name
    execute(alone, PLAIN, lambda progress: None)
    for name, value in weights(alone).items():
        torch.testing.assert_close(weights(plan)[name], value, rtol=0.02, atol=0.02)
    assert np.isclose(*(read_result(p, PLAIN).last.metrics["accuracy"] for p in (plan, alone)), atol=0.2)
    assert not multiprocessing.active_children()


def test_a_run_whose_peer_dies_ends_with_a_sentence(plan: Plan) -> None:
    def kill(progress: Progress) -> None:
        (peer,) = multiprocessing.active_children()
        peer.kill()
        peer.join()

    with pytest.raises(ExecutionError, match="a process of the run ended with exit code -9"):
        execute(plan, PLAIN, kill)
    assert not multiprocessing.active_children()


FAULTY = """
import torch.distributed as dist
from robustkd.methods.baseline import Baseline

class Faulty(Baseline):
    version = 1
    def objective(self, batch):
        if dist.get_rank() == 1:
            raise ValueError("no such luck")
        return super().objective(batch)

METHODS = {"faulty": Faulty}
"""


def test_an_error_of_a_peer_is_the_error_of_the_run(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FAULTY)
    options = {"plug": str(tmp_path / "mine.py"), "out": str(tmp_path / "studies"), "methods": "baseline,faulty"}
    plan = write_study(data, seeds=1, data_parallel=2, **options)
    with pytest.raises(ExecutionError, match="ValueError: no such luck"):
        execute(plan, replace(PLAIN, method=MethodSpec.parse("faulty")), lambda progress: None)


def test_what_cannot_be_divided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_processes(1, "mps", 1)
    check_processes(4, "cpu", 16)
    with pytest.raises(UsageError, match="--batch should be 16 or more"):
        check_processes(4, "cpu", 15)
    with pytest.raises(UsageError, match="not on mps"):
        check_processes(2, "mps", 64)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    check_processes(2, "cuda", 64)
    with pytest.raises(UsageError, match="there are 1"):
        check_processes(2, "cuda:1", 64)
