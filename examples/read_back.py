"""A study read back from MLflow into pandas, and plotted.

    python read_back.py

`train_study` trains a small study, so that there is something to read; with studies of your own, leave it out. Set
MLFLOW_TRACKING_URI to the store or server that they were logged to; without it, this is mlflow.db in the current folder.
docs/mlflow.md lists what is logged.
"""

import matplotlib

matplotlib.use("agg")  # draws into files

import matplotlib.pyplot as plt
import mlflow
import pandas as pd
from matplotlib.ticker import MaxNLocator

from robustkd import run_study


def train_study() -> None:
    """Train a study and log it to MLflow."""
    run_study(
        dataset="digits",
        scenario="noise0.3",
        methods="baseline,smooth",
        student="resnet8",
        teacher="resnet8",
        epochs=3,
        batch=32,
        seeds=2,
        jobs=1,
        threads=1,
        tracker="mlflow",
        verbose=False,
    )


def read_runs() -> pd.DataFrame:
    """Return a row for each trained student: its run, parameters and metrics."""
    runs: pd.DataFrame = mlflow.search_runs(experiment_names=["robustkd"], filter_string="tags.role = 'student'")
    return runs[runs["status"] == "FINISHED"]


def read_curve(run_id: str, metric: str) -> "pd.Series[float]":
    """Return a metric of a run by epoch."""
    history = mlflow.MlflowClient().get_metric_history(run_id, metric)
    return pd.Series({point.step: point.value for point in history}, name=metric).sort_index()


def main() -> None:
    """Print the metrics of each method over seeds, and plot the accuracy of each run by epoch."""
    train_study()

    runs = read_runs()
    columns = ["metrics.balanced_accuracy", "metrics.worst_recall"]
    print(runs.groupby("params.method")[columns].agg(["mean", "std", "count"]).round(3).to_string())

    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    for number, (method, group) in enumerate(runs.groupby("params.method")):
        for run_id in group["run_id"]:
            curve = read_curve(run_id, "test/accuracy")
            axes.plot(curve.index, curve, f"C{number}o-", label=method)
            method = "_"  # in the legend once
    axes.set(xlabel="epoch", ylabel="test accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    figure.savefig("accuracy.png", dpi=150)
    print("accuracy.png: a line for each run")


if __name__ == "__main__":
    main()
