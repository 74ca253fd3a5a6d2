"""The section on recall class by class."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipelines.report.charts.class_sizes import plot_class_sizes
from pipelines.report.charts.differences import class_axis_limit, plot_class_differences
from pipelines.report.charts.matrices import plot_matrix
from pipelines.report.class_tables import class_test_table
from pipelines.report.examples import Examples
from pipelines.report.formatting import format_interval, format_points, format_value, join_ends, typeset
from pipelines.report.pooling import mean_recall
from pipelines.report.section import Picture, Section
from pipelines.report.study_files import StudyFiles
from pipelines.report.table import Table
from robustkd.study.comparison import Comparison, hide_uninformative_intervals

MANY_CLASSES = 40  # beyond which only the best and the worst method have a chart of their own
MAX_BARS = 120


def build_class_section(comparison: Comparison, examples: Examples, files: StudyFiles) -> Section | None:
    """Build the section; None where there is nothing to show."""
    tests = hide_uninformative_intervals(comparison.classes)
    pictures: list[Picture] = []
    overview: list[Picture] = []
    collapsed: list[Table] = []
    notes: list[str] = []
    if "difference" in tests and tests["difference"].notna().any():
        differences = _difference_matrix(comparison, tests)
        methods = _methods_shown(examples, comparison)
        overview = [_picture_overview(differences)]
        classes = len(set(tests["class"]))
        for number, method in enumerate(methods, 1):
            pictures.append(_picture_class_differences(tests[tests["method"] == method], method, number, classes))
        collapsed = [class_test_table(tests[tests["method"].isin(methods)], methods)]
        notes = [_describe_selection(comparison, tests, len(differences), len(methods))]
    recalls = {name: mean_recall(comparison, name) for name in examples.pair}
    if files.counts is not None and recalls:
        pictures.append(_picture_class_sizes(files.counts, recalls))
    elif recalls:
        notes.append(f"Class sizes against recall are left out: {files.missing}.")
    pictures += overview
    if not pictures:
        return None
    return Section("classes", "Class by class", pictures=pictures, collapsed=collapsed, notes=notes)


def _methods_shown(examples: Examples, comparison: Comparison) -> list[str]:
    """Return the methods with a chart of their own."""
    if len(comparison.record.classes) <= MANY_CLASSES:
        return examples.methods
    return list(dict.fromkeys([*examples.methods[:1], *examples.methods[-1:]]))


def _describe_selection(comparison: Comparison, tests: pd.DataFrame, methods: int, shown: int) -> str:
    """Say which methods are shown, and how to read their intervals."""
    others = "" if len(comparison.record.classes) > MANY_CLASSES else ", and those with a verdict"
    selection = f"the best and the worst{others}" if methods > shown else "all methods"
    reading = "One seed has no intervals, and there is no verdict per class."
    if tests["low"].notna().any():
        reading = (
            "The 95 % intervals are of each class by itself, not adjusted for the number of classes, and there is"
            " no verdict per class; q is Benjamini and Hochberg's over all classes and methods."
        )
    rest = " classes.csv has all of them, with their intervals." if methods > shown else ""
    return f"Shown one by one: {selection}. {reading}{rest}"


def _difference_matrix(comparison: Comparison, tests: pd.DataFrame) -> pd.DataFrame:
    """Return differences with methods in rows, the best first, and classes in columns."""
    matrix = tests.pivot(index="method", columns="class", values="difference").astype(float)
    ranked = comparison.verdicts.sort_values("difference", ascending=False).index
    methods = [name for name in ranked if name in matrix.index]
    return matrix.loc[methods, list(dict.fromkeys(tests["class"]))].dropna(axis="columns", how="all")


def _picture_overview(differences: pd.DataFrame) -> Picture:
    """Picture every method on every class."""
    values = differences.to_numpy()
    limit = float(np.nanquantile(np.abs(values), 0.95))  # one method that failed must not make the others pale
    row, column = (int(place) for place in np.unravel_index(np.nanargmax(np.abs(values)), values.shape))
    methods, classes = list(map(str, differences.index)), list(map(str, differences.columns))
    alt = (
        f"Mean difference in recall from the baseline, {len(methods)} methods by {len(classes)} classes; the largest is"
        f" {typeset(format_points(values[row, column]))} points, of {methods[row]} on class {classes[column]}."
    )
    caption = "Mean difference in recall from the baseline, points. Blue: better; vermilion: worse."
    figure = plot_matrix(values, methods, classes, ("", "class"), max(limit, 0.01))
    return Picture("overview", "Every method on every class", figure, alt, caption)


def _picture_class_differences(tests: pd.DataFrame, method: str, number: int, classes: int) -> Picture:
    """Picture one method's differences, class by class."""
    known = tests[tests["difference"].notna()].sort_values("difference", ascending=False, kind="stable")
    shown, selection = known, ""
    if len(known) > MAX_BARS:
        half = MAX_BARS // 2
        shown = pd.concat([known[:half], known[-half:]])
        selection = f" The {half} largest and the {half} smallest of {len(known)}."
    descriptions = [
        f"{line['class']} {typeset(format_points(line['difference']))}"
        f" {typeset(format_interval(line['low'], line['high']))}"
        for _, line in known.iterrows()
    ]
    alt = (
        f"{method}: difference in recall by class, points, and unadjusted 95 % intervals: {join_ends(descriptions, 6)}."
    )
    above = int((known["difference"] > 0).sum())
    caption = f"Against {tests['reference'].iloc[0]}; above it on {above} of {classes} classes.{selection}"
    if known["low"].notna().any():
        limit = class_axis_limit(shown) / 100
        beyond = bool(((shown["low"] < -limit) | (shown["high"] > limit)).any())
        caption += " Unadjusted 95 % intervals" + ("; arrows: they continue beyond the axis." if beyond else ".")
    return Picture(f"classes-{number}", method, plot_class_differences(shown), alt, caption)


def _picture_class_sizes(counts: "pd.Series[float]", recalls: Mapping[str, "pd.Series[float]"]) -> Picture:
    """Picture class sizes against recall."""
    methods: Sequence[str] = list(recalls)
    small, large = str(counts.idxmin()), str(counts.idxmax())
    descriptions = [
        f"{name}: {format_value(recall[large])} % on {large} ({counts[large]:.0f} images),"
        f" {format_value(recall[small])} % on {small} ({counts[small]:.0f})"
        for name, recall in recalls.items()
    ]
    caption = f"Rings: {methods[0]}" + (f"; discs: {methods[1]}." if len(methods) > 1 else ".")
    alt = f"Recall by the number of training images shown as the class. {'; '.join(descriptions)}."
    return Picture("sizes", "Class sizes and recall", plot_class_sizes(counts, recalls), alt, caption)
