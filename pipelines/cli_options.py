"""Options of an audit, a sweep and a comparison, shared by the command line and the stages. torch is not imported."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import Field
from pydantic.dataclasses import dataclass

from pipelines.folder_names import short_dataset_name
from robustkd.errors import UsageError
from robustkd.specs import split_at
from robustkd.study.options import Augment, DataOptions, SourceOptions, StudyOptions
from robustkd.types import AtLeastTwo, Count, Parallel, Positive, Seed

DryRun = Annotated[bool, Parameter(help="Print what it would take, and what it would find, without training.")]
GivenSpread = Annotated[
    float | None,
    Parameter(
        help="Of a dry run: the standard deviation over seeds of paired differences, in points, from which it says what the"
        " study would find; by default that of finished runs."
    ),
]


@dataclass(frozen=True, kw_only=True)
class CheckOptions(SourceOptions):
    """The data set to check."""

    dataset: Annotated[str, Parameter(parse=False)] = ""  # the positional SPEC
    skip_bad_images: Annotated[bool, Parameter(parse=False)] = True  # they are reported
    least: Count = 20
    """Minimum number of training images per class."""
    json: bool = False
    """Print only JSON, with all findings and all examples."""
    plug: str | None = None
    """Your own Python files that define DATASETS."""


@dataclass(frozen=True, kw_only=True)
class PredictOptions(SourceOptions):
    """The images to classify, and where the predictions are written."""

    dataset: Annotated[str, Parameter(parse=False)] = ""  # the positional IMAGES
    image_size: Annotated[int, Parameter(parse=False)] = 32  # the network's, as the next
    crop_share: Annotated[float, Parameter(parse=False)] = 1.0
    class_level: Annotated[int | None, Parameter(parse=False)] = None
    min_class: Annotated[int, Parameter(parse=False)] = 0
    value_range: Annotated[str | None, Parameter(parse=False)] = None
    to: Path | None = None
    """The CSV file to write; it must not exist."""
    device: str = "auto"
    """cpu, cuda, ...; auto selects a GPU if there is one."""
    plug: str | None = None
    """Your own Python files that define MODELS or DATASETS."""

    def read_options(self) -> dict[str, Any]:
        """Return the options of `robustkd.data.labelled_images.load_labelled_images`."""
        of_net = ("image_size", "crop_share", "value_range")
        return {name: value for name, value in super().read_options().items() if name not in of_net}


@dataclass(frozen=True, kw_only=True)
class AuditOptions(DataOptions):
    """The labels to audit, how the networks are trained, and what is done with suspicious labels."""

    dataset: Annotated[str, Parameter(parse=False)] = ""  # the positional SPEC
    scenario: str = "clean"
    """Changes to the training rows before the audit: `noise0.2` shows how many known errors would be found in your data."""
    net: str = "wrn_10_2"
    """Network that is trained once per fold, or probed (see `robustkd models`)."""
    probe: bool | None = None
    """Do not train the network: embed each image once, and fit linear classifiers. The default if it carries weights."""
    folds: AtLeastTwo = 5
    """Number of folds of the training rows; the labels of each are audited by a network trained on the others."""
    epochs: Count | None = None
    """Epochs of each network; by default 30, or 10 if it carries weights. With many more it memorises wrong labels, with
    many fewer it flags correct ones."""
    batch: Count = 64
    """Batch size."""
    lr: Positive | None = None
    """Initial learning rate; by default that of the recipe `scratch`, or `finetune` if the network carries weights."""
    warmup: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Fraction of the epochs during which the learning rate rises from 0; by default that of the recipe."""
    augment: Augment | None = None
    """none, shift (and flips where they keep the class) or photo, as in `photo(erasing=0)`; by default that of the recipe."""
    prune: bool = False
    """Write pruned.csv, a manifest of the training rows without the suspicious ones."""
    relabel: bool = False
    """Write relabelled.csv, a manifest of the training rows in which suspicious rows have their suggested labels."""
    force: bool = False
    """Prune or relabel even if the estimate cannot be believed, because the networks are too weak."""
    probabilities: str | None = None
    """Your own out-of-fold probabilities instead of training: an .npy file (N, K), rows and classes in the data set's order."""
    keep: Count = 10
    """Training rows of each class that pruning and relabelling leave, or all if it has fewer; held-out rows in proportion."""
    show: Annotated[int, Field(ge=0, le=200)] = 200
    """Maximum number of images on the contact sheet."""
    seed: Seed = 0
    """Seed of the folds, the initial weights and the draw of the scenario."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Numerical precision; auto selects bf16 where the hardware supports it and it is faster."""
    device: str = "auto"
    """cpu, cuda, cuda:1 or mps; auto selects a GPU if there is one."""
    threads: Parallel | None = None
    """Number of CPU threads; one per core by default."""
    out: str = "audits"
    """Folder to which audits are written."""
    fresh: bool = False
    """Train everything again even if results exist; the existing folder is kept under another name."""
    plug: str | None = None
    """Your own Python files, separated by commas, that define MODELS, SCENARIOS or DATASETS."""


