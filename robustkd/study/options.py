"""What a study is asked for: one typed definition that the command line, YAML files and the tracker's parameters share.

Nothing here imports torch, so that a wrong word is refused before anything heavy is loaded.
"""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.specs import split_at
from robustkd.types import Count, NonNegative, Positive, Seed, Share

# Options that say where and how fast, not what: two studies that differ in these alone are one study.
ELSEWHERE = {
    *("dataset", "data_dir", "download", "skip_bad_images", "methods", "seeds", "device", "threads", "jobs"),
    *("out", "name", "fresh", "plug", "tracker", "experiment"),
    "precision",  # what it came to is part of the identity instead
    *("attack", "corruptions", "trust_test_labels"),  # what is measured and said of the nets, once they are trained
}


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which data, and how they are read and split."""

    dataset: str = "digits"
    """digits, mnist, fashion-mnist, kmnist, svhn, cifar10, cifar100, stl10, or your own folder:, csv:, parquet: or npz:PATH."""
    data_dir: str | None = None
    """Where the files of a published data set lie; ./data where not given."""
    download: bool = False
    """Fetch a published data set that is not there."""
    image_size: Annotated[int, Field(ge=8)] = 32
    """Pixels of the side that image files are brought to."""
    skip_bad_images: bool = False
    """Leave out image files that cannot be read, and say how many, instead of stopping."""
    split_seed: Seed = 0
    """Decides what is held out, and the test rows where none are published."""
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the training rows held out, corrupted like the rest, to stop the baseline early on; 0 for none."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions(DataOptions):
    """One data set, one scenario, several methods and seeds, paired seed by seed."""

    scenario: str
    """What is done to the training labels: words chained with +, as in imbalance0.2+noise0.4 (see `robustkd scenarios`)."""
    methods: str = "baseline,hinton,dml"
    """Methods with commas between, each `method` or `method+criterion`; `all` for every method that the nets allow."""
    student: str = "wrn_10_2"
    """The net to be trained (see `robustkd models`)."""
    teacher: str = "wrn_16_2"
    """The teacher's net, trained anew for each seed; or a trained one: a model.pt, an MLflow run id or a model URI."""
    teacher_criterion: str = "ce"
    """The criterion the teacher is trained with."""
    smooth_teacher: Literal["none", "labels", "consistency"] = "none"
    """Train the teacher with smoothed labels, or to answer alike under small noise (see `robustkd methods smooth`)."""
    init: str | None = None
    """A model.pt that every student starts from, instead of weights drawn by the seed."""
    seeds: Count = 3
    """How many seeds; each draws its own scenario, teacher, first weights and order."""
    data_seeds: Count | None = None
    """How many different draws of the scenario the seeds share; one each where not given, 1 holds it fixed."""
    epochs: Count = 30
    """Epochs of every run, the teacher's too."""
    batch: Count = 64
    """Samples per update."""
    lr: Positive = 0.1
    """Learning rate of SGD at the start."""
    schedule: Literal["step", "cosine", "constant"] = "step"
    """How the learning rate falls."""
    milestones: Annotated[str, Field(pattern=r"^0?\.\d+(, *0?\.\d+)*$")] = "0.3,0.6,0.8"
    """Fractions of the run, with commas between, at which schedule `step` multiplies the rate by `factor`."""
    factor: Share = 0.2
    """What the rate is multiplied by at a milestone."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the run over which the rate rises from 0."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD."""
    nesterov: bool = True
    """Nesterov's form of it."""
    weight_decay: NonNegative = 5e-4
    """Weight decay on everything that learns."""
    augment: bool = True
    """Move each image by up to an eighth of its side, and mirror it where the data set allows."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """What nets compute in; auto takes bf16 where the hardware has it and it is the faster."""
    attack: str | None = None
    """Attacks on the test images, with commas between: fgsm, pgd, pgd50, or MODULE:CALLABLE of your own."""
    corruptions: bool = False
    """Measure the nets on corrupted test images too: noise, blur, contrast, brightness, JPEG."""
    trust_test_labels: bool = False
    """Take the test labels for clean where nobody has said so, and give verdicts by them."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""
    threads: Count | None = None
    """CPU threads in all; the machine's cores where not given."""
    jobs: Count | None = None
    """Runs side by side; as many as there are threads on a CPU, one on a GPU, where not given."""
    out: str = "studies"
    """The folder that studies are written to."""
    name: str | None = None
    """The study's name; from data set and scenario where not given."""
    fresh: bool = False
    """Train everything again, whatever is there already; what was there is kept under another name."""
    plug: str | None = None
    """Python files of your own, with commas between, that offer METHODS, SCENARIOS, MODELS or CRITERIA."""
    tracker: Literal["mlflow", "files"] = "mlflow"
    """mlflow writes to MLflow besides the plain files; files to those alone."""
    experiment: str | None = None
    """The MLflow experiment; robustkd where not given, or the one that `mlflow run` chose. `compare` then looks in all."""

    @property
    def everything(self) -> bool:
        """Whether all methods were asked for, and so those that cannot be built may be left out."""
        return self.methods.strip() == "all"

    def method_specs(self) -> list[MethodSpec]:
        """Return the requested methods, each once; `all` stands for every registered one."""
        texts = METHODS if self.everything else split_at(self.methods, ",")
        return [MethodSpec.parse(text) for text in dict.fromkeys(texts)]

    def attack_texts(self) -> list[str]:
        """The attacks asked for, each once."""
        return list(dict.fromkeys(split_at(self.attack, ","))) if self.attack else []

    def data_seed(self, seed: int) -> int:
        """Which draw of the scenario a seed sees."""
        return seed if self.data_seeds is None else seed % self.data_seeds

    def identity(self) -> dict[str, Any]:
        """The options that decide a result."""
        return {name: value for name, value in asdict(self).items() if name not in ELSEWHERE}
