"""Several studies side by side: each method's mean in each study, its average ranks, and how many verdicts hold over all."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from robustkd.evaluation import significance
from robustkd.evaluation.metric_table import find_metric
from robustkd.evaluation.ranks import AGREEMENT, critical_difference, friedman_test, lowest_correlation
from robustkd.study.comparison import Comparison, long_table
from robustkd.study.pairing import HEADLINE
from robustkd.study.results import BASELINE, StudyRecord
from robustkd.study.verdicts import ORACLE_VERDICT

ALL = "all"  # the row of the tests of ranks over all studies

# Options that do not distinguish studies in a column heading.
UNLABELLED = {
    *("dataset", "scenario", "methods", "seeds", "out", "name", "fresh"),
    *("tracker", "experiment", "system_metrics", "jobs", "threads", "compile", "download", "data_dir"),
}


class StudyTable(NamedTuple):
    """Several studies side by side.

    Attributes:
        table: study, method, mean, std, seeds, difference from the reference, verdict, best, below.
        ranks: a row per method: `rank`, the average over the studies, `studies`, how many, and the average over each family of
            scenarios by its name, if there are several.
        rank_tests: a row for all studies and for each family: studies, methods, p of Friedman's test, critical_difference.
        agreement: the lowest rank correlation of two families; NaN where fewer than two rank the methods.
        oracles: methods that are not ranked.
    """

    table: pd.DataFrame
    ranks: pd.DataFrame
    rank_tests: pd.DataFrame
    agreement: float
    oracles: frozenset[str]

    @property
    def families(self) -> list[str]:
        """The families of scenarios that are ranked separately; none where there is one."""
        return [str(name) for name in self.ranks if name not in ("rank", "studies")]

    @property
    def has_common_rank(self) -> bool:
        """Whether the families rank the methods alike, so that an average over all of them says something."""
        return not self.agreement < AGREEMENT


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


def compare_studies(
    comparisons: Sequence[Comparison], metric: str = HEADLINE, families: Sequence[str] = ()
) -> StudyTable:
    """Put studies side by side: each row's mean and spread in each, and methods by their average rank.

    Ranks are of the means of the networks that methods ship, 1 the best, ties averaged, among the methods that every study has
    with all its seeds: ranks among few and among many are not comparable. The teacher, what is stopped early and what is
    evaluated next to a network are not ranked, nor are oracles. Verdicts are shown only for the metric they are about.

    Args:
        metric: the name of its column.
        families: of the scenario of each study; ranks are averaged over each family too. None if empty.
    """
    ascending = find_metric(metric).higher_is_better is False
    lines: list[dict[str, Any]] = []
    ranked: dict[str, pd.Series[float]] = {}
    complete: dict[str, set[str]] = {}
    labels = study_labels([c.record for c in comparisons])
    for label, each in zip(labels, comparisons, strict=True):
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
    family_of = dict(zip(labels, families or [ALL] * len(labels), strict=True))
    ranked_by = _average_ranks(pd.DataFrame(common).rank(ascending=ascending), family_of)
    oracles = frozenset(name for each in comparisons for name in each.record.oracles)
    return StudyTable(pd.DataFrame(lines), *ranked_by, oracles)


def _average_ranks(ranks: pd.DataFrame, families: Mapping[str, str]) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """Return average ranks, their tests, and the agreement of families, as in `StudyTable`.

    Args:
        ranks: of methods (rows) in studies (columns).
        families: of the scenarios of studies.
    """
    groups: dict[str, list[Any]] = {}
    for study in ranks:
        groups.setdefault(families[str(study)], []).append(study)
    groups = groups if len(groups) > 1 else {}
    by_family = {name: ranks[studies].mean(axis=1) for name, studies in groups.items()}
    average = pd.DataFrame({"rank": ranks.mean(axis=1), "studies": ranks.count(axis=1), **by_family})
    tests = pd.DataFrame({name: _test_ranks(ranks[studies]) for name, studies in {ALL: [*ranks], **groups}.items()})
    agreement = lowest_correlation(average[[*by_family]].to_numpy().T) if by_family and len(average) else np.nan
    average = average.rename_axis("method").sort_values("rank", kind="stable")
    return average, tests.T.rename_axis("family"), agreement


def _test_ranks(ranks: pd.DataFrame) -> dict[str, float]:
    """Test the ranks of methods (rows) in studies (columns)."""
    methods, studies = ranks.shape
    return {
        **{"studies": studies, "methods": methods, "p": friedman_test(ranks.to_numpy().T)},
        "critical_difference": critical_difference(methods, studies) if studies > 1 else np.nan,
    }


class VerdictsAcross(NamedTuple):
    """How many verdicts of better or worse several studies have, and how many with Holm's correction over all of them."""

    comparisons: int
    verdicts: int
    holding: int


def count_verdicts(comparisons: Sequence[Comparison]) -> VerdictsAcross:
    """Count the verdicts of studies, and those that hold with Holm's correction over the comparisons of all studies.

    What a study has not finished, or compared before, counts as it does within the study: as a p of 1.
    """
    p, decided, among = [], [], 0
    for each in comparisons:
        table = each.verdicts[each.verdicts["verdict"] != ORACLE_VERDICT]
        p += [*table["p"].astype(float).fillna(1.0)]
        decided += [*table["verdict"].isin(["better", "worse"])]
        among += int(table["among"].iloc[0]) if len(table) else 0
    corrected = significance.holm([*p, *np.ones(max(0, among - len(p)))])[: len(p)]
    holding = np.array(decided, dtype=bool) & (corrected < significance.ALPHA)
    return VerdictsAcross(max(among, len(p)), sum(decided), int(holding.sum()))


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
        reference = comparison.references.get(name, comparison.reference or BASELINE)
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
