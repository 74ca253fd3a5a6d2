"""Comparison of a study's runs: per method, per class against plain training, and over the epochs.

Differences are taken seed by seed to the baseline with the same criterion; where a study has none, to the plain baseline.
Sentences about a comparison are in conclusions.py, several studies side by side in across.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd.evaluation import significance
from robustkd.evaluation.metric_table import metrics_of
from robustkd.evaluation.results import NetMetrics
from robustkd.study.agreements import add_teacher_agreement
from robustkd.study.results import BASELINE, TEACHER, LoadedStudy, RunKey, RunResult, StudyRecord

HEADLINE = "balanced_accuracy"  # the metric of the verdicts
ORACLE_VERDICT = "oracle"  # of methods that use knowledge that a user would not have
MIN_CLEAN_ROWS = 30  # test rows with a clean label that each class needs for a verdict by them
EARLY = "stopped early"  # the row of a method's network that was chosen on held-out rows
VERDICT_COLUMNS = (  # without those that Holm's correction adds
    *("reference", "metric", "n", "difference", "low", "high", "p", "boot_low", "boot_high"),
    *("difference_plain", "difference_stopped", "difference_early"),
)

Part = Literal["last", "clean"]  # of the test set: all rows, or those with a known true label
TestLabels = Literal["clean", "treated as clean", "clean rows", "as given"]  # that verdicts are by
Values = Mapping[tuple[str, int], NDArray[np.float64]]  # by method and seed


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
    folder: Path | None = None


def compare_runs(study: LoadedStudy, trust: bool = False) -> Comparison:
    """Compare the methods and seeds that a study was last asked for, as far as they are finished.

    Args:
        trust: treat the test labels as clean even if that is not known.
    """
    record = study.record
    order = {method: place for place, method in enumerate(record.methods, 1)}
    results = add_teacher_agreement(r for r in study.results if _is_requested(r.run, record))
    results.sort(key=lambda r: (order.get(r.run.row, 0), r.run.row != TEACHER, r.run.seed))
    histories = [_history(study.epochs[r.name], r.run) for r in results if r.name in study.epochs]
    curves = pd.concat(histories, ignore_index=True) if histories else pd.DataFrame()
    students = [r for r in results if r.run.role != TEACHER]
    criteria = record.criteria
    return Comparison(
        summarise(long_table(results)),
        compute_verdicts(students, record, trust, count_comparisons(study)),
        class_table(students, record, headline_part(students, record, trust)[0]),
        class_differences(students, criteria),
        class_differences([r for r in students if r.clean is not None], criteria, "clean"),
        baseline_progress(curves),
        curves,
        mean_costs(results),
        record,
        results,
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


def find_reference(method: str, criteria: Mapping[str, str]) -> str | None:
    """Return what a method is compared with: the baseline with its criterion, else the plain baseline, else None.

    A baseline with another criterion is itself compared with the plain baseline.

    Args:
        criteria: of every method of the study.

    >>> criteria = {"baseline": "ce", "baseline+balanced": "balanced", "hinton+balanced": "balanced"}
    >>> find_reference("hinton+balanced", criteria)
    'baseline+balanced'
    """
    own, same = criteria[method], f"{BASELINE}+{criteria[method]}"
    candidates = (BASELINE,) if method == same else (BASELINE, same)
    match = next((name for name in candidates if criteria.get(name) == own), None)
    return match or (BASELINE if BASELINE in criteria else None)


def compared_methods(criteria: Mapping[str, str]) -> dict[str, str]:
    """Return the methods that have a reference other than themselves, each with its reference."""
    references = {method: find_reference(method, criteria) for method in criteria}
    return {method: reference for method, reference in references.items() if reference not in (None, method)}


def headline_part(results: Sequence[RunResult], record: StudyRecord, trust: bool = False) -> tuple[Part, TestLabels]:
    """Return which part of the test set verdicts are based on, and by which labels.

    Where test labels are not known to be clean, these are the rows with a clean label, if each class has at least 30 of them;
    otherwise all rows, by labels that may be wrong unless the user states that they are not.
    """
    if record.truth_known or trust:
        return "last", "clean" if record.truth_known else "treated as clean"
    supports = [r.clean.support.values() for r in results if r.clean is not None]
    enough = len(supports) == len(results) > 0 and all(n >= MIN_CLEAN_ROWS for support in supports for n in support)
    return ("clean", "clean rows") if enough else ("last", "as given")


def count_comparisons(study: LoadedStudy) -> int:
    """Return how many methods Holm's correction is over: all that the study compares or ever compared, finished or not."""
    tried = {r.run.method: r.run.criterion for r in study.results if r.run.role != TEACHER}
    compared = compared_methods({**study.record.criteria, **tried})
    return len(compared.keys() - {*study.record.oracles})


