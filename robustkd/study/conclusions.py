"""What a comparison says in sentences: caveats, the rule behind the verdicts, the study's question and its answer."""

from collections.abc import Iterable

import pandas as pd

from robustkd.evaluation import significance
from robustkd.study import verdict_notes
from robustkd.study.comparison import Comparison
from robustkd.study.pairing import shared_draws
from robustkd.study.results import BASELINE, TEACHER, RunResult, StudyRecord
from robustkd.study.verdicts import MIN_CLEAN_ROWS, ORACLE_VERDICT

UNDEFINED_CORRUPTIONS = "not defined for images of this shape, only from 32x32 up, in grey or in colour"
AS_GIVEN = "on the labels as given, which may be wrong"
LISTED = 4  # methods that an answer names per verdict


def has_undefined_corruptions(results: Iterable[RunResult]) -> bool:
    """Whether corrupted test images were requested but are not defined for images of this shape."""
    return any(result.corruptions == {} for result in results)


def trusts_test_labels(record: StudyRecord, trust: bool | None = None) -> bool:
    """Whether test labels are treated as clean: as requested now, else as the study was asked to."""
    return record.trusts_test_labels if trust is None else trust


def may_have_noisy_training_labels(comparison: Comparison) -> bool:
    """Whether training labels are known to be wrong, or not all known to be right."""
    known, rows = comparison.record.known_training
    return known < rows or any(r.fit is None or r.fit.corrupted for r in comparison.results)


def test_label_caveat(record: StudyRecord) -> str:
    """Describe what is known about the test labels where they are not known to be clean; an empty string where they are."""
    if record.truth_known:
        return ""
    known, rows = record.known_test
    if not known:
        return "test labels as given: they are not known to be clean"
    return f"test labels as given; the clean part is {known} of {rows} rows with a clean label"


def test_set_caveats(record: StudyRecord) -> list[str]:
    """Return what to know about the test set before its figures: doubts about its labels, and copies of training images."""
    return [caveat for caveat in (test_label_caveat(record), *record.leaks) if caveat]


def verdict_rule(comparison: Comparison) -> list[str]:
    """Describe the rule behind the verdicts and how far they go, sentence by sentence."""
    table = comparison.verdicts
    if not len(table):
        return []
    by_labels = {
        "clean rows": " on the test rows with a clean label",
        "treated as clean": " (test labels treated as clean, as requested)",
        "as given": f" {AS_GIVEN},",
    }.get(table["labels"].iloc[0], "")
    as_given = (
        "A method may be favoured by errors in the test labels. Verdicts by clean labels require"
        f" {MIN_CLEAN_ROWS} test rows of each class with one; --trust-test-labels states that all are clean."
    )
    both = verdict_notes.counts_images(table)
    test, over = ("paired test", "the seeds and the test images") if both else ("paired t test", "the seeds")
    return [
        f"Verdicts: {test} of balanced accuracy{by_labels} over {over} against {name_reference(comparison)},"
        f" Holm's correction over the {table['among'].iloc[0]} compared, better or worse at {significance.ALPHA:g};"
        f" none below {significance.MIN_SEEDS} seeds.",
        *([as_given] if is_as_given(table) else []),
        f"{_describe_intervals(comparison)} Adding seeds until a difference shows makes false findings more likely: fix their"
        " number beforehand.",
        *verdict_notes.describe_power(table),
        *verdict_notes.describe_assumption(table),
    ]


def name_reference(comparison: Comparison) -> str:
    """Name what the methods of a study are compared with."""
    return comparison.reference or "the baseline with the same criterion"


def _describe_intervals(comparison: Comparison) -> str:
    """Describe what the intervals cover."""
    randomness = _describe_randomness(comparison)
    if verdict_notes.counts_images(comparison.verdicts):
        return (
            f"Intervals (95 %) cover {randomness}, and other test images of the same kind; those over seeds alone are for"
            " these test images only."
        )
    again = (
        "" if comparison.record.test_labels else "; the command that made the study adds what is needed to count these"
    )
    return f"Intervals (95 %, t) cover {randomness} on this test set, not other test images{again}."


def _describe_randomness(comparison: Comparison) -> str:
    """Describe what varies between a study's seeds."""
    shared = shared_draws(comparison.record)
    one_teacher = any(r.run.role == TEACHER and r.training is None for r in comparison.results)
    parts = ["training", *([] if shared == 1 else ["scenario"])]
    fixed = [*(["one draw of the scenario"] if shared == 1 else []), *(["one teacher"] if one_teacher else [])]
    pooled = f", seeds of one draw of the scenario averaged ({shared} draws)" if shared not in (None, 1) else ""
    return f"the randomness of {' and '.join(parts)}{pooled}" + (f", for {' and '.join(fixed)}," if fixed else "")


