"""Tables per class: recalls and differences of several methods side by side, and every number of a few of them."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import pandas as pd

from pipelines.report.formatting import format_interval, format_p_value, format_points, format_value
from pipelines.report.row_labels import mark_oracle
from pipelines.report.table import Cell, Column, Row, Table, number_cell
from robustkd.evaluation import significance
from robustkd.study.comparison import Comparison, hide_uninformative_intervals
from robustkd.study.pairing import HEADLINE

MAX_METHODS, MAX_CLASSES = 6, 40  # of the table on a page; its file has all
MAX_METHODS_WITH_INTERVALS = 3  # up to which there is room for each difference's interval


class ClassSelection(NamedTuple):
    """The part of the table per class that a page has room for."""

    methods: list[str]
    columns: list[str]
    classes: list[Any]
    notes: list[str]  # what was selected, if anything was left out


def class_difference_tables(comparison: Comparison) -> list[str | Table]:
    """Build the tables per class, on all test rows and on those with a clean label, and how to read them."""
    if not len(comparison.per_class):
        return []
    selection = select_class_columns(comparison)
    tests = comparison.classes
    if len(tests):
        tests = tests[tests["method"].isin(selection.methods)]
    intervals = len(selection.methods) <= MAX_METHODS_WITH_INTERVALS
    reference = comparison.reference or "the baseline"
    title = "recall per class" + (f" of {reference}, then differences from it in points" if len(tests) else "")
    selected = comparison.per_class.loc[selection.classes, selection.columns]
    parts: list[str | Table] = [
        class_difference_table(title, selected, tests, intervals, comparison.record.oracles),
        *selection.notes,
    ]
    if len(tests) and tests["q"].notna().any():
        start = "95 % intervals per class are not adjusted; q" if intervals else "q"
        parts.append(
            f"{start} is Benjamini and Hochberg's over all classes and methods, and * marks values below"
            f" {significance.ALPHA:g}; no verdict per class."
        )
    clean = comparison.per_class_clean
    if len(clean):
        selected = clean.loc[selection.classes, [name for name in selection.columns if name in clean]]
        parts.append(
            class_difference_table(
                f"on the test rows with a clean label, {title}", selected, tests[:0], False, comparison.record.oracles
            )
        )
    return parts


def class_difference_table(
    title: str, differences: pd.DataFrame, tests: pd.DataFrame, intervals: bool, oracles: Collection[str] = ()
) -> Table:
    """Build a table with a row per class: recalls, and differences with their intervals or marks.

    Args:
        differences: by class; columns that end with ' recall' are no differences.
        tests: class, method, reference, low, high and q of the differences.
        intervals: show the intervals.
        oracles: methods to mark as such.
    """
    lines = hide_uninformative_intervals(tests)
    tested = {(line["class"], f"{line['method']} - {line['reference']}"): line for _, line in lines.iterrows()}
    rows = [
        Row(
            [
                Cell(str(name)),
                *(
                    number_cell(_format_difference(column, value, tested.get((name, column)), intervals), value)
                    for column, value in zip(map(str, differences), line, strict=True)
                ),
            ]
        )
        for name, line in differences.iterrows()
    ]
    columns = [
        Column("class", "class", "text"),
        *(Column(f"column {name}", mark_oracle(str(name), oracles)) for name in differences),
    ]
    return Table(title, columns, rows)


def _format_difference(column: str, value: float, test: "pd.Series[Any] | None", interval: bool) -> str:
    text = format_points(value, signed=not column.endswith(" recall"))
    if test is None:
        return text
    if interval and test["low"] == test["low"]:
        text += f" {format_interval(test['low'], test['high'])}"
    return text + ("*" if test["q"] < significance.ALPHA else "")


def select_class_columns(comparison: Comparison) -> ClassSelection:
    """Select the best methods, and the classes in which they differ most."""
    table, record = comparison.per_class, comparison.record
    references = {method: comparison.references.get(method) for method in record.methods}
    differences = {method: f"{method} - {reference}" for method, reference in references.items()}
    methods = [method for method in record.methods if differences[method] in table] or [
        method for method in record.methods if f"{method} recall" in table
    ]
    omitted, classes = [], list(table.index)
    if len(methods) > MAX_METHODS:
        means = comparison.summary[f"{HEADLINE}_mean"].reindex(methods)
        best = set(means.sort_values(ascending=False, kind="stable").index[:MAX_METHODS])
        omitted.append(f"the {MAX_METHODS} of {len(methods)} methods with the highest balanced accuracy")
        methods = [name for name in methods if name in best]
    selected = {differences[m] for m in methods} | {f"{references[m] or m} recall" for m in methods}
    columns = [str(name) for name in table if name in selected]
    if len(classes) > MAX_CLASSES:
        compared = [name for name in columns if not name.endswith(" recall")] or columns
        order = table[compared].abs().max(axis=1).fillna(-1.0).sort_values(ascending=False, kind="stable")
        most = set(order.index[:MAX_CLASSES])
        omitted.append(f"the {MAX_CLASSES} of {len(classes)} classes in which they differ most, either way")
        classes = [name for name in classes if name in most]
    notes = [f"Shown: {'; '.join(omitted)}. per_class.csv has all."] if omitted else []
    return ClassSelection(methods, columns, classes, notes)


def class_test_table(tests: pd.DataFrame, methods: Sequence[str]) -> Table:
    """Build the table with every number of some methods, a row per class and method."""
    columns = [
        Column("class", "class", "text"),
        Column("method", "method", "text"),
        Column("support", "test images"),
        Column("recall", "recall"),
        Column("recall_reference", "baseline's"),
        Column("difference", "difference"),
        Column("interval", "95 % interval, unadjusted"),
        Column("q", "q"),
    ]
    rows = [
        Row(
            [
                Cell(str(line["class"])),
                Cell(str(line["method"])),
                number_cell(str(int(line["support"])), line["support"]),
                number_cell(format_value(line["recall"]), line["recall"]),
                number_cell(format_value(line["recall_reference"]), line["recall_reference"]),
                number_cell(format_points(line["difference"]), line["difference"]),
                number_cell(format_interval(line["low"], line["high"]), line["low"]),
                number_cell(format_p_value(line["q"]), line["q"]),
            ]
        )
        for _, line in tests.iterrows()
    ]
    return Table(f"the numbers, class by class ({', '.join(methods)})", columns, rows)
