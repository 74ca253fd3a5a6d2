"""The sections of a study's report: which tables and pictures it has, and what is said of them."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from pipelines.report import charts, panels
from pipelines.report.html import (  # fmt: skip
    Cell,
    Head,
    Picture,
    Row,
    Section,
    Table,
    chance,
    counted,
    ends,
    interval,
    number,
    points,
    show,
    some,
    stamp,
    value,
)
from pipelines.report.study_files import Files, class_names
from pipelines.report.summary import describe, teacher
from robustkd.evaluation.metric_table import find_metric, metrics_of
from robustkd.evaluation.results import ReliabilityBin
from robustkd.study import comparison, conclusions
from robustkd.study.comparison import Comparison
from robustkd.study.options import StudyOptions
from robustkd.study.results import BASELINE, TEACHER, RunResult

NARROW = 40  # classes up to which a panel per method is short
MOST = 5  # methods that are told apart in pictures, besides the baseline
COSTS = {
    "seconds": ("seconds", "{:,.0f}", 1),
    "teacher_seconds": ("teacher's seconds", "{:,.0f}", 1),
    "images_per_second": ("images / s", "{:,.0f}", 1),
    "peak_memory": ("peak memory, MB", "{:,.0f}", 1e-6),
    "parameters": ("parameters", "{:,.0f}", 1),
    "macs": ("MACs of an image, M", "{:,.1f}", 1e-6),
    "images": ("images seen", "{:,.0f}", 1),
}


@dataclass(frozen=True)
class Examples:
    """Who is who in a study's pictures."""

    reference: str | None  # the baseline that the best method is compared with
    best: str | None
    chosen: list[str] = field(default_factory=list)  # the best first, down to the worst

    @property
    def lines(self) -> list[str]:
        """Those whose lines are told apart, the baseline first."""
        return [*([self.reference] if self.reference else []), *self.chosen]

    @property
    def pair(self) -> list[str]:
        """The baseline and the best method, as far as they are there."""
        return [name for name in (self.reference, self.best) if name]


def select_examples(made: Comparison) -> Examples:
    """The best and the worst method, and of the others those with a verdict, the largest differences first."""
    table = made.verdicts[made.verdicts["difference"].notna()].sort_values("difference", ascending=False)
    if len(table):
        told = table[table["verdict"].isin(["better", "worse"])]["difference"].astype(float).abs()
        by_size = told.sort_values(ascending=False, kind="stable").index
        named = list(dict.fromkeys([table.index[0], table.index[-1], *by_size]))
        named += [name for name in table.index if name not in named] if len(table) <= MOST else []
        chosen = [name for name in table.index if name in named[:MOST]]
        return Examples(str(table["reference"].iloc[0]), chosen[0], chosen)
    column = f"{comparison.HEADLINE}_mean"
    ships = [name for name in made.summary.index if name in made.record.methods]
    if column not in made.summary or not ships:
        return Examples(None, None)
    ranked = made.summary.loc[ships, column].sort_values(ascending=False, kind="stable").index
    others = [name for name in ranked if name != BASELINE][:MOST]
    return Examples(BASELINE if BASELINE in ranked else None, others[0] if others else None, others)


def facts(made: Comparison) -> list[tuple[str, str]]:
    """Return what a reader must know of a study before its answer."""
    record, options, rows = made.record, made.record.options, made.record.resolved
    finished = sum(r.run.role != TEACHER for r in made.results)
    requested = len(record.methods) * record.seeds
    return [
        ("students' runs", f"{finished} of {requested}" + ("" if finished == requested else ", not finished")),
        ("epochs", str(options.epochs)),
        ("student", options.student),
        ("teacher", Path(options.teacher).name),
        ("classes", str(len(record.classes))),
        ("training, test images", f"{rows.rows_train}, {rows.rows_test}"),
    ]


