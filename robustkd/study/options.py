"""Options of a study: one typed definition shared by the command line, YAML files and the tracker's parameters.

torch is not imported, so that an invalid option is reported before anything heavy is loaded.
"""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from robustkd.data.augmentations import given_augment, recorded_augment
from robustkd.data.image_formats import MAX_PIXELS
from robustkd.method_sets import expand_methods
from robustkd.method_spec import MethodSpec
from robustkd.specs import split_at
from robustkd.study.recipe_presets import (
    AUGMENTATION,
    RECIPE_NAMES,
    TEACHER_NAMES,
    Preset,
    Role,
    find_preset,
    resolve_recipe,
    resolve_teacher_recipe,
)
from robustkd.types import (
    Compile,
    Count,
    Duration,
    EarlyRule,
    NonNegative,
    OnNonfinite,
    Parallel,
    Positive,
    Sampling,
    Seed,
    Share,
    TeacherStop,
    to_seconds,
)

# Options that do not change what is trained: studies that differ only in these share a folder.
NOT_IN_IDENTITY = {
    *("dataset", "data_dir", "download", "skip_bad_images"),
    *("image_column", "label_column", "split_column", "root", "header"),  # decide how the content is found
    "max_pixels",  # decides which files are read
    "group_near_copies",  # decides which rows are drawn; these are part of the identity
    *("class_level", "min_class", "value_range"),  # the data set's fingerprint is part of the identity instead
    *("methods", "seeds", "first_seed", "device", "threads", "jobs", "on", "data_parallel", "sync_bn"),
    "compile",  # changes results by rounding, as threads do; runs record it
    *("out", "name", "fresh", "plug", "tracker", "experiment", "system_metrics"),
    *("stop_after", "save_every", "on_nonfinite"),
    *("precision", "teacher_classes"),  # what was chosen or found is part of the identity instead
    *("attack", "corruptions", "trust_test_labels"),  # decide what is evaluated and reported, after training
    # What these result in is part of the identity instead.
    *("recipe", "teacher_recipe", *(f"teacher_{name}" for name in TEACHER_NAMES)),
}
# What `auto` stands for where no network starts from weights.
AUTO = {"image_size": 32, "crop_share": 1.0}
# Options that came after the first studies, with their defaults: at these, studies keep their names.
ADDED = {
    **{"transform": "none", "sampling": "natural", "mixing": "none", "crop_share": 1.0, "teacher_image_size": None},
    **{"optimiser": "sgd", "decay_all": True, "backbone_lr": 1.0, "layer_decay": 1.0, "head_first": 0},
    **{"freeze_bn": False, "clip_grad": 0.0, "accumulate": 1, "ema": None},
    **{"teacher_net": None, "early_rule": "best", "teacher_stop": "last"},
}


def given_compile(value: Any) -> Any:
    """Return what a YAML file means by true and false: `off` is false there."""
    return ("default" if value else "off") if isinstance(value, bool) else value