def question_and_answer(comparison: Comparison) -> tuple[str, str]:
    """Return the study's question, and its answer in one sentence that claims no more than the verdicts."""
    record, table = comparison.record, comparison.verdicts
    table = table[table["verdict"] != ORACLE_VERDICT]
    subject = {0: "anything", 1: "the method"}.get(len(table), f"any of {len(table)} methods")
    rival = comparison.reference or "plain training"
    question = f"Did {subject} beat {rival} on {record.dataset} under {record.options.scenario}?"
    if not len(table):
        return question, "There is nothing to compare: the study has no baseline, or no other method."
    count = table["verdict"].value_counts()
    if count.get("too few seeds") == len(table):
        return question, f"{_answer_without_verdict(comparison, table)}{_missing(table)}"
    better = _list_methods(comparison, table, "better") or "no method was shown to be better"
    if behind := int((_stopped_differences(table)[table["verdict"] == "better"] <= 0).sum()):
        of = "" if behind == count["better"] else f"{behind} of these "
        usual = comparison.reference or "the baseline"
        better += f", but {of}only at the last epoch: where both are stopped early, {usual} does at least as well"
    found = verdict_notes.describe_detectable(table[table["verdict"] == "no difference shown"])
    where = {"no difference shown": f", where {found}" if found else "", "identical": "", "too few seeds": ""}
    others = [f"{verdict}: {count[verdict]}{more}" for verdict, more in where.items() if verdict in count]
    condition = "for this one draw of the scenario, " if shared_draws(record) == 1 else ""
    answer = condition + "; ".join(
        part for part in (better, _list_methods(comparison, table, "worse"), *others) if part
    )
    by_labels = f" {AS_GIVEN};" if is_as_given(table) else ","
    over = (
        "over seeds and test images" if verdict_notes.counts_images(table) else "over seeds, on these test images only"
    )
    return question, f"{answer[0].upper()}{answer[1:]} (balanced accuracy{by_labels} {over}).{_missing(table)}"


def _missing(table: pd.DataFrame) -> str:
    """Name the seeds that are missing, as a further sentence."""
    missing = verdict_notes.describe_missing(table)
    return f" {missing}" if missing else ""


def is_as_given(verdicts: pd.DataFrame) -> bool:
    """Whether verdicts are by test labels that are not known to be clean."""
    return bool((verdicts["labels"] == "as given").any())


def _answer_without_verdict(comparison: Comparison, table: pd.DataFrame) -> str:
    """Describe the mean differences where there are too few seeds for a verdict."""
    gains = table["difference"].astype(float)
    if gains.isna().all():
        return f"No method and {comparison.reference or 'its baseline'} are both finished for any seed yet."
    by_labels = f" {AS_GIVEN}" if is_as_given(table) else ""
    table, gains = table[gains.notna()], gains.dropna()
    best = str(gains.idxmax())
    its, their = (comparison.reference or f"{whose} baseline" for whose in ("its", "their"))
    given = _from_reference(comparison, str(table.at[best, "reference"]))
    points = f"{100 * gains.max():+.1f} points of balanced accuracy{given}"
    ahead = gains > 0
    if len(table) == 1:
        summary = f"its mean difference is {points}"
    elif not ahead.any():
        summary = f"none is above {its} on average, the closest is {best} ({points})"
    else:
        summary = f"{ahead.sum()} of {len(table)} are above {their} on average, most of all {best} ({points})"
    behind = _stopped_differences(table)[ahead] <= 0
    if behind.any():
        of = "" if len(table) == 1 else f" as {behind.sum()} of these"
        summary += f"; but where both are stopped early, {comparison.reference or 'the baseline'} does as well{of}"
    return f"No verdict, because there are too few seeds: {summary}{by_labels}."


def _from_reference(comparison: Comparison, reference: str) -> str:
    """Name what a method is compared with, where the question does not."""
    return "" if reference in (BASELINE, comparison.reference) else f" from {reference}"


def _stopped_differences(table: pd.DataFrame) -> "pd.Series[float]":
    """Return the differences with both networks stopped early; with the baseline alone for methods that were not."""
    return table["difference_early"].fillna(table["difference_stopped"]).astype(float)


def _list_methods(comparison: Comparison, table: pd.DataFrame, verdict: str) -> str:
    """List the methods with a verdict, the largest difference first; beyond four, how many more."""
    rows = table[table["verdict"] == verdict].sort_values("difference", ascending=verdict == "worse")
    named = [
        f"{method} ({100 * row['difference']:+.1f} points{_from_reference(comparison, row['reference'])})"
        for method, row in rows.head(LISTED).iterrows()
    ]
    more = [f"and {len(rows) - LISTED} more"] if len(rows) > LISTED else []
    return f"{verdict}: {', '.join([*named, *more])}" if named else ""