def verdicts(made: Comparison, trust: bool) -> Section | None:
    """Differences in the headline figure, and what they show."""
    table = made.verdicts
    if not len(table):
        return None
    table = comparison.hide_uninformative_intervals(table).sort_values(
        "difference", ascending=False, na_position="last"
    )
    shift = (table["difference"] - table["difference_stopped"])[table["reference"] == BASELINE].dropna().astype(float)
    only = shift.mean() if len(shift) and (table["reference"] == BASELINE).all() else None
    plain, boot = table["difference_plain"].notna().any(), table["boot_low"].notna().any()
    uneven = table["n"].nunique() > 1
    note = "Points of balanced accuracy at the last epoch, paired seed by seed"
    note += "." if uneven else f": {counted(int(table['n'].iloc[0]), 'pair')} each."
    heads = [
        Head("method", text=True),
        Head("difference", order="descending", told="points of balanced accuracy"),
        Head("95 % interval"),
        *([Head("bootstrap")] if boot else []),
        Head("verdict", text=True),
        Head("p,\u00a0Holm"),
        Head("p"),
        *([Head("pairs", told="seeds that both have")] if uneven else []),
        *([Head("to stopped early", told="the reference, stopped early")] if len(shift) else []),
        *([Head("to plain baseline")] if plain else []),
        *([Head("reference", text=True)] if table["reference"].nunique() > 1 else []),
    ]
    rows = []
    for name, line in table.iterrows():
        verdict = str(line["verdict"])
        look = verdict if verdict in ("better", "worse") else ""
        cells = [
            Cell(str(name)),
            number(points(line["difference"]), line["difference"]),
            number(interval(line["low"], line["high"]), line["low"]),
            *([number(interval(line["boot_low"], line["boot_high"]), line["boot_low"])] if boot else []),
            Cell(verdict, None, look=f"text {look}".strip()),
            number(chance(line["p_holm"]), line["p_holm"]),
            number(chance(line["p"]), line["p"]),
            *([number(str(int(line["n"])), line["n"])] if uneven else []),
            *([number(points(line["difference_stopped"]), line["difference_stopped"])] if len(shift) else []),
            *([number(points(line["difference_plain"]), line["difference_plain"])] if plain else []),
            *([Cell(str(line["reference"]), look="text")] if table["reference"].nunique() > 1 else []),
        ]
        rows.append(Row(cells))
    pictures = []
    known = table[table["difference"].notna()]
    if len(known):
        listed = [
            f"{n} {points(r['difference'])} ({interval(r['low'], r['high'])}), {r['verdict']}"
            for n, r in known.iterrows()
        ]
        ranged = ", with its 95 % interval" if known["low"].notna().any() else ""
        caption = f"Difference from the baseline{ranged}; full marks where there is a verdict."
        caption += " Broken line: the baseline stopped early." if only is not None else ""
        alt = f"Differences in balanced accuracy in points, with 95 % intervals: {some(listed, 12)}."
        pictures.append(
            Picture("difference", "Balanced accuracy against the baseline", panels.forest(known, only), alt, caption)
        )
    return Section(
        "verdicts",
        "Which methods differ",
        pictures=pictures,
        tables=[Table("Verdicts", heads, rows, note)],
        notes=conclusions.verdict_rule(made, trust),
        beside=True,
    )


def methods(made: Comparison) -> Section:
    """All metrics, mean and standard deviation over the seeds."""
    present = [name.removesuffix("_mean") for name in map(str, made.summary) if name.endswith("_mean")]
    truth = describe([name for name in metrics_of("truth") if name in present]) if "memorised" in present else ""
    other = [name for name in present if find_metric(name).group == "other"]
    groups: list[tuple[str, list[str], str]] = [
        (
            "Performance",
            performance_metrics(made),
            "Per cent of the test set at the last epoch, mean ± standard deviation over the seeds; the best method in bold.",
        ),
        ("On the test rows with a clean label", performance_metrics(made, "clean_"), "Per cent."),
        (
            "Probabilities",
            list(metrics_of("probabilities")),
            "As they are, and after division by one temperature fitted on the held-out images; ECE in per cent.",
        ),
        ("Against the truth", list(metrics_of("truth")), truth),
        (
            "Agreement with the teacher",
            list(metrics_of("agreement")),
            "How often a net predicts the class that its teacher predicts, per cent.",
        ),
        ("Robustness", other, "Accuracy on changed test images, per cent."),
    ]
    tables = [summary_table(made, *group) for group in groups]
    notes = []
    if not len(made.summary):
        notes.append("No run is finished yet.")
    elif truth:
        known, rows = made.record.known_training
        if known < rows:
            notes.append(
                f"Against the truth: measured on the {known} of {rows} training images whose true label is known."
            )
    if conclusions.has_undefined_corruptions(made.results):
        notes.append(f"Corrupted test images: {conclusions.UNDEFINED_CORRUPTIONS}.")
    return Section("methods", "All metrics", tables=[t for t in tables if t is not None], notes=notes)


