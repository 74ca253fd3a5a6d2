"""The findings of an audit as sentences and tables on the terminal, and the command that continues from them."""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from pipelines.auditing.findings import AuditedRows, AuditFindings, clean_splits
from pipelines.auditing.predictions import uses_probe
from pipelines.cli_options import AuditOptions
from pipelines.console import console
from pipelines.report.contact_sheet import Suspect
from robustkd.label_audit.confident_learning import DetectionScores
from robustkd.study.options import DataOptions, StudyOptions

TERMINAL_SUSPECTS = 10


def summarise_findings(options: AuditOptions, findings: AuditFindings) -> list[str]:
    """Return the findings in sentences."""
    train, test = findings.train, findings.test
    scenario = "" if options.scenario == "clean" else f"scenario {options.scenario}: "
    sentences = [
        f"{scenario}{estimated_share(train)} of the {len(train.view)} training labels are wrong; "
        f"{train.issue_count} are suspicious"
    ]
    if len(test.view):
        sentences.append(
            f"test labels: {estimated_share(test)} of {len(test.view)} are wrong; "
            f"{test.issue_count} are suspicious. They are listed, never changed"
        )
    for rows in findings.parts:
        if (scores := rows.detection) is not None and (scores.errors or rows is train):
            sentences.append(f"{rows.part} rows whose true label is known: {describe_detection(scores)}")
    sentences.append(describe_reliability(train))
    changed = ~train.view.foreign & (train.view.published_labels != train.view.labels)
    if train.detection is None and changed.any():
        suspicious = int((changed & train.issues.is_issue).sum())
        sentences.append(f"of the {int(changed.sum())} labels that the scenario changed, {suspicious} are suspicious")
    return [*sentences, *findings.notes]


def estimated_share(rows: AuditedRows) -> str:
    """Return the estimated share of wrong labels, as an upper bound where it may be the networks' own errors."""
    bound = "an estimated" if rows.reliability.is_believable else "at most"
    return f"{bound} {100 * rows.issues.noise_rate:.1f} %"


def describe_reliability(rows: AuditedRows) -> str:
    """Describe what the estimate rests on, and why it is only an upper bound, if it is."""
    reliability = rows.reliability
    sentence = f"the networks predict {100 * rows.agreement:.1f} % of the training labels out of fold"
    if reliability.is_believable:
        return f"{sentence}; errors of a weak network count as label noise too, so look at the images before you prune"
    if not reliability.is_accurate:
        return f"{sentence}, too few for an estimate: what they get wrong counts as label noise"
    return (
        f"{sentence}; where they are surest, only {100 * reliability.sure_disagreement:.1f} % of the labels contradict them, so"
        " the rest of the estimate may be their own errors"
    )


def describe_detection(scores: DetectionScores) -> str:
    """Compare the suspicious labels with the true ones.

    >>> describe_detection(DetectionScores(rows=100, errors=20, flagged=10, true_positives=9))
    '20 of 100 are wrong; of 10 suspicious 9 are: precision 0.900, recall 0.450'
    >>> describe_detection(DetectionScores(rows=100, errors=0, flagged=10, true_positives=0))
    'none of 100 is wrong, but 10 are suspicious'
    """
    if not scores.errors:
        suspicious = f"but {scores.flagged} are suspicious" if scores.flagged else "and none is suspicious"
        return f"none of {scores.rows} is wrong, {suspicious}"
    values = {"precision": scores.precision, "recall": scores.recall}
    ratios = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if value is not None)
    counts = f"{scores.errors} of {scores.rows} are wrong; of {scores.flagged} suspicious {scores.true_positives} are"
    return counts + (f": {ratios}" if ratios else "")