@dataclass(frozen=True, kw_only=True)
class SweepOptions(StudyOptions):
    """Studies that differ only in data set and scenario; all other options are shared.

    >>> options = SweepOptions(scenarios="clean,noise(0.2, convention=inclusive)")
    >>> [(study.dataset, study.scenario) for study in options.studies()]
    [('digits', 'clean'), ('digits', 'noise(0.2, convention=inclusive)')]
    """

    dataset: Annotated[str, Parameter(parse=False)] = ""  # replaced by the lists
    scenario: Annotated[str, Parameter(parse=False)] = ""
    scenarios: str
    """Scenarios separated by commas, as in clean,noise0.4,imbalance0.2+noise0.4; each once (see `robustkd scenarios`)."""
    datasets: str = "digits"
    """Data sets separated by commas (see `robustkd datasets`); quote one whose path contains a comma."""
    name: str | None = None
    """Name of the sweep; by default from its studies."""

    def studies(self) -> Iterator[StudyOptions]:
        """Yield the options of each study, data set by data set.

        Raises:
            robustkd.errors.UsageError: a list has an empty item, or an unclosed bracket or quote.
        """
        # The name is the sweep's; a study's is derived from data set and scenario.
        sweep_only = {"scenarios", "datasets", "name"}
        shared: dict[str, Any] = {name: value for name, value in asdict(self).items() if name not in sweep_only}
        for dataset in dict.fromkeys(_strip_quotes(part) for part in _split_list("datasets", self.datasets)):
            for scenario in dict.fromkeys(_split_list("scenarios", self.scenarios)):
                yield StudyOptions(**{**shared, "dataset": dataset, "scenario": scenario})


@dataclass(frozen=True, kw_only=True)
class SelectOptions(StudyOptions):
    """The methods among which to select, the budget, and how all are trained.

    >>> options = SelectOptions(scenario="clean", seeds=10)
    >>> options.study(["hinton"], seeds=2, first_seed=3, part="race").name
    'digits-clean-race'
    """

    methods: str = "all"
    """Contenders: methods separated by commas, sets of them such as `all`, and `hinton(temperature=1|4)` for both values."""
    budget: str = "0.2"
    """What training may take: a time, as in 4h or 30m, or a share of the grid of all contenders and seeds, as in 0.2."""
    screened: Annotated[int, Field(ge=0)] | None = None
    """Number of contenders that the race leaves at most, of which fresh seeds and the test set choose the finalists; 0 to leave
    that to the race. By default half of them, or fewer if the budget does not pay for that."""
    finalists: Count = 3
    """Number of contenders that are compared with plain training on the test set."""
    seeds: Annotated[int, Field(ge=5, le=1000)] = 20
    """Number of fresh seeds of this comparison at most; it is looked at, and may end, after every 5 of them."""

    def study(self, methods: Sequence[str], *, seeds: int, first_seed: int, part: str) -> StudyOptions:
        """Return the options of one of its two studies.

        Args:
            part: race or final, with which its name ends.
        """
        shared = {name: getattr(self, name) for name in StudyOptions.__dataclass_fields__}
        name = f"{self.name or f'{short_dataset_name(self.dataset)}-{self.scenario}'}-{part}"
        own = {"methods": ",".join(methods), "seeds": seeds, "first_seed": first_seed, "name": name}
        return StudyOptions(**{**shared, **own})


Selection = Annotated[SelectOptions, Parameter(name="*")]


def _split_list(option: str, text: str) -> list[str]:
    """Split the value of an option at its commas."""
    try:
        return split_at(text, ",")
    except UsageError as error:
        raise UsageError(f"--{option} {error}") from None


def _strip_quotes(text: str) -> str:
    """Remove enclosing quotes."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


@dataclass(frozen=True, kw_only=True)
class StudySelection(StudyOptions):
    """The options that identify a study, of which none is selected without a scenario, and how it is compared."""

    scenario: str = ""
    """Scenario of the study to select."""
    reference: str = ""
    """A method that all others are compared with, such as longer; by default each with its baseline. Files in the folder of
    the study stay as they are."""
