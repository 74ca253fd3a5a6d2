"""Comparison of a study's runs: per method, per class against plain training, and over the epochs.

What is compared with what is in pairing.py, the verdicts are in verdicts.py. Sentences about a comparison are in
conclusions.py, several studies side by side in across.py.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from robustkd.evaluation import significance
from robustkd.evaluation.metric_table import metrics_of
from robustkd.evaluation.results import NetMetrics
from robustkd.study.agreements import add_teacher_agreement
from robustkd.study.pairing import Part, compared_methods
from robustkd.study.results import BASELINE, TEACHER, LoadedStudy, RunKey, RunResult, StudyRecord
from robustkd.study.verdicts import class_table, compute_verdicts, count_comparisons, headline_part

EARLY = "stopped early"  # the row of a method's network that was chosen on held-out rows


class Comparison(NamedTuple):
    """The tables of a study."""

    summary: pd.DataFrame  # a row per method: mean and std over seeds of each metric, and the number of seeds
    verdicts: pd.DataFrame  # a row per method: difference from its reference in the headline metric, and the verdict
    classes: pd.DataFrame  # a row per class and method: recall, the reference's, difference, interval, p and q
    per_class: pd.DataFrame  # a row per class: the baseline's recall, each method's mean difference from its reference
    per_class_clean: pd.DataFrame  # the same on test rows with a clean label, where the labels given may be wrong
    progress: pd.DataFrame  # plain training's accuracy at a quarter, half and the end of training
    curves: pd.DataFrame  # epoch, method, seed, accuracy; where wrong labels are known, memorised and recovered
    costs: pd.DataFrame  # a row per method: the mean cost of a run
    record: StudyRecord
    results: list[RunResult]  # of the requested runs, teachers first
    references: Mapping[str, str]  # of each compared method
    reference: str = ""  # of all methods, where the user named one
    folder: Path | None = None


def compare_runs(study: LoadedStudy, trust: bool = False, reference: str = "") -> Comparison:
    """Compare the methods and seeds that a study was last asked for, as far as they are finished.

    Args:
        trust: treat the test labels as clean even if that is not known.
        reference: a method of the study that all others are compared with; by default, each with its baseline.
    """
    record = study.record
    order = {method: place for place, method in enumerate(record.methods, 1)}
    results = add_teacher_agreement(r for r in study.results if _is_requested(r.run, record))
    results.sort(key=lambda r: (order.get(r.run.row, 0), r.run.row != TEACHER, r.run.seed))
    histories = [_history(study.epochs[r.name], r.run) for r in results if r.name in study.epochs]
    curves = pd.concat(histories, ignore_index=True) if histories else pd.DataFrame()
    students = [r for r in results if r.run.role != TEACHER]
    references = compared_methods(record.criteria, reference)
    among = count_comparisons(record, study.results, reference)
    return Comparison(
        summarise(long_table(results)),
        compute_verdicts(students, record, references, trust, among),
        class_table(students, record, references, headline_part(students, record, trust)[0]),
        class_differences(students, record.methods, references),
        class_differences([r for r in students if r.clean is not None], record.methods, references, "clean"),
        baseline_progress(curves),
        curves,
        mean_costs(results),
        record,
        results,
        references,
        reference,
        study.folder,
    )


def _is_requested(run: RunKey, record: StudyRecord) -> bool:
    if run.role == TEACHER and "teacher" not in record.resolved.recipes:
        return run.seed in (0, *record.seed_numbers)  # a trained teacher that the user gave is evaluated as seed 0's
    return run.seed in record.seed_numbers and (run.role == TEACHER or run.method in record.methods)


def table_rows(result: RunResult) -> dict[str, NetMetrics]:
    """Return a run's rows in the tables: its model, what was evaluated next to it, and a student stopped early."""
    name = result.run.row
    rows = {name: result.last, **{f"{name}, {part}": net for part, net in result.auxiliary.items()}}
    if result.early is not None and result.run.role != TEACHER:
        rows[early_row(name)] = result.early
    return rows


def early_row(method: str) -> str:
    """Return the name of the row of a method that was stopped early.

    >>> early_row("dml")
    'dml, stopped early'
    """
    return f"{method}, {EARLY}"


def _numbers(net: NetMetrics) -> dict[str, Any]:
    """Return the single numbers among a network's metrics, by column."""
    scaled = net.scaled.model_dump() if net.scaled else {}
    return {
        **net.metrics,
        **net.groups,
        **{name if name == "temperature" else f"{name}_scaled": value for name, value in scaled.items()},
    }


def _run_numbers(result: RunResult) -> dict[str, Any]:
    """Return what is measured of a run's model only: on clean test rows, against the truth, under attacks, ..."""
    corruptions = {kind: list(levels.values()) for kind, levels in (result.corruptions or {}).items()}
    every = [value for values in corruptions.values() for value in values]
    fit = result.fit.metrics if result.fit else {}
    return {
        **{f"clean_{name}": value for name, value in (_numbers(result.clean) if result.clean else {}).items()},
        **{name: fit[name] for name in metrics_of("truth") if name in fit},
        **{f"agreement_{name}": value for name, value in (result.agreement or {}).items()},
        **{name: attacked.accuracy for name, attacked in result.robust.items()},
        **({"corruptions": np.mean(every)} if every else {}),
        **{f"corruption {kind}": np.mean(values) for kind, values in corruptions.items()},
    }


