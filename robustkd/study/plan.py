"""What a study is: cells (method, criterion, seed) that are trained, evaluated, resumed and reused, without any tracker.

    FOLDER/study.json              what was asked, and what it came to
    FOLDER/manifest-0.csv, .json   the scenario's draw for a data seed
    FOLDER/runs/hinton-seed0/      model.pt, early.pt, epochs.csv, trained.json, then result.json, per_class.csv, confusion.csv

A cell is finished when its result.json is there and knows the truth as the data set does. It talks to other cells through
files only, so that cells can run side by side in processes of their own.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from robustkd import errors, registry, seeds, specs
from robustkd.criteria import CRITERIA
from robustkd.data import manifest, sources
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.data.view import Source, View
from robustkd.evaluation import attack_specs, corruptions
from robustkd.hashing import digest
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Network
from robustkd.study.options import DataOptions, StudyOptions
from robustkd.training import build, checkpoint
from robustkd.training.recipe import Recipe
from robustkd.types import DatasetInfo

# The files that decide what is measured of a trained net, and nothing else.
MEASURING = ("study/evaluate.py", "evaluation/metrics.py")
TABLES = {"METHODS": METHODS, "CRITERIA": CRITERIA, "MODELS": MODELS, "VIEWS": PAIRED_VIEWS}


@dataclass(frozen=True)
class Run:
    """One run: a method (with its criterion) and a seed. A teacher's method is the baseline, or `smooth`."""

    role: Literal["teacher", "student"]
    method: str
    seed: int

    @property
    def name(self) -> str:
        """The run's name, which is also its folder's."""
        text = self.role if self.role == "teacher" else self.method
        return re.sub(r"[^\w.+=-]+", "-", text).strip("-") + f"-seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """All that a cell needs, in whatever process it runs."""

    options: StudyOptions
    folder: Path
    device: str
    half: bool  # whether nets compute in bf16
    mean: tuple[float, ...]  # of the training pixels, per channel, in [0, 1]
    std: tuple[float, ...]
    teacher: Path | None  # a trained teacher that was given
    init: Path | None
    jobs: int
    threads: int  # of each job

    def run(self, cell: Run) -> Path:
        """A cell's folder."""
        return self.folder / "runs" / cell.name

    @property
    def recipe(self) -> Recipe:
        """The options of the same names, as the engine takes them."""
        chosen = {field.name: getattr(self.options, field.name) for field in fields(Recipe)}
        milestones = tuple(float(part) for part in self.options.milestones.split(","))
        return Recipe(**{**chosen, "milestones": milestones})


@dataclass(frozen=True)
class Progress:
    """An epoch that has ended somewhere."""

    cell: Run
    epoch: int
    epochs: int
    row: dict[str, Any]  # the line of epochs.csv


Report = Callable[[Progress], None]


# What a teacher is trained by, for each value of --smooth-teacher.
TEACHER_METHODS = {"none": "baseline", "labels": "smooth", "consistency": "smooth(labels=0, consistency=1)"}


def teacher_method(options: StudyOptions) -> str:
    """What teachers are trained by, with their criterion.

    >>> teacher_method(StudyOptions(scenario="clean", smooth_teacher="labels", teacher_criterion="balanced"))
    'smooth+balanced'
    """
    return f"{TEACHER_METHODS[options.smooth_teacher]}+{options.teacher_criterion}"


def list_runs(options: StudyOptions, given_teacher: bool) -> tuple[Run, ...]:
    """The cells of a study: teachers first, where any method wants one.

    Raises:
        robustkd.errors.UsageError: the teacher is given, and yet should be smoothed.
    """
    if given_teacher and options.smooth_teacher != "none":
        raise errors.UsageError(
            f"--smooth-teacher {options.smooth_teacher}: the teacher {options.teacher} is given and not trained here, "
            "so it cannot be smoothed"
        )
    methods = options.method_texts()
    wanted = any("teacher" in build.needs(build.read(text)[0]) for text in methods)
    teachers = [teacher_method(options)] if wanted else []
    return (
        *(Run("teacher", text, seed) for seed in range(1 if given_teacher else options.seeds) for text in teachers),
        *(Run("student", text, seed) for seed in range(options.seeds) for text in methods),
    )


