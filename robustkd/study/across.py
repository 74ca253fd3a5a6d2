"""Several studies side by side: each method's mean in each study, and its average rank."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from robustkd.evaluation.metric_table import find_metric
from robustkd.study.comparison import Comparison, long_table
from robustkd.study.pairing import HEADLINE, find_reference
from robustkd.study.results import BASELINE, StudyRecord

# Options that do not distinguish studies in a column heading.
UNLABELLED = {
    *("dataset", "scenario", "methods", "seeds", "out", "name", "fresh"),
    *("tracker", "experiment", "system_metrics", "jobs", "threads", "download", "data_dir"),
}


class StudyTable(NamedTuple):
    """Several studies side by side."""

    table: pd.DataFrame  # study, method, mean, std, seeds, difference from the reference, verdict, best, below
    ranks: pd.DataFrame  # a row per method: average rank over the studies, and over how many
    oracles: frozenset[str] = frozenset()  # methods that are not ranked


def study_labels(records: Sequence[StudyRecord]) -> list[str]:
    """Return a column heading for each study: its scenario, and whatever else distinguishes them."""
    options = [{**asdict(record.options), **record.recipe} for record in records]
    names = [name for name in dict.fromkeys(k for o in options for k in o) if name not in UNLABELLED]
    varied = [name for name in names if len({str(o.get(name)) for o in options}) > 1]
    several = len({o["dataset"] for o in options}) > 1
    scenarios = [f"{o['dataset']} {o['scenario']}" if several else str(o["scenario"]) for o in options]
    if len(set(scenarios)) == len(scenarios):
        return scenarios
    labels = [
        ", ".join([label, *(f"{name} {o.get(name)}" for name in varied)])
        for label, o in zip(scenarios, options, strict=True)
    ]
    return [label if labels.count(label) == 1 else f"{label} ({place})" for place, label in enumerate(labels, 1)]


def compare_studies(comparisons: Sequence[Comparison], metric: str = HEADLINE) -> StudyTable:
    """Put studies side by side: each row's mean and spread in each, and methods by their average rank.

    Ranks are of the means of the networks that methods ship, 1 the best, ties averaged, among the methods that every study has
    with all its seeds: ranks among few and among many are not comparable. The teacher, what is stopped early and what is
    evaluated next to a network are not ranked, nor are oracles. Verdicts are shown only for the metric they are about.

    Args:
        metric: the name of its column.
    """
    ascending = find_metric(metric).higher_is_better is False
    lines: list[dict[str, Any]] = []
    ranked: dict[str, pd.Series[float]] = {}
    complete: dict[str, set[str]] = {}
    for label, each in zip(study_labels([c.record for c in comparisons]), comparisons, strict=True):
        if f"{metric}_mean" not in each.summary:
            continue
        means = each.summary[f"{metric}_mean"]
        shipped = [name for name in means.index if name in each.record.ranked_methods]
        full = each.summary.loc[shipped, "seeds"]
        complete[label] = {name for name in shipped if full[name] == full.max()}
        ranked[label] = means[shipped]
        lines += _study_lines(each, label, metric, shipped, ascending)
    everywhere = set.intersection(*complete.values()) if complete else set()
    common = {label: values[values.index.isin(everywhere)] for label, values in ranked.items()}
    ranks = pd.DataFrame(common).rank(ascending=ascending)
    average = pd.DataFrame({"rank": ranks.mean(axis=1), "studies": ranks.count(axis=1)}).rename_axis("method")
    oracles = frozenset(name for each in comparisons for name in each.record.oracles)
    return StudyTable(pd.DataFrame(lines), average.sort_values("rank", kind="stable"), oracles)


def _study_lines(
    comparison: Comparison, label: str, metric: str, shipped: list[str], ascending: bool
) -> list[dict[str, Any]]:
    """Return a study's lines of the table."""
    means = comparison.summary[f"{metric}_mean"]
    by_seed = long_table(comparison.results).pivot(index="seed", columns="method", values=metric)
    best = means[shipped].min() if ascending else means[shipped].max()
    has_verdicts = set(comparison.verdicts["metric"]) <= {metric}
    lines = []
    for method, row in comparison.summary.iterrows():
        name = str(method)
        criteria = comparison.record.criteria
        reference = find_reference(name, criteria) if name in criteria else BASELINE
        compared = reference in by_seed and reference != name
        difference = (by_seed[name] - by_seed[reference]).mean() if compared else np.nan
        lines.append(
            {
                **{"study": label, "method": name, "mean": means[name], "std": row[f"{metric}_std"]},
                **{"seeds": int(row["seeds"]), "difference": difference},
                "verdict": comparison.verdicts["verdict"].get(name, "") if has_verdicts else "",
                "best": name in shipped and bool(means[name] == best),
                "below": bool(difference > 0 if ascending else difference < 0),
            }
        )
    return lines
