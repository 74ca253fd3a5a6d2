"""What a run costs more on Ray than in a worker process: the same runs of one epoch, one at a time, alternately in both.

    python benchmarks/ray_overhead.py --runs 20

The first run of each includes the start of its process, which imports torch; connecting to Ray is timed by itself. Runs
alternate, so that what else the machine does slows both alike; the figure is the median of the differences.
"""

import argparse
import statistics
import tempfile
import time

from pipelines import planning
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run, list_runs
from robustkd.study.ray_cluster import connect, ray_session
from robustkd.study.workers import Pool, WorkerPool

MINUTE = 60.0  # seconds of the run that the overhead is compared with


def plan_study(folder: str, name: str, runs: int, on: str | None) -> Plan:
    """Return a written study of short runs."""
    options = StudyOptions(
        scenario="noise0.4",
        methods="baseline",
        student="resnet8",
        epochs=1,
        seeds=runs,
        jobs=1,
        threads=1,
        out=folder,
        name=name,
        on=on,
        tracker="files",
    )
    return planning.draft_study(options).write()


def time_run(pool: Pool, run: Run) -> float:
    """Return the seconds of a run, from its start until its files are in the study's folder."""
    started = time.perf_counter()
    pool.start(run)
    ended = pool.wait(0.2)
    while not ended:
        ended = pool.wait(0.2)
    if ended[0].error is not None:
        raise ended[0].error
    return time.perf_counter() - started


def main() -> None:
    """Time both places and print the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="runs in each place")
    count = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder, ray_session():
        started = time.perf_counter()
        connect("ray", 2)
        connection = time.perf_counter() - started
        from robustkd.study.ray_pool import RayPool

        local, plan = (plan_study(folder, name, count, on) for name, on in (("processes", None), ("ray", "ray")))
        runs = list_runs(plan.options, False)
        started = time.perf_counter()
        pools: list[Pool] = [WorkerPool(local, 1, lambda progress: None), RayPool(plan, runs, lambda progress: None)]
        shipped = time.perf_counter() - started
        own, remote = zip(*([time_run(pool, run) for pool in pools] for run in runs), strict=True)
        for pool in pools:
            pool.close()
    print(
        f"connecting, or starting Ray's processes: {connection:.1f} s; data and files to the object store: {shipped:.2f} s"
    )
    for name, seconds in (("worker process", own), ("Ray", remote)):
        print(f"{name}: first run {seconds[0]:.2f} s, further runs {statistics.median(seconds[1:]):.2f} s (median)")
    overhead = statistics.median(there - here for here, there in zip(own[1:], remote[1:], strict=True))
    print(f"overhead: {overhead:.2f} s per run, {overhead / MINUTE:.1%} of a run of a minute")


if __name__ == "__main__":
    main()
