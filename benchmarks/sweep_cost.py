"""What a large sweep costs, computed from the measured steps of its methods: no part of the sweep is run.

    python benchmarks/sweep_cost.py [--seconds-per-epoch 3] [--gpus 1 8 64] [--seeds 5] [--epochs 200] [--overhead 0.1]

The sweep: 29 methods, 8 scenarios and 5 seeds on CIFAR-10, 200 epochs, wrn_40_2 -> wrn_16_2, batch 128. Its runs, and which of
them wait for a teacher, are those that `robustkd sweep` would train: each seed of each scenario has a teacher of its own, which
all methods share. A run takes

    epochs * seconds of an epoch of hinton * sum over phases (share of the epochs * step / hinton's step) * (1 + overhead)

The steps relative to hinton's are measured: in benchmarks/gpu/methods.csv if it exists, otherwise on a CPU, for the pair of
the sweep (shared-work.csv, teacher-step.csv) and, of methods that are not in there, for resnet20 -> resnet8 (methods.csv). The
seconds of an epoch of hinton are measured if benchmarks/gpu/side-by-side.csv exists, for as many processes at once as are best;
otherwise they are the assumption --seconds-per-epoch. Always assumed are the overhead, which is evaluation, and that no GPU is
idle while a run is ready. Teachers are started first, then the longest runs.
"""

import argparse
import heapq
from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from robustkd.method_spec import MethodSpec
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Run, list_runs
from robustkd.study.results import BASELINE, TEACHER

HOME = Path(__file__).parent
SCENARIOS = "clean,noise0.2,noise0.4,noise0.6,imbalance0.2,imbalance0.6,imbalance1,imbalance2"
PAIR = {"teacher": "wrn_40_2", "student": "wrn_16_2"}
ROWS, BATCH = 45_000, 128  # of CIFAR-10 without those held out
HINTON = "hinton"
WHOLE = {"self_kd": 1.0}  # the first phase of methods without a parameter for its length, as a share of the epochs


class Cost(NamedTuple):
    """Epochs of hinton that a run takes, as a multiple of its epochs, and where the figure is from."""

    ratio: float
    source: str


def read_steps(path: Path, source: str) -> pd.DataFrame:
    """Read steps in one precision: method, phase, ratio to hinton's step, source; none where there is no such file."""
    if not path.exists():
        return pd.DataFrame(columns=["method", "phase", "ratio", "source"])
    table = pd.read_csv(path).rename(columns={"name": "method"})
    table = table[table["precision"] == "bf16"] if "precision" in table else table
    if "ratio" not in table:  # which is of steps in turns, and better than that of medians
        hinton = table.loc[table["method"] == HINTON, "milliseconds"].iloc[0]
        table = table.assign(ratio=table["milliseconds"] / hinton)
    return table.assign(source=source)[["method", "phase", "ratio", "source"]]


def first_share(method: str) -> float:
    """Return the length of a method's first phase of two, as a share of the run's epochs."""
    length = signature(MethodSpec.parse(method).method.load()).parameters.get("first")
    return WHOLE[method] if length is None else float(length.default)


def method_costs(folder: Path) -> dict[str, Cost]:
    """Return the cost of every method, from the best source there is."""
    steps = [
        read_steps(folder / "gpu" / "methods.csv", "GPU"),
        read_steps(folder / "shared-work.csv", "CPU, this pair"),
        read_steps(folder / "methods.csv", "CPU, resnet20 -> resnet8"),
    ]
    costs: dict[str, Cost] = {}
    for method in dict.fromkeys(steps[-1]["method"]):
        table = next(table[table["method"] == method] for table in steps if method in {*table["method"]})
        shares = [1.0 if phase == "train" else first_share(method) for phase in table["phase"]]
        costs[method] = Cost(float((table["ratio"] * shares).sum()), table["source"].iloc[0])
    return costs


def teacher_cost(folder: Path) -> Cost:
    """Return the cost of training a teacher, whose step was measured on a CPU only."""
    steps, own = pd.read_csv(folder / "shared-work.csv"), pd.read_csv(folder / "teacher-step.csv")
    hinton = steps.loc[(steps["name"] == HINTON) & (steps["precision"] == "bf16"), "milliseconds"].iloc[0]
    step = own.loc[own["name"] == BASELINE, "milliseconds"].iloc[0]
    return Cost(float(step / hinton), "CPU, this pair")