ImageSide = Annotated[int, Field(ge=8, le=4096)]  # in pixels
Augment = Annotated[str | None, BeforeValidator(given_augment)]  # YAML files may say true or false


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """The data set, and how it is read."""

    dataset: str = "digits"
    """digits, mnist, fashion-mnist, kmnist, svhn, cifar10, cifar100, stl10, or your folder:, csv:, parquet:, hf:, npz:PATH."""
    data_dir: str | None = None
    """Folder with the files of a published data set; ./data by default."""
    download: bool = False
    """Download a published data set if its files are missing."""
    image_size: Literal["auto"] | ImageSide = "auto"
    """Side in pixels of the images that networks see, to which files are resized; auto: that of the weights, or else 32."""
    crop_share: Literal["auto"] | Annotated[float, Field(ge=0.1, le=1)] = "auto"
    """That side relative to that of the resized files, of which evaluation sees the centre; auto: that of the weights, or 1."""
    skip_bad_images: bool = False
    """Skip unreadable image files and report their number, instead of stopping."""
    image_column: str | None = None
    """Column of a table with the images: paths, identifiers or encoded bytes; by default image, file_name, path, ..."""
    label_column: str | None = None
    """Column of a table with the labels, or several columns of 0 and 1, separated by commas; by default label, class, ..."""
    split_column: str | None = None
    """Column of a table that divides it into train, val and test; `none` ignores such columns; by default split, subset, ..."""
    root: str | None = None
    """Folder that the paths in a table are relative to, and must stay in; by default the table's own folder."""
    header: bool = True
    """Whether the first line of a CSV file names its columns; with --no-header, columns are called 1, 2, ..."""
    class_level: Count | None = None
    """Depth of the class folders below folder:PATH, 1 for PATH/CLASS/...; by default recognised by the names of folders."""
    min_class: Annotated[int, Field(ge=0)] = 0
    """Leave out classes with fewer training images than this."""
    value_range: str | None = None
    """LOW,HIGH: values of more than 8 bits that become black and white; by default, a range that holds those of all images."""

    max_pixels: Annotated[int, Field(ge=64)] = MAX_PIXELS
    """Largest number of pixels of an image file; one with more is reported as unreadable, before it is decoded."""

    def read_options(self) -> dict[str, Any]:
        """Return the options of `robustkd.data.sources.load_dataset`."""
        values = {name: getattr(self, name) for name in SourceOptions.__dataclass_fields__ if name != "dataset"}
        return {name: AUTO[name] if value == "auto" else value for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class DataOptions(SourceOptions):
    """The data set, and how it is read and split."""

    split_seed: Seed = 0
    """Seed of the held-out rows, and of the test rows where none are published."""
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the training rows held out for early stopping, corrupted like the rest; 0 for none."""
    group_near_copies: bool = False
    """Keep near copies of an image in one split, as exact copies always are; published splits stay (see `check-data`)."""


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions(DataOptions):
    """One data set, one scenario, several methods and seeds; the methods of a seed are paired."""

    scenario: str
    """Changes to the training rows: scenarios chained with +, as in imbalance0.2+noise0.4 (see `robustkd scenarios`)."""
    methods: str = "baseline,hinton,dml"
    """Methods separated by commas, each `method` or `method+criterion`; sets of them: `all`, `kd`, ...; or a YAML list."""
    student: str = "wrn_10_1"
    """The student's network (see `robustkd models`)."""
    teacher: str = "wrn_16_1"
    """The teacher's network, trained for each seed; or a trained one: a file, an MLflow run id or a model URI."""
    teacher_image_size: ImageSide | None = None
    """Side in pixels of the images that the teacher sees, if it is another; the network of the smaller size resizes them."""
    teacher_net: str | None = None
    """The network of a trained teacher in a file of weights alone, as in --teacher mine.pth --teacher-net timm:resnet50."""
    teacher_criterion: str = "ce"
    """Criterion the teacher is trained with."""
    smooth_teacher: Literal["none", "labels", "consistency"] = "none"
    """Train the teacher with smoothed labels, or for consistency under small noise (see `robustkd methods smooth`)."""
    teacher_classes: Literal["match", "ignore"] = "match"
    """Find the classes of a trained teacher and of `init` by name, in whatever order; or ignore names and pair by position."""
    init: str | None = None
    """A model.pt, or a file of weights, that every student is initialised from, instead of weights drawn from the seed."""
    seeds: Annotated[int, Field(ge=1, le=1000)] = 5
    """Number of seeds; each has its own draw of the scenario, teacher, initial weights and order of batches."""
    first_seed: Seed = 0
    """The first of the seeds. Seeds that were not looked at when methods were selected confirm what was found."""
    data_seeds: Count | None = None
    """Number of different draws of the scenario, shared among the seeds; one per seed by default, 1 for a fixed one."""


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(ComparisonOptions):
    """How the networks are trained. What is not given is decided by a preset for each role (`recipe_presets`)."""

    recipe: Literal["auto", "scratch", "finetune"] = "auto"
    """Preset of the options below that are not given; auto selects finetune for networks that come with weights."""
    epochs: Count | None = None
    """Epochs of every run; by the recipe, 30 from scratch."""
    batch: Count = 64
    """Batch size."""
    accumulate: Count = 1
    """Batches per update, whose gradients are accumulated."""
    optimiser: Literal["sgd", "adamw"] | None = None
    """Optimiser; by the recipe, sgd from scratch."""
    lr: Positive | None = None
    """Initial learning rate; by recipe and optimiser, 0.1 from scratch with sgd."""
    schedule: Literal["step", "cosine", "constant"] | None = None
    """Learning rate schedule; by the recipe, step from scratch."""
    milestones: Annotated[str, Field(pattern=r"^0?\.\d+(, *0?\.\d+)*$")] | None = None
    """Fractions of the run, separated by commas, at which `step` multiplies the rate by `factor`; by default 0.3,0.6,0.8."""
    factor: Share | None = None
    """Factor of the learning rate at each milestone; by default 0.2."""
    warmup: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Fraction of the run during which the learning rate rises from 0; by the recipe, 0 from scratch."""
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Momentum of sgd, or the first beta of adamw; by default 0.9."""
    nesterov: bool | None = None
    """Use Nesterov momentum with sgd; by default yes."""
    weight_decay: NonNegative | None = None
    """Weight decay; by recipe and optimiser, 0.0005 from scratch with sgd."""
    decay_all: bool | None = None
    """Weight decay of norms and biases as well; by the recipe, yes from scratch."""
    backbone_lr: Share | None = None
    """Factor of the learning rate below a network's head, 0 to train the head only; by the recipe, 1 from scratch."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Further factor of the learning rate for each layer below the head; by the recipe, 1 from scratch."""
    head_first: Annotated[int, Field(ge=0)] | None = None
    """The first of the epochs, in which only new heads are trained; by the recipe, 0 from scratch."""
    freeze_bn: bool | None = None
    """Keep the batch statistics that the weights come with; by default no."""
    clip_grad: NonNegative | None = None
    """Largest norm of each network's gradient, 0 for any; by the recipe, 0 from scratch."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay, such as 0.99, of a moving average of the weights, which is evaluated as a row of its own; none by default."""
    early_rule: EarlyRule = "best"
    """Choose the epoch of early-stopped networks by held-out accuracy, or by its mean over three epochs: best or smoothed."""
    teacher_stop: TeacherStop = "last"
    """Distil from the teacher of the last epoch, or from each seed's early-stopped one: last or early."""
    teacher_recipe: Literal["auto", "scratch", "finetune"] | None = None
    """Preset of the teacher; by default as `recipe`. If it is another than the student's, the options above are not its own."""
    teacher_epochs: Count | None = None
    """Epochs of the teacher; by default the student's, or by the teacher's recipe if that is another."""
    teacher_lr: Positive | None = None
    """Initial learning rate of the teacher; by default as for epochs."""
    teacher_optimiser: Literal["sgd", "adamw"] | None = None
    """Optimiser of the teacher; by default as for epochs."""

    def recipe_values(self, role: Role) -> dict[str, Any]:
        """Return the options of a role's recipe by name, those that were not given as its preset decides."""
        preset, student = self.preset(role), self.preset("student")
        given = {name: getattr(self, name) for name in RECIPE_NAMES}
        if role == "teacher":
            own = {name: getattr(self, f"teacher_{name}") for name in TEACHER_NAMES}
            return resolve_teacher_recipe(preset, own, given, student)
        return resolve_recipe(preset, given)

    def preset(self, role: Role) -> Preset:
        """Return the name of a role's preset."""
        name = self.recipe if role == "student" or self.teacher_recipe is None else self.teacher_recipe
        if name != "auto":
            return name
        if role == "teacher":
            return find_preset(self.teacher) or self.preset("student")
        return "finetune" if self.init is not None else find_preset(self.student) or "scratch"


@dataclass(frozen=True, kw_only=True)
class StudyOptions(RecipeOptions):
    """One data set, one scenario, several methods and seeds, and how they are trained; the methods of a seed are paired."""

    augment: Augment = None
    """none, shift (and flips) or photo, as in `photo(crop=0.5, erasing=0)`; by the recipe, shift from scratch, else photo."""
    transform: str = "none"
    """Further augmentation of each image, before that: none, jda, jda_policy, or yours from --plug, as in `mine(size=2)`."""
    sampling: Sampling = "natural"
    """Which rows an epoch consists of, for teachers and students: `progressive` goes from natural to balanced."""
    mixing: str = "none"
    """Mix the images of a batch in pairs: none, mixup, cutmix or remix, with parameters as in `mixup(alpha=0.2)`."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Numerical precision; auto selects bf16 where the hardware supports it and it is faster."""
    compile: Annotated[Compile, BeforeValidator(given_compile)] = "off"
    """Compile training with torch.compile: off, default, or max, which also replays CUDA graphs on a GPU."""
    attack: str | None = None
    """Attacks on the test images, separated by commas: fgsm, pgd, pgd50, or your own as MODULE:CALLABLE."""
    corruptions: bool = False
    """Also evaluate on corrupted test images: noise, blur, contrast, brightness, JPEG."""
    trust_test_labels: bool = False
    """Treat the test labels as clean even if that is not known, and base verdicts on them."""
    device: str = "auto"
    """cpu, cuda, cuda:1 or mps; auto selects a GPU if there is one."""
    threads: Parallel | None = None
    """Total number of CPU threads; one per core by default."""
    jobs: Literal["auto"] | Parallel | None = None
    """Number of runs in parallel; by default one per thread on a CPU, and one on a GPU; auto measures how many fill a GPU."""
    data_parallel: Parallel = 1
    """Processes that train a run together, each on a GPU of its own or on a part of the CPU's threads."""
    sync_bn: bool = True
    """With --data-parallel, batch norm uses the statistics of the whole batch, not those of each process's share."""
    on: Literal["ray"] | Annotated[str, Field(pattern=r"^ray://[^/\s]+:\d+$")] | None = None
    """Where runs are executed: ray (a cluster that this machine is part of, or processes here) or ray://HOST:PORT."""
    out: str = "studies"
    """Folder to which studies are written."""
    name: str | None = None
    """Name of the study; by default from data set and scenario."""
    fresh: bool = False
    """Train everything again even if results exist; the existing folder is kept under another name."""
    plug: str | None = None
    """Your own Python files, separated by commas: METHODS, CRITERIA, MODELS, SCENARIOS, DATASETS, VIEWS or AUGMENTATIONS."""
    stop_after: Duration | None = None
    """Save and stop after this time, as in 90s, 30m or 2h; the same command goes on from there."""
    save_every: Duration | None = None
    """Time between two saves of an unfinished run, at the end of an epoch; by default 30s, or 5m with `on`."""
    on_nonfinite: OnNonfinite = "stop"
    """A loss or a weight that is not finite stops its run; or the update is skipped, up to a tenth of those of an epoch."""
    tracker: Literal["mlflow", "files"] = "mlflow"
    """mlflow logs to MLflow in addition to the plain files; files writes only those."""
    experiment: str | None = None
    """MLflow experiment; by default the one chosen by `mlflow run`, or else robustkd. `compare` searches all by default."""
    system_metrics: bool = False
    """Also log the load of CPU, memory, disk, network and GPU to MLflow; this needs psutil."""

    def method_specs(self) -> list[MethodSpec]:
        """Return the requested methods, each once; sets such as `all` are expanded."""
        return list(self._requested_methods())

    def may_omit(self, spec: MethodSpec) -> bool:
        """Whether a method was requested only as part of a set, so that it may be left out where it cannot be built."""
        return not self._requested_methods().get(spec, True)

    def _requested_methods(self) -> dict[MethodSpec, bool]:
        """Return the requested methods, and whether each was named itself rather than by a set."""
        requested: dict[MethodSpec, bool] = {}
        for text, named in expand_methods(self.methods).items():
            spec = MethodSpec.parse(text)
            requested[spec] = requested.get(spec, False) or named
        return requested

    def attack_texts(self) -> list[str]:
        """Return the requested attacks, each once."""
        return list(dict.fromkeys(split_at(self.attack, ","))) if self.attack else []

    @property
    def stop_after_seconds(self) -> float | None:
        """Seconds after which the command stops, or None."""
        return None if self.stop_after is None else to_seconds(self.stop_after)

    @property
    def save_interval(self) -> float:
        """Seconds between two saves of an unfinished run; on other machines, each save is sent to this one."""
        return to_seconds(self.save_every or ("30s" if self.on is None else "5m"))

    @property
    def seed_numbers(self) -> range:
        """The seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def data_seed(self, seed: int) -> int:
        """Return the seed of the draw of the scenario that a seed uses."""
        return seed if self.data_seeds is None else seed % self.data_seeds

    def read_options(self) -> dict[str, Any]:
        """Return the options of `load_dataset`: the images have the size of the network that sees the largest."""
        values = super().read_options()
        return {**values, "image_size": max(values["image_size"], self.teacher_image_size or 0)}

    def augmentation(self, role: Role) -> str:
        """Return the augmentation of a role's training images, that of its preset if none was given."""
        return self.augment or AUGMENTATION[self.preset(role)]

    def identity(self) -> dict[str, Any]:
        """Return the options that decide the results, those of recipes as they are resolved.

        Some have the form in which earlier versions wrote them.
        """
        student, teacher = self.recipe_values("student"), self.recipe_values("teacher")
        values = {name: value for name, value in asdict(self).items() if name not in NOT_IN_IDENTITY} | student
        values |= {f"teacher_{name}": value for name, value in teacher.items() if value != student[name]}
        values |= {name: default for name, default in AUTO.items() if values[name] == "auto"}
        augment, of_teacher = self.augmentation("student"), self.augmentation("teacher")
        values["augment"] = recorded_augment(augment)
        values |= {"local_bn": self.data_parallel} if self.data_parallel > 1 and not self.sync_bn else {}
        values |= {"teacher_augment": of_teacher} if of_teacher != augment else {}
        return {name: value for name, value in values.items() if name not in ADDED or value != ADDED[name]}
