"""The number of runs that are executed in parallel on a GPU, as `--jobs auto` measures it."""

from collections.abc import Sequence
from dataclasses import replace

from pipelines.console import console, format_bytes
from pipelines.study_records import earlier_record
from robustkd.study.packing import Packing, choose_jobs, measure_packings
from robustkd.study.plan import Plan, Run
from robustkd.training import hardware

# What was measured in this process, by what it depends on: the studies of a sweep share it.
_CHOSEN: dict[tuple[object, ...], int] = {}


def with_measured_jobs(plan: Plan, runs: Sequence[Run]) -> Plan:
    """Measure how many runs fill a GPU, if the options ask for it. A study that was begun keeps its number of jobs."""
    options, settings = plan.options, plan.settings
    if options.jobs != "auto" or options.data_parallel > 1 or not settings.device.startswith("cuda") or len(runs) < 2:
        return plan
    earlier = earlier_record(plan)
    if earlier and earlier.options.jobs == "auto" and earlier.resolved.device == settings.device:
        return _with_jobs(plan, earlier.resolved.jobs)
    run = typical_run(runs)
    nets = (settings.student, settings.teacher, settings.batch, settings.precision, settings.compile)
    key = (options.dataset, options.image_size, settings.device, run.method.text, *nets)
    if key not in _CHOSEN:
        capacity = hardware.total_memory(settings.device)
        measured = list(measure_packings(plan, run, capacity=capacity))
        _CHOSEN[key] = choose_jobs(measured, capacity)
        console.print(describe_packings(run, measured, _CHOSEN[key]), highlight=False)
    return _with_jobs(plan, min(_CHOSEN[key], len(runs)))


def _with_jobs(plan: Plan, jobs: int) -> Plan:
    return replace(plan, jobs=jobs, threads=max(1, plan.threads * plan.jobs // jobs))


def typical_run(runs: Sequence[Run]) -> Run:
    """Return the run that is measured: a student with a teacher if there is one, as two networks need the memory of most."""
    students = [run for run in runs if run.role == "student"]
    return next((run for run in students if run.method.needs_teacher), runs[-1])


def describe_packings(run: Run, measured: Sequence[Packing], jobs: int) -> str:
    """Return a line with what was measured and chosen."""
    parts = [
        f"{each.jobs}: {each.images_per_second:,.0f} images/s"
        + ("" if each.memory is None else f" and {format_bytes(each.memory)}")
        for each in measured
    ]
    found = "; ".join(parts) or "no number of processes could train"
    return f"processes that train '{run.method.text}' at once: {found}. --jobs {jobs} is used"
