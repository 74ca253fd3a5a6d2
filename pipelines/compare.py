"""compare: the tables and pictures of a study, from its files."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from pipelines import figures
from pipelines.screen import console
from robustkd import comparison

NAMES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "worst_recall": "worst class"}
TRUE_NAMES = {
    "clean_accuracy": "clean part",
    "clean_balanced_accuracy": "balanced",
    "memorised": "memorised",
    "seen_through": "seen through",
}


def main(folder: Path) -> None:
    """Write and show a study's comparison."""
    write(folder)
    show(folder)


def write(folder: Path) -> None:
    """FOLDER/comparison: summary.csv, per_class.csv (and per_class_clean.csv), along.csv, comparison.txt and two pictures."""
    made, out = comparison.compare(folder), folder / "comparison"
    out.mkdir(exist_ok=True)
    made.summary.to_csv(out / "summary.csv")
    made.per_class.to_csv(out / "per_class.csv")
    if len(made.clean):
        made.clean.to_csv(out / "per_class_clean.csv")
    made.along.to_csv(out / "along.csv")
    page = Console(record=True, width=110, file=io.StringIO())
    render(made, page)
    (out / "comparison.txt").write_text(page.export_text(), encoding="utf-8")
    if len(made.per_class):
        figures.write(figures.per_class(made.per_class), out / "per_class.png")
    if len(made.curves):
        figures.write(figures.curves(made.curves), out / "curves.png")


def show(folder: Path) -> None:
    """Print a study's comparison."""
    render(comparison.compare(folder), console)
    console.print(f"tables, pictures and runs: {folder}", markup=False)


def render(made: comparison.Comparison, console: Console) -> None:
    """The tables as a person reads them, in per cent."""
    study = made.study
    console.print(
        f"{study['dataset']}, scenario {study['given']['scenario']}, {study['seeds']} seeds, last epoch, per cent",
        markup=False,
    )
    if not study["truth_known"]:
        console.print(as_given(study))
    console.print(overall(made.summary, study))
    if any(f"{figure}_mean" in made.summary for figure in TRUE_NAMES):
        console.print(against_truth(made.summary, study))
    if "memorised_mean" in made.summary:
        console.print("memorised: wrong training labels that a net gives all the same; seen through: true ones instead")
        some, every = study.get("known_training", (0, 0))  # a study of an earlier version does not say
        if some < every:
            console.print(f"measured on the {some} of {every} training rows whose truth is known")
    console.print(by_class(made.per_class, "recall per class"))
    if len(made.clean):
        console.print(by_class(made.clean, "on the test rows with a clean label, recall per class"))
    if len(made.along):
        points = ", ".join(f"{at} {spread(row['mean'], row['std'])}" for at, row in made.along.iterrows())
        console.print(f"plain training along the run (test accuracy): {points}", markup=False)
        console.print(
            "Under label noise long training memorises wrong labels, and that alone can make distillation look good."
        )


def as_given(study: dict[str, Any]) -> str:
    """What is known of the test labels, where they are not known to be clean.

    >>> as_given({"known_test": [4, 9]})
    'test labels as given; the clean part is 4 of 9 rows with a clean label'
    """
    some, every = study.get("known_test", (0, 0))
    if not some:
        return "test labels as given: nobody has said that they are clean"
    return f"test labels as given; the clean part is {some} of {every} rows with a clean label"


def overall(summary: pd.DataFrame, study: dict[str, Any]) -> Table:
    """A row per method: mean and standard deviation over the seeds."""
    return by_method("mean ± standard deviation over seeds", {**NAMES, "seeds": "seeds"}, summary, study)


def against_truth(summary: pd.DataFrame, study: dict[str, Any]) -> Table:
    """A row per method: the figures against the truth that were measured."""
    shown = {figure: name for figure, name in TRUE_NAMES.items() if f"{figure}_mean" in summary}
    measured = summary[[f"{figure}_mean" for figure in shown]].notna().any(axis=1)
    return by_method("against the truth", shown, summary[measured], study)


def by_method(title: str, figures: dict[str, str], summary: pd.DataFrame, study: dict[str, Any]) -> Table:
    """A row per method, a column per figure."""
    table = Table(title=title)
    for column in ("", *figures.values()):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for method, row in summary.iterrows():
        named = teacher(study["given"]) if method == "teacher" else str(method)
        cells = (
            str(int(row[figure])) if figure in row else spread(row[f"{figure}_mean"], row[f"{figure}_std"])
            for figure in figures
        )
        table.add_row(named, *cells)
    return table


def teacher(given: dict[str, Any]) -> str:
    """The teacher by its net, its criterion and how it was smoothed, if it was.

    >>> teacher({"teacher": "wrn_16_2", "teacher_criterion": "ce", "smooth_teacher": "labels"})
    'teacher (wrn_16_2, ce, smooth labels)'
    """
    smoothed = given.get("smooth_teacher", "none")  # a study of an earlier version does not say
    told = (given["teacher"], given["teacher_criterion"], *([f"smooth {smoothed}"] if smoothed != "none" else []))
    return f"teacher ({', '.join(told)})"


def by_class(per_class: pd.DataFrame, title: str) -> Table:
    """A row per class: the baseline's recall, and each method's difference from it in points."""
    compared = any("recall" not in str(column) for column in per_class.columns)
    table = Table(title=title + (" of the baseline, then differences from it in points" if compared else ""))
    for column in ("class", *per_class.columns):
        table.add_column(str(column), justify="left" if column == "class" else "right")
    for name, row in per_class.iterrows():
        cells = (points(value, signed="recall" not in str(column)) for column, value in row.items())
        table.add_row(str(name), *cells)
    return table


def points(share: float, signed: bool) -> str:
    """A share or a difference of shares in points; nothing has no sign, and what was not measured is a dash.

    >>> points(0.0312, True), points(-0.0001, True), points(0.5, False), points(float("nan"), True)
    ('+3.1', '0.0', '50.0', '-')
    """
    if share != share:
        return "-"
    value = round(100 * share, 1)
    return f"{value:+.1f}" if signed and value else f"{abs(value):.1f}"


def spread(mean: float, std: float) -> str:
    """A mean with its standard deviation, in per cent; one seed has none, and what was not measured is a dash.

    >>> spread(0.934, 0.012), spread(float("nan"), float("nan"))
    ('93.4 ± 1.2', '-')
    """
    if mean != mean:
        return "-"
    return f"{100 * mean:.1f}" + (f" ± {100 * std:.1f}" if std == std else "")
