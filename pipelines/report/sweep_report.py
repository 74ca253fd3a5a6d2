"""The HTML report of several studies side by side."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd

from pipelines.report.charts.epochs import plot_epochs
from pipelines.report.charts.matrices import plot_matrix
from pipelines.report.formatting import capitalise, format_value, to_sentence, typeset
from pipelines.report.renderers.html import fill_report
from pipelines.report.section import Picture, build_legend
from pipelines.report.study_report import REPORT_FILE, write_report_files
from pipelines.report.study_table import (
    compare_by_family,
    describe_rank_tests,
    describe_ranks,
    describe_verdicts_across,
    explain_marks,
    rank_order,
    study_table,
)
from robustkd.study.across import StudyTable, study_labels
from robustkd.study.comparison import Comparison, early_stopping_point
from robustkd.study.conclusions import AS_GIVEN, is_as_given, question_and_answer, test_label_caveat
from robustkd.study.pairing import HEADLINE
from robustkd.study.results import BASELINE, TEACHER_ROWS

TOP_METHODS = 3  # of the average rank, whose curves are shown
MAX_TIED = 5  # methods of the same rank up to which all are named


class StudyEntry(NamedTuple):
    """A study in the report's list.

    Attributes:
        link: the relative URL of its own report, or an empty string.
    """

    label: str
    question: str
    answer: str
    link: str


def write_sweep_report(comparisons: Sequence[Comparison], folder: Path) -> Path:
    """Write report.html of several studies, and its pictures as PNG files.

    A study's own report is linked where it exists, as STUDY/comparison/report.html.
    """
    studies, labels = compare_by_family(comparisons), study_labels([c.record for c in comparisons])
    compared = {name for comparison in comparisons for name in comparison.record.ranked_methods}
    methods = _curve_methods(studies)
    order = rank_order(studies, compared) if len(studies.table) else []
    overview = _picture_overview_of_studies(studies, labels, [name for name in order if name in compared])
    curves = _picture_curves(comparisons, labels, methods)
    datasets = ", ".join(sorted({comparison.record.dataset for comparison in comparisons}))
    values = {
        "title": f"{datasets}, {len(comparisons)} studies: robustkd",
        "kicker": f"{datasets} · {', '.join(labels)}",
        "caveats": _caveats(comparisons),
        "question": f"Where does distillation help on {datasets}?",
        "answer": _answer(comparisons, studies),
        "studies": [_study_entry(label, c, folder) for label, c in zip(labels, comparisons, strict=True)],
        "tables": [study_table(studies, HEADLINE, order, compared)] if order else [],
        "notes": [
            explain_marks(comparisons),
            describe_ranks(studies, len(comparisons)),
            *describe_rank_tests(studies),
            *describe_verdicts_across(comparisons),
        ],
        "overview": overview,
        "legend": build_legend(methods) if curves else [],
        "curves": curves,
    }
    return write_report_files(fill_report("sweep.html.j2", values), [*overview, *curves], folder)


def _curve_methods(studies: StudyTable) -> list[str]:
    """Return the methods with lines of their own: the baseline and the first by rank."""
    best = list(studies.ranks.index[:TOP_METHODS]) if len(studies.ranks) else []
    return list(dict.fromkeys([BASELINE, *best]))


def _caveats(comparisons: Sequence[Comparison]) -> list[str]:
    """Return a sentence per data set whose test labels are not known to be clean."""
    caveats = {c.record.dataset: test_label_caveat(c.record) for c in comparisons}
    return [to_sentence(f"{dataset}: {caveat}") for dataset, caveat in caveats.items() if caveat]


def _answer(comparisons: Sequence[Comparison], studies: StudyTable) -> str:
    """Answer in how many studies a method is better, and which has the best average rank."""
    better = [c for c in comparisons if (c.verdicts["verdict"] == "better").any()]
    answer = (
        f"In {len(better)} of {len(comparisons)} studies at least one method was shown to be better than its baseline"
    )
    as_given = sum(is_as_given(c.verdicts) for c in better)
    answer += f", in {as_given} of these {AS_GIVEN}." if as_given else "."
    if len(studies.ranks) < 2:
        return answer
    if studies.has_common_rank:
        return f"{answer} {describe_best_rank(studies.ranks['rank'])}"
    by_family = [f"{capitalise(name)}: {describe_best_rank(studies.ranks[name])}" for name in studies.families]
    return " ".join([answer, *by_family])


def describe_best_rank(ranks: "pd.Series[float]") -> str:
    """Describe which method, the baseline included, has the best average rank, and by how much.

    >>> describe_best_rank(pd.Series({"baseline": 1.3333, "hinton": 1.6667}))
    'The baseline has the best average rank, 1.33; next is hinton with 1.67.'
    >>> describe_best_rank(pd.Series({"dml": 1.5, "hinton": 2.0, "baseline": 2.5}))
    'dml has the best average rank, 1.50; next is hinton with 2.00; the baseline has 2.50.'
    >>> describe_best_rank(pd.Series({"hinton": 1.5, "baseline": 1.5}))
    'hinton and the baseline share the best average rank, 1.50.'
    """
    ranks = ranks.sort_values(kind="stable")
    tied = np.isclose(ranks, ranks.iloc[0])
    first, rest = ranks[tied], ranks[~tied]
    names, best = [_method_noun(name) for name in first.index], f"the best average rank, {first.iloc[0]:.2f}"
    if len(first) == 1:
        parts = [f"{names[0]} has {best}"]
    else:
        listed = names if len(names) < MAX_TIED else [*names[:3], f"{len(names) - 3} more"]
        parts = [f"{', '.join(listed[:-1])} and {listed[-1]} share {best}"]
    if len(rest):
        parts.append(f"next is {_method_noun(rest.index[0])} with {rest.iloc[0]:.2f}")
        if BASELINE in rest.index[1:]:
            parts.append(f"the baseline has {rest[BASELINE]:.2f}")
    sentence = "; ".join(parts)
    return f"{capitalise(sentence) if sentence.startswith('the baseline') else sentence}."


def _method_noun(name: object) -> str:
    return "the baseline" if name == BASELINE else str(name)


def _study_entry(label: str, comparison: Comparison, folder: Path) -> StudyEntry:
    question, answer = question_and_answer(comparison)
    return StudyEntry(label, question, typeset(answer), _report_link(comparison, folder))


def _report_link(comparison: Comparison, folder: Path) -> str:
    """Return the relative URL of a study's own report, or an empty string where there is none."""
    path = comparison.folder / "comparison" / REPORT_FILE if comparison.folder else None
    if path is None or not path.exists():
        return ""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def _picture_overview_of_studies(studies: StudyTable, labels: Sequence[str], methods: Sequence[str]) -> list[Picture]:
    """Picture the differences from the baseline, methods down and studies across, if there are any."""
    if not len(studies.table):
        return []
    matrix = studies.table.pivot(index="method", columns="study", values="difference").astype(float)
    matrix = matrix.loc[
        [name for name in methods if matrix.loc[name].notna().any()], [label for label in labels if label in matrix]
    ]
    if not matrix.notna().any().any():
        return []
    limit = float(np.nanmax(np.abs(matrix.to_numpy()), initial=0.01))
    above = [f"{label}: {int((matrix[label] > 0).sum())} of {int(matrix[label].notna().sum())}" for label in matrix]
    alt = f"Mean differences in balanced accuracy from the baseline, points. Methods above it: {'; '.join(above)}."
    figure = plot_matrix(matrix.to_numpy(), list(matrix.index), list(matrix.columns), ("", ""), limit)
    caption = "Mean difference in balanced accuracy, points. Blue: above the baseline; vermilion: below."
    return [Picture("overview", "Against the baseline", figure, alt, caption)]


def _picture_curves(comparisons: Sequence[Comparison], labels: Sequence[str], methods: Sequence[str]) -> list[Picture]:
    """Picture accuracy by epoch in each study that has recorded any."""
    pictures = []
    for number, (label, comparison) in enumerate(zip(labels, comparisons, strict=True), 1):
        curves = comparison.curves
        if not len(curves) or not {*methods} & {*curves["method"]}:
            continue
        curves = curves[~curves["method"].isin(TEACHER_ROWS)]
        last = curves.sort_values("epoch").groupby(["method", "seed"])["accuracy"].last().groupby("method").mean()
        values = [f"{name} {format_value(last[name])} %" for name in methods if name in last]
        stop = early_stopping_point(comparison)
        caption = f"Diamond: baseline stopped early, epoch {stop[0]:.0f}." if stop else ""
        alt = f"Test accuracy under {label}, at the last epoch: {'; '.join(values)}."
        figure = plot_epochs(curves, "accuracy", methods, stop)
        pictures.append(Picture(f"curves-{number}", label, figure, alt, caption))
    return pictures
