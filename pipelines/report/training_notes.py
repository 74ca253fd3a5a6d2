"""What a reader should know about how the runs of a study were trained: on which machines, and which updates were skipped."""

from collections.abc import Iterable, Sequence

from pipelines.report.formatting import format_count, join_first
from robustkd.study.comparison import Comparison
from robustkd.study.machine import Machine, machine_differences
from robustkd.study.results import RunResult


def format_machine(machine: Machine) -> str:
    """Describe a machine in short."""
    threads = format_count(machine.threads, "thread")
    return f"{machine.device}, {machine.instructions}, {threads}, {machine.precision}, torch {machine.torch}"


def list_machines(results: Iterable[RunResult]) -> list[Machine]:
    """Return the different machines that runs were trained on, as far as they are recorded."""
    machines: list[Machine] = []
    for result in results:
        for machine in result.training.machines if result.training else ():
            if machine not in machines:
                machines.append(machine)
    return machines


def compare_machines(results: Sequence[RunResult]) -> str:
    """Return in what the machines of runs differ, as "threads 1 and 2"; an empty string where they do not.

    The networks of students and of teachers may compute in different precisions, which then is not the machine's.
    """
    groups = [
        list_machines(r for r in results if r.run.role == role) for role in dict.fromkeys(r.run.role for r in results)
    ]
    across = [group[0].model_copy(update={"precision": ""}) for group in groups if group]
    return ", ".join(dict.fromkeys(filter(None, map(machine_differences, [*groups, across]))))


def describe_training(comparison: Comparison) -> list[str]:
    """Return sentences about machines that differ, and about skipped updates; none where there is nothing to say."""
    notes = []
    if differences := compare_machines(comparison.results):
        notes.append(
            f"The runs were trained on machines that differ ({differences}): part of their differences may be due to that."
        )
    skipped = [
        f"{r.training.skipped_updates} of {r.training.updates:,} of {r.name}"
        for r in comparison.results
        if r.training is not None and r.training.skipped_updates
    ]
    if skipped:
        notes.append(f"Updates that were not finite were skipped: {join_first(skipped, 12)}.")
    return notes