def print_findings(options: AuditOptions, findings: AuditFindings, folder: Path, changes: Sequence[str]) -> None:
    """Print the findings, what was changed, and the next command."""
    for sentence in summarise_findings(options, findings):
        console.print(sentence)
    console.print(class_estimates(findings.train))
    suspects = findings.train.list_suspects(TERMINAL_SUSPECTS)
    if suspects:
        console.print(worst_suspects(suspects))
    for sentence in changes:
        console.print(sentence)
    console.print(f"{folder / 'report.html'} shows the images; all files: {folder}")
    scores = findings.train.detection
    known_clean = scores is not None and scores.rows == len(findings.train.view) and not scores.errors
    if not suspects or known_clean:
        return
    if not findings.may_be_changed(options.force):
        better = "a larger --image-size" if uses_probe(options) else "more --epochs"
        cure = f"a stronger --net, {better} or your own --probabilities may give an estimate that can be believed"
        if options.probabilities is not None:
            cure = "check that the rows and columns of --probabilities are in the data set's order"
        console.print(
            "the suspicious rows are ranked, but not to be pruned unseen, and transition.csv contains the errors of the"
            f" networks: {cure}",
        )
    else:
        rows_left = len(clean_splits(findings, options.keep, relabel=not options.prune).splits.train)
        console.print(f"continue with: {next_command(options, folder, rows_left)}")


def class_estimates(rows: AuditedRows) -> Table:
    """Return the table of estimates per class."""
    errors = "" if rows.reliability.is_believable else ", with the errors of the networks"
    table = Table(title=f"training labels per class, estimated{errors}")
    for column in ("class", "given", "wrong, %", "suspicious", "true size"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, row in rows.class_table().iterrows():
        rate = "-" if np.isnan(row["estimated_noise_rate"]) else f"{100 * row['estimated_noise_rate']:.1f}"
        given, suspicious, true_size = (str(int(row[key])) for key in ("given", "suspicious", "estimated_true"))
        table.add_row(str(name), given, rate, suspicious, true_size)
    return table


def worst_suspects(suspects: Sequence[Suspect]) -> Table:
    """Return the table of the most suspicious rows."""
    table = Table(title=f"the {len(suspects)} most suspicious training rows")
    for column in ("row", "given", "suggested"):
        table.add_column(column, justify="right" if column == "row" else "left")
    for suspect in suspects:
        files = suspect.source.files
        table.add_row(
            files[suspect.row] if files else str(suspect.row),
            f"{suspect.given} ({100 * suspect.given_probability:.1f} %)",
            f"{suspect.suggested} ({100 * suspect.suggested_probability:.1f} %)",
        )
    return table


def next_command(options: AuditOptions, folder: Path, rows_left: int) -> str:
    """Return the next command: a study of the cleaned data, or the audit again with --prune.

    Args:
        rows_left: number of training rows of the study.
    """
    if not (options.prune or options.relabel):
        names = [name for name in AuditOptions.__dataclass_fields__ if name not in ("dataset", "fresh")]
        return shlex.join(["robustkd", "audit", options.dataset, *changed_options(options, names), "--prune"])
    file = (folder / ("pruned.csv" if options.prune else "relabelled.csv")).as_posix()
    file = file if re.fullmatch(r"[\w./+-]+", file) else f'"{file}"'
    words = ["--dataset", options.dataset, "--scenario", f"manifest(file={file})"]
    if rows_left < StudyOptions.__dataclass_fields__["batch"].default:
        words += ["--batch", str(rows_left)]
    names = [name for name in DataOptions.__dataclass_fields__ if name != "dataset"]
    return shlex.join(["robustkd", "run", *words, *changed_options(options, names)])


def changed_options(options: AuditOptions, names: Iterable[str]) -> Iterator[str]:
    """Yield the arguments of the options that differ from their defaults."""
    for name in names:
        value, option = getattr(options, name), name.replace("_", "-")
        if value == AuditOptions.__dataclass_fields__[name].default:
            continue
        if type(value) is bool:
            yield f"--{'' if value else 'no-'}{option}"
        else:
            yield from (f"--{option}", str(value))
