"""describe: what a scenario really does to a data set, before anything is trained on it."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from pipelines.console import console
from robustkd.data import manifest, sources
from robustkd.data.class_groups import many_medium_few, published_counts, thirds
from robustkd.data.paths import describe_missing_path
from robustkd.data.splits import split_source
from robustkd.data.view import Labels, View
from robustkd.errors import UsageError
from robustkd.study.options import DataOptions
from scenarios.base import Scenario

WIDEST = 20  # a matrix with more classes is told by its largest entries
SHEET = 24  # corrupted samples drawn
PICTURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True, eq=False)
class StepReport:
    """What one scenario of a chain did.

    Attributes:
        before: samples it was given.
        after: samples it left.
        foreign: foreign images among those.
        asked: share of all samples it meant to corrupt.
        realised: share of the samples it left that it corrupted, by another label or a foreign image.
        per_class: columns asked and realised by the label each sample had before it; NaN for a class without samples.
    """

    name: str
    before: int
    after: int
    foreign: int
    asked: float
    realised: float
    per_class: pd.DataFrame

    @property
    def corrupts(self) -> bool:
        """Whether it meant to, or did."""
        return self.asked > 0 or self.realised > 0


@dataclass(frozen=True, eq=False)
class Account:
    """What a chain made of a view.

    Attributes:
        steps: the chain, one by one.
        per_class: a line per class: samples before; kept, which bear the label they were published with; shown under this
            label, and of these the clean, the corrupted and the foreign ones; group and third by the samples kept.
        transitions: own samples by label published and label shown: (K, K) counts.
        known: own samples shown whose truth is known; None where nothing is known, or where all came under their true label.
        wrong: those of them that are shown under another label.
        digest: of what is shown.
    """

    steps: tuple[StepReport, ...]
    per_class: pd.DataFrame
    transitions: Labels
    known: int | None
    wrong: int
    digest: str

    @property
    def shares(self) -> NDArray[np.float64]:
        """The share of each class, as published, that is shown as each: (K, K), NaN for a class that is gone."""
        total = self.transitions.sum(axis=1, keepdims=True)
        shares = np.full(self.transitions.shape, np.nan)
        np.divide(self.transitions, total, out=shares, where=total > 0)
        return shares


def main(
    text: str,
    scenario: Scenario,
    data: DataOptions,
    seed: int,
    save: Path | None = None,
    figure: Path | None = None,
) -> None:
    """Print what the scenario does to the training rows; write a manifest and draw a figure where asked."""
    writable("--save", save, manifest.TABLE_SUFFIXES)
    writable("--figure", figure, PICTURES)
    source = sources.load_dataset(
        data.dataset,
        data_dir=data.data_dir,
        download=data.download,
        image_size=data.image_size,
        skip_bad_images=data.skip_bad_images,
    )
    if source.skipped:
        console.print(f"{len(source.skipped)} image files that cannot be read are left out")
    rows = split_source(source, held_out=data.held_out, seed=data.split_seed)
    before = View.of(source, rows.train, seed)
    views = applied(scenario, before)
    found, after = account(list(scenario), views), views[-1]
    title = f"{text} on the {len(before)} training rows of {source.name}, data seed {seed}"
    told(title, found, source.classes)
    if save is not None:
        splits = manifest.build_splits(scenario, source, rows, seed)
        manifest.save_manifest(save, splits, {"scenario": text, "split_seed": data.split_seed})
        console.print(f'written to {save}: --scenario "manifest(file={save})" takes it from there', markup=False)
    if figure is not None:
        from pipelines.report.charts.output import save_figure
        from pipelines.report.charts.scenarios import plot_scenario

        save_figure(plot_scenario(found.per_class, found.transitions, sheet(after), title), figure)
        console.print(f"drawn in {figure}", markup=False)


def writable(option: str, path: Path | None, suffixes: Sequence[str]) -> None:
    """Refuse, before any work, a file of another kind, one that is there, or one in a folder that is not."""
    if path is None:
        return
    if path.suffix not in suffixes:
        raise UsageError(f"{option} {path}: its name should end in {', '.join(suffixes[:-1])} or {suffixes[-1]}")
    if not path.parent.is_dir():
        raise UsageError(describe_missing_path(option, path.parent))
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{option} {path}: its folder cannot be written to")
    for file in (path, path.with_suffix(".json")) if option == "--save" else (path,):
        if file.exists():
            raise UsageError(f"{option} {path}: {file} exists already and is not overwritten")


def applied(scenario: Scenario, before: View) -> list[View]:
    """The view before, and as each step leaves it."""
    views = [before]
    for step in scenario:
        views.append(step(views[-1]))
    return views


def account(steps: Sequence[Scenario], views: Sequence[View]) -> Account:
    """Count what the steps did.

    Args:
        views: the view before the first step, and as each step left it: one more than there are steps.
    """
    before, after = views[0], views[-1]
    classes, published, own = len(before.classes), after.published_labels, ~after.foreign
    transitions = np.zeros((classes, classes), np.int64)
    np.add.at(transitions, (published[own], after.labels[own]), 1)
    kept, foreign = published_counts(after), np.bincount(after.labels[after.foreign], minlength=classes)
    clean = np.diag(transitions)
    per_class = pd.DataFrame(
        {
            "before": before.counts,
            "kept": kept,
            "shown": after.counts,
            "clean": clean,
            "corrupted": transitions.sum(axis=0) - clean,
            "foreign": foreign,
            "group": many_medium_few(kept),
            "third": thirds(kept),
        },
        index=pd.Index(before.classes, name="class"),
    )
    known, wrong, truth = None, 0, after.truth
    if truth is not None and not np.array_equal(truth[own], published[own]):
        known, wrong = int((truth >= 0).sum()), int(after.corrupted.sum())
    done = tuple(counted(step, *pair) for step, *pair in zip(steps, views[:-1], views[1:], strict=True))
    return Account(done, per_class, transitions, known, wrong, after.digest)


def counted(step: Scenario, before: View, after: View) -> StepReport:
    """What one step did: a sample is corrupted that has another label than before, or a foreign image in its place."""
    place = origins(before, after)
    there = place >= 0
    label = after.labels.copy()  # what is new, and nobody knows for whom, counts under the label that it has
    label[there] = before.labels[place[there]]
    corrupted = (label != after.labels) | ~there
    corrupted[there] |= after.sample_ids[there] != before.sample_ids[place[there]]
    size = np.bincount(label, minlength=len(before.classes))
    asked = step.corruption_rates(before)
    realised = np.full(len(size), np.nan)
    np.divide(np.bincount(label[corrupted], minlength=len(size)), size, out=realised, where=size > 0)
    return StepReport(
        str(step),
        len(before),
        len(after),
        int(after.foreign.sum()),
        float(asked @ before.counts) / max(1, len(before)),
        float(corrupted.mean()) if len(after) else 0.0,
        pd.DataFrame({"asked": np.where(before.counts > 0, asked, np.nan), "realised": realised}, index=before.classes),
    )


def origins(before: View, after: View) -> Labels:
    """Which sample of the view before each sample of the view after was, or stands in for; -1 where none is known: (n,)."""
    was, now = before.sample_ids, after.sample_ids
    if len(was) == len(now) and ((was == now) | after.foreign).all():
        return np.arange(len(now))  # nobody moved, so that a foreign image shown twice is no riddle
    ids, first = np.unique(was, return_index=True)
    place: Labels = np.append(first, -1)[pd.Index(ids).get_indexer(pd.Index(now))]
    return place


def told(title: str, found: Account, classes: tuple[str, ...]) -> None:
    """Print an account."""
    console.print(title, markup=False)
    for number, step in enumerate(found.steps, 1):
        console.print(f"{number}. {said(step)}", markup=False)
    if found.known is not None:
        rows = f"the truth is known of {found.known} of the {found.transitions.sum()} own samples shown"
        share = f"; {100 * found.wrong / found.known:.2f} % of them carry another label" if found.known else ""
        console.print(rows + share, markup=False)
    console.print(*sizes(found), sep="\n")
    console.print(*confusions(found, classes), sep="\n")
    console.print(f"digest {found.digest}")
    for name in found.per_class.index[(found.per_class["shown"] == 0) & (found.per_class["before"] > 0)]:
        console.print(f"class '{name}' is left without a sample: a study would refuse this scenario", markup=False)


def said(step: StepReport) -> str:
    """A step in one line."""
    text = f"{step.name}: {step.before} -> {step.after} samples"
    if step.corrupts:
        text += f"; corrupted: asked {100 * step.asked:.2f} %, realised {100 * step.realised:.2f} %"
    return text + (f"; {step.foreign} foreign images among them" if step.foreign else "")


def sizes(found: Account) -> Iterable[Table]:
    """A line per class: sizes, priors, and what is wrong with what is shown; and the rates of the steps that corrupt."""
    lines = found.per_class
    columns: dict[str, Iterable[str]] = {name: map(str, lines[name]) for name in ("before", "kept", "shown")}
    columns["kept %"] = per_cent(lines["kept"] / max(1, lines["kept"].sum()))
    columns["shown %"] = per_cent(lines["shown"] / max(1, lines["shown"].sum()))
    columns["wrong %"] = per_cent(lines["corrupted"] / lines["shown"])
    if lines["foreign"].any():
        columns["foreign %"] = per_cent(lines["foreign"] / lines["shown"])
    columns |= {name: lines[name] for name in ("group", "third")}
    yield table(
        "samples per class; kept: by the label they came with;"
        f" {'wrong % and foreign %' if 'foreign %' in columns else 'wrong %'}: of what is shown as the class",
        lines.index,
        columns,
    )
    rates = {number: step.per_class for number, step in enumerate(found.steps, 1) if step.corrupts}
    if rates:
        columns = {f"{name} {number}": per_cent(step[name]) for number, step in rates.items() for name in step}
        yield table("corrupted by each step, per cent of the class as labelled before it", lines.index, columns)


def table(title: str, names: Iterable[str], columns: Mapping[str, Iterable[str]]) -> Table:
    """Columns beside the classes' names; where room is short it is the names that are folded."""
    made = Table(title=title, title_justify="left")
    made.add_column("class", overflow="fold")
    for column in columns:
        words = column in ("group", "third")
        made.add_column(column, justify="left" if words else "right", no_wrap=True)
    for name, *values in zip(names, *columns.values(), strict=True):
        made.add_row(escape(name), *values)
    return made


