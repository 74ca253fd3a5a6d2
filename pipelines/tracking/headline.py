"""What the tracked run of a study or of a sweep says at a glance: metrics to sort and chart by, and the answer in Markdown."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pipelines.report.renderers.markdown import escape_markdown, render_markdown
from pipelines.report.study_table import compare_by_family, describe_rank_tests, describe_verdicts_across
from pipelines.report.verdict_table import DETAILS, verdict_table
from pipelines.tracking.names import with_distinct_names
from robustkd.errors import UsageError
from robustkd.study.across import ALL, StudyTable, count_verdicts
from robustkd.study.comparison import Comparison, compare_runs
from robustkd.study.conclusions import question_and_answer, test_set_caveats, trusts_test_labels
from robustkd.study.pairing import HEADLINE
from robustkd.study.results import TEACHER, read_study
from robustkd.study.verdicts import ORACLE_VERDICT

CHARTED = (HEADLINE, "accuracy", "worst_recall")  # metrics of each row of a study's table


class Headline(NamedTuple):
    """What is shown of a study.

    Attributes:
        metrics: by the names under which they are logged.
        text: in Markdown.
        best: the method with the largest gain, or an empty string.
    """

    metrics: dict[str, float]
    text: str
    best: str = ""


Summarise = Callable[[], Headline | None]


def read_headline(folder: Path) -> Headline | None:
    """Return the headline of the study in a folder; None if its results cannot be read."""
    try:
        study = read_study(folder)
    except UsageError:  # the comparison reports it
        return None
    return study_headline(compare_runs(study, trusts_test_labels(study.record)))


def study_headline(comparison: Comparison) -> Headline:
    """Return the headline of a study: means over its seeds, and differences as in its verdicts.

    `best_gain` and `gain/METHOD` are differences in balanced accuracy from plain training with the same criterion;
    `balanced_accuracy/METHOD`, `accuracy/METHOD` and `worst_recall/METHOD` are those of the last epoch, the teacher's included.
    """
    question, answer = question_and_answer(comparison)
    caveat = "; ".join(test_set_caveats(comparison.record))
    table = verdict_table(comparison)
    parts = [f"**{escape_markdown(question)}**", escape_markdown(answer), escape_markdown(caveat)]
    parts += [render_markdown([table.without(*DETAILS)])] if table else []
    shown = comparison.summary.loc[comparison.summary.index.isin([TEACHER, *comparison.record.methods])]
    means = {name: shown[f"{name}_mean"] for name in CHARTED if f"{name}_mean" in shown}
    metrics = {f"{name}/{row}": value for name in means for row, value in _finite_items(means[name])}
    return _with_gains(_gains(comparison), metrics, "\n\n".join(part for part in parts if part))


def sweep_headline(comparisons: Sequence[Comparison], failures: Mapping[str, str]) -> Headline:
    """Return the headline of a sweep: means over its studies, and one answer per study.

    `rank/METHOD` is the average rank by balanced accuracy among the methods that every study has, `rank FAMILY/METHOD` that
    over the studies of a family of scenarios, and `critical_difference` the smallest significant difference of two of them.
    `verdicts_over_all` counts the verdicts that hold with Holm's correction over all studies.

    Args:
        failures: messages of the studies that are incomplete, by their titles.
    """
    lines = []
    for comparison in comparisons:
        options, (_, answer) = comparison.record.options, question_and_answer(comparison)
        lines.append(
            f"* **{escape_markdown(f'{comparison.record.dataset}, {options.scenario}')}**: {escape_markdown(answer)}"
        )
    lines += [f"* **{escape_markdown(title)}**: incomplete: {escape_markdown(why)}" for title, why in failures.items()]
    metrics: dict[str, float] = {"studies": len(comparisons), "failures": len(failures)}
    gains = pd.Series(dtype=float)
    if comparisons:
        gains = pd.concat([_gains(each) for each in comparisons]).groupby(level=0).mean()
        studies = compare_by_family(comparisons)
        metrics |= _rank_metrics(studies)
        counted = count_verdicts(comparisons)
        metrics |= {"verdicts": counted.verdicts, "verdicts_over_all": counted.holding}
        notes = [*describe_verdicts_across(comparisons), *describe_rank_tests(studies)]
        lines += ["", *map(escape_markdown, notes)] if notes else []
    return _with_gains(gains, metrics, "\n".join(lines))


def _rank_metrics(studies: StudyTable) -> dict[str, float]:
    """Return the average ranks, of each family and over all where the families agree, and the critical differences."""
    names = {name: f" {name}" for name in studies.families} | ({ALL: ""} if studies.has_common_rank else {})
    metrics: dict[str, float] = {}
    for name, suffix in names.items():
        ranks = studies.ranks["rank" if name == ALL else name]
        metrics |= {f"rank{suffix}/{method}": rank for method, rank in _finite_items(ranks)}
        difference = float(studies.rank_tests["critical_difference"].astype(float)[name])
        metrics |= {f"critical_difference{suffix}": difference} if difference == difference else {}
    return metrics


def _gains(comparison: Comparison) -> "pd.Series[float]":
    """Return the difference of each method that is compared, which oracles are not."""
    verdicts = comparison.verdicts
    return verdicts.loc[verdicts["verdict"] != ORACLE_VERDICT, "difference"].astype(float)


def _with_gains(gains: "pd.Series[float]", metrics: dict[str, float], text: str) -> Headline:
    """Return a headline with the gain of each method, and the largest of them."""
    finite = gains.astype(float).dropna()
    metrics |= {f"gain/{method}": gain for method, gain in _finite_items(finite)}
    if not len(finite):
        return Headline(metrics, text)
    return Headline({**metrics, "best_gain": float(finite.max())}, text, str(finite.idxmax()))


def _finite_items(values: "pd.Series[float]") -> list[tuple[str, float]]:
    """Return the values that are known, by names that MLflow accepts and distinguishes."""
    return with_distinct_names({str(name): float(value) for name, value in values.dropna().items()})
