"""prepare: read the data, cut the splits, apply the scenario, and freeze what each data seed is shown.

What it leaves is a plan that the other stages follow and a folder named after what the study is: the words that decide its
results, the data's fingerprint and the code that matters. Commands with the same words find each other by it.
"""

import json
import os
import re
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import robustkd
import scenarios
from pipelines import session, tracking
from pipelines.console import console
from robustkd import errors, registry, specs
from robustkd.data import manifest, normalisation
from robustkd.data.splits import SplitRows, split_source
from robustkd.data.view import Source, View
from robustkd.evaluation import corruptions, robustness
from robustkd.hashing import digest, file_digest
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.study import comparison
from robustkd.study import plan as study
from robustkd.study.options import StudyOptions
from robustkd.study.run import rehearse
from robustkd.training import hardware
from scenarios.base import Scenario

# Files of the library that no net's weights hang on: what is measured and told of nets, and options, whose values stand in
# a study's identity themselves. A change of them leaves the nets that are there as good as they were.
UNTRAINED = {
    *study.MEASURING,
    *("evaluation/attack_specs.py", "evaluation/robustness.py", "attacks/gradient.py"),
    *("evaluation/corruptions.py", "study/comparison.py"),
    "evaluation/significance.py",
    *("estimator.py", "label_audit/out_of_fold.py", "label_audit/confident_learning.py", "study/options.py"),
    *("training/hardware.py", "study/scheduler.py", "atomic.py"),
}
TABLES = {**study.TABLES, "SCENARIOS": scenarios.SCENARIOS}


@dataclass(frozen=True)
class Draft:
    """A study that is thought through and not yet written down."""

    plan: study.Plan
    drawn: dict[int, manifest.Splits]  # what each data seed is shown
    card: dict[str, Any]  # study.json

    @property
    def cells(self) -> tuple[study.Run, ...]:
        """The study's runs, teachers first."""
        return study.list_runs(self.plan.options, self.plan.teacher is not None)

    def freeze(self) -> study.Plan:
        """Write the study's folder: its card, and a manifest for each data seed."""
        folder, options = self.plan.folder, self.plan.options
        if options.fresh and folder.exists():
            folder.rename(folder.with_name(f"{folder.name}.{time.strftime('%Y%m%d-%H%M%S')}"))
        folder.mkdir(exist_ok=True)
        for seed, views in self.drawn.items():
            if (before := folder / f"manifest-{seed}.json").exists():
                unchanged(before, views)
            else:
                about = {"scenario": options.scenario, "split_seed": options.split_seed}
                manifest.save_manifest(folder / f"manifest-{seed}", views, about)
        card = json.dumps(self.card, indent=2, default=str, ensure_ascii=False)
        (folder / "study.json").write_text(card, encoding="utf-8")
        return self.plan


def unchanged(card: Path, views: manifest.Splits) -> None:
    """Refuse to go on with a study whose scenario draws something else now: a file that it reads may have changed."""
    before = json.loads(card.read_text(encoding="utf-8"))["digest"]
    if before != {split: view.digest for split, view in views._asdict().items()}:
        raise errors.UsageError(
            f"{card}: the scenario no longer draws what this study was shown, as when a file that it reads has changed:"
            " --fresh begins anew"
        )


def main(options: StudyOptions) -> None:
    """Freeze a study's scenario and say where it lies."""
    with session.tracked(draft(options), "prepare") as (plan, _):
        console.print(f"prepared in {plan.folder}", markup=False)