def per_cent(shares: Iterable[float]) -> list[str]:
    """Shares as text, a dash where there is none."""
    return ["-" if np.isnan(share) else f"{100 * share:.1f}" for share in shares]


def confusions(found: Account, names: tuple[str, ...]) -> Iterable[Table | str]:
    """The realised transition matrix in full, or its largest entries off the diagonal."""
    shares, foreign = found.shares, found.per_class["foreign"] / found.per_class["shown"]
    if len(names) <= WIDEST:
        matrix = Table(
            title="realised transition matrix, per cent: row = label before, column = label shown", title_justify="left"
        )
        for column in ("", *names):
            matrix.add_column(escape(column), justify="right", overflow="fold")
        if foreign.any():
            matrix.add_column("foreign", justify="right")
            matrix.caption = "foreign: share of what is shown as the row's class; all other columns are of own images"
        for name, row, lent in zip(names, shares, foreign, strict=True):
            matrix.add_row(escape(name), *per_cent([*row, lent] if foreign.any() else row))
        return [matrix]
    off = np.nan_to_num(np.where(np.eye(len(names), dtype=bool), 0, shares))
    largest = np.argsort(-off, axis=None, kind="stable")[:10]
    pairs = [np.unravel_index(flat, off.shape) for flat in largest]
    lines = [f"  {names[i]} shown as {names[j]}: {100 * off[i, j]:.1f} %" for i, j in pairs if off[i, j] > 0]
    kept = np.nanmean(np.diag(shares))
    head = f"realised transition matrix: {100 * kept:.1f} % kept on average"
    return [escape(line) for line in ([f"{head}; the largest confusions:", *lines] if lines else [head])]


def sheet(view: View) -> list[tuple[NDArray[np.uint8], str, str]]:
    """Some of the corrupted samples, by key: image (C, H, W), label before or foreign, label shown."""
    corrupted = np.flatnonzero(view.published_labels != view.labels)
    # A foreign image may be shown often, and has one key: once is enough.
    corrupted = corrupted[np.unique(view.sample_ids[corrupted], return_index=True)[1]]
    chosen = view.take(corrupted[np.argsort(view.keys("sheet")[corrupted], kind="stable")[:SHEET]])
    names = np.array([*view.classes, "foreign"], dtype=object)  # the -1 of a foreign image is the last
    return list(zip(chosen.images(), names[chosen.published_labels], names[chosen.labels], strict=True))
