"""audit: an estimate of the label noise of one's own data, from nets that were not trained on the label they judge.

OUT/NAME-DIGEST/fold-0.npz        probabilities, kept: the same words use them again
                suspects.csv      who is suspicious, the worst first
                classes.csv       per class: labels given, estimated share that is wrong, how many are really of it
                transition.csv    estimated: row = true class, column = label given; matrix(file=...) reads it
                report.html       the suspicious images
                audit.json        the card
                pruned.csv, relabelled.csv, each with its .json, where asked for: manifests for a study
"""

import json
import math
import re
import shlex
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import robustkd
import scenarios
from pipelines import planning, session
from pipelines.cli_options import AuditOptions
from pipelines.console import console
from pipelines.report.contact_sheet import Suspect, render_contact_sheet
from robustkd.data import manifest
from robustkd.data.splits import split_source
from robustkd.data.view import Labels, Source, View, concat
from robustkd.hashing import digest
from robustkd.label_audit import confident_learning, out_of_fold
from robustkd.models import MODELS
from robustkd.plugins import plugin_digests
from robustkd.study.options import DataOptions, StudyOptions
from robustkd.study.run_folder import load_source
from robustkd.study.versions import RESULTS_VERSION
from robustkd.training import hardware
from robustkd.training.recipe import Recipe

FIRST = 10  # suspects that the terminal shows


@dataclass(frozen=True)
class Part:
    """Rows that were judged, and what came of it."""

    name: str  # as a manifest calls it: train or test
    view: View
    probabilities: out_of_fold.ClassProbabilities
    verdict: confident_learning.LabelIssues

    @property
    def hits(self) -> confident_learning.DetectionScores | None:
        """How the suspicions stand beside the truth, where anybody knows it."""
        return confident_learning.score_detection(self.verdict.is_issue, self.view.labels, self.view.truth)

    @property
    def agreed(self) -> float:
        """The share of the labels that the nets give themselves."""
        return float((self.probabilities.argmax(axis=1) == self.view.labels).mean())

    @property
    def found(self) -> int:
        """How many are suspicious."""
        return int(self.verdict.is_issue.sum())

    def sure(self, rows: Labels, labels: Labels) -> NDArray[np.float32]:
        """The probabilities of these rows' labels."""
        return self.probabilities[rows, labels[rows]]

    def suspects(self, most: int) -> list[Suspect]:
        """The suspicious images, the worst first, so many at most."""
        view, names, i = self.view, np.array(self.view.classes), self.verdict.rank_rows()[:most]
        origin = np.zeros_like(i) if view.origin is None else view.origin[i]
        columns = (names[view.labels[i]], names[self.verdict.suggested[i]])
        sure = (self.sure(i, view.labels), self.sure(i, self.verdict.suggested))
        listed = (column.tolist() for column in (view.source_rows[i], *columns, *sure))
        return [
            Suspect(view.sources[which], *row) for which, row in zip(origin, zip(*listed, strict=True), strict=True)
        ]

    def table(self) -> pd.DataFrame:
        """The suspicious rows as suspects.csv lists them."""
        view, names, i = self.view, np.array(self.view.classes), self.verdict.rank_rows()
        columns = {
            "rank": np.arange(1, len(i) + 1),
            "part": self.name,
            "row": view.source_rows[i],
            "file": files(view.take(i)),
            "given": names[view.labels[i]],
            "suggested": names[self.verdict.suggested[i]],
            "given_probability": self.sure(i, view.labels),
            "suggested_probability": self.sure(i, self.verdict.suggested),
            "quality": self.verdict.quality[i],
        }
        if view.origin is not None:  # whose row it is
            columns["source"] = np.array([source.name for source in view.sources])[view.origin[i]]
        return pd.DataFrame(columns)


