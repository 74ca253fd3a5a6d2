"""How many runs fill a GPU: the decision with numbers, and the measurement on a CPU."""

from pathlib import Path

import pytest

from robustkd.study import packing
from robustkd.study.packing import Packing, choose_jobs, is_worth_trying, measure_packings
from robustkd.study.plan import Plan, Run
from tests.study.toy_study import PLAIN, write_study

GB = 10**9


@pytest.mark.parametrize(
    ("speeds", "memory", "chosen"),
    [
        ([1000, 1900, 3600, 6000], [2, 4, 8, 16], 8),  # each as fast as alone
        ([1000, 1900, 3000, 3100], [2, 4, 8, 16], 4),  # the GPU is full
        ([1000, 1020, 990, 900], [2, 4, 8, 16], 1),  # it is filled by one
        ([1000, 1900, 3600, 6000], [20, 40, 80, 160], 2),  # more do not fit into 80 GB
        ([1000, 1900], [76, 152], 1),  # not even one has room to spare
        ([1000, 1900, 3600], [None, None, None], 4),  # on a CPU
        ([], [], 1),  # not even one could train
    ],
)
def test_the_fewest_jobs_that_are_about_as_fast_as_any_are_chosen(
    speeds: list[float], memory: list[int | None], chosen: int
) -> None:
    measured = [
        Packing(jobs, speed, None if used is None else used * GB)
        for jobs, speed, used in zip((1, 2, 4, 8), speeds, memory, strict=False)
    ]
    assert choose_jobs(measured, 80 * GB) == chosen


def test_more_processes_are_tried_while_the_last_were_faster_and_more_may_fit(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    speeds = {1: 1000.0, 2: 1900.0, 4: 1950.0, 8: 9000.0}

    def measure(plan: Plan, run: Run, jobs: int, seconds: float) -> Packing | None:
        tried.append(jobs)
        return Packing(jobs, speeds[jobs], jobs * GB)

    monkeypatch.setattr(packing, "measure_packing", measure)
    plan = write_study(data)
    assert [each.jobs for each in measure_packings(plan, PLAIN, capacity=80 * GB)] == [1, 2, 4] == tried
    tried.clear()
    assert [each.jobs for each in measure_packings(plan, PLAIN, capacity=3 * GB)] == [1, 2] == tried
    assert is_worth_trying(4, [Packing(1, 1000, GB), Packing(2, 1900, 2 * GB)], 5 * GB)


def test_processes_are_measured_at_once_on_a_cpu(data: Path) -> None:
    measured = list(measure_packings(write_study(data), PLAIN, counts=(1, 2), seconds=0.2))
    assert [each.jobs for each in measured[:1]] == [1]
    assert all(each.images_per_second > 0 and each.memory is None for each in measured)
    assert choose_jobs(measured, None) in (1, 2)


def test_processes_that_do_not_fit_into_memory_end_the_measurement(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(FULL)
    plan = write_study(data, methods="full", plug=str(tmp_path / "mine.py"))
    assert list(measure_packings(plan, Run("student", PLAIN.method.parse("full"), 0), seconds=0.1)) == []


FULL = """
import torch
from robustkd.methods.baseline import Baseline

class Full(Baseline):
    version = 1
    def objective(self, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

METHODS = {"full": Full}
"""
