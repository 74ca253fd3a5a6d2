"""What a study consists of: its runs, the settings they share, and which run another waits for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from robustkd.data.manifest import Splits
from robustkd.data.view import Source
from robustkd.errors import UsageError
from robustkd.evaluation.results import Latency
from robustkd.method_spec import MethodSpec
from robustkd.study.options import StudyOptions
from robustkd.study.recipe_presets import Role, find_preset
from robustkd.study.results import ORACLE, TEACHER, RunKey, run_name
from robustkd.training import hardware
from robustkd.training.recipe import Recipe
from robustkd.types import Compile, EarlyRule, OnNonfinite, Sampling, TeacherStop, TrainingLabels

# What teachers are trained with, for each value of --smooth-teacher.
TEACHER_METHODS = {"none": "baseline", "labels": "smooth", "consistency": "smooth(labels=0, consistency=1)"}


@dataclass(frozen=True)
class Run:
    """One training: a method with its criterion, and a seed. A teacher's method is the baseline, or `smooth`."""

    role: Literal["teacher", "student"]
    method: MethodSpec
    seed: int

    @property
    def name(self) -> str:
        """The run's name, which is also that of its folder."""
        return run_name(self.role, self.method.text, self.seed)

    @property
    def key(self) -> RunKey:
        """The run as it is recorded."""
        return RunKey(role=self.role, method=self.method.text, criterion=self.method.criterion_text, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the runs of a study share in addition to data and seed: networks, recipe and hardware.

    Attributes:
        student, teacher: networks, as typed.
        recipe: of the students.
        teacher_recipe: of the teachers; None: the students'.
        batch: samples per update.
        augment, teacher_augment: how training images are cropped and changed, for students and teachers, as typed; None for
            teachers: as for students.
        image_size, teacher_image_size: side of the images that students and teachers see, if it was given or belongs to
            weights; None: that of the batches. Networks from random weights take arrays as they are.
        device: as torch names it.
        bf16, teacher_bf16: whether the networks of students and of teachers compute in bf16; None for teachers: as those of
            students.
        mean, std: of the training pixels per channel, in [0, 1].
        attacks: attacks to evaluate, as typed.
        corruptions: whether to evaluate on corrupted images.
        sampling: which rows an epoch consists of.
        mixing: how the images of a batch are mixed, as typed.
        transform: a further augmentation, as typed.
        cost_ratio: seconds of teacher and student together, relative to plain training; None where no method asks for it.
        latencies: of the networks, by role, as far as they were measured.
        on_nonfinite: whether an update that is not finite stops its run, or is skipped.
        early_rule: how the epoch of early-stopped networks is chosen.
        teacher_stop: whether teachers are of their last epoch, or stopped early.
        compile: whether the networks are compiled while they are trained.
    """

    student: str
    teacher: str
    recipe: Recipe
    teacher_recipe: Recipe | None = None
    batch: int
    augment: str
    teacher_augment: str | None = None
    image_size: int | None = None
    teacher_image_size: int | None = None
    device: str
    bf16: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    attacks: tuple[str, ...] = ()
    corruptions: bool = False
    sampling: Sampling = "natural"
    mixing: str = "none"
    transform: str = "none"
    cost_ratio: float | None = None
    latencies: Mapping[Role, Latency] = field(default_factory=dict)
    on_nonfinite: OnNonfinite = "stop"
    early_rule: EarlyRule = "best"
    teacher_stop: TeacherStop = "last"
    compile: Compile = "off"
    teacher_bf16: bool | None = None

    @classmethod
    def of(
        cls,
        options: StudyOptions,
        device: str,
        bf16: bool,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        teacher_bf16: bool | None = None,
    ) -> "Settings":
        """Return the settings that a study's options result in."""
        recipe, teacher_recipe = build_recipe(options, "student"), build_recipe(options, "teacher")
        return cls(
            student=options.student,
            teacher=options.teacher,
            recipe=recipe,
            teacher_recipe=None if teacher_recipe == recipe else teacher_recipe,
            batch=options.batch,
            augment=options.augmentation("student"),
            teacher_augment=options.augmentation("teacher"),
            image_size=None if options.image_size == "auto" else options.image_size,
            teacher_image_size=options.teacher_image_size,
            device=device,
            bf16=bf16,
            teacher_bf16=None if teacher_bf16 == bf16 else teacher_bf16,
            mean=mean,
            std=std,
            attacks=tuple(options.attack_texts()),
            corruptions=options.corruptions,
            sampling=options.sampling,
            mixing=options.mixing,
            transform=options.transform,
            on_nonfinite=options.on_nonfinite,
            early_rule=options.early_rule,
            teacher_stop=options.teacher_stop,
            compile=options.compile,
        )

    def stops_early(self, role: str) -> bool:
        """Return whether the network of a role's runs is the one stopped early: that of teachers may be."""
        return role == TEACHER and self.teacher_stop == "early"

    @property
    def precision(self) -> str:
        """What networks compute in, as `bf16` or `bf16 (teachers fp32)`."""
        student, teacher = ("bf16" if self.bf16_of(role) else "fp32" for role in ("student", TEACHER))
        return student if student == teacher else f"{student} (teachers {teacher})"

    def image_size_of(self, role: str) -> int | None:
        """Return the side of the images that a role's networks see."""
        return self.teacher_image_size if role == TEACHER and self.teacher_image_size else self.image_size

    def bf16_of(self, role: str) -> bool:
        """Return whether a role's networks compute in bf16."""
        return self.teacher_bf16 if role == TEACHER and self.teacher_bf16 is not None else self.bf16

    def augment_of(self, role: str) -> str:
        """Return the augmentation of a role's training images."""
        return self.teacher_augment if role == TEACHER and self.teacher_augment else self.augment

    def recipe_of(self, run: Run) -> Recipe:
        """Return the recipe of a run's role."""
        return self.recipe if run.role != TEACHER or self.teacher_recipe is None else self.teacher_recipe


def resolve_settings(
    options: StudyOptions, device: str, moments: tuple[tuple[float, ...], tuple[float, ...]], teacher_is_given: bool
) -> Settings:
    """Return the settings that a study's options result in on a device.

    Args:
        moments: mean and standard deviation of the training pixels per channel, in [0, 1].
        teacher_is_given: whether a trained teacher is given, which computes as the students do.
    """
    bf16 = hardware.use_bf16(options.precision, device, options.student)
    teacher_bf16 = None if teacher_is_given else hardware.use_bf16(options.precision, device, options.teacher)
    return Settings.of(options, device, bf16, *moments, teacher_bf16=teacher_bf16)


def recipe_of_values(values: Mapping[str, Any]) -> Recipe:
    """Return the recipe of the values of options."""
    return Recipe(**{**values, "milestones": tuple(float(part) for part in values["milestones"].split(","))})


def build_recipe(options: StudyOptions, role: Role) -> Recipe:
    """Return the recipe of a role that a study's options result in.

    Raises:
        UsageError: its values contradict each other, or the role's network.
    """
    recipe = recipe_of_values(options.recipe_values(role))
    if recipe.head_first >= recipe.epochs:
        raise UsageError(
            f"--head-first {recipe.head_first}: should be less than the epochs of the {role}, which are {recipe.epochs}"
        )
    return recipe


def check_statistics(options: StudyOptions, role: Role) -> None:
    """Refuse to keep the batch statistics of a network that starts from random weights.

    Raises:
        UsageError: the recipe of the role would keep them.
    """
    net, init = (options.student, options.init) if role == "student" else (options.teacher, None)
    if options.recipe_values(role)["freeze_bn"] and find_preset(net) == "scratch" and init is None:
        raise UsageError(
            f"--freeze-bn: the {role} '{net}' starts from random weights, which come with no batch statistics"
        )


@dataclass(frozen=True)
class StudyData:
    """A study's data in memory, for a machine without the files of the data set.

    Attributes:
        views: what each data seed is shown.
    """

    source: Source
    views: Mapping[int, Splits]


@dataclass(frozen=True)
class Plan:
    """A study on disk: all that a process needs to execute one of its runs."""

    options: StudyOptions
    settings: Settings
    folder: Path
    teacher: Path | None  # a trained teacher, if the user gave one
    init: Path | None  # first weights of every student, if the user gave some
    jobs: int
    threads: int  # of each process of a job
    share: float | None = None  # of the epochs of students, which are then paused and not evaluated, as in a race
    data: StudyData | None = field(default=None, compare=False)  # None: it is read from files

    def run_folder(self, run: Run) -> Path:
        """Return a run's folder."""
        return self.folder / "runs" / run.name


@dataclass(frozen=True)
class Progress:
    """A finished epoch of a run."""

    run: Run
    epoch: int
    epochs: int
    row: dict[str, Any]  # of epochs.csv
    is_earlier: bool = False  # finished by an earlier process, and reported again by the one that continues the run
    note: str = ""  # what the user should know of the run


Report = Callable[[Progress], None]


def teacher_method(options: StudyOptions, labels: TrainingLabels = "given") -> MethodSpec:
    """Return what teachers are trained with.

    Args:
        labels: `true` for the teacher of a control, which is not smoothed.

    >>> teacher_method(StudyOptions(scenario="clean", smooth_teacher="labels", teacher_criterion="balanced")).text
    'smooth+balanced'
    """
    method = TEACHER_METHODS[options.smooth_teacher] if labels == "given" else ORACLE
    return MethodSpec.parse(f"{method}+{options.teacher_criterion}")


def list_runs(options: StudyOptions, has_teacher: bool) -> tuple[Run, ...]:
    """Return the runs of a study: teachers first, where any method needs one.

    Args:
        has_teacher: whether the user gave a trained teacher.

    Raises:
        UsageError: the user gave a teacher and wants it smoothed, or batch statistics are to be kept where there are none.
    """
    if has_teacher and options.smooth_teacher != "none":
        raise UsageError(
            f"--smooth-teacher {options.smooth_teacher}: the teacher {options.teacher} is already trained, so it cannot be"
            " smoothed"
        )
    methods = options.method_specs()
    teachers = dict.fromkeys(
        teacher_method(options, method.teacher_labels) for method in methods if method.needs_teacher
    )
    check_statistics(options, "student")
    if teachers and not has_teacher:
        check_statistics(options, "teacher")
    given = [teacher_method(options)] if has_teacher and teachers else []
    return (
        *(Run("teacher", spec, 0) for spec in given),
        *(Run("teacher", spec, seed) for seed in options.seed_numbers for spec in teachers if not has_teacher),
        *(Run("student", spec, seed) for seed in options.seed_numbers for spec in methods),
    )


def teacher_of(plan: Plan, run: Run) -> Run | None:
    """Return the teacher's run that a run needs, if it needs one."""
    if run.role == TEACHER or not run.method.needs_teacher:
        return None
    return teacher_run(plan, run.seed, run.method.teacher_labels)


def teacher_run(plan: Plan, seed: int, labels: TrainingLabels = "given") -> Run:
    """Return the run of a seed's teacher: seed 0's where the user gave one teacher for all."""
    return Run("teacher", teacher_method(plan.options, labels), 0 if plan.teacher is not None else seed)