def files(view: View) -> list[str]:
    """The file of each row, nothing where there is none: (n,)."""
    origin = np.zeros(len(view), np.int64) if view.origin is None else view.origin
    return [
        named[row] if (named := view.sources[which].files) else ""
        for which, row in zip(origin.tolist(), view.source_rows.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class Finding:
    """All that an audit has found."""

    source: Source
    train: Part
    held_out: NDArray[np.bool_]  # (n,) which of these rows a study holds out
    test: Part
    notes: list[str]  # what a person must know of single classes
    seconds: float  # of all folds, whenever they were trained

    @property
    def parts(self) -> tuple[Part, Part]:
        return self.train, self.test


def main(options: AuditOptions) -> None:
    """Judge the labels of a data set, write what was found, and say it.

    Raises:
        robustkd.errors.UsageError: anything that cannot work.
    """
    scenarios.parse(options.scenario)
    MODELS.parse(options.net).kwargs()
    planning.require_writable(Path(options.out))
    conduct(options, load_source(options))


def conduct(options: AuditOptions, source: Source) -> None:
    """Do it for a data set that has been read."""
    scenario, device, out = (
        scenarios.parse(options.scenario),
        hardware.resolve_device(options.device),
        Path(options.out),
    )
    if source.skipped:
        console.print(f"{len(source.skipped)} files that cannot be read are left out (audit.json names them)")
    rows = split_source(source, held_out=options.held_out, seed=options.split_seed)
    parts = manifest.build_splits(scenario, source, rows, options.seed)
    view, test = concat(parts.train, [parts.train, parts.held_out]), parts.test
    held_out = np.arange(len(view)) >= len(parts.train)
    trainer = out_of_fold.TrainingConfig(
        options.net,
        Recipe(epochs=options.epochs, lr=options.lr, warmup=options.warmup),
        options.batch,
        options.augment,
        device,
        hardware.use_bf16(options.precision, device, options.net),
        options.seed,
    )
    plain = (0.5,) * source.shape[0]
    out_of_fold.build_fold_network(
        view, trainer, 0, (plain, plain)
    )  # what cannot be built is refused before anything is written
    fold = out_of_fold.assign_folds(view, options.folds, options.seed)
    folder = out / folder_name(options, trainer, view, fold, test)
    with session.study_lock(folder), threads(options.threads or hardware.count_cores()):
        found = judged(options, source, view, fold, held_out, test, trainer, folder)
        changed = write(options, found, trainer, folder)
    tell(options, found, folder, changed)


def folder_name(
    options: AuditOptions, trainer: out_of_fold.TrainingConfig, view: View, fold: Labels, test: View
) -> str:
    """A name that a person recognises, and a digest of all that decides the probabilities."""
    name = Path(options.dataset.partition(":")[2] or options.dataset).stem
    name += "" if options.scenario == "clean" else f"-{options.scenario}"
    decides = {
        **asdict(trainer),
        "drawn": [view.digest, test.digest],
        "folds": digest(fold.astype("<i8")),  # a library cuts them, and may one day cut others
        "results_version": RESULTS_VERSION,
        "plugins": plugin_digests(options.plug),
    }
    short = digest(text=json.dumps(decides, sort_keys=True))[:8]
    return f"{re.sub(r'[^A-Za-z0-9.+=_-]+', '-', name).strip('-')}-{short}"


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many CPU threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def judged(
    options: AuditOptions,
    source: Source,
    view: View,
    fold: Labels,
    held_out: NDArray[np.bool_],
    test: View,
    trainer: out_of_fold.TrainingConfig,
    folder: Path,
) -> Finding:
    """Train what is not there yet, and weigh every label."""
    alone = out_of_fold.unseen_class_mask(view.labels, fold, len(view.classes))
    if options.fresh and folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.{time.strftime('%Y%m%d-%H%M%S')}"))
    folder.mkdir(parents=True, exist_ok=True)
    console.print(
        f"{len(view)} training labels of {source.name}, in {options.folds} folds; one net ({options.net}, "
        f"{options.epochs} epochs) for each, trained on the others",
        markup=False,
    )
    watch = Watch(options.folds, options.epochs)
    with watch.progress:
        own, other = out_of_fold.out_of_fold_probabilities(view, fold, test, trainer, folder, watch.report)
    return Finding(
        source,
        Part("train", view, own, confident_learning.find_label_issues(view.labels, own, ~alone)),
        held_out,
        Part("test", test, other, confident_learning.find_label_issues(test.labels, other)),
        remarks(view, fold, alone, options.folds),
        watch.seconds,
    )


class Watch:
    """Tells a person how far things are: a bar for the fold at work on a terminal, a line per fold that is over."""

    def __init__(self, folds: int, epochs: int) -> None:
        self.folds, self.seconds, self.start = folds, 0.0, time.monotonic()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.bar = self.progress.add_task("epochs", total=folds * epochs)

    def report(self, event: out_of_fold.FoldProgress) -> None:
        """An epoch has ended, or a fold."""
        self.progress.update(self.bar, completed=event.fold * event.epochs + event.epoch)
        if event.agreement is None:
            return
        self.seconds += event.seconds
        how = "there already" if event.reused else f"{event.seconds:.0f} s"
        self.progress.console.print(
            f"[{event.fold + 1}/{self.folds}] its net gives {100 * event.agreement:.1f} % of the fold's labels ({how})",
            markup=False,
        )


def remarks(view: View, fold: Labels, alone: NDArray[np.bool_], folds: int) -> list[str]:
    """What is to be said of classes that could not be spread over all folds."""
    told = []
    for number, (name, count) in enumerate(zip(view.classes, view.counts, strict=True)):
        mine = view.labels == number
        places = len(np.unique(fold[mine]))
        if (alone & mine).any():
            told.append(f"class '{name}' ({count} samples) is in one fold only: no net can judge its labels")
        elif 0 < places < folds:
            told.append(f"class '{name}' ({count} samples) is in {places} of the {folds} folds: its figures are rough")
    return told


def write(options: AuditOptions, found: Finding, trainer: out_of_fold.TrainingConfig, folder: Path) -> list[str]:
    """All files of an audit but the folds'; what was pruned or relabelled, in sentences."""
    train, names = found.train, list(found.source.classes)
    pd.concat([part.table() for part in found.parts]).to_csv(folder / "suspects.csv", index=False, float_format="%.4f")
    by_class(train).to_csv(folder / "classes.csv", float_format="%.4f")
    pd.DataFrame(train.verdict.transition_matrix, index=names, columns=names).to_csv(folder / "transition.csv")
    (folder / "report.html").write_text(report(options, found), encoding="utf-8")
    changed, told = {}, []
    for name, wanted in (("pruned", options.prune), ("relabelled", options.relabel)):
        if wanted:
            views, moved, stayed = cleaned(found, options.keep, relabel=name == "relabelled")
            changed[name] = {"rows": moved, "kept for the sake of their class": stayed}
            asked = {name: getattr(options, name) for name in ("scenario", "split_seed", "held_out", "keep")}
            manifest.save_manifest(folder / f"{name}.csv", views, {**asked, "audit": folder.name, **changed[name]})
            told.append(f"{folder / name}.csv: {moved} rows {name}" + spare(stayed, options.keep))
    (folder / "audit.json").write_text(
        json.dumps(card(options, found, trainer, changed), indent=2, ensure_ascii=False), encoding="utf-8"
    )
    return told


def spare(count: int, keep: int) -> str:
    """What is said of suspicious rows that had to stay."""
    return f"; {count} suspicious rows stay for the sake of their class (--keep {keep})" if count else ""


def cleaned(found: Finding, keep: int, *, relabel: bool) -> tuple[manifest.Splits, int, int]:
    """What a study may be shown instead; how many rows were changed, and how many were not for the sake of their class."""
    verdict, view = found.train.verdict, found.train.view
    shown, withheld = ~found.held_out, found.held_out
    least = math.ceil(keep * withheld.sum() / max(1, shown.sum()))  # of held-out rows, in proportion
    moved = confident_learning.select_removable(verdict, view.labels, keep, shown)
    moved |= confident_learning.select_removable(verdict, view.labels, least, withheld)
    view = view.relabel(np.where(moved, verdict.suggested, view.labels)) if relabel else view
    stays = np.ones_like(moved) if relabel else ~moved
    train, held_out = (view.take(stays & part) for part in (shown, withheld))
    return manifest.Splits(train, held_out, found.test.view), int(moved.sum()), int((verdict.is_issue & ~moved).sum())


def by_class(part: Part) -> pd.DataFrame:
    """classes.csv: labels given, estimated share that is wrong, suspicious rows, estimated true size."""
    verdict, counts = part.verdict, part.view.counts
    judged = verdict.joint.sum(axis=0).round().astype(np.int64)
    return pd.DataFrame(
        {
            "given": counts,
            "judged": judged,
            "estimated_noise_rate": verdict.noise_rates,
            "suspicious": np.bincount(part.view.labels[verdict.is_issue], minlength=len(counts)),
            # Rows that nobody could judge are taken at their word.
            "estimated_true": verdict.joint.sum(axis=1).round().astype(np.int64) + counts - judged,
        },
        index=pd.Index(part.view.classes, name="class"),
    )


def card(
    options: AuditOptions, found: Finding, trainer: out_of_fold.TrainingConfig, changed: dict[str, Any]
) -> dict[str, Any]:
    """audit.json."""
    figures: dict[str, dict[str, Any]] = {}
    for part in found.parts:
        rate = part.verdict.noise_rate
        figures[part.name] = {
            "rows": len(part.view),
            "estimated_noise_rate": None if np.isnan(rate) else round(rate, 6),
            "suspicious": part.found,
            "agreed": round(part.agreed, 6) if len(part.view) else None,
        }
        if part.hits is not None:
            hits = part.hits
            figures[part.name]["where_truth_is_known"] = {
                **{"rows": hits.rows, "errors": hits.errors, "found": hits.flagged, "right": hits.true_positives},
                **{"precision": hits.precision, "recall": hits.recall},
            }
    return {
        "dataset": found.source.name,
        "fingerprint": found.source.fingerprint,
        "classes": found.source.classes,
        "given": {field.name: getattr(options, field.name) for field in fields(options)},
        "figures": figures,
        "changed": changed,
        "notes": found.notes,
        "skipped": found.source.skipped,
        "digest": {part.name: part.view.digest for part in found.parts},
        "device": trainer.device,
        "precision": "bf16" if trainer.half else "fp32",
        "versions": {"robustkd": robustkd.__version__, "torch": torch.__version__, "cleanlab": version("cleanlab")},
        "seconds": round(found.seconds, 1),
    }


def report(options: AuditOptions, found: Finding) -> str:
    """The contact sheet; test suspects come after those of the training rows and get a fifth of the places at most."""
    test, train = found.test, found.train
    below = min(test.found, max(options.show // 5, options.show - train.found))
    parts = [
        (f"{len(shown)} of {part.found} suspicious {what}, the worst first", shown)
        for part, what, most in (
            (train, "training rows", options.show - below),
            (test, "test rows (never changed)", below),
        )
        if (shown := part.suspects(most))
    ]
    return render_contact_sheet(f"audit of {found.source.name}", summary(options, found), parts)


def summary(options: AuditOptions, found: Finding) -> list[str]:
    """What was found, in sentences."""
    train, test = found.train, found.test
    told = [
        f"{'' if options.scenario == 'clean' else f'scenario {options.scenario}: '}"
        f"an estimated {100 * train.verdict.noise_rate:.1f} % of the {len(train.view)} training labels are wrong; "
        f"{train.found} are suspicious"
    ]
    if len(test.view):
        told.append(
            f"test labels: an estimated {100 * test.verdict.noise_rate:.1f} % of {len(test.view)} are wrong; "
            f"{test.found} are suspicious. They are listed, never changed"
        )
    for part in found.parts:
        hits = part.hits
        if hits is not None and (hits.errors or part is train):
            told.append(f"{part.name} rows whose truth is known: {beside(hits)}")
    told.append(
        f"out of fold the nets give {100 * train.agreed:.1f} % of the training labels; what a weak net gets wrong "
        "counts as noise too, so look at the images before you prune"
    )
    changed = ~train.view.foreign & (train.view.published_labels != train.view.labels)
    if train.hits is None and changed.any():
        caught = int((changed & train.verdict.is_issue).sum())
        told.append(f"of the {int(changed.sum())} labels that the scenario changed, {caught} are suspicious")
    return [*told, *found.notes]


def beside(hits: confident_learning.DetectionScores) -> str:
    """Suspicions beside the truth.

    >>> beside(confident_learning.DetectionScores(rows=100, errors=20, flagged=10, true_positives=9))
    '20 of 100 are wrong; of 10 suspicious 9 are: precision 0.900, recall 0.450'
    >>> beside(confident_learning.DetectionScores(rows=100, errors=0, flagged=10, true_positives=0))
    'none of 100 is wrong; 10 are suspicious all the same'
    """
    if not hits.errors:
        return f"none of {hits.rows} is wrong; {hits.flagged} are suspicious" + (
            " all the same" if hits.flagged else ""
        )
    said = [f"{name} {value:.3f}" for name in ("precision", "recall") if (value := getattr(hits, name)) is not None]
    return f"{hits.errors} of {hits.rows} are wrong; of {hits.flagged} suspicious {hits.true_positives} are" + (
        f": {', '.join(said)}" if said else ""
    )


def tell(options: AuditOptions, found: Finding, folder: Path, changed: list[str]) -> None:
    """What a person reads at the end."""
    for line in summary(options, found):
        console.print(line, markup=False)
    table = Table(title="training labels per class, estimated")
    for column in ("class", "given", "wrong, %", "suspicious", "really of it"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, row in by_class(found.train).iterrows():
        rate = "-" if np.isnan(row["estimated_noise_rate"]) else f"{100 * row['estimated_noise_rate']:.1f}"
        counts = (str(int(row[column])) for column in ("given", "suspicious", "estimated_true"))
        given, suspicious, really = counts
        table.add_row(escape(str(name)), given, rate, suspicious, really)
    console.print(table)
    first = found.train.suspects(FIRST)
    if first:
        console.print(listed(first))
    for line in changed:
        console.print(line, markup=False)
    console.print(f"{folder / 'report.html'} shows the images; all files: {folder}", markup=False)
    known = found.train.hits
    if first and not (known and known.rows == len(found.train.view) and not known.errors):  # else nothing is to be done
        left = len(cleaned(found, options.keep, relabel=not options.prune)[0].train)
        console.print(f"go on with: {onwards(options, folder, left)}", markup=False)


def listed(first: list[Suspect]) -> Table:
    """The worst suspects."""
    table = Table(title=f"the {len(first)} most suspicious training rows")
    for column in ("row", "given", "suggested"):
        table.add_column(column, justify="right" if column == "row" else "left")
    for one in first:
        sure = (100 * one.given_probability, 100 * one.suggested_probability)
        table.add_row(
            escape(one.source.files[one.row]) if one.source.files else str(one.row),
            f"{escape(one.given)} ({sure[0]:.1f} %)",
            f"{escape(one.suggested)} ({sure[1]:.1f} %)",
        )
    return table


def onwards(options: AuditOptions, folder: Path, left: int) -> str:
    """The command that comes next: a study of what was cleaned, or the audit again, which then writes it.

    Args:
        left: the training rows that a study would have.
    """
    data = [name for name in DataOptions.__dataclass_fields__ if name != "dataset"]
    if not (options.prune or options.relabel):
        own = [name for name in AuditOptions.__dataclass_fields__ if name not in ("dataset", "fresh")]
        return shlex.join(["robustkd", "audit", options.dataset, *spelled(options, own), "--prune"])
    file = (folder / ("pruned.csv" if options.prune else "relabelled.csv")).as_posix()
    file = file if re.fullmatch(r"[\w./+-]+", file) else f'"{file}"'
    given = {"--dataset": options.dataset, "--scenario": f"manifest(file={file})"}
    if left < StudyOptions.__dataclass_fields__["batch"].default:
        given["--batch"] = str(left)
    return shlex.join(["robustkd", "run", *(word for pair in given.items() for word in pair), *spelled(options, data)])


def spelled(options: AuditOptions, names: Iterable[str]) -> Iterator[str]:
    """Options as typed, those that are as by default left out."""
    for name in names:
        value, option = getattr(options, name), name.replace("_", "-")
        if value != AuditOptions.__dataclass_fields__[name].default:
            yield from (
                [f"--{option}", str(value)] if type(value) is not bool else [f"--{'' if value else 'no-'}{option}"]
            )