def performance_metrics(made: Comparison, part: str = "") -> list[str]:
    """Return the metrics of decisions, without those that repeat another column.

    Args:
        part: `clean_` for the test rows with a clean label.
    """
    k = len(class_names(made))
    names = [name for name in metrics_of("performance") if name != "worst_three" or k > 3]
    if (
        sum(f"{part}{name}_mean" in made.summary for name in metrics_of("frequency")) > 1
    ):  # one group would hold all classes
        names += metrics_of("frequency")
    elif k >= 9:
        names += metrics_of("thirds")
    return [f"{part}{name}" for name in names]


def summary_table(made: Comparison, title: str, names: Sequence[str], note: str) -> Table | None:
    """A row per method, a column per metric that was measured."""
    shown = {name: find_metric(name) for name in names if f"{name}_mean" in made.summary}
    table = made.summary
    table = table[table[[f"{name}_mean" for name in shown]].notna().any(axis=1)] if shown else table[:0]
    if not len(table):
        return None
    ships = [name for name in table.index if name in made.record.methods]
    best = {}
    for name, metric in shown.items():
        means = table.loc[ships, f"{name}_mean"]
        if metric.higher_is_better is not None and means.nunique() > 1:
            best[name] = means.max() if metric.higher_is_better else means.min()
    rows = []
    for method, line in table.iterrows():
        cells = [Cell(teacher(made.record.options) if method == TEACHER else str(method))]
        for name, metric in shown.items():
            mean, std, share = line[f"{name}_mean"], line[f"{name}_std"], metric.unit == "share"
            look = "best" if method in ships and mean == best.get(name) else ""
            cells.append(number(value(mean, share), mean, f"± {value(std, share)}" if std == std else "", look))
        cells.append(number(str(int(line["seeds"])), line["seeds"]))
        rows.append(Row(cells, aside=method not in ships))
    heads = [
        Head("method", text=True),
        *(Head(m.label.removesuffix(", clean part")) for m in shown.values()),
        Head("seeds"),
    ]
    return Table(title, heads, rows, note)


