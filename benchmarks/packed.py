"""Results of studies in files that are small enough for the repository, and to which other machines can add seeds.

    python benchmarks/packed.py studies/photos-*                  # adds their runs to benchmarks/results/STUDY.jsonl.gz
    python benchmarks/robust.py benchmarks/results/photos-*.gz    # the tables, as from the studies' folders
    python benchmarks/packed.py --unpack studies benchmarks/results/photos-*.gz    # folders, for `robustkd compare`
    python benchmarks/packed.py --list                            # where each was trained, and at which cost

The first line of a file is the study (study.json without the paths of the machine), each further one a finished run: its
result.json, with the predicted class of every test image, its epochs, the labels of its held-out rows and the classes predicted
for them after each epoch, and the commit at which it was packed. A run that is in the file already is kept as it is. Studies
whose folders have the same name have the same options and data, whatever the machine. Networks and manifests are not packed.
"""

import argparse
import gzip
import io
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd.study.agreements import pack_classes, unpack_classes
from robustkd.study.results import LoadedStudy, RunResult, StudyRecord, parse_document, read_study, write_document

FOLDER = Path(__file__).with_name("results")
SUFFIX = ".jsonl.gz"


class HeldOut(NamedTuple):
    """The labels of a run's held-out rows as given (N,), and the classes predicted after each epoch (e, N)."""

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]


def without_places(record: StudyRecord) -> StudyRecord:
    """Return the record of a study without the paths of the machine that it was made on."""

    def last_parts(text: str) -> str:
        return re.sub(r"[^:,]*/", "", text)

    options, dataset = record.options, last_parts(record.dataset)
    own = {"data_dir": None, "root": None, "out": "studies", "plug": options.plug and last_parts(options.plug)}
    own["methods"] = ",".join(record.methods)  # they may have been given as a file
    return record.model_copy(update={"dataset": dataset, "options": replace(options, dataset=dataset, **own)})


def join_records(first: StudyRecord, second: StudyRecord) -> StudyRecord:
    """Return the record of one study that has the methods and the seeds of both."""
    ranges = first.seed_numbers, second.seed_numbers
    start, stop = min(r.start for r in ranges), max(r.stop for r in ranges)
    methods = list(dict.fromkeys([*first.methods, *second.methods]))
    return first.model_copy(
        update={
            "methods": methods,
            "criteria": {**second.criteria, **first.criteria},
            "oracles": list(dict.fromkeys([*first.oracles, *second.oracles])),
            "seeds": stop - start,
            "options": replace(first.options, methods=",".join(methods), first_seed=start, seeds=stop - start),
        }
    )


def read_packed(file: Path) -> tuple[LoadedStudy, dict[str, str]]:
    """Return the study in a file, and the commit of each of its runs."""
    record, entries = _read_lines(file)
    results = [parse_document(json.dumps(entry["result"]), RunResult, str(file)) for entry in entries]
    named = dict(zip((result.name for result in results), entries, strict=True))
    epochs = {name: pd.read_csv(io.StringIO(entry["epochs"])) for name, entry in named.items() if entry.get("epochs")}
    return LoadedStudy(record, results, epochs), {name: entry["commit"] for name, entry in named.items()}


def read_held_out(file: Path) -> dict[str, HeldOut]:
    """Return the held-out rows of the runs in a file that have them, by the name of the run."""
    found = {}
    for entry in _read_lines(file)[1]:
        if held_out := entry.get("held_out"):
            labels = unpack_classes(held_out["labels"])
            predicted = unpack_classes(held_out["predicted"]).reshape(-1, len(labels))
            found[entry["result"]["name"]] = HeldOut(labels, predicted)
    return found


