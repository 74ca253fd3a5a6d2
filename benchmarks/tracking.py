"""Time to send 1,000 metrics of a study to MLflow, and the ratio to writing them one by one.

python benchmarks/tracking.py [--metrics 1000] [--runs 4] [--terms 10] [--singly 100] [--limit 5]

A study of --runs runs queues --terms metrics per epoch until --metrics are queued, and is closed. What is timed is the work of
the process that sends them; the time in which training is held up, that of queueing them, is printed too. The store is a new
SQLite file in a temporary folder. Its tables and the study's own run are created before, and no nets are logged. For
comparison, --singly metrics are logged one by one with MLflow's client. Exits with 1 above the limit.
"""

import argparse
import os
import sqlite3
import sys
import tempfile
import time
from contextlib import chdir, closing, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from pipelines import tracking
from pipelines.tracking.outbox import Outbox
from pipelines.tracking.sender import send_outbox
from robustkd.study.options import StudyOptions


class NoSender:
    """Stands for the process that sends, whose work is timed here."""

    def __init__(self, outbox: Outbox) -> None:
        pass

    def is_alive(self) -> bool:
        return True

    def close(self, *limits: float) -> None:
        pass


def begin_study(folder: Path) -> tracking.Tracker:
    """Return a tracker with a new, empty study."""
    tracker = tracking.open_tracker("mlflow")
    dataset = {"name": "none", "digest": "0", "source": "none"}
    tags = {"stage": "run", "study": folder.name}
    tracker.start_study(folder.name, {}, {}, {}, [], dataset, tags, folder)
    return tracker


def queue_metrics(tracker: tracking.Tracker, metrics: int, runs: int, terms: int) -> float:
    """Queue the metrics of a study, and its end; return the seconds that this took."""
    names, params = [f"run{number}" for number in range(runs)], StudyOptions(scenario="clean").identity()
    start, logged, epoch = time.perf_counter(), 0, 0
    for name in names:
        tracker.start_run(name, {"role": "student"}, params)
    while logged < metrics:
        epoch += 1
        for name in names:
            values = {f"train/term{number}": 1 / epoch for number in range(min(terms, metrics - logged))}
            tracker.log_epoch(name, epoch, values)
            logged += len(values)
    tracker.finish_study(None, "FINISHED")
    return time.perf_counter() - start


def time_batched(folder: Path) -> float:
    """Return the seconds to send what is queued."""
    start = time.perf_counter()
    if not send_outbox(folder, lambda text, is_away: None, lambda seconds: False):
        raise RuntimeError("MLflow does not answer")
    return time.perf_counter() - start


def time_one_by_one(metrics: int) -> float:
    """Return the seconds to log metrics one by one."""
    from mlflow import MlflowClient

    client = MlflowClient()
    run = client.create_run("0").info.run_id
    start = time.perf_counter()
    for number in range(metrics):
        client.log_metric(run, "singly", 0.5, step=number)
    return time.perf_counter() - start


def count_metrics(store: Path) -> int:
    """Return the number of metrics of the study in a store."""
    with closing(sqlite3.connect(store)) as connection:
        return int(connection.execute("select count(*) from metrics where key like 'train/term%'").fetchone()[0])


def main(words: list[str] | None = None) -> int:
    """Measure and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--terms", type=int, default=10, help="metrics per run and epoch")
    parser.add_argument("--singly", type=int, default=100, help="metrics to log one by one; 0 for none")
    parser.add_argument("--limit", type=float, default=5.0, help="seconds for all metrics")
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ), chdir(folder):  # artifacts go to ./mlruns
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
            os.environ.pop(name, None)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        study = Path(folder, "metrics")
        with patch("pipelines.tracking.tracker.SenderProcess", NoSender), redirect_stdout(None):
            queued = queue_metrics(begin_study(study), arguments.metrics, arguments.runs, arguments.terms)
        seconds = time_batched(study)
        count = count_metrics(Path(folder, "mlflow.db"))
        singly = time_one_by_one(arguments.singly) if arguments.singly else None
    print(f"{count} metrics of {arguments.runs} runs: {seconds:.2f} s, queued in {queued:.3f} s")
    if singly is not None:
        each = singly / arguments.singly
        print(f"one by one {each * count:.1f} s (by {arguments.singly}): {each * count / seconds:.0f} times as long")
    if count != arguments.metrics:
        print(f"expected {arguments.metrics} metrics")
    return int(seconds > arguments.limit or count != arguments.metrics)


if __name__ == "__main__":
    sys.exit(main())