def measured_epoch(folder: Path) -> float | None:
    """Return the seconds of a GPU that an epoch of hinton takes, with as many processes at once as it does most with."""
    path = folder / "gpu" / "side-by-side.csv"
    if not path.exists():
        return None
    table = pd.read_csv(path)
    pair = table[(table["teacher"] == PAIR["teacher"]) & (table["student"] == PAIR["student"])]
    return ROWS / float(pair["images_per_second"].max())


def cpu_epoch(folder: Path) -> float:
    """Return the seconds of processor time of an epoch of hinton."""
    steps = pd.read_csv(folder / "shared-work.csv")
    hinton = steps.loc[(steps["name"] == HINTON) & (steps["precision"] == "bf16"), "milliseconds"].iloc[0]
    return float(hinton) / 1000 * ROWS / BATCH


def sweep_runs(methods: Iterable[str], seeds: int) -> list[tuple[str, Run]]:
    """Return the runs of the sweep, each with its scenario."""
    given = {"methods": ",".join(methods), "seeds": seeds, **PAIR}
    return [
        (scenario, run)
        for scenario in SCENARIOS.split(",")
        for run in list_runs(StudyOptions(scenario=scenario, **given), has_teacher=False)
    ]


def makespan(runs: Sequence[tuple[str, Run]], ratios: Mapping[str, float], gpus: int) -> float:
    """Return when the last run ends, in units of hinton's run: teachers first, then the longest run that is ready."""
    waiting: dict[str, list[float]] = {}  # lengths of runs by scenario and seed, until their teacher is trained
    ready: list[tuple[bool, float, str]] = []  # whether it is a student's, its negative length, what waits for it
    for scenario, run in runs:
        group, length = f"{scenario} {run.seed}", run_ratio(run, ratios)
        if run.role != TEACHER and run.method.needs_teacher:
            waiting.setdefault(group, []).append(length)
        else:
            ready.append((run.role != TEACHER, -length, group if run.role == TEACHER else ""))
    heapq.heapify(ready)
    busy: list[tuple[float, str]] = []  # when GPUs become free
    now = 0.0
    while ready or busy:
        while ready and len(busy) < gpus:
            _, length, group = heapq.heappop(ready)
            heapq.heappush(busy, (now - length, group))
        now, group = heapq.heappop(busy)
        for length in waiting.pop(group, []):
            heapq.heappush(ready, (True, -length, ""))
    return now


def run_ratio(run: Run, ratios: Mapping[str, float]) -> float:
    """Return what a run costs."""
    return ratios[TEACHER if run.role == TEACHER else run.method.text]


def main(words: Sequence[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds-per-epoch", type=float, default=3.0, help="of hinton on a GPU, where not measured")
    parser.add_argument("--overhead", type=float, default=0.1, help="of evaluation, as a share of training")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=HOME, help="of the measured steps")
    arguments = parser.parse_args(words)
    folder, costs = arguments.folder, method_costs(arguments.folder)
    runs = sweep_runs(costs, arguments.seeds)
    ratios = {TEACHER: teacher_cost(folder).ratio, **{method: cost.ratio for method, cost in costs.items()}}
    total = sum(run_ratio(run, ratios) for _, run in runs)
    teachers = sum(run.role == TEACHER for _, run in runs)
    measured = measured_epoch(folder)
    seconds = measured or arguments.seconds_per_epoch
    for name, cost in sorted({TEACHER: teacher_cost(folder), **costs}.items(), key=lambda item: item[1].ratio):
        print(f"{name:14s} {cost.ratio:5.2f} of hinton's run (measured: {cost.source})")
    share = 100 * teachers * ratios[TEACHER] / total
    print(f"{len(runs)} runs, of which {teachers} teachers ({share:.0f} % of the cost): {total:.0f} times hinton's run")
    origin = "measured" if measured else "assumed"
    print(f"an epoch of hinton: {seconds:.2f} s ({origin}); overhead of evaluation: {arguments.overhead:.0%} (assumed)")
    hours = arguments.epochs * seconds * (1 + arguments.overhead) / 3600
    rows = [
        {"GPUs": gpus, "hours": (end := makespan(runs, ratios, gpus)) * hours, "busy, %": 100 * total / (gpus * end)}
        for gpus in arguments.gpus
    ]
    table = pd.DataFrame(rows)
    print(table.round(1).to_string(index=False))
    days = total * arguments.epochs * cpu_epoch(folder) * (1 + arguments.overhead) / 86400
    print(
        f"on a core of the CPU that was measured, {cpu_epoch(folder):.0f} s an epoch of hinton: {days / 365:.1f} years"
    )
    return table


if __name__ == "__main__":
    main()