def _read_lines(file: Path) -> tuple[StudyRecord, list[dict[str, Any]]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return parse_document(next(lines), StudyRecord, str(file)), [json.loads(line) for line in lines]


def _pack_held_out(folder: Path, study: LoadedStudy) -> dict[str, dict[str, str]]:
    """Return the held-out rows of the runs in a study's folder, packed, by the name of the run."""
    found, labels = dict[str, dict[str, str]](), dict[int, str]()
    for result in study.results:
        arrays, draw = folder / "runs" / result.name / "held_out.npz", study.record.options.data_seed(result.run.seed)
        manifest = folder / f"manifest-{draw}.csv"
        if arrays.exists() and manifest.exists():
            if draw not in labels:
                rows = pd.read_csv(manifest)
                labels[draw] = pack_classes(rows.loc[rows["split"] == "held_out", "label"].to_numpy())
            found[result.name] = {"labels": labels[draw], "predicted": pack_classes(np.load(arrays)["predicted"])}
    return found


def pack(folder: Path, to: Path, commit: str) -> Path:
    """Add the runs of a study's folder to its file.

    Args:
        to: the folder of the file.
        commit: of the code that trained them.
    """
    study, file = read_study(folder), to / f"{folder.resolve().name}{SUFFIX}"
    record, entries, held_out = without_places(study.record), dict[str, dict[str, Any]](), _pack_held_out(folder, study)
    for result in study.results:
        entries[result.name] = entry = {"commit": commit, "result": result.model_dump(mode="json")}
        if result.name in study.epochs:
            entry["epochs"] = study.epochs[result.name].to_csv(index=False, float_format="%.6g")
        if result.name in held_out:
            entry["held_out"] = held_out[result.name]
    if file.exists():
        packed, kept = _read_lines(file)
        record = join_records(packed, record)
        entries |= {entry["result"]["name"]: entry for entry in kept}
    lines = [record.model_dump_json()]
    lines += [json.dumps(entries[name], separators=(",", ":")) for name in sorted(entries)]
    to.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))
    return file


def unpack(file: Path, to: Path) -> Path:
    """Write a packed study as a folder below `to`, as far as it is packed, and return the folder."""
    study, _ = read_packed(file)
    folder = to / file.name.removesuffix(SUFFIX)
    (folder / "runs").mkdir(parents=True)
    write_document(folder / "study.json", study.record)
    for result in study.results:
        (folder / "runs" / result.name).mkdir()
        write_document(folder / "runs" / result.name / "result.json", result)
        if result.name in study.epochs:
            study.epochs[result.name].to_csv(folder / "runs" / result.name / "epochs.csv", index=False)
    return folder


def read_any(path: Path) -> LoadedStudy | None:
    """Return the study in a folder or a packed file; None where there is none."""
    if path.name.endswith(SUFFIX):
        return read_packed(path)[0]
    return read_study(path) if (path / "study.json").exists() else None


def describe_files(files: Iterable[Path]) -> list[str]:
    """Return a row per file, in Markdown: runs, seeds, where they were trained, and in how many hours of one thread.

    The hours are those of training, teachers included and each counted once; evaluation is not.
    """
    rows = [
        "| study | runs | seeds | trained on | precision | packed at | core hours |",
        "|---|---|---|---|---|---|---|",
    ]
    for file in files:
        study, commits = read_packed(file)
        trained = [result.training for result in study.results if result.training is not None]
        machines = [machine for training in trained for machine in training.machines]
        hours = sum(t.seconds * max((m.threads for m in t.machines), default=1) for t in trained) / 3600
        cells = (
            f"`{file.name.removesuffix(SUFFIX)}`",
            len(study.results),
            len({result.run.seed for result in study.results}),
            _list_values(f"{m.device}, {m.instructions}, PyTorch {m.torch.partition('+')[0]}" for m in machines),
            _list_values(m.precision for m in machines),
            _list_values(f"`{commit}`" for commit in commits.values()),
            f"{hours:.1f}",
        )
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return rows


def _list_values(values: Iterable[str]) -> str:
    """List different values, those of the most runs first."""
    return "; ".join(value for value, _ in Counter(values).most_common())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="*")
    parser.add_argument("--to", type=Path, default=FOLDER)
    parser.add_argument(
        "--unpack", type=Path, metavar="FOLDER", help="write the studies of packed files into this folder"
    )
    parser.add_argument("--list", action="store_true", help="describe the given files, or all in benchmarks/results")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(describe_files(arguments.studies or sorted(FOLDER.rglob(f"*{SUFFIX}")))))
        return
    if not arguments.studies:
        parser.error("name the folders of studies to pack, or with --unpack the packed files")
    if arguments.unpack is not None:
        for file in arguments.studies:
            print(unpack(file, arguments.unpack))
        return
    here = Path(__file__).parent
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
    )
    for folder in arguments.studies:
        if (folder / "study.json").exists():
            file = pack(folder, arguments.to, commit.stdout.strip())
            print(f"{file}: {len(read_packed(file)[0].results)} runs")


if __name__ == "__main__":
    main()
