"""What the cells of a study say together: per method over seeds, per class against plain training, and along the run.

A difference is taken seed by seed to the baseline with the same criterion; where a study has none, to the plain baseline.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

FIGURES = ("accuracy", "balanced_accuracy", "worst_recall")
BASELINE = "baseline"
STOPPED = "baseline, stopped early"
TEACHER = "teacher"


class Comparison(NamedTuple):
    """A study's tables."""

    summary: pd.DataFrame  # a row per method: mean and std over seeds of each figure, and how many seeds
    per_class: pd.DataFrame  # a row per class: the baseline's recall, each method's mean difference from its reference
    along: pd.DataFrame  # plain training's accuracy at a quarter, half and the whole of the run
    curves: pd.DataFrame  # epoch, method, seed, accuracy
    study: dict[str, Any]  # study.json


def compare(folder: Path) -> Comparison:
    """The tables of a study's folder: of the methods and seeds it was last asked for, as far as they are finished."""
    study = json.loads((folder / "study.json").read_text())
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("runs/*/result.json"))]
    wanted = [r for r in results if _wanted(r["cell"], study)]
    table = long_table(wanted)
    methods = [TEACHER, *_with_stopped(study["methods"])]
    curves = pd.concat([_epochs(folder, r) for r in wanted], ignore_index=True) if wanted else pd.DataFrame()
    return Comparison(summarise(table, methods), differences(wanted, study["methods"]), along(curves), curves, study)


def _wanted(cell: dict[str, Any], study: dict[str, Any]) -> bool:
    return cell["seed"] < study["seeds"] and (cell["role"] == "teacher" or cell["method"] in study["methods"])


def _with_stopped(methods: Iterable[str]) -> list[str]:
    return [name for method in methods for name in ([method, STOPPED] if method == BASELINE else [method])]


def long_table(results: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """A line per run: method, seed and the figures; the early-stopped baseline is a method of its own."""
    lines = []
    for result in results:
        cell = result["cell"]
        method = TEACHER if cell["role"] == "teacher" else cell["method"]
        lines.append({"method": method, "seed": cell["seed"], **{f: result["last"][f] for f in FIGURES}})
        if method == BASELINE and "early" in result:
            lines.append({"method": STOPPED, "seed": cell["seed"], **{f: result["early"][f] for f in FIGURES}})
    return pd.DataFrame(lines, columns=["method", "seed", *FIGURES])


def summarise(table: pd.DataFrame, methods: Iterable[str]) -> pd.DataFrame:
    """Mean and standard deviation over seeds, a row per method in the order given."""
    grouped = table.groupby("method")
    parts = {f"{figure}_{what}": grouped[figure].agg(what) for figure in FIGURES for what in ("mean", "std")}
    summary = pd.DataFrame({**parts, "seeds": grouped["seed"].count()})
    return summary.reindex([method for method in methods if method in summary.index])


def reference(method: str, methods: Iterable[str]) -> str | None:
    """What a method is compared with.

    >>> reference("hinton+balanced", ["baseline", "baseline+balanced", "hinton+balanced"])
    'baseline+balanced'
    """
    same = BASELINE + "+" + method.split("+")[1] if "+" in method else BASELINE
    return next((name for name in (same, BASELINE) if name in methods), None)


def differences(results: Iterable[dict[str, Any]], methods: list[str]) -> pd.DataFrame:
    """Per class: the baseline's mean recall, then each method's mean difference from its reference, paired by seed.

    Without a baseline in the study, recalls stand in the place of differences.
    """
    recall = {
        (r["cell"]["method"], r["cell"]["seed"]): pd.Series(r["last"]["recall"], dtype=float)
        for r in results
        if r["cell"]["role"] != "teacher"
    }
    columns = {}
    for method in methods:
        against = reference(method, methods)
        seeds = [seed for name, seed in recall if name == method]
        if against in (None, method):
            columns[f"{method} recall"] = _mean([recall[method, seed] for seed in seeds])
        else:
            paired = [seed for seed in seeds if (against, seed) in recall]
            columns[f"{method} - {against}"] = _mean([recall[method, s] - recall[against, s] for s in paired])
    return pd.DataFrame({name: column for name, column in columns.items() if column is not None}).rename_axis("class")


def _mean(columns: list["pd.Series[float]"]) -> "pd.Series[float] | None":
    return pd.concat(columns, axis=1).mean(axis=1) if columns else None


def _epochs(folder: Path, result: dict[str, Any]) -> pd.DataFrame:
    path = folder / "runs" / result["name"] / "epochs.csv"
    if not path.exists():  # a teacher that was given has no history here
        return pd.DataFrame({"method": [], "seed": [], "epoch": [], "accuracy": []})
    cell = result["cell"]
    method = TEACHER if cell["role"] == "teacher" else cell["method"]
    return pd.read_csv(path)[["epoch", "accuracy"]].assign(method=method, seed=cell["seed"])


def along(curves: pd.DataFrame) -> pd.DataFrame:
    """Plain training's test accuracy at a quarter, half and the whole of the run, mean and std over seeds."""
    plain = curves[curves["method"] == BASELINE] if len(curves) else curves
    if not len(plain):
        return pd.DataFrame()
    last = int(plain["epoch"].max())
    at = {epoch: f"epoch {epoch}" for epoch in (-(-last // 4), -(-last // 2), last)}
    return plain[plain["epoch"].isin(list(at))].groupby("epoch")["accuracy"].agg(["mean", "std"]).rename(index=at)
