"""prepare: read the data, cut the splits, apply the scenario, and freeze what each data seed is shown.

What it leaves is a plan that the other stages follow and a folder named after what the study is: the words that decide its
results, the data's fingerprint and the code that matters. Commands with the same words find each other by it.
"""

import json
import os
import re
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import robustkd
import scenarios
from pipelines import runs, tracking
from pipelines.screen import console
from robustkd import hardware, study, words
from robustkd.cell import rehearse
from robustkd.data import manifest, pixels
from robustkd.data.splits import split
from robustkd.data.view import Source, View, digest
from robustkd.models import MODELS
from robustkd.options import Study

TABLES = {**study.TABLES, "SCENARIOS": scenarios.SCENARIOS}


def main(options: Study) -> None:
    """Freeze a study's scenario and say where it lies."""
    made = plan(options)
    with runs.tracked(made, "prepare"):
        console.print(f"prepared in {made.folder}", markup=False)


def plan(options: Study) -> study.Plan:
    """The study that the options name, its scenario frozen into manifests.

    Raises:
        robustkd.words.UsageError: anything that cannot work, before anything is trained.
    """
    for path in words.split(options.plug, ",") if options.plug else []:
        words.plug(path, TABLES)
    scenario = scenarios.parse(options.scenario)
    if options.init is not None and not Path(options.init).is_file():
        raise words.UsageError(f"--init {options.init}: there is no such file")
    device = hardware.device(options.device)
    teacher = chosen_teacher(options.teacher)
    out = writable(Path(options.out))
    source = study.source(options)
    if source.skipped:
        console.print(f"{len(source.skipped)} files that cannot be read are left out (study.json names them)")
    rows = split(source, held_out=options.held_out, seed=options.split_seed)
    half = hardware.half(options.precision, device)
    cells = study.cells(options, teacher is not None)

    drawn = {}
    for seed in sorted({options.data_seed(seed) for seed in range(options.seeds)}):
        before = [View.of(source, part, seed) for part in rows]
        train, held_out = scenario(before[0]), scenario(before[1]) if len(before[1]) else before[1]
        refuse_empty(options, before[0], train)
        drawn[seed] = manifest.Splits(train, held_out, before[2])

    identity = {
        **options.identity(),
        "fingerprint": source.fingerprint,
        "half": half,
        "teacher": options.teacher if teacher is None else file_digest(teacher),
        "init": file_digest(Path(options.init)) if options.init else None,
        "code": code_digest(options),
    }
    name = options.name or f"{Path(options.dataset.partition(':')[2] or options.dataset).stem}-{options.scenario}"
    short = digest(text=json.dumps(identity, sort_keys=True, default=str))[:8]
    folder = out / f"{re.sub(r'[^A-Za-z0-9.+=_-]+', '-', name).strip('-')}-{short}"
    if options.fresh and folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.{time.strftime('%Y%m%d-%H%M%S')}"))
    folder.mkdir(exist_ok=True)
    for seed, views in drawn.items():
        if not (folder / f"manifest-{seed}.json").exists():
            manifest.save(
                folder / f"manifest-{seed}", views, {"scenario": options.scenario, "split_seed": options.split_seed}
            )

    mean, std = pixels.moments(View.of(source, rows.train))
    cores = options.threads or hardware.cores()
    jobs = options.jobs or (min(cores, len(cells)) if device == "cpu" else 1)
    made = study.Plan(
        options,
        folder,
        device,
        half,
        mean,
        std,
        teacher,
        Path(options.init) if options.init else None,
        jobs,
        max(1, cores // jobs),
    )
    for cell in cells:
        if cell.seed == 0 and (cell.role == "student" or teacher is None):
            rehearse(made, cell, drawn[0].train)
    card = {"asked": options.identity(), "methods": options.method_texts(), "seeds": options.seeds}
    card |= {
        "given": words_of(options),
        "dataset": source.name,
        "classes": source.classes,
        "fingerprint": source.fingerprint,
    }
    card |= {"skipped": source.skipped, "truth_known": source.truth is not None, "resolved": facts(made, drawn, source)}
    (folder / "study.json").write_text(json.dumps(card, indent=2, default=str, ensure_ascii=False))
    return made


def words_of(options: Study) -> dict[str, Any]:
    """Every option as typed or by default."""
    return {name: getattr(options, name) for name in Study.__dataclass_fields__}


def facts(made: study.Plan, drawn: dict[int, manifest.Splits], source: Source) -> dict[str, Any]:
    """What the words came to."""
    first = next(iter(drawn.values()))
    return {
        "precision": "bf16" if made.half else "fp32",
        "device": made.device,
        "jobs": made.jobs,
        "threads_per_job": made.threads,
        "rows_train": len(first.train),
        "rows_held_out": len(first.held_out),
        "rows_test": len(first.test),
        "fingerprint": source.fingerprint,
        "robustkd": robustkd.__version__,
        "torch": torch.__version__,
    }


def chosen_teacher(text: str) -> Path | None:
    """The file of a teacher that was given, or None where a word names the net to train."""
    if Path(text).is_file():
        return Path(text).resolve()
    if tracking.is_reference(text):
        return tracking.resolve(text)
    if text.endswith(".pt"):
        raise words.UsageError(f"--teacher {text}: there is no such file")
    MODELS.read(text).chosen()
    return None


def writable(folder: Path) -> Path:
    """The folder, made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise words.UsageError(f"--out {folder}: it cannot be written ({error.strerror})") from None
    return folder


def refuse_empty(options: Study, before: View, after: View) -> None:
    """A class without a sample cannot be learnt, and a batch cannot be larger than the set."""
    for number in np.flatnonzero((after.counts == 0) & (before.counts > 0)):
        raise words.UsageError(
            f"scenario '{options.scenario}' would leave class '{before.classes[number]}' without a training sample "
            f"(it has {before.counts[number]}): a milder scenario or more data is needed"
        )
    for number in np.flatnonzero(before.counts == 0):
        raise words.UsageError(f"class '{before.classes[number]}' has no training sample")
    if options.batch > len(after):
        raise words.UsageError(
            f"--batch {options.batch} is larger than the training set, which has {len(after)} samples"
        )


def file_digest(path: Path) -> str:
    """A file's content in 16 letters."""
    return digest(np.fromfile(path, dtype=np.uint8))


def code_digest(options: Study) -> str:
    """The code that decides a result: the library's, the scenarios', the user's own, and torch's version."""
    home = Path(robustkd.__file__).parent.parent
    files = sorted([*(home / "robustkd").rglob("*.py"), *(home / "scenarios").rglob("*.py")])
    files += [Path(path) for path in (words.split(options.plug, ",") if options.plug else [])]
    return digest(text="".join(file.read_text() for file in files) + version("torch"))