def long_table(results: Iterable[RunResult]) -> pd.DataFrame:
    """Return a line per run and row: method, seed, and every metric that any run has."""
    lines = []
    for result in results:
        for place, (name, net) in enumerate(table_rows(result).items()):
            further = _run_numbers(result) if place == 0 else {}
            lines.append({"method": name, "seed": result.run.seed, **_numbers(net), **further})
    table = pd.DataFrame(lines, columns=None if lines else ["method", "seed", *metrics_of("performance")])
    columns = [name for name in table if name not in ("method", "seed")]
    table = table.astype(dict.fromkeys(columns, float))
    return table.drop(columns=[name for name in columns if len(lines) and table[name].isna().all()])


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over seeds, a row per method in the order of its first line."""
    grouped, columns = table.groupby("method", sort=False), [str(c) for c in table if c not in ("method", "seed")]
    parts = {f"{column}_{what}": grouped[column].agg(what) for column in columns for what in ("mean", "std")}
    return pd.DataFrame({**parts, "seeds": grouped["seed"].count()})


def class_differences(
    results: Iterable[RunResult], methods: Iterable[str], references: Mapping[str, str], part: Part = "last"
) -> pd.DataFrame:
    """Return per class the mean recall of methods without a reference, then the other methods' mean differences from theirs.

    Differences are paired by seed.

    Args:
        references: by method.
        part: of the test set.
    """
    recall = {
        (r.run.method, r.run.seed): pd.Series(net.recall, dtype=float)
        for r in results
        if r.run.role != TEACHER and (net := r.part(part)) is not None
    }
    columns = {}
    for method in sorted(methods, key=lambda name: name in references):
        seeds = [seed for name, seed in recall if name == method]
        if method not in references:
            columns[f"{method} recall"] = _mean_column([recall[method, seed] for seed in seeds])
        else:
            reference = references[method]
            paired = [recall[method, s] - recall[reference, s] for s in seeds if (reference, s) in recall]
            columns[f"{method} - {reference}"] = _mean_column(paired)
    return pd.DataFrame({name: column for name, column in columns.items() if column is not None}).rename_axis("class")


def _mean_column(columns: list["pd.Series[float]"]) -> "pd.Series[float] | None":
    return pd.concat(columns, axis=1).mean(axis=1) if columns else None


def _history(epochs: pd.DataFrame, run: RunKey) -> pd.DataFrame:
    kept = epochs[[name for name in ("epoch", "accuracy", "memorised", "recovered") if name in epochs]]
    return kept.assign(method=run.row, seed=run.seed)


def baseline_progress(curves: pd.DataFrame) -> pd.DataFrame:
    """Return plain training's test accuracy at a quarter, half and the end of training, mean and std over seeds."""
    plain = curves[curves["method"] == BASELINE] if len(curves) else curves
    if not len(plain):
        return pd.DataFrame()
    last = int(plain["epoch"].max())
    at = {epoch: f"epoch {epoch}" for epoch in (-(-last // 4), -(-last // 2), last)}
    return plain[plain["epoch"].isin(list(at))].groupby("epoch")["accuracy"].agg(["mean", "std"]).rename(index=at)


def early_stopping_point(comparison: Comparison, method: str = BASELINE) -> tuple[float, float] | None:
    """Return the epoch and accuracy at which a method was stopped early, means over seeds.

    None where a seed was not stopped early: a mean over the others would be about other runs than the curves are.
    """
    runs = [r for r in comparison.results if r.run.role != TEACHER and r.run.method == method]
    points = [
        (r.training.early_epoch, r.early.metrics["accuracy"])
        for r in runs
        if r.early is not None and r.training is not None and r.training.early_epoch is not None
    ]
    if not points or len(points) < len(runs):
        return None
    epoch, accuracy = np.array(points, dtype=float).mean(axis=0)
    return float(epoch), float(accuracy)


def mean_costs(results: Iterable[RunResult]) -> pd.DataFrame:
    """Return the mean cost of a run of each method."""
    lines = [{"method": r.run.row, **r.cost.model_dump()} for r in results]
    if not lines:
        return pd.DataFrame()
    table = pd.DataFrame(lines)
    table = table.astype(dict.fromkeys(table.columns.drop("method"), float))
    return table.groupby("method", sort=False).mean()


def hide_uninformative_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Remove intervals of few seeds whose differences are all 0: [0, 0] would look as if it were certain."""
    if not {"difference", "low", "high", "n"} <= {*table}:
        return table
    few = table["n"] < significance.MIN_SEEDS
    hidden: dict[str, pd.Series[float]] = {}
    for low, high in (("low", "high"), ("seed_low", "seed_high")):
        if low in table:
            empty = few & (table[low] == 0) & (table[high] == 0)
            hidden |= {low: table[low].mask(empty), high: table[high].mask(empty)}
    return table.assign(**hidden)