def compute_verdicts(
    results: Sequence[RunResult], record: StudyRecord, trust: bool = False, comparisons: int = 0
) -> pd.DataFrame:
    """Compute each method's difference from its reference in balanced accuracy, and its verdict.

    Args:
        comparisons: how many methods Holm's correction is over, where that is more than the table has.

    Returns:
        By method: reference, metric, n (pairs of seeds; of draws of the scenario where seeds share a few), difference, low,
        high (95 %), p, p_holm, among (how many the correction is over), labels, verdict; difference_plain, from plain training
        where that is not the reference; difference_stopped, from the reference stopped early: no gain over an overtrained
        baseline; difference_early, with both stopped early. From 10 seeds, boot_low and boot_high. Oracles have no p.
    """
    part, labels = headline_part(results, record, trust)
    rows = {
        method: _difference_row(method, reference, results, record, part)
        for method, reference in compared_methods(record.criteria).items()
    }
    table = pd.DataFrame(list(rows.values()), index=pd.Index(rows, name="method"), columns=VERDICT_COLUMNS)
    is_oracle = table.index.isin(record.oracles)
    p = table["p"].where(~is_oracle).to_numpy(dtype=float)
    compared = len(p) - int(is_oracle.sum())
    table["p"], table["among"], table["labels"] = p, max(compared, comparisons), labels
    # What is not finished may result in any p: counted as 1, it withdraws no verdict later.
    filled = np.concatenate([np.nan_to_num(p[~is_oracle], nan=1.0), np.ones(max(0, comparisons - compared))])
    table.loc[~is_oracle, "p_holm"] = significance.holm(filled)[:compared]
    table["p_holm"] = table["p_holm"].where(~np.isnan(p))
    evidence = zip(table["n"], table["difference"], table["low"], table["p_holm"], strict=True)
    table["verdict"] = [significance.verdict(*row) for row in evidence]
    table.loc[is_oracle, "verdict"] = ORACLE_VERDICT
    return table


def _difference_row(
    method: str, reference: str, results: Sequence[RunResult], record: StudyRecord, part: Part
) -> dict[str, Any]:
    """Return a method's row in the table of verdicts, up to Holm's correction."""
    value = _headline_values({_key(r): r.part(part) for r in results})
    stopped = _headline_values({_key(r): r.early if part == "last" else r.clean_early for r in results})
    d = _paired_differences(value, value, method, reference, shared_draws(record))
    plain = _paired_differences(value, value, method, BASELINE) if reference != BASELINE else d[:0]
    from_early = _paired_differences(value, stopped, method, reference)
    both_early = _paired_differences(stopped, stopped, method, reference)
    test, (boot_low, boot_high) = significance.paired_t_test(d), significance.bootstrap_interval(d)
    return {
        "reference": reference,
        "metric": HEADLINE if part == "last" else f"clean_{HEADLINE}",
        "n": len(d),
        **dict(zip(("difference", "low", "high", "p"), (float(x[0]) for x in test), strict=True)),
        "boot_low": float(boot_low[0]),
        "boot_high": float(boot_high[0]),
        "difference_plain": plain.mean() if len(plain) else np.nan,
        "difference_stopped": from_early.mean() if len(from_early) else np.nan,
        "difference_early": both_early.mean() if len(both_early) else np.nan,
    }