@lru_cache(maxsize=1)
def _source(dataset: str, data_dir: str | None, download: bool, image_size: int, skip: bool) -> Source:
    return sources.load_dataset(
        dataset, data_dir=data_dir, download=download, image_size=image_size, skip_bad_images=skip
    )


def source(options: DataOptions) -> Source:
    """The data set, read once per process."""
    return _source(options.dataset, options.data_dir, options.download, options.image_size, options.skip_bad_images)


def views(plan: Plan, seed: int) -> manifest.Splits:
    """What the seed is shown, from its manifest."""
    return manifest.load_manifest(plan.folder / f"manifest-{plan.options.data_seed(seed)}", source(plan.options))


def facts(view: View) -> DatasetInfo:
    """What a method may know of a training view."""
    return DatasetInfo(len(view), tuple(view.counts.tolist()), view.sources[0].shape)


def network(plan: Plan, word: str, seed: int, head: str, *names: str | int) -> Network:
    """A net with the first weights that the seed gives it, on the plan's device."""
    shown = source(plan.options)
    net = build_network(
        MODELS.parse(word),
        shape=shown.shape,
        classes=len(shown.classes),
        mean=plan.mean,
        std=plan.std,
        head=head,
        bf16=plan.half,
        seed=seeds.derive(seed, "init", *names),
    )
    return net.to(plan.device)


def loaded(plan: Plan, path: Path) -> Network:
    """A saved net, refused in one sentence where it does not fit the study."""
    net, card = checkpoint.load_net(path, plan.half)
    shown = source(plan.options)
    if tuple(card["shape"]) != shown.shape or len(card["classes"]) != len(shown.classes):
        raise errors.UsageError(
            f"{path}: this net takes images of {tuple(card['shape'])} and knows {len(card['classes'])} classes; "
            f"'{shown.name}' has {shown.shape} and {len(shown.classes)}"
        )
    return net.to(plan.device)


def finished(plan: Plan, cell: Run) -> bool:
    """Whether a cell has its result, measured as it would be now: labels may have been reviewed, or more be asked for."""
    path = plan.run(cell) / "result.json"
    if not path.exists():
        return False
    result = json.loads(path.read_text(encoding="utf-8"))
    wanted = {word: attack_specs.attack_version(word) for word in plan.options.attack_texts()}
    wanted |= {"corruptions": corruptions.corruption_version()} if plan.options.corruptions else {}
    there: dict[str, str] = result.get("changed", {})
    return bool(result.get("measured") == evaluation_version(plan.options)) and wanted.items() <= there.items()


def trained(plan: Plan, cell: Run) -> bool:
    """Whether a cell's net is there, measured or not."""
    return (plan.run(cell) / "trained.json").exists() or (cell.role == "teacher" and plan.teacher is not None)


def evaluation_version(options: DataOptions) -> str:
    """A digest of what decides the figures of a trained net on images as they are: the known truth, and the code."""
    truth = source(options).truth
    known = () if truth is None else (truth.astype("<i8"),)
    code = "".join((Path(__file__).parent.parent / name).read_text(encoding="utf-8") for name in MEASURING)
    return digest(*known, text=code)


def teacher_of(plan: Plan, cell: Run) -> Run | None:
    """The cell that must have ended before this one begins."""
    if cell.role == "teacher" or "teacher" not in build.needs(build.read(cell.method)[0]):
        return None
    seed = 0 if plan.teacher is not None else cell.seed
    return Run("teacher", teacher_method(plan.options), seed)


def load_plugs(options: StudyOptions) -> None:
    """Take in the user's files; scenarios in them are taken in where scenarios are read."""
    for path in specs.split_at(options.plug, ",") if options.plug else []:
        registry.load_plugin(path, TABLES)
