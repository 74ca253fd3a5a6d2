"""check-data: what is wrong with a data set, found in one go before anything is trained on it."""

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from rich.markup import escape
from rich.table import Table

from pipelines.console import console
from robustkd.data import checks, sources
from robustkd.data.checks import SEVERITY_ORDER, Finding, Severity
from robustkd.data.decode import decode_files
from robustkd.data.folders import list_folder, read_class_names
from robustkd.data.view import PARTS, Source
from robustkd.errors import UsageError
from robustkd.types import Count, validate

SHOWN = 3  # examples of a finding on the screen; all of them are in the JSON
STYLE = {"error": "bold red", "warning": "yellow", "note": "dim"}
CODES = {"errors": 2, "warnings": 1, "clean": 0}


def main(spec: str, *, data_dir: str | None, download: bool, image_size: int, least: int, as_json: bool) -> None:
    """Print the findings, class sizes and the verdict, or all of it as JSON.

    Raises:
        SystemExit: with 1 where there are warnings, with 2 where there are errors.
        UsageError: there is no such data set.
    """
    validate("--image-size", Annotated[int, Ge(8)], image_size)
    validate("--least", Count, least)
    try:
        source = sources.load_dataset(
            spec, data_dir=data_dir, download=download, image_size=image_size, skip_bad_images=True
        )
    except UsageError as error:
        try:
            found, sizes, images, print_ = _refused(spec, error, image_size, least)
        except UsageError as refusal:
            if as_json:
                sys.stdout.write(
                    json.dumps({"spec": spec, "verdict": "errors", "refused": str(refusal)}, indent=1) + "\n"
                )
            raise
    else:
        found, sizes, images, print_ = _read(spec, source, image_size, least)
    times = Counter(finding.severity for finding in found)
    verdict = "errors" if times["error"] else "warnings" if times["warning"] else "clean"
    if as_json:
        report: dict[str, Any] = {
            "spec": spec,
            "fingerprint": print_,
            "images": images,
            "verdict": verdict,
            **{f"{severity}s": times[severity] for severity in SEVERITY_ORDER},
            "findings": [asdict(finding) for finding in found],
            "classes": [
                {"class": name, **dict(zip(PARTS, counts.tolist(), strict=True))}
                for name, counts in zip(*sizes, strict=True)
            ],
        }
        sys.stdout.write(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    else:
        _show(spec, found, sizes, images, times, verdict)
    if CODES[verdict]:
        raise SystemExit(CODES[verdict])


Told = tuple[list[Finding], checks.ClassCounts, int, str | None]  # findings, class sizes, number of images, fingerprint


def _read(spec: str, source: Source, image_size: int, least: int) -> Told:
    found = checks.check_source(source, least=least)
    if source.files is not None:
        root = _root(spec)
        found += checks.check_file_sizes(root, source.files, image_size)
        bad = _why(root, source.skipped, spec.startswith("parquet:"))
        found += checks.check_unreadable_files(bad, len(source.files) + len(bad))
    return checks.sort_by_severity(found), checks.count_classes(source), len(source.labels), source.fingerprint


def _refused(spec: str, error: UsageError, image_size: int, least: int) -> Told:
    """What the names in a folder and its files say where a class has nothing to train on, which no reader takes.

    Raises:
        UsageError: the error itself, where it is of another kind.
    """
    kind, _, place = spec.partition(":")
    if kind != "folder" or not place:
        raise error
    root = _root(spec)
    files, class_folders, _ = list_folder(spec, root)
    paths = [file.path for file in files]
    bad = decode_files(root, paths, np.empty((len(paths), 3, 8, 8), np.uint8))
    counts = np.zeros((len(class_folders), len(PARTS)), np.int64)
    for file in files:
        counts[class_folders.index(file.class_folder), PARTS.index(file.part)] += file.path not in bad
    if counts[:, 0].all():
        raise error
    sizes = checks.ClassCounts(read_class_names(root, class_folders), counts)
    found = [
        *checks.check_unreadable_files(bad, len(paths)),
        *checks.check_class_sizes(sizes, least),
        *checks.check_class_names(sizes.classes),
    ]
    found += checks.check_file_sizes(root, [path for path in paths if path not in bad], image_size)
    found.append(Finding("note", "not looked at", 0, "images are compared once every class has some to train on"))
    return checks.sort_by_severity(found), sizes, len(paths) - len(bad), None


def _root(spec: str) -> Path:
    """The folder that file names begin at."""
    kind, _, place = spec.partition(":")
    path = Path(place).expanduser()
    return path if kind == "folder" else path.parent


def _why(root: Path, files: tuple[str, ...], inside: bool) -> dict[str, str]:
    """Why each of these files cannot be read; of images inside a table that is not asked again."""
    asked = [file for file in files if not inside or (root / file).is_file()]
    bad = decode_files(root, asked, np.empty((len(asked), 3, 8, 8), np.uint8))
    return {file: bad.get(file, "it cannot be decoded") for file in files}


def _show(
    spec: str, found: list[Finding], sizes: checks.ClassCounts, images: int, times: Counter[Severity], verdict: str
) -> None:
    console.print(f"{spec}: {images:,} images of {len(sizes.classes)} classes", markup=False, highlight=False)
    for finding in found:
        severity = f"[{STYLE[finding.severity]}]{finding.severity:8}[/]"
        console.print(severity + escape(f"{finding.name}: {finding.sentence}"), highlight=False)
        if finding.severity == "note" and finding.name != "names one letter apart":
            continue
        for example in finding.examples[:SHOWN]:
            console.print(f"{'':10}{example}", markup=False, highlight=False)
        if len(finding.examples) > SHOWN:
            console.print(f"{'':10}and {len(finding.examples) - SHOWN:,} more (--json has them all)", highlight=False)
    shown = Table(title="images per class")
    shown.add_column("class")
    there = [column for column in range(len(PARTS)) if column == 0 or sizes.counts[:, column].any()]
    for column in there:
        shown.add_column(PARTS[column], justify="right")
    for name, counts in zip(*sizes, strict=True):
        shown.add_row(escape(name), *map(str, counts[there]))
    console.print(shown)
    counted = ", ".join(f"{times[s]} {s}{'s' * (times[s] != 1)}" for s in SEVERITY_ORDER)
    console.print(f"{verdict}: {counted}", style=STYLE[{"errors": "error", "warnings": "warning"}.get(verdict, "note")])