def _headline_values(nets: Mapping[tuple[str, int], NetMetrics | None]) -> Values:
    return {key: np.array([net.metrics[HEADLINE]], dtype=float) for key, net in nets.items() if net is not None}


def _key(result: RunResult) -> tuple[str, int]:
    return result.run.method, result.run.seed


def shared_draws(record: StudyRecord) -> int | None:
    """Return how many draws of the scenario the seeds of a study share; None where each has its own."""
    shared = record.options.data_seeds
    return None if shared is None or shared >= record.seeds else shared


def _average_by_draw(differences: NDArray[np.float64], seeds: Sequence[int], shared: int | None) -> NDArray[np.float64]:
    """Return independent differences: by seed, or means by draw where seeds share a few draws: (n, m) -> (d, m).

    Where all share one draw they are independent given it, and the inference is about that draw only.
    """
    if shared is None or shared == 1:
        return differences
    draw = np.array(seeds) % shared
    return np.stack([differences[draw == d].mean(axis=0) for d in np.unique(draw)]) if len(seeds) else differences


def _paired_differences(
    own: Values, other: Values, method: str, reference: str, shared: int | None = None
) -> NDArray[np.float64]:
    """Return the independent differences over the seeds that both have: (n, 1)."""
    seeds = sorted(seed for name, seed in own if name == method and (reference, seed) in other)
    differences = np.array([own[method, s] - other[reference, s] for s in seeds]).reshape(-1, 1)
    return _average_by_draw(differences, seeds, shared)


def class_table(results: Sequence[RunResult], record: StudyRecord, part: Part = "last") -> pd.DataFrame:
    """Compare recall per class and method: both recalls, difference, its unadjusted 95 % interval, p and q.

    q is Benjamini and Hochberg's over all classes and methods of the study. There is no verdict per class: corrected for so
    many comparisons, none could ever be given at 5 seeds.

    Args:
        part: of the test set, as for the verdicts.
    """
    nets = {_key(r): net for r in results if (net := r.part(part)) is not None}
    if not nets:
        return pd.DataFrame(columns=["class", "support", "method", "reference", "recall", "recall_reference", "n", "q"])
    first = next(iter(nets.values()))
    value = {key: np.array(list(net.recall.values()), dtype=float) for key, net in nets.items()}
    parts = []
    for method, reference in compared_methods(record.criteria).items():
        seeds = [seed for name, seed in value if name == method and (reference, seed) in value]
        if not seeds:
            continue
        own, theirs = (np.stack([value[name, seed] for seed in seeds]) for name in (method, reference))
        test = significance.paired_t_test(_average_by_draw(own - theirs, seeds, shared_draws(record)))
        columns = {
            **{"class": list(first.recall), "support": list(first.support.values())},
            **{"method": method, "reference": reference, "n": len(seeds)},
            **{"recall": own.mean(axis=0), "recall_reference": theirs.mean(axis=0), "difference": test.mean},
            **{"low": test.low, "high": test.high, "p": test.p},
        }
        parts.append(pd.DataFrame(columns))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["class", "method", "p"])
    return table.assign(q=significance.benjamini_hochberg(table["p"].to_numpy(dtype=float)))


def class_differences(results: Iterable[RunResult], criteria: Mapping[str, str], part: Part = "last") -> pd.DataFrame:
    """Return per class the baseline's mean recall, then each method's mean difference from its reference, paired by seed.

    Methods without a reference are shown by their recall.

    Args:
        criteria: of every method of the study.
        part: of the test set.
    """
    recall = {
        _key(r): pd.Series(net.recall, dtype=float)
        for r in results
        if r.run.role != TEACHER and (net := r.part(part)) is not None
    }
    references = compared_methods(criteria)
    columns = {}
    for method in criteria:
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
    empty = (table["low"] == 0) & (table["high"] == 0) & (table["n"] < significance.MIN_SEEDS)
    return table.assign(low=table["low"].mask(empty), high=table["high"].mask(empty))
