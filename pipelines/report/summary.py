"""What a person reads of studies, as tables and sentences: the page of one study, and the table across several.

It is shown on a terminal or written as text, Markdown or LaTeX (tables.py); the report has a page of its own (report/).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

import pandas as pd

from pipelines import tracking
from pipelines.report.formatting import amount, chance, interval, is_share, points, spread
from pipelines.report.text import Grid
from robustkd.errors import UsageError, did_you_mean
from robustkd.evaluation import significance
from robustkd.study import comparison
from robustkd.study.comparison import HEADLINE, TEACHER, Comparison

METHODS_SHOWN, CLASSES_SHOWN = 6, 40  # of the table per class on a page; its file has all
INTERVALS_SHOWN = 3  # methods up to which each class's difference has room for its interval
RIGHT = {
    **{"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "worst_recall": "worst class"},
    **{"worst_three": "worst three", "macro_f1": "macro F1"},
}
PROBABILITIES = {
    **{"nll": "NLL", "brier": "Brier", "ece": "ECE, %", "ece_scaled": "ECE, % after one temperature"},
    "temperature": "temperature",
}
FREQUENCIES = {"many": "many", "medium": "medium", "few": "few"}
THIRDS = {"head": "largest third", "middle": "middle third", "tail": "smallest third"}
TRUTH = {
    **{"clean_accuracy": "clean part", "clean_balanced_accuracy": "clean part, balanced"},
    **{"memorised": "memorised", "recovered": "recovered", "clean_fit": "clean fit"},
    "loss_auroc": "AUROC of the loss",
}
AGREEMENT = {"agreement_test": "on the test set", "agreement_corrupted": "on wrong training labels"}
NAMES = {
    **{**RIGHT, **PROBABILITIES, **FREQUENCIES, **THIRDS, **TRUTH, **AGREEMENT},
    "nll_scaled": "NLL after one temperature",
}
COSTS = {
    **{"parameters": "parameters", "macs": "MACs of an image", "images": "images seen", "seconds": "seconds"},
    **{"teacher_seconds": "teacher's seconds", "images_per_second": "images a second"},
    "peak_memory": "peak memory, bytes",
}
WATCHED = 2000  # robustkd.study.run.WATCHED, for which torch is not worth its seconds: rows looked at after every epoch


def of_study(made: Comparison, trust: bool | None = None) -> list[str | Grid]:
    """A study as a person reads it, in per cent: what is unsure first, the answer last, where a terminal leaves the eye."""
    study = made.study
    seeds = f"{study['seeds']} seed{'s' if study['seeds'] != 1 else ''}"
    first = comparison.caveat(study)
    parts: list[str | Grid] = [first] if first else []
    parts.append(f"{study['dataset']}, scenario {study['given']['scenario']}, {seeds}, last epoch, per cent")
    if not len(made.summary):
        return [*parts, "No run is finished yet."]
    parts += [*gets_right(made), *_judged(made, comparison.trusted(study, trust)), *probabilities(made), *by_size(made)]
    parts += [*against_truth(made), *robust(made), *costs(made)]
    parts += _by_class(made)
    if len(made.along):
        points_ = ", ".join(f"{at} {spread(row['mean'], row['std'])}" for at, row in made.along.iterrows())
        rows = study.get("resolved", {}).get("rows_test", 0)  # a study of an earlier version does not say
        of = f" on {WATCHED:,} fixed test rows" if rows > WATCHED else ""
        parts += [
            "",
            f"plain training along the run (test accuracy{of}): {points_}",
        ]
        if noisy(made):
            parts.append(
                "Under label noise long training memorises wrong labels, and that alone can make distillation look good."
            )
    return [*parts, "", *comparison.answer(made)]


def gets_right(made: Comparison) -> list[str | Grid]:
    """A row per method: the figures of its decisions."""
    heads = {name: head for name, head in RIGHT.items() if name != "worst_three" or len(made.study["classes"]) > 3}
    return [by_method("what it gets right: mean ± standard deviation over seeds", {**heads, "seeds": "seeds"}, made)]


def probabilities(made: Comparison) -> list[str | Grid]:
    """A row per method: the figures of its probabilities."""
    shown = _measured(made, PROBABILITIES)
    if not shown:
        return []
    what = {
        "nll": "NLL: mean negative log-likelihood, in nats",
        "brier": "Brier: squared error of all probabilities",
        "ece": "ECE: how far confidence lies from accuracy, over 15 equal bins",
        "ece_scaled": "one temperature is fitted on the held-out split, which is corrupted like the training rows",
    }
    told = "; ".join(text for name, text in what.items() if name in shown)
    return [by_method("how good its probabilities are (less is better)", shown, made), f"{told[0].upper()}{told[1:]}."]


def by_size(made: Comparison) -> list[str | Grid]:
    """A row per method: mean recall of groups of classes by their number of training images."""
    shown = _measured(made, FREQUENCIES)
    if len(shown) > 1:
        told = "many: over 100 training images, medium: 20 to 100, few: under 20"
    elif len(made.study["classes"]) >= 9 and (shown := _measured(made, THIRDS)):
        told = "thirds of the classes by their number of training images"
    else:
        return []
    return [by_method(f"mean recall by class size ({told})", shown, made)]


def against_truth(made: Comparison) -> list[str | Grid]:
    """A row per method: the figures against the truth that were measured, and agreement with the teacher."""
    parts: list[str | Grid] = []
    if shown := _measured(made, TRUTH):
        parts.append(by_method("against the truth", shown, made))
    told = {
        "memorised": "memorised: wrong training labels that a net gives all the same",
        "recovered": "recovered: true ones instead",
        "clean_fit": "clean fit: right training labels that it gives",
        "loss_auroc": "AUROC: how well the loss tells wrong labels from right ones",
    }
    if sentences := [text for name, text in told.items() if name in shown]:
        parts.append("; ".join(sentences) + ".")
        some, every = made.study.get("known_training", (0, 0))  # a study of an earlier version does not say
        if some < every:
            parts.append(f"Measured on the {some} of {every} training rows whose truth is known.")
    if shown := _measured(made, AGREEMENT):
        parts.append(by_method("how often it says what its teacher says", shown, made))
    return parts


def robust(made: Comparison) -> list[str | Grid]:
    """A row per method: accuracy on attacked and corrupted test images, where that was asked for."""
    names = [str(column).removesuffix("_mean") for column in made.summary if str(column).endswith("_mean")]
    attacked = [r for result in made.results for r in result.get("robust") or {}]
    shown = {name: name for name in names if name in attacked or name.startswith("corruption")}
    parts: list[str | Grid] = [by_method("accuracy on changed test images", shown, made)] if shown else []
    if comparison.undefined(made.results):
        parts.append(f"corrupted test images: {comparison.UNDEFINED}")
    return parts


def costs(made: Comparison) -> list[str | Grid]:
    """A row per method: what one run of it costs."""
    shown = {name: head for name, head in COSTS.items() if name in made.costs}
    if not shown:
        return []
    rows = [
        [_method(str(name), made.study), *(amount(row[figure]) for figure in shown)]
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
            rows.append([_method(str(name), made.study), *cells])
    return Grid(title, ["", *shown.values()], rows)


def _measured(made: Comparison, names: Mapping[str, str]) -> dict[str, str]:
    return {name: head for name, head in names.items() if f"{name}_mean" in made.summary}


def _method(name: str, study: Mapping[str, Any]) -> str:
    return teacher(study["given"]) if name == TEACHER else name


def noisy(made: Comparison) -> bool:
    """Whether training labels are known to be wrong, or nobody knows."""
    some, every = made.study.get("known_training", (0, 0))
    return some < every or any(r.get("fit", {}).get("corrupted", 1) for r in made.results)


def teacher(given: Mapping[str, Any]) -> str:
    """The teacher by its net, its criterion and how it was smoothed, if it was; one that was given by its file's name.

    >>> teacher({"teacher": "wrn_16_2", "teacher_criterion": "ce", "smooth_teacher": "labels"})
    'teacher (wrn_16_2, ce, smooth labels)'
    >>> teacher({"teacher": "/home/me/nets/best.pt", "teacher_criterion": "ce"})
    'teacher (given: best.pt)'
    """
    text = str(given.get("teacher", ""))  # a study of an earlier version does not say all of this
    if tracking.is_reference(text):
        return f"teacher (given: {text})"
    # A net's word has dots and colons, but no folders outside its brackets.
    if text.endswith((".pt", ".pth")) or re.search(r"[/\\]", text.partition("(")[0]):
        return f"teacher (given: {PureWindowsPath(text).name})"  # which knows both kinds of stroke
    smoothed = str(given.get("smooth_teacher", "none"))
    told = [text, str(given.get("teacher_criterion", "")), f"smooth {smoothed}" if smoothed != "none" else ""]
    return f"teacher ({', '.join(word for word in told if word)})" if any(told) else "teacher"


def _judged(made: Comparison, trust: bool) -> list[str | Grid]:
    """A row per method: its difference from its reference, what that shows, and by what rule."""
    table = comparison.supported(made.verdicts)
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
        *comparison.rule(made, trust),
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
    if len(made.clean):
        some = made.clean.loc[classes, [name for name in columns if name in made.clean]]
        parts.append(_class_grid(f"on the test rows with a clean label, {title}", some, tested[:0], False))
    return parts


def _class_grid(title: str, table: pd.DataFrame, tested: pd.DataFrame, intervals: bool) -> Grid:
    """A row per class: recalls, and differences with their intervals or a mark."""
    supported = comparison.supported(tested)
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
    table, every = made.per_class, made.study["methods"]
    against = {method: comparison.reference(method, every) for method in every}
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
    table, ranks = comparison.across(made, name)
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
    title = f"{_named(name)}, mean ± standard deviation over {over} seed{'s' * (over != '1')}" + (
        ", per cent" if is_share(name) else ""
    )
    labels = comparison.labels([m.study for m in made])
    doubtful = [label for label, m in zip(labels, made, strict=True) if comparison.caveat(m.study)]
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
    rules = {sentence: None for m in made for sentence in comparison.rule(m, comparison.trusted(m.study, trust))}
    return [*parts, *rules]


def _named(figure: str) -> str:
    """A figure as titles call it."""
    part = ", clean part" if figure not in NAMES and figure.startswith("clean_") else ""
    name = figure.removeprefix("clean_") if part else figure
    return NAMES.get(name, name).replace(", %", "") + part


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
