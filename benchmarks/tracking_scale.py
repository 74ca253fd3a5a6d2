"""What MLflow's store takes with many runs: time to write, size, and time of the searches that a list of runs is made of.

    python benchmarks/tracking_scale.py [--store URI] [--runs 300] [--metrics 100] [--sizes 1000 10000 100000] [--out FILE.csv]

Studies of 50 runs are logged as training logs them, with all their parameters and --metrics metrics a run, until there are
--runs, and one of 10 runs with 2,000 metrics, as many as 200 epochs have. Then the store is filled up to each size by copying
the rows of these runs in SQL, which is not how runs are written but leaves what searches read. At each size, searches are
timed, and another study is logged. --store is the address of an empty database, such as postgresql+psycopg2://USER@HOST/NAME;
by default a new SQLite file, in a temporary folder.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import tracking as batches
from sqlalchemy import Connection, Engine, create_engine, inspect, text

from pipelines import tracking
from pipelines.tracking.parent import EXPERIMENT

STUDY_RUNS, TERMS = 50, 10  # runs of a study; metrics of a run and epoch
LONG_RUNS, LONG_METRICS = 10, 2000  # of a study that shows what metrics cost
TABLES = ("runs", "params", "tags", "metrics", "latest_metrics")  # what a run consists of
PREFIX = 24  # of the 32 letters of a run's id, which copies keep; the others count the copies
REPEATS = 3


def log_study(name: str, runs: int, metrics: int) -> tuple[float, float]:
    """Log a study; return the seconds by the clock and of this process."""
    folder = Path(name).absolute()
    clock, processor = time.perf_counter(), time.process_time()
    with patch("pipelines.tracking.tracker.SenderProcess", batches.NoSender), redirect_stdout(None):
        batches.queue_metrics(batches.begin_study(folder), runs * metrics, runs, TERMS)
    batches.time_batched(folder)
    shutil.rmtree(folder)
    return time.perf_counter() - clock, time.process_time() - processor


def count_rows(connection: Connection, table: str) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def copy_runs(engine: Engine, copies: range) -> None:
    """Copy all runs that MLflow wrote, with what belongs to them; parents of copies are copies too."""
    for table in TABLES:
        columns = [column["name"] for column in inspect(engine).get_columns(table)]
        for number in copies:
            with engine.begin() as connection:
                connection.execute(text(copy_statement(table, columns, f"{number:08x}")))


def copy_statement(table: str, columns: Sequence[str], suffix: str) -> str:
    """Return the statement that copies the first runs of a table under ids that end in a suffix."""
    own = f"substr(run_uuid, 1, {PREFIX}) || '{suffix}'"
    values = {"run_uuid": own}
    if table == "tags":
        parent = f"substr(value, 1, {PREFIX}) || '{suffix}'"
        values["value"] = f"CASE WHEN key = 'mlflow.parentRunId' THEN {parent} ELSE value END"
    chosen = ", ".join(values.get(column, column) for column in columns)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {table}"
        " WHERE run_uuid IN (SELECT run_uuid FROM originals)"
    )


def remember_originals(engine: Engine) -> int:
    """List the runs that MLflow wrote in a table of their own; return how many there are."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE originals AS SELECT run_uuid FROM runs"))
        return count_rows(connection, "originals")


def store_bytes(engine: Engine) -> int:
    """Return the size of the store."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            pages, size = (
                connection.execute(text(f"PRAGMA {what}")).scalar_one() for what in ("page_count", "page_size")
            )
            return int(pages) * int(size)
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def searches() -> dict[str, Callable[[], object]]:
    """Return the searches by what they are for."""
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    ids = [experiment.experiment_id]
    child = client.search_runs(ids, "tags.`mlflow.parentRunId` LIKE '%'", max_results=1)[0]
    children = f"tags.`mlflow.parentRunId` = '{child.data.tags['mlflow.parentRunId']}'"
    return {
        "the newest 100": lambda: client.search_runs(ids, max_results=100),
        "the best 100 by a metric": lambda: client.search_runs(
            ids, max_results=100, order_by=["metrics.`train/term0` DESC"]
        ),
        "100 by a parameter": lambda: client.search_runs(ids, "params.scenario = 'clean'", max_results=100),
        "the runs of a study": lambda: client.search_runs(ids, children, max_results=1000),
        "all studies": lambda: tracking.list_studies(EXPERIMENT),
        "a run's curve": lambda: client.get_metric_history(child.info.run_id, "train/term0"),
    }


def median_seconds(call: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure_size(engine: Engine, metrics: int, number: int) -> dict[str, float]:
    """Measure a store of the present size: rows, bytes, searches, and the logging of another study."""
    with engine.connect() as connection:
        runs, rows = count_rows(connection, "runs"), count_rows(connection, "metrics")
    found = {name: median_seconds(call) for name, call in searches().items()}
    clock, _ = log_study(f"later-{number}", STUDY_RUNS, metrics)
    return {"runs": runs, "metrics": rows, "GB": store_bytes(engine) / 1e9, **found, "another study": clock}


def measure(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Yield a row after logging, and one for each size."""
    engine = create_engine(os.environ["MLFLOW_TRACKING_URI"])
    log_study("first", 1, TERMS)  # creates the tables
    studies = arguments.runs // STUDY_RUNS
    times = [log_study(f"study-{number}", STUDY_RUNS, arguments.metrics) for number in range(studies)]
    clock, processor = map(sum, zip(*times, strict=True))
    runs = studies * STUDY_RUNS
    print(
        f"{engine.dialect.name}: {runs} runs of {arguments.metrics} metrics in {clock:.0f} s, {processor:.0f} s of the sender's"
        f" processor time: {clock / runs:.2f} s a run",
        flush=True,
    )
    originals, copied = remember_originals(engine), 1
    longer, longer_processor = log_study("longer", LONG_RUNS, LONG_METRICS)
    print(
        f"{LONG_RUNS} runs of {LONG_METRICS} metrics in {longer:.0f} s: {LONG_RUNS * LONG_METRICS / longer:.0f} metrics/s"
    )
    for number, size in enumerate((0, *arguments.sizes)):
        copies = range(copied, max(copied, size // originals))
        copy_runs(engine, copies)
        copied = copies.stop
        yield {
            "store": engine.dialect.name,
            "seconds_per_run": clock / runs,
            "processor_seconds_per_run": processor / runs,
            "seconds_per_long_run": longer / LONG_RUNS,
            "processor_seconds_per_long_run": longer_processor / LONG_RUNS,
            **measure_size(engine, arguments.metrics, number),
        }


def main(words: Sequence[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="address of an empty database")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--metrics", type=int, default=100, help="of a run")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(words)
    out = arguments.out.absolute() if arguments.out else None
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ), chdir(folder):  # artifacts go to ./mlruns
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
            os.environ.pop(name, None)
        os.environ["MLFLOW_TRACKING_URI"] = arguments.store or f"sqlite:///{folder}/mlflow.db"
        for row in measure(arguments):
            rows.append(row)
            table = pd.DataFrame(rows)
            print(table.tail(1).round(3).to_string(index=False), flush=True)
            if out:
                table.round(4).to_csv(out, index=False)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
