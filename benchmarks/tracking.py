"""How long a study's metrics take to write to MLflow: seconds for 1,000 of them, and as a ratio to writing them singly.

python benchmarks/tracking.py [--metrics 1000] [--runs 4] [--terms 10] [--singly 100] [--limit 5]

A study of --runs runs tells the tracker --terms figures an epoch, until there are --metrics; then it is closed, and what the
store holds is counted. The store is a new SQLite file in a temporary folder; its tables and the study's own run are made
before the clock starts, and no nets are logged. Singly, --singly metrics go one by one through MLflow's client. Exit 1 above
the limit.
"""

import argparse
import os
import sqlite3
import sys
import tempfile
import time
from contextlib import chdir, closing
from pathlib import Path
from unittest.mock import patch

from pipelines import tracking


def begun(name: str) -> tracking.Tracker:
    """A tracker with an empty study open."""
    tracker = tracking.opened("mlflow")
    tracker.begin(name, {}, {}, {}, [], {"name": "none", "digest": "0", "source": "none"}, {})
    return tracker


def in_batches(tracker: tracking.Tracker, metrics: int, runs: int, terms: int) -> float:
    """Seconds from the first figure to the closed study."""
    cells = [f"run{number}" for number in range(runs)]
    for cell in cells:
        tracker.start(cell, {"role": "student"}, {})
    began, told, epoch = time.perf_counter(), 0, 0
    while told < metrics:
        epoch += 1
        for cell in cells:
            values = {f"train/term{number}": 1 / epoch for number in range(min(terms, metrics - told))}
            tracker.epoch(cell, epoch, values)
            told += len(values)
    tracker.end(None, failed=False)
    return time.perf_counter() - began


def one_by_one(metrics: int) -> float:
    """Seconds for metrics that are not gathered first."""
    from mlflow import MlflowClient

    client = MlflowClient()
    run = client.create_run("0").info.run_id
    began = time.perf_counter()
    for number in range(metrics):
        client.log_metric(run, "singly", 0.5, step=number)
    return time.perf_counter() - began


def written(store: Path) -> int:
    """How many metrics of the study a store holds."""
    with closing(sqlite3.connect(store)) as connection:
        return int(connection.execute("select count(*) from metrics where key like 'train/term%'").fetchone()[0])


def main(words: list[str] | None = None) -> int:
    """Write, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--terms", type=int, default=10, help="figures of a run and epoch")
    parser.add_argument("--singly", type=int, default=100, help="metrics to write one by one; 0 for none")
    parser.add_argument("--limit", type=float, default=5.0, help="seconds for all metrics")
    arguments = parser.parse_args(words)
    unset = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ), chdir(folder):  # artifacts go to ./mlruns
        for name in unset:
            os.environ.pop(name, None)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        tracker = begun("metrics")
        seconds = in_batches(tracker, arguments.metrics, arguments.runs, arguments.terms)
        count = written(Path(folder, "mlflow.db"))
        singly = one_by_one(arguments.singly) if arguments.singly else None
    print(f"{count} metrics of {arguments.runs} runs: {seconds:.2f} s")
    if singly is not None:
        each = singly / arguments.singly
        print(f"one by one {each * count:.1f} s (by {arguments.singly}): {each * count / seconds:.0f} times as long")
    if count != arguments.metrics:
        print(f"{arguments.metrics} were to be written")
    return int(seconds > arguments.limit or count != arguments.metrics)


if __name__ == "__main__":
    sys.exit(main())
