"""check-data: check a data set for everything that can be wrong with it, before training."""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from pipelines.cli_options import CheckOptions
from pipelines.console import console, is_printable
from pipelines.data_summary import summarise_unread
from robustkd.data import checks, sources
from robustkd.data.checks import SEVERITY_ORDER, ClassCounts, Finding, Severity
from robustkd.data.decode import decode_files
from robustkd.data.folders import list_folder, read_class_names
from robustkd.data.image_search import NOT_AN_IMAGE
from robustkd.data.splits import describe_split, split_source
from robustkd.data.view import PARTS, Source
from robustkd.errors import UsageError
from robustkd.study.options import DataOptions

MAX_EXAMPLES = 3  # of a finding on the terminal; the JSON has all
STYLE = {"error": "bold red", "warning": "yellow", "note": "dim"}
EXIT_CODES = {"errors": 2, "warnings": 1, "clean": 0}
VERDICT_SEVERITY = {"errors": "error", "warnings": "warning", "clean": "note"}


@dataclass(frozen=True)
class DataCheck:
    """Findings about a data set, with its size.

    Attributes:
        findings: most severe first.
        images: number of readable images.
        fingerprint: of the data set, None if it cannot be loaded.
    """

    findings: list[Finding]
    sizes: ClassCounts
    images: int
    fingerprint: str | None

    @property
    def counts(self) -> Counter[Severity]:
        """The number of findings by severity."""
        return Counter(finding.severity for finding in self.findings)

    @property
    def verdict(self) -> Literal["errors", "warnings", "clean"]:
        """The most severe kind of finding apart from notes."""
        return "errors" if self.counts["error"] else "warnings" if self.counts["warning"] else "clean"

    @property
    def table(self) -> pd.DataFrame:
        """The findings as a frame: severity, name, count, sentence and examples."""
        columns = [field.name for field in fields(Finding)]
        return pd.DataFrame([asdict(finding) for finding in self.findings], columns=columns)


def main(options: CheckOptions) -> None:
    """Print the findings, class sizes and the verdict, or all of it as JSON.

    Raises:
        SystemExit: with 1 if there are warnings, with 2 if there are errors.
        UsageError: there is no such data set.
    """
    try:
        result = check_data_set(options)
    except UsageError as error:
        if options.json:
            _write_json({"spec": options.dataset, "verdict": "errors", "refused": str(error)})
        raise
    if options.json:
        _write_json(_json_content(options.dataset, result))
    else:
        _print_check(options.dataset, result)
    if code := EXIT_CODES[result.verdict]:
        raise SystemExit(code)


def check_data_set(options: CheckOptions) -> DataCheck:
    """Load and check a data set.

    Raises:
        UsageError: it cannot be loaded, for another reason than a class without readable training images.
    """
    try:
        source = sources.load_dataset(options.dataset, **options.read_options())
    except UsageError as error:
        return _check_unloadable(options, error)
    findings = [*checks.check_source(source, least=options.least), *_check_reading(source)]
    if source.files is not None and source.root is not None:
        root = source.root
        findings += checks.check_file_sizes(root, source.files, source.shape[1])
        embedded = options.dataset.startswith(("parquet:", "hf:"))
        findings += _check_skipped(root, source, embedded, options.max_pixels)
    counts = checks.count_classes(source)
    return DataCheck(checks.sort_by_severity(findings), counts, len(source.labels), source.fingerprint)


def _check_reading(source: Source) -> list[Finding]:
    """Describe how the data set was read and what its parts are used for; report what was not read, or cannot be split."""
    findings = [Finding("note", "reading", 1, sentence) for sentence in source.notes]
    try:
        rows = split_source(source, held_out=DataOptions.held_out, seed=DataOptions.split_seed)
    except UsageError as error:
        findings.append(Finding("error", "split", 1, str(error).removeprefix(f"{source.name}: ")))
    else:
        findings.append(Finding("note", "split", len(source.labels), describe_split(source, rows)))
        findings += checks.check_drawn_split(source, rows)
        tested = np.bincount(source.labels[rows.test], minlength=len(source.classes))
        untested = tuple(source.classes[label] for label in np.flatnonzero(tested == 0))
        if untested:
            sentence = f"classes without a test image, of which nothing is learnt: {len(untested)} of {len(tested)}"
            findings.append(Finding("warning", "untested", len(untested), sentence, untested))
    return findings + _check_unread(source.unread)


def _check_unread(unread: Mapping[str, str]) -> list[Finding]:
    """Report what was found below the path and not read; files that are certainly no images are only noted."""
    others = {path: reason for path, reason in unread.items() if reason == NOT_AN_IMAGE}
    doubtful = {path: reason for path, reason in unread.items() if path not in others}
    kinds: tuple[tuple[Severity, Mapping[str, str]], ...] = (("warning", doubtful), ("note", others))
    return [
        Finding(severity, "not read", len(files), summarise_unread(files), tuple(f"{p}: {r}" for p, r in files.items()))
        for severity, files in kinds
        if files
    ]