def classes(made: Comparison, who: Examples, seen: "Files") -> Section | None:
    """Recall class by class."""
    table, pictures, overview, notes, hidden = comparison.hide_uninformative_intervals(made.classes), [], [], [], []
    if "difference" in table and table["difference"].notna().any():
        names = list(dict.fromkeys(table["class"]))
        wide = table.pivot(index="method", columns="class", values="difference").astype(float)
        order = [name for name in made.verdicts.sort_values("difference", ascending=False).index if name in wide.index]
        wide = wide.loc[order, names].dropna(axis="columns", how="all")
        sizes = wide.to_numpy()
        most = float(np.nanquantile(np.abs(sizes), 0.95))  # one method that failed must not pale the others
        row, column = (int(at) for at in np.unravel_index(np.nanargmax(np.abs(sizes)), sizes.shape))
        alt = (
            f"Mean difference in recall from the baseline, {len(order)} methods by {sizes.shape[1]} classes; the largest is "
            f"{points(sizes[row, column])} points, of {order[row]} on class {list(wide)[column]}."
        )
        caption = "Mean difference in recall from the baseline, points. Blue: better; vermilion: worse."
        figure = panels.matrix(wide.to_numpy(), order, list(map(str, wide.columns)), ("", "class"), max(most, 0.01))
        overview.append(Picture("overview", "Every method on every class", figure, alt, caption))
        few = who.chosen if len(names) <= NARROW else list(dict.fromkeys([*who.chosen[:1], *who.chosen[-1:]]))
        for place, method in enumerate(few, 1):
            pictures.append(class_panel(table[table["method"] == method], method, place, len(names)))
        hidden.append(class_table(table[table["method"].isin(few)], few))
        which = "the best and the worst" + (", and those with a verdict" if len(names) <= NARROW else "")
        which = which if len(order) > len(few) else "all methods"
        how = "One seed has no intervals, and there is no verdict per class."
        if table["low"].notna().any():
            how = (
                "The intervals are 95 % t intervals of each class by itself, not adjusted for how many there are, and there is"
                " no verdict per class; q is Benjamini and Hochberg's over all classes and methods."
            )
        notes.append(
            f"Shown one by one: {which}. {how}"
            + (" classes.csv has all of them, with their intervals." if len(order) > len(few) else "")
        )
    counts, recalls = seen.counts, {name: recall(made, name) for name in who.pair}
    if counts is not None and recalls:
        pictures.append(sizes_panel(counts, recalls))
    elif recalls:
        notes.append(f"Class sizes against recall are left out: {seen.why}.")
    pictures += overview
    if not pictures:
        return None
    return Section("classes", "Class by class", pictures=pictures, hidden=hidden, notes=notes)


def class_panel(table: pd.DataFrame, method: str, place: int, k: int) -> Picture:
    """One method's differences, class by class."""
    known = table[table["difference"].notna()].sort_values("difference", ascending=False, kind="stable")
    shown, cut = known, ""
    if len(known) > 120:
        shown, cut = pd.concat([known[:60], known[-60:]]), f" The 60 largest and the 60 smallest of {len(known)}."
    listed = [f"{r['class']} {points(r['difference'])} ({interval(r['low'], r['high'])})" for _, r in known.iterrows()]
    alt = f"{method}: difference in recall by class, points, and unadjusted 95 % intervals: {ends(listed, 6)}."
    above = int((known["difference"] > 0).sum())
    caption = f"against {table['reference'].iloc[0]}; above it on {above} of {k} classes.{cut}"
    if known["low"].notna().any():
        most = panels.reach(shown) / 100
        beyond = bool(((shown["low"] < -most) | (shown["high"] > most)).any())
        caption += " Unadjusted 95 % intervals" + ("; arrows: they go on beyond the axis." if beyond else ".")
    return Picture(f"classes-{place}", method, panels.bars(shown), alt, caption)


def class_table(table: pd.DataFrame, shown: Sequence[str]) -> Table:
    """The numbers of the panels."""
    heads = [
        Head("class", text=True), Head("method", text=True), Head("test images"), Head("recall"), Head("baseline's"),
        Head("difference"), Head("95 % interval, unadjusted"), Head("q"),
    ]  # fmt: skip
    rows = [
        Row(
            [
                Cell(str(line["class"])),
                Cell(str(line["method"]), look="text"),
                number(str(int(line["support"])), line["support"]),
                number(value(line["recall"]), line["recall"]),
                number(value(line["recall_reference"]), line["recall_reference"]),
                number(points(line["difference"]), line["difference"]),
                number(interval(line["low"], line["high"]), line["low"]),
                number(chance(line["q"]), line["q"]),
            ]
        )
        for _, line in table.iterrows()
    ]
    return Table(f"The numbers, class by class ({', '.join(shown)})", heads, rows)


