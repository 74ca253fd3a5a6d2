"""--jobs auto: measured on a GPU, and the default elsewhere."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import parallel_jobs, planning
from pipelines.parallel_jobs import describe_packings, typical_run, with_measured_jobs
from robustkd.method_spec import MethodSpec
from robustkd.study.options import StudyOptions
from robustkd.study.packing import Packing
from robustkd.study.plan import Plan, Run, list_runs
from robustkd.training import hardware

GB = 10**9


def draft_plan(data: Path, **options: Any) -> Plan:
    given = {
        "scenario": "clean",
        "methods": "baseline,hinton",
        "student": "resnet8",
        "teacher": "resnet8",
        "seeds": 2,
        "batch": 16,
    }
    return planning.draft_study(StudyOptions(dataset=f"npz:{data}", **{**given, **options})).write()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Measurements of a GPU of 80 GB; return the runs for which they were asked."""
    asked: list[str] = []

    def measure(plan: Plan, run: Run, **_: Any) -> list[Packing]:
        asked.append(run.name)
        return [Packing(1, 1000, 2 * GB), Packing(2, 1900, 4 * GB), Packing(4, 1950, 8 * GB)]

    monkeypatch.setattr(parallel_jobs, "measure_packings", measure)
    monkeypatch.setattr(hardware, "total_memory", lambda device: 80 * GB)
    monkeypatch.setattr(parallel_jobs, "_CHOSEN", {})
    return asked


def test_a_gpu_is_measured_once_and_the_choice_is_printed(
    data: Path, measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = draft_plan(data, jobs="auto", threads=8)
    plan = replace(plan, jobs=1, threads=8, settings=replace(plan.settings, device="cuda"))
    runs = list_runs(plan.options, has_teacher=False)
    for _ in range(2):
        chosen = with_measured_jobs(plan, runs)
        assert (chosen.jobs, chosen.threads) == (2, 4)
    assert measured == ["hinton-seed0"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "processes that train 'hinton' at once: 1: 1,000 images/s" in printed
    assert printed.endswith("--jobs 2 is used")
    assert with_measured_jobs(replace(plan, options=replace(plan.options, jobs=None)), runs).jobs == 1


@pytest.mark.parametrize("jobs", ["auto", None])
def test_on_a_cpu_there_is_a_job_for_each_thread(data: Path, measured: list[str], jobs: str | None) -> None:
    plan = draft_plan(data, jobs=jobs, threads=3, device="cpu")
    assert (plan.jobs, plan.threads) == (3, 1)
    assert measured == []


def test_a_student_with_a_teacher_is_measured_if_there_is_one() -> None:
    plain, distilled = (Run("student", MethodSpec.parse(method), 0) for method in ("baseline", "dkd"))
    teacher = Run("teacher", MethodSpec.parse("baseline"), 0)
    assert typical_run([teacher, plain, distilled]) == distilled
    assert typical_run([teacher, plain]) == plain
    assert describe_packings(plain, [], 1).endswith("no number of processes could train. --jobs 1 is used")