def _check_skipped(root: Path, source: Source, embedded: bool, max_pixels: int) -> list[Finding]:
    """Report the files that cannot be read, with reasons; those of images embedded in a table are not known again."""
    files = [file for file in source.skipped if not embedded or (root / file).is_file()]
    reasons = decode_files(root, files, np.empty((len(files), 3, 8, 8), np.uint8), max_pixels=max_pixels).unreadable
    unreadable = {file: reasons.get(file, "it cannot be decoded") for file in source.skipped}
    return checks.check_unreadable_files(unreadable, len(source.labels) + len(unreadable))


def _check_unloadable(options: CheckOptions, error: UsageError) -> DataCheck:
    """Check names and files of a folder that cannot be loaded because a class has no readable training image.

    Raises:
        UsageError: the given error, if it has another reason.
    """
    kind, _, path = options.dataset.partition(":")
    if kind != "folder" or not path:
        raise error
    root = Path(path).expanduser()
    listing = list_folder(
        options.dataset, root, class_level=options.class_level, every_class_trained=not options.min_class
    )
    files, class_folders = listing.files, listing.class_folders
    paths = [file.path for file in files]
    pixels = np.empty((len(paths), 3, 8, 8), np.uint8)
    unreadable = decode_files(root, paths, pixels, max_pixels=options.max_pixels).unreadable
    counts = np.zeros((len(class_folders), len(PARTS)), np.int64)
    for file in files:
        counts[class_folders.index(file.class_folder), PARTS.index(file.part)] += file.path not in unreadable
    if counts[:, 0].all():
        raise error
    sizes = ClassCounts(read_class_names(root, class_folders), counts)
    side: int = options.read_options()["image_size"]
    findings = [
        *checks.check_unreadable_files(unreadable, len(paths)),
        *checks.check_class_sizes(sizes, options.least),
        *checks.check_class_names(sizes.classes),
        *checks.check_file_sizes(root, [path for path in paths if path not in unreadable], side),
        *_check_unread(listing.unread),
        Finding("note", "not looked at", 0, "images are compared once every class has some to train on"),
    ]
    return DataCheck(checks.sort_by_severity(findings), sizes, len(paths) - len(unreadable), None)


def _json_content(spec: str, check: DataCheck) -> dict[str, Any]:
    """Return all findings with all examples."""
    return {
        "spec": spec,
        "fingerprint": check.fingerprint,
        "images": check.images,
        "verdict": check.verdict,
        **{f"{severity}s": check.counts[severity] for severity in SEVERITY_ORDER},
        "findings": [asdict(finding) for finding in check.findings],
        "classes": [
            {"class": name, **dict(zip(PARTS, counts.tolist(), strict=True))}
            for name, counts in zip(*check.sizes, strict=True)
        ],
    }


def _write_json(content: dict[str, Any]) -> None:
    """Write JSON to standard output."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    sys.stdout.write((text if is_printable(text) else json.dumps(content, indent=1)) + "\n")


def _print_check(spec: str, check: DataCheck) -> None:
    """Print the findings, class sizes and the verdict."""
    console.print(f"{spec}: {check.images:,} images of {len(check.sizes.classes)} classes", highlight=False)
    for finding in check.findings:
        _print_finding(finding)
    console.print(_class_count_table(check.sizes))
    counts = ", ".join(f"{check.counts[s]} {s}{'s' * (check.counts[s] != 1)}" for s in SEVERITY_ORDER)
    console.print(f"{check.verdict}: {counts}", style=STYLE[VERDICT_SEVERITY[check.verdict]])


def _print_finding(finding: Finding) -> None:
    """Print a finding with some of its examples."""
    severity = (f"{finding.severity:8}", STYLE[finding.severity])
    console.print(Text.assemble(severity, f"{finding.name}: {finding.sentence}"))
    if finding.severity == "note" and finding.name != "names one letter apart":
        return
    for example in finding.examples[:MAX_EXAMPLES]:
        console.print(f"{'':10}{example}", highlight=False)
    if (more := len(finding.examples) - MAX_EXAMPLES) > 0:
        console.print(f"{'':10}and {more:,} more (--json lists all)", highlight=False)


def _class_count_table(sizes: ClassCounts) -> Table:
    """Return the table of images per class, in the parts that have any."""
    table = Table(title="images per class")
    table.add_column("class")
    columns = [column for column in range(len(PARTS)) if column == 0 or sizes.counts[:, column].any()]
    for column in columns:
        table.add_column(PARTS[column], justify="right")
    for name, counts in zip(*sizes, strict=True):
        table.add_row(name, *map(str, counts[columns]))
    return table