def sizes_panel(counts: "pd.Series[float]", recalls: Mapping[str, "pd.Series[float]"]) -> Picture:
    """Class sizes against recall."""
    names = list(recalls)
    small, large = str(counts.idxmin()), str(counts.idxmax())
    told = [
        f"{name}: {value(r[large])} % on {large} ({counts[large]:.0f} images),"
        f" {value(r[small])} % on {small} ({counts[small]:.0f})"
        for name, r in recalls.items()
    ]
    caption = f"Rings: {names[0]}" + (f"; discs: {names[1]}." if len(names) > 1 else ".")
    alt = f"Recall by the number of training images shown as the class. {'; '.join(told)}."
    return Picture("sizes", "Class sizes and recall", panels.sizes(counts, recalls), alt, caption)


def epochs(made: Comparison, who: Examples) -> Section | None:
    """Accuracy and memorisation along the runs."""
    shown, pictures = who.lines, []
    titles = {
        "accuracy": ("Test accuracy", "of the test set, or of 2,000 fixed rows of it"),
        "memorised": ("Memorised", "wrong training labels that the net gives all the same"),
        "recovered": ("Recovered", "wrongly labelled images predicted as their true class"),
    }
    present = [name for name in shown if len(made.curves) and name in set(made.curves["method"])]
    for column, (title, told) in titles.items():
        if column not in made.curves or not made.curves[column].notna().any() or not present:
            continue
        curves = made.curves[made.curves[column].notna() & (made.curves["method"] != TEACHER)]
        mean = curves.groupby(["method", "epoch"])[column].mean()
        parts = [
            f"{name} {value(mean[name].iloc[0])} % at first, {value(mean[name].max())} % at most,"
            f" {value(mean[name].iloc[-1])} % at last"
            for name in present
            if name in mean.index
        ]
        stop = comparison.early_stopping_point(made, who.reference) if column == "accuracy" and who.reference else None
        caption = f"{told}." + (
            f" Diamond: {who.reference} stopped early, epoch {stop[0]:.0f} on average." if stop else ""
        )
        alt = f"{title} by epoch, mean over seeds: {'; '.join(parts)}."
        figure = panels.along(curves, column, shown, stop)
        pictures.append(Picture(column, title, figure, alt, caption))
    if not pictures:
        return None
    rest = len({*made.curves["method"]} - {*shown, TEACHER})
    lead = "Mean over the seeds, in a band of one standard deviation" + (
        "; the other methods in grey." if rest else "."
    )
    return Section("epochs", "Along the runs", lead, pictures, legend=legend(shown), notes=along(made))


def along(made: Comparison) -> list[str]:
    """Plain training along the run, in a sentence."""
    if not len(made.progress):
        return []
    at = ", ".join(f"{value(row['mean'])} % at {epoch}" for epoch, row in made.progress.iterrows())
    return [
        f"Plain training: {at}."
        + (
            " Under label noise long training memorises wrong labels, and that alone can make distillation look good."
            if conclusions.may_have_noisy_training_labels(made)
            else ""
        )
    ]


def legend(shown: Sequence[str]) -> list[dict[str, Any]]:
    """What each line is, with a piece of it."""
    items = []
    for name, (colour, dash) in zip(shown, panels.look(len(shown)), strict=True):
        stroke = "currentColor" if colour == charts.INK else f"var({charts.ON_A_PAGE[colour]})"
        broken = {"-": "", "--": "7 3", "-.": "8 2 2 2", ":": "2 2"}.get(dash, "6 2 2 2 2 2") if dash != "-" else ""
        sample = Markup(
            f'<svg width="28" height="8" aria-hidden="true"><path d="M0 4H28" style="stroke: {stroke}; stroke-width: 2; '
            f'stroke-dasharray: {broken or "none"}"/></svg>'
        )
        items.append({"sample": sample, "name": name})
    return items


