"""What a person reads of studies, as tables and sentences: the page of one study, and the table across several.

It is shown on a terminal or written as text, Markdown or LaTeX (tables.py); the report has a page of its own (report/).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

import pandas as pd

from pipelines import tracking
from pipelines.report.formatting import amount, chance, interval, points, spread
from pipelines.report.text import Grid
from robustkd.errors import UsageError, did_you_mean
from robustkd.evaluation import significance
from robustkd.evaluation.metric_table import Group, find_metric, metrics_of
from robustkd.study import comparison, conclusions
from robustkd.study.across import compare_studies, study_labels
from robustkd.study.comparison import HEADLINE, Comparison
from robustkd.study.options import StudyOptions
from robustkd.study.results import MONITORED, TEACHER, StudyRecord

METHODS_SHOWN, CLASSES_SHOWN = 6, 40  # of the table per class on a page; its file has all
INTERVALS_SHOWN = 3  # methods up to which each class's difference has room for its interval
COSTS = {
    **{"parameters": "parameters", "macs": "MACs of an image", "images": "images seen", "seconds": "seconds"},
    **{"teacher_seconds": "teacher's seconds", "images_per_second": "images a second"},
    "peak_memory": "peak memory, bytes",
}


def of_study(made: Comparison, trust: bool | None = None) -> list[str | Grid]:
    """A study as a person reads it, in per cent: what is unsure first, the answer last, where a terminal leaves the eye."""
    record = made.record
    seeds = f"{record.seeds} seed{'s' if record.seeds != 1 else ''}"
    first = conclusions.test_label_caveat(record)
    parts: list[str | Grid] = [first] if first else []
    parts.append(f"{record.dataset}, scenario {record.options.scenario}, {seeds}, last epoch, per cent")
    if not len(made.summary):
        return [*parts, "No run is finished yet."]
    parts += [
        *performance(made),
        *_judged(made, conclusions.trusts_test_labels(record, trust)),
        *probabilities(made),
        *by_size(made),
    ]
    parts += [*against_truth(made), *robust(made), *costs(made)]
    parts += _by_class(made)
    if len(made.progress):
        points_ = ", ".join(f"{at} {spread(row['mean'], row['std'])}" for at, row in made.progress.iterrows())
        of = f" on {MONITORED:,} fixed test rows" if record.resolved.rows_test > MONITORED else ""
        parts += [
            "",
            f"plain training along the run (test accuracy{of}): {points_}",
        ]
        if conclusions.may_have_noisy_training_labels(made):
            parts.append(
                "Under label noise long training memorises wrong labels, and that alone can make distillation look good."
            )
    return [*parts, "", *conclusions.question_and_answer(made)]


def performance(made: Comparison) -> list[str | Grid]:
    """A row per method: the metrics of its decisions."""
    names = [name for name in metrics_of("performance") if name != "worst_three" or len(made.record.classes) > 3]
    return [by_method("performance: mean ± standard deviation over seeds", heads([*names, "seeds"]), made)]


def probabilities(made: Comparison) -> list[str | Grid]:
    """A row per method: the metrics of its probabilities."""
    shown = measured(made, "probabilities")
    if not shown:
        return []
    return [by_method("quality of probabilities (less is better)", heads(shown, mixed=True), made), describe(shown)]


def by_size(made: Comparison) -> list[str | Grid]:
    """A row per method: mean recall of groups of classes by their number of training images."""
    shown = measured(made, "frequency")
    if len(shown) > 1:
        groups = "many: over 100 training images, medium: 20 to 100, few: under 20"
    elif len(made.record.classes) >= 9 and (shown := measured(made, "thirds")):
        groups = "thirds of the classes by their number of training images"
    else:
        return []
    return [by_method(f"mean recall by class size ({groups})", heads(shown), made)]


def against_truth(made: Comparison) -> list[str | Grid]:
    """A row per method: the metrics against known true labels, and agreement with the teacher."""
    parts: list[str | Grid] = []
    clean = [name for name in ("clean_accuracy", "clean_balanced_accuracy") if f"{name}_mean" in made.summary]
    shown = measured(made, "truth")
    if clean or shown:
        parts.append(by_method("against the truth", heads([*clean, *shown]), made))
    if shown:
        parts.append(describe(shown))
        known, rows = made.record.known_training
        if known < rows:
            parts.append(f"Measured on the {known} of {rows} training rows whose true label is known.")
    if shown := measured(made, "agreement"):
        parts.append(by_method("agreement with the teacher", heads(shown), made))
    return parts


def measured(made: Comparison, group: Group) -> list[str]:
    """Return the metrics of a group that any row has."""
    return [name for name in metrics_of(group) if f"{name}_mean" in made.summary]


def heads(names: Iterable[str], mixed: bool = False) -> dict[str, str]:
    """Return the column headings of metrics.

    Args:
        mixed: whether shares stand among other units, and so are marked as per cent.
    """
    labels = {}
    for name in names:
        metric = find_metric(name)
        labels[name] = metric.label + (", %" if mixed and metric.unit == "share" else "")
    return labels


def describe(names: Iterable[str]) -> str:
    """Return one sentence about metrics."""
    text = "; ".join(find_metric(name).description for name in names if find_metric(name).description)
    return f"{text[0].upper()}{text[1:]}."


def robust(made: Comparison) -> list[str | Grid]:
    """A row per method: accuracy on attacked and corrupted test images, where that was asked for."""
    names = [str(column).removesuffix("_mean") for column in made.summary if str(column).endswith("_mean")]
    attacked = {attack for result in made.results for attack in result.robust}
    shown = {name: name for name in names if name in attacked or name.startswith("corruption")}
    parts: list[str | Grid] = [by_method("accuracy on changed test images", shown, made)] if shown else []
    if conclusions.has_undefined_corruptions(made.results):
        parts.append(f"corrupted test images: {conclusions.UNDEFINED_CORRUPTIONS}")
    return parts


def costs(made: Comparison) -> list[str | Grid]:
    """A row per method: what one run of it costs."""
    shown = {name: head for name, head in COSTS.items() if name in made.costs}
    if not shown:
        return []
    rows = [
        [_method(str(name), made.record), *(amount(row[figure]) for figure in shown)]
        for name, row in made.costs.iterrows()
    ]
    return [Grid("what a run costs", ["", *shown.values()], rows)]


def by_method(title: str, figures: Mapping[str, str], made: Comparison) -> Grid:
    """A row per method that has any of the figures, a column per figure; `seeds` is a count."""
    table = made.summary
    shown = {name: head for name, head in figures.items() if name == "seeds" or f"{name}_mean" in table}
    rows = []
    for name, row in table.iterrows():
        cells = [
            str(int(row[figure])) if figure == "seeds" else spread(row[f"{figure}_mean"], row[f"{figure}_std"], figure)
            for figure in shown
        ]
        if {*cells} != {"-"}:
            rows.append([_method(str(name), made.record), *cells])
    return Grid(title, ["", *shown.values()], rows)


def _method(name: str, record: StudyRecord) -> str:
    return teacher(record.options) if name == TEACHER else name


def teacher(options: StudyOptions) -> str:
    """Describe the teacher by its network, its criterion and how it was smoothed; a trained one by its file's name.

    >>> teacher(StudyOptions(scenario="clean", teacher="wrn_16_2", smooth_teacher="labels"))
    'teacher (wrn_16_2, ce, smooth labels)'
    >>> teacher(StudyOptions(scenario="clean", teacher="/home/me/nets/best.pt"))
    'teacher (given: best.pt)'
    """
    text = options.teacher
    if tracking.is_reference(text):
        return f"teacher (given: {text})"
    # A network's name has dots and colons, but no path separators outside its brackets.
    if text.endswith((".pt", ".pth")) or re.search(r"[/\\]", text.partition("(")[0]):
        return f"teacher (given: {PureWindowsPath(text).name})"  # which splits at both kinds of separator
    smoothed = options.smooth_teacher
    parts = [text, options.teacher_criterion, *([f"smooth {smoothed}"] if smoothed != "none" else [])]
    return f"teacher ({', '.join(parts)})"


def _judged(made: Comparison, trust: bool) -> list[str | Grid]:
    """A row per method: its difference from its reference, what that shows, and by what rule."""
    table = comparison.hide_uninformative_intervals(made.verdicts)
    if not len(table):
        return []
    # From its reference stopped early, and from plain training where that is not the reference.
    aside = {"difference_stopped": "from it stopped early", "difference_plain": "from plain baseline"}
    aside = {name: head for name, head in aside.items() if name in table and table[name].notna().any()}
    boot = ["bootstrap"] if table["boot_low"].notna().any() else []  # there is one from 10 seeds
    rows = [
        [
            *(str(method), str(row["reference"]), points(row["difference"], True), interval(row["low"], row["high"])),
            *(interval(row["boot_low"], row["boot_high"]) for _ in boot),
            *(chance(row["p_holm"]), str(row["verdict"]), *(points(row[name], True) for name in aside)),
        ]
        for method, row in table.iterrows()
    ]
    heads = ["", "reference", "difference", "95 % interval", *boot, "p, Holm", "verdict", *aside.values()]
    metric = "balanced accuracy" + (", clean part" if "clean" in table["metric"].iloc[0] else "")
    return [
        Grid(
            f"what the seeds show: {metric}, differences in points",
            heads,
            rows,
            words=frozenset({1, heads.index("verdict")}),
        ),
        *conclusions.verdict_rule(made, trust),
    ]


def _by_class(made: Comparison) -> list[str | Grid]:
    """The tables per class, on all test rows and on those with a clean label, and how to read them."""
    if not len(made.per_class):
        return []
    methods, columns, classes, told = _chosen(made)
    tested = made.classes[made.classes["method"].isin(methods)] if len(made.classes) else made.classes
    intervals = len(methods) <= INTERVALS_SHOWN
    title = "recall per class" + (" of the baseline, then differences from it in points" if len(tested) else "")
    parts: list[str | Grid] = [_class_grid(title, made.per_class.loc[classes, columns], tested, intervals), *told]
    if len(tested) and tested["q"].notna().any():
        first = "95 % intervals per class are not adjusted; q" if intervals else "q"
        parts.append(
            f"{first} is Benjamini and Hochberg's over all classes and methods, and * stands where it is below 0.05; "
            "no verdict per class."
        )
    if len(made.per_class_clean):
        some = made.per_class_clean.loc[classes, [name for name in columns if name in made.per_class_clean]]
        parts.append(_class_grid(f"on the test rows with a clean label, {title}", some, tested[:0], False))
    return parts


def _class_grid(title: str, table: pd.DataFrame, tested: pd.DataFrame, intervals: bool) -> Grid:
    """A row per class: recalls, and differences with their intervals or a mark."""
    supported = comparison.hide_uninformative_intervals(tested)
    tests = {(row["class"], f"{row['method']} - {row['reference']}"): row for _, row in supported.iterrows()}

    def cell(name: str, column: str, value: float) -> str:
        told, row = points(value, signed=not column.endswith(" recall")), tests.get((name, column))
        if row is None:
            return told
        if intervals and row["low"] == row["low"]:
            told += f" {interval(row['low'], row['high'])}"
        return told + ("*" if row["q"] < significance.ALPHA else "")

    rows = [
        [str(name), *(cell(str(name), str(column), value) for column, value in row.items())]
        for name, row in table.iterrows()
    ]
    return Grid(title, ["class", *map(str, table.columns)], rows)


def _chosen(made: Comparison) -> tuple[list[str], list[str], list[Any], list[str]]:
    """The methods, their columns and the classes that a page has room for, and the sentence that says which."""
    table, every = made.per_class, made.record.methods
    against = {method: comparison.find_reference(method, made.record.criteria) for method in every}
    difference = {method: f"{method} - {against[method]}" for method in every}
    methods = [method for method in every if difference[method] in table] or [
        method for method in every if f"{method} recall" in table
    ]
    told, classes = [], list(table.index)
    if len(methods) > METHODS_SHOWN:
        means = made.summary[f"{HEADLINE}_mean"].reindex(methods)
        best = set(means.sort_values(ascending=False, kind="stable").index[:METHODS_SHOWN])
        told.append(f"the {METHODS_SHOWN} of {len(methods)} methods with the highest balanced accuracy")
        methods = [name for name in methods if name in best]
    wanted = {difference[m] for m in methods} | {f"{against[m] or m} recall" for m in methods}
    columns = [str(name) for name in table if name in wanted]
    if len(classes) > CLASSES_SHOWN:
        away = [name for name in columns if not name.endswith(" recall")] or columns
        order = table[away].abs().max(axis=1).fillna(-1.0).sort_values(ascending=False, kind="stable")
        most = set(order.index[:CLASSES_SHOWN])
        told.append(f"the {CLASSES_SHOWN} of {len(classes)} classes in which they differ most, either way")
        classes = [name for name in classes if name in most]
    return methods, columns, classes, [f"Shown: {'; '.join(told)}. per_class.csv has all."] if told else []


def known(made: Sequence[Comparison], figure: str) -> str:
    """A figure that can be set out across studies.

    Raises:
        robustkd.errors.UsageError: no study has it, or it is neither good nor bad.
    """
    columns = dict.fromkeys(str(c).removesuffix("_mean") for m in made for c in m.summary if str(c).endswith("_mean"))
    name = figure.replace("-", "_")
    if name.removeprefix("clean_") == "temperature":
        raise UsageError(f"--figure {figure}: a temperature is neither good nor bad, so there is no best or rank by it")
    if name in columns:
        return name
    raise UsageError(
        f"--figure {figure}: no study has this figure{did_you_mean(name, columns)}; there are: {', '.join(columns)}"
    )


def across(made: Sequence[Comparison], figure: str = HEADLINE, trust: bool | None = None) -> list[str | Grid]:
    """Studies side by side: methods down, studies across, the average rank at the right."""
    name = known(made, figure)
    table, ranks = compare_studies(made, name)
    heads = list(dict.fromkeys(table["study"]))
    cells = {(row["method"], row["study"]): row for _, row in table.iterrows()}
    rows, best = [], set()
    for number, method in enumerate(_order(made, set(table["method"]))):
        row = [method]
        for column, head in enumerate(heads, 1):
            found = cells.get((method, head))
            row.append("-" if found is None else _marked(found, name))
            if found is not None and found["best"]:
                best.add((number, column))
        rows.append([*row, f"{ranks['rank'][method]:.1f}" if method in ranks.index else "-"])
    seeds = table["seeds"]
    over = f"{seeds.max()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    title = f"{find_metric(name).label}, mean ± standard deviation over {over} seed{'s' * (over != '1')}" + (
        ", per cent" if find_metric(name).unit == "share" else ""
    )
    labels = study_labels([m.record for m in made])
    doubtful = [label for label, m in zip(labels, made, strict=True) if conclusions.test_label_caveat(m.record)]
    parts: list[str | Grid] = [f"test labels as given in: {'; '.join(doubtful)}"] if doubtful else []
    parts.append(Grid(title, ["", *heads, "average rank"], rows, frozenset(best)))
    parts.append(
        "In bold or starred: the best net that a run ships. ⇑ better, ⇓ worse than the baseline with the same criterion, by"
        " the verdict on balanced accuracy; ↓ on the wrong side of it in the mean, which is no verdict."
    )
    studies = "every study" if len(heads) > 1 else "the study"
    parts.append(
        f"Ranks, 1 the best, are among the {len(ranks)} methods that {studies} has with all its seeds."
        if len(ranks) > 1
        else f"No ranks: there are not two methods that {studies} has with all its seeds."
    )
    rules = {
        sentence: None
        for m in made
        for sentence in conclusions.verdict_rule(m, conclusions.trusts_test_labels(m.record, trust))
    }
    return [*parts, *rules]


def _order(made: Sequence[Comparison], wanted: set[str]) -> list[str]:
    """Rows of all studies, each after the row that it follows in the first study that has it."""
    order: list[str] = []
    for m in made:
        before = -1
        for name in map(str, m.summary.index):
            if name in order:
                before = order.index(name)
            elif name in wanted:
                before += 1
                order.insert(before, name)
    return order


def _marked(row: "pd.Series[Any]", figure: str) -> str:
    mark = {"better": "⇑ ", "worse": "⇓ "}.get(row["verdict"], "↓ " if row["below"] else "")
    return mark + spread(row["mean"], row["std"], figure)