def draft(options: StudyOptions) -> Draft:
    """The study that the options name. Nothing is written but the folder that studies are in.

    Raises:
        robustkd.errors.UsageError: anything that cannot work.
    """
    for path in specs.split_at(options.plug, ",") if options.plug else []:
        registry.load_plugin(path, TABLES)
    scenario = scenarios.parse(options.scenario)
    if options.init is not None and not Path(options.init).is_file():
        raise errors.UsageError(f"--init {options.init}: there is no such file")
    device = hardware.resolve_device(options.device)
    teacher = chosen_teacher(options.teacher)
    out = writable(Path(options.out))
    source = study.source(options)
    if source.skipped:
        console.print(f"{len(source.skipped)} files that cannot be read are left out (study.json names them)")
    rows = split_source(source, held_out=options.held_out, seed=options.split_seed)
    drawn = draw(options, scenario, source, rows)
    cells = study.list_runs(options, teacher is not None)
    cores = options.threads or hardware.count_cores()
    jobs = options.jobs or (min(cores, len(cells)) if device == "cpu" else 1)
    half = hardware.use_bf16(options.precision, device, options.student, *([] if teacher else [options.teacher]))
    plan = study.Plan(
        options,
        out / folder_name(options, identity(options, source, drawn[0], half, teacher)),
        device,
        half,
        *normalisation.channel_mean_std(View.of(source, rows.train)),
        teacher,
        Path(options.init) if options.init else None,
        jobs,
        max(1, cores // jobs),
    )
    refused = []
    for cell in cells:
        if cell.seed == 0 and (cell.role == "student" or teacher is None):
            try:
                rehearse(plan, cell, drawn[0].train)
            except errors.UsageError as error:
                if not options.everything or cell.method not in METHODS or cell.method == "baseline":
                    raise
                console.print(f"left out of all: {error}", markup=False)
                refused.append(cell.method)
    if options.attack is not None:
        robustness.check_user_attacks(study.network(plan, options.student, 0, "linear"), drawn[0].test, options.attack)
    if options.corruptions and not corruptions.supports_shape(source.shape):
        console.print(f"--corruptions: {comparison.UNDEFINED}")
    if refused:  # `all` are those that these nets and data allow
        left = ",".join(text for text in options.method_texts() if text not in refused)
        plan = replace(plan, options=replace(options, methods=left))
    card = {
        "methods": plan.options.method_texts(),
        "seeds": options.seeds,
        "given": {
            name: getattr(options, name) for name in StudyOptions.__dataclass_fields__
        },  # as typed, or by default
        "resolved": facts(plan, drawn, source),
        "dataset": source.name,
        "classes": source.classes,
        "fingerprint": source.fingerprint,
        "truth_known": not drawn[0].test.may_have_label_noise,
        "known_training": known(drawn[0].train),
        "known_test": known(drawn[0].test),
        "skipped": source.skipped,
    }
    return Draft(plan, drawn, card)


def known(view: View) -> tuple[int, int]:
    """Of how many rows the truth is known, and how many there are."""
    return 0 if view.truth is None else int((view.truth >= 0).sum()), len(view)


def draw(options: StudyOptions, scenario: Scenario, source: Source, rows: SplitRows) -> dict[int, manifest.Splits]:
    """What each data seed is shown."""
    data_seeds = sorted({options.data_seed(seed) for seed in range(options.seeds)})
    drawn = {seed: manifest.build_splits(scenario, source, rows, seed) for seed in data_seeds}
    for views in drawn.values():
        refuse_empty(options, View.of(source, rows.train), views.train)
    return drawn


def identity(
    options: StudyOptions, source: Source, shown: manifest.Splits, half: bool, teacher: Path | None
) -> dict[str, Any]:
    """All that decides a study's results; what a scenario read from files shows in what it drew."""
    return {
        **options.identity(),
        "fingerprint": source.fingerprint,
        "drawn": [view.digest for view in shown],
        "half": half,
        "teacher": options.teacher if teacher is None else file_digest(teacher),
        "init": file_digest(Path(options.init)) if options.init else None,
        "code": code_digest(options),
    }


def folder_name(options: StudyOptions, decides: dict[str, Any]) -> str:
    """A name that a person recognises, and a digest that no other study has."""
    name = options.name or f"{Path(options.dataset.partition(':')[2] or options.dataset).stem}-{options.scenario}"
    short = digest(text=json.dumps(decides, sort_keys=True, default=str))[:8]
    return f"{re.sub(r'[^A-Za-z0-9.+=_-]+', '-', name).strip('-')}-{short}"


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
        raise errors.UsageError(f"--teacher {text}: there is no such file")
    MODELS.parse(text).kwargs()
    return None


def writable(folder: Path) -> Path:
    """The folder, made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise errors.UsageError(f"--out {folder}: it cannot be written ({error.strerror})") from None
    return folder


def refuse_empty(options: StudyOptions, before: View, after: View) -> None:
    """A class without a sample cannot be learnt, and a batch cannot be larger than the set."""
    for number in np.flatnonzero((after.counts == 0) & (before.counts > 0)):
        raise errors.UsageError(
            f"scenario '{options.scenario}' would leave class '{before.classes[number]}' without a training sample "
            f"(it has {before.counts[number]}): a milder scenario or more data is needed"
        )
    for number in np.flatnonzero(before.counts == 0):
        raise errors.UsageError(f"class '{before.classes[number]}' has no training sample")
    if options.batch > len(after):
        raise errors.UsageError(
            f"--batch {options.batch} is larger than the training set, which has {len(after)} samples"
        )


def code_digest(options: StudyOptions) -> str:
    """The code that decides what is trained: the library's, the scenarios', the user's own, and torch's version."""
    home = Path(robustkd.__file__).parent.parent
    left_out = {home / "robustkd" / name for name in UNTRAINED}
    files = sorted({*(home / "robustkd").rglob("*.py"), *(home / "scenarios").rglob("*.py")} - left_out)
    files += [Path(path) for path in (specs.split_at(options.plug, ",") if options.plug else [])]
    return digest(text="".join(file.read_text(encoding="utf-8") for file in files) + version("torch"))