def confusions(made: Comparison, who: Examples) -> Section | None:
    """What each class was taken for, by the baseline, by the best method, and what is between them."""
    names = class_names(made)
    matrices = {name: pooled_confusion(made, name) for name in who.pair}
    if not names or any(matrix is None for matrix in matrices.values()) or not matrices:
        return None
    shares = {name: row_shares(matrix) for name, matrix in matrices.items() if matrix is not None}
    pictures = []
    for which, (name, share) in zip(("baseline", "best") if who.reference else ("best",), shares.items(), strict=False):
        worst = largest(share, names)
        alt = f"Confusion matrix of {name}, per cent of each class over all seeds. Most frequent errors: {worst}."
        caption = f"Most frequent: {worst}." if worst != "none" else "No errors."
        pictures.append(
            Picture(
                f"confusion-{which}", name, panels.matrix(share, names, names, ("class", "taken for")), alt, caption
            )
        )
    if len(shares) == 2:
        change = shares[str(who.best)] - shares[str(who.reference)]
        most = float(np.nanmax(np.abs(change), initial=0.01))
        better = largest(change, names, signed=True)
        alt = f"Confusion of {who.best} minus that of {who.reference}, points. Largest changes of errors: {better}."
        caption = f"Points; blue: more often, vermilion: more rarely. Errors that change most: {better}."
        figure = panels.matrix(change, names, names, ("class", "taken for"), most)
        pictures.append(Picture("confusion-change", f"{who.best} − {who.reference}", figure, alt, caption))
    lead = "Per cent of each class, counts summed over the seeds; the deeper the colour, the larger the share."
    return Section("confusion", "What was taken for what", lead, pictures)


def largest(share: NDArray[np.float64], names: Sequence[str], signed: bool = False, most: int = 3) -> str:
    """The largest entries off the diagonal, in words."""
    off = np.nan_to_num(np.where(np.eye(len(names), dtype=bool), 0, share))
    flat = np.argsort(-np.abs(off), axis=None, kind="stable")[:most]
    told = []
    for i, j in (divmod(int(place), len(names)) for place in flat):
        if entry := float(off[i, j]):
            told.append(f"{names[i]} as {names[j]} {points(entry) if signed else value(entry) + ' %'}")
    return ", ".join(told) or "none"


def certainty(made: Comparison, who: Examples) -> Section | None:
    """Reliability diagrams."""
    pictures = []
    for which, name in zip(("baseline", "best") if who.reference else ("best",), who.pair, strict=False):
        bins = pooled_bins([r.last.reliability for r in students(made, name)])
        if not bins:
            continue
        before, after = (
            float(made.summary[f"{figure}_mean"][name]) if f"{figure}_mean" in made.summary else np.nan
            for figure in ("ece", "ece_scaled")
        )
        told = f"ECE {value(before)} %" + (f", {value(after)} % after one temperature" if after == after else "")
        full = [b for b in bins if b.count]
        top = full[-1]
        alt = (
            f"Reliability of {name}: {told}; at a confidence of {value(top.confidence or 0.0)} % it is right in"
            f" {value(top.accuracy or 0.0)} % of {top.count} predictions."
        )
        colour = charts.MUTED if which == "baseline" else charts.BETTER
        pictures.append(Picture(f"reliability-{which}", name, panels.reliability(bins, colour), alt, f"{told}."))
    if not pictures:
        return None
    lead = (
        "How often a net is right (bars and discs) by how sure it is; lines are the gap to the diagonal, low bars at the foot"
        " tell where most answers lie. Before scaling, all seeds together. The temperature is fitted on the held-out images,"
        " whose labels are as noisy as those shown in training."
    )
    return Section("certainty", "How sure, and how right", lead, pictures)


def scenario(made: Comparison, seen: "Files") -> Section | None:
    """The transition matrix that the scenario came to."""
    lead = f"{made.record.options.scenario}, as the training images were shown."
    names = class_names(made)
    if seen.transitions is None or not names:
        why = seen.why or "the truth of the training labels is not known"
        return Section("scenario", "The scenario", notes=[f"The transition matrix is left out: {why}."])
    share = row_shares(seen.transitions)
    wrong = 1 - np.trace(seen.transitions) / max(1, seen.transitions.sum())
    if not wrong:
        return Section("scenario", "The scenario", lead, notes=["Every training image is shown under its true label."])
    told = largest(share, names)
    caption = f"{value(wrong)} % of the training images are shown under a wrong label, over all draws."
    alt = f"Transition matrix, per cent of each true class: {caption} Most frequent: {told}."
    figure = panels.matrix(share, names, names, ("true class", "label shown"))
    return Section(
        "scenario", "The scenario", lead, [Picture("transitions", "From truth to label", figure, alt, caption)]
    )


def recovered(made: Comparison, who: Examples, seen: "Files") -> Section | None:
    """Corrupted samples to which the best method gives their true label all the same."""
    if who.best is None or "recovered_mean" not in made.summary:
        return None
    title = "Labels that were recovered"
    try:
        found = seen.thumbs(made, who.best, who.reference)
    except Exception as error:  # a report is never lost to its thumbnails, whatever became of the data
        told = " ".join(str(error).split()) or type(error).__name__
        return Section("seen", title, notes=[f"Images are left out: {told[:300]}"])
    thumbs, seed, total, fooled = found
    lead = (
        f"Training images under a wrong label to which {who.best} (seed {seed}) gives the true one: {total} in all."
        + (f" First the {fooled} for which {who.reference} gives the wrong one, then by row." if who.reference else "")
        + (f" {len(thumbs)} are shown." if total > len(thumbs) else "")
    )
    return Section("seen", title, lead, thumbs=thumbs)


def costs(made: Comparison, who: Examples) -> Section | None:
    """What a run costs, and what for."""
    table = made.costs
    if not len(table) or "seconds" not in table:
        return None
    table = table.apply(pd.to_numeric, errors="coerce")
    pictures = []
    whole = table["seconds"] + table.get("teacher_seconds", pd.Series(0.0, table.index)).fillna(0)
    accuracy = made.summary["accuracy_mean"] if "accuracy_mean" in made.summary else pd.Series(dtype=float)
    frame = pd.DataFrame({"seconds": whole, "accuracy": accuracy}).loc[list(table.index)].dropna()
    frame = frame[(frame["seconds"] > 0) & (frame.index != TEACHER)]
    if len(frame):
        marked = {name: charts.INK if name == who.reference else charts.BETTER for name in who.pair}
        seconds, share = (dict(zip(frame.index, frame[name], strict=True)) for name in ("seconds", "accuracy"))
        ends_ = {"cheapest": min(seconds, key=seconds.__getitem__), "dearest": max(seconds, key=seconds.__getitem__)}
        ends_["most accurate"] = max(share, key=share.__getitem__)
        told = [f"{what} {name}, {seconds[name]:.3g} s, {value(share[name])} %" for what, name in ends_.items()]
        alt = f"Test accuracy by seconds of a run, the teacher's training included, {len(frame)} methods: {'; '.join(told)}."
        caption = "A run's training, with its teacher's for methods that need one."
        pictures.append(Picture("cost", "Accuracy and what it costs", panels.cost(frame, marked), alt, caption))
    columns = {name: told for name, told in COSTS.items() if name in table and table[name].notna().any()}
    rows = [
        Row(
            [
                Cell(teacher(made.record.options) if name == TEACHER else str(name)),
                *(number(show(line[c], form, scale), line[c]) for c, (_, form, scale) in columns.items()),
            ],
            aside=name == TEACHER,
        )
        for name, line in table.iterrows()
    ]
    heads = [Head("method", text=True), *(Head(told) for told, _, _ in columns.values())]
    note = "Means of a run. Seconds hang on the machine and on what else it did."
    return Section("cost", "What it costs", pictures=pictures, tables=[Table("Cost", heads, rows, note)])


def history(made: Comparison, seen: "Files") -> Section:
    """How the study was made."""
    record, resolved = made.record, made.record.resolved
    trainings = [r.training for r in made.results if r.training is not None]
    times, seconds = [t.finished for t in trainings], sum(t.seconds for t in trainings)
    done = {(r.run.method, r.run.seed) for r in made.results if r.run.role != TEACHER}
    missing = [f"{m} seed {s}" for m in record.methods for s in range(record.seeds) if (m, s) not in done]
    pairs = [
        ("command", command(record.options)),
        ("methods", ", ".join(record.methods)),
        ("seeds", f"0 to {record.seeds - 1}" if record.seeds > 1 else "0"),
        ("data set", f"{record.dataset}, digest {record.fingerprint}"),
        *((f"draw of seed {seed}", f"digest {digest}") for seed, digest in seen.digests.items()),
        ("robustkd, torch", f"{resolved.robustkd}, {resolved.torch}"),
        ("device", f"{resolved.device}, {resolved.precision}"),
        *(
            [("trained", f"{stamp(min(times))} to {stamp(max(times))}, {seconds:,.0f} s of training in all")]
            if times
            else []
        ),
        *([("folder", made.folder.name)] if made.folder else [("read from", "MLflow")]),
        *([("not finished", some(missing, 12))] if missing else []),
        *([("left out", f"{len(record.skipped)} files that cannot be read")] if record.skipped else []),
    ]
    every = [
        Row([Cell(name), Cell("–" if v is None else str(v), look="text")]) for name, v in asdict(record.options).items()
    ]
    values = [
        Row([Cell(method), Cell(name, look="text"), Cell(str(v), look="text")])
        for method, training in {r.run.method: r.training for r in made.results}.items()
        for name, v in (training.hyperparameters if training else {}).items()
    ]
    hidden = [Table("Every option", [Head("option", text=True), Head("value", text=True)], every)]
    if values:
        heads = [Head(name, text=True) for name in ("method", "hyperparameter", "value")]
        hidden.append(Table("Every hyperparameter", heads, values))
    return Section("made", "How it was made", described=pairs, hidden=hidden)


def command(options: StudyOptions) -> str:
    """Return the command that makes a study again, without options that have their default.

    >>> command(StudyOptions(scenario="noise0.4", epochs=60, fresh=True))
    'robustkd run --scenario noise0.4 --epochs 60 --fresh'
    """
    words = ["robustkd run"]
    for option in sorted(fields(options), key=lambda option: option.name != "scenario"):
        chosen = getattr(options, option.name)
        if chosen != option.default:
            flag = "--" + option.name.replace("_", "-")
            if isinstance(chosen, bool):
                words.append(flag if chosen else flag.replace("--", "--no-", 1))
            else:
                words.append(f"{flag} {shlex.quote(str(chosen))}")
    return " ".join(words)


def students(made: Comparison, method: str) -> list[RunResult]:
    """Return a method's results, one seed after another."""
    return [r for r in made.results if r.run.role != TEACHER and r.run.method == method]


def recall(made: Comparison, method: str) -> "pd.Series[float]":
    """Return a method's recall by class, mean over its seeds."""
    return pd.DataFrame([r.last.recall for r in students(made, method)]).astype(float).mean()


def pooled_confusion(made: Comparison, method: str) -> NDArray[np.int64] | None:
    """Return a method's confusion over all seeds: (K, K) counts."""
    found = [np.asarray(r.last.confusion) for r in students(made, method)]
    return np.sum(found, axis=0) if found else None


def row_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return counts as shares of their row, NaN where it is empty: (R, C)."""
    total = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    return shares


def pooled_bins(runs: Iterable[Sequence[ReliabilityBin]]) -> list[ReliabilityBin]:
    """Pool reliability over several runs: counts summed, means weighted by them; empty where no run has any.

    >>> one = ReliabilityBin(low=0.0, high=1.0, count=1, confidence=0.5, accuracy=1.0)
    >>> pooled_bins([[one], [one.model_copy(update={"count": 3, "accuracy": 0.0})], []])[0].accuracy
    0.25
    """
    pooled = []
    for same in zip(*(run for run in runs if run), strict=False):
        count = sum(one.count for one in same)
        means = {
            what: sum(one.count * getattr(one, what) for one in same if one.count) / count if count else None
            for what in ("confidence", "accuracy")
        }
        pooled.append(ReliabilityBin(low=same[0].low, high=same[0].high, count=count, **means))
    return pooled
