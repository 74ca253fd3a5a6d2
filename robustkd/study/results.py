"""What a study records: result.json, trained.json and study.json as validated models, written and read here only.

A file of another format version, or one that does not validate, is refused in one sentence that names it.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import pandas as pd
from pydantic import Field, ValidationError

from robustkd.atomic import write_text_atomically
from robustkd.errors import UsageError
from robustkd.evaluation.results import AttackMetrics, FitMetrics, Latency, NetMetrics, Result
from robustkd.hashing import digest, json_digest
from robustkd.study.machine import Machine
from robustkd.study.options import StudyOptions
from robustkd.study.recipe_presets import RECIPE_NAMES, Role, resolve_recipe

CHECKSUM = "checksum"  # of all other fields
FORMAT = 2  # of the files below; raise it when a field changes its name or meaning
REBUILD = "the command that made the study makes the file again"

MONITORED = 2000  # rows evaluated after every epoch, of the test set and of the wrong training labels
BASELINE = "baseline"
TEACHER = "teacher"
COST_RATIO = "cost-ratio.json"  # in a study's folder
ORACLE = "oracle_clean"  # the method of teachers that are trained with the true labels
CLEAN_TEACHER = "teacher, true labels"  # the row of such teachers
TEACHER_ROWS = (TEACHER, CLEAN_TEACHER)
Model = TypeVar("Model", bound="Document")


class Document(Result):
    """A JSON file of a study, in which a checksum of the other fields is added."""

    format: int = FORMAT


class RunKey(Result):
    """Which run of a study: its role, its method and criterion as typed, and its seed."""

    role: Literal["teacher", "student"]
    method: str
    criterion: str
    seed: int

    @property
    def row(self) -> str:
        """The name of the run's row in tables."""
        if self.role == TEACHER:
            return CLEAN_TEACHER if is_oracle_teacher(self.method) else TEACHER
        return self.method


def is_oracle_teacher(method: str) -> bool:
    """Whether what a teacher is trained with uses the true labels."""
    return method.partition("+")[0] == ORACLE


def run_name(role: str, method: str, seed: int) -> str:
    """Return the name of a run, which is also that of its folder.

    >>> run_name("student", "hinton(alpha=0.7)+balanced", 1)
    'hinton-alpha=0.7-+balanced-seed1'
    """
    teacher = f"{TEACHER}-{ORACLE}" if is_oracle_teacher(method) else TEACHER
    text = teacher if role == TEACHER else method
    name = re.sub(r"[^\w.+=-]+", "-", text).strip("-")
    # Brackets and commas become hyphens, so a text with other hyphens than signs, or other characters, needs a digest.
    if role != TEACHER and re.search(r"[^\w.+=(), -]|(?<![=(e ])-", text):
        name += f"-{digest(text=text)[:6]}"
    return f"{name}-seed{seed}"


class TrainingInfo(Document):
    """How a network was trained: trained.json.

    Attributes:
        seconds: of training, without evaluation.
        updates: of the parameters.
        samples: training rows.
        images_per_second: training images per second.
        peak_memory: bytes, None where it cannot be measured.
        early_epoch: the epoch that is chosen on held-out rows, None without them.
        finished: when, in seconds since 1970.
        precision: bf16 or fp32.
        device: as torch names it.
        torch: its version.
        version: of the results of this method, see `robustkd.study.versions`.
        hyperparameters: of method and criterion, defaults included, as "name.parameter".
        files: digests of the files that training wrote, by name.
        machines: on which it was trained, in order: several if it was continued elsewhere; none in records of earlier versions.
        skipped_updates: of the updates, those that were dropped because they were not finite.
        weights: a digest of the network; "" in records of earlier versions, as is the next.
        teacher: that of the teacher, "" without one.
    """

    seconds: float
    updates: int
    samples: int
    images_per_second: float
    peak_memory: int | None
    early_epoch: int | None
    finished: float
    precision: str
    device: str
    torch: str
    version: str
    hyperparameters: dict[str, Any]
    files: dict[str, str] = Field(default_factory=dict)
    machines: list[Machine] = Field(default_factory=list)
    skipped_updates: int = 0
    weights: str = ""
    teacher: str = ""


class Cost(Latency):
    """What a run costs: its network, and its training including what was trained with it. None where unknown.

    The latency is that of the network's architecture, measured once in each study.

    Attributes:
        parameters: of the network.
        macs: multiply-accumulates of its convolutions and matrix products for one image.
        images: training images shown, counting each epoch.
        seconds: of training, without evaluation.
        teacher_seconds: of training the teacher, 0 where the method needs none.
        images_per_second, peak_memory: of training; bytes.
    """

    parameters: int
    macs: int
    images: int | None
    seconds: float | None
    teacher_seconds: float | None
    images_per_second: float | None
    peak_memory: int | None


class RunResult(Document):
    """The evaluation of a run: result.json.

    Attributes:
        run: which run.
        name: of the run, and of its folder.
        evaluation_version: what decided the metrics on unchanged images: the known truth and the version of the code.
        last: the network of the last epoch on the test set; of a teacher that is stopped early, that of the chosen one.
        early: the network stopped early, chosen on held-out rows; None without them.
        clean, clean_early: the same on the test rows with a known true label, by that label; only where the labels given may
            be wrong.
        fit: the network of the last epoch on its training rows; None where no truth is known.
        auxiliary: what the method evaluates next to its network, such as an ensemble, by name.
        agreement: share of rows on which student and teacher predict the same class, by `test` and `corrupted`; None where the
            teacher was not available.
        predictions: the predicted classes, packed by `pack_classes`, by `test` and `corrupted`.
        robust: under each attack and radius.
        corruptions: accuracy by corruption and severity; None where not evaluated, empty where not defined for these images.
        robustness_versions: of the code behind `robust` and `corruptions`, by attack as typed and "corruptions".
        cost: of the run.
        training: trained.json; None of a teacher that was trained elsewhere.
        files: digests of the files that the evaluation wrote, by name.
    """

    run: RunKey
    name: str
    evaluation_version: str
    last: NetMetrics
    early: NetMetrics | None = None
    clean: NetMetrics | None = None
    clean_early: NetMetrics | None = None
    fit: FitMetrics | None = None
    auxiliary: dict[str, NetMetrics] = Field(default_factory=dict)
    agreement: dict[str, float | None] | None = None
    predictions: dict[str, str] = Field(default_factory=dict)
    robust: dict[str, AttackMetrics] = Field(default_factory=dict)
    corruptions: dict[str, dict[str, float]] | None = None
    robustness_versions: dict[str, str] = Field(default_factory=dict)
    cost: Cost
    training: TrainingInfo | None = None
    files: dict[str, str] = Field(default_factory=dict)

    def part(self, name: Literal["last", "clean"]) -> NetMetrics | None:
        """The network of the last epoch on all test rows, or on those with a known true label."""
        return self.last if name == "last" else self.clean


class ResolvedSettings(Result):
    """What a study's options resulted in on the machine that prepared it.

    Attributes:
        precision: as `bf16`, `fp32` or `bf16 (teachers fp32)`.
        recipes: the options of the recipe of each role that is trained; empty in records of earlier versions, whose options
            name them all.
        cost_ratio: of teacher and student to plain training, where a method is trained by it.
        latencies: of the networks, by role.
    """

    precision: str
    device: str
    jobs: int
    threads_per_job: int
    rows_train: int
    rows_held_out: int
    rows_test: int
    recipes: dict[Role, dict[str, Any]] = Field(default_factory=dict)
    cost_ratio: float | None = None
    latencies: dict[Literal["teacher", "student"], Latency] = Field(default_factory=dict)
    fingerprint: str
    robustkd: str
    torch: str


class MeasuredRatio(Document):
    """A copy of a study's cost ratio, cost-ratio.json: if study.json is damaged, another measurement would have another result.

    Attributes:
        cost_ratio: as in `ResolvedSettings`.
    """

    cost_ratio: float


class StudyRecord(Document):
    """What a study is: study.json.

    Attributes:
        methods: as typed, in order.
        criteria: of each method, as typed.
        oracles: methods that use knowledge that a user would not have: they are marked in tables and not ranked. Includes those
            that the study was asked for before.
        seeds: how many.
        options: as given or by default.
        resolved: what they resulted in.
        dataset: name of the data set.
        classes: names, in label order.
        fingerprint: of the data set.
        truth_known: whether the test labels are known to be clean.
        known_training, known_test: rows with a known true label, and rows.
        test_labels: the labels of the test rows as given, packed by `pack_classes`.
        test_truth: their true labels where test labels may be wrong and some true ones are known; 65535 where unknown.
        test_groups: the group of each test row, packed by `pack_groups`; empty where rows are independent.
        skipped: unreadable files that were left out.
        leaks: sentences about test images that are copies of training images.
    """

    methods: list[str]
    criteria: dict[str, str]
    oracles: list[str] = Field(default_factory=list)
    seeds: int
    options: StudyOptions
    resolved: ResolvedSettings
    dataset: str
    classes: list[str]
    fingerprint: str
    truth_known: bool
    known_training: tuple[int, int]
    known_test: tuple[int, int]
    test_labels: str = ""
    test_truth: str = ""
    test_groups: str = ""
    skipped: list[str] = Field(default_factory=list)
    leaks: list[str] = Field(default_factory=list)

    @property
    def seed_numbers(self) -> range:
        """The seeds."""
        return range(self.options.first_seed, self.options.first_seed + self.seeds)

    @property
    def ranked_methods(self) -> list[str]:
        """The methods that are compared and ranked, which oracles are not."""
        return [method for method in self.methods if method not in self.oracles]

    @property
    def recipe(self) -> dict[str, Any]:
        """The options of the students' recipe by name."""
        given = {name: getattr(self.options, name) for name in RECIPE_NAMES}
        return self.resolved.recipes.get("student") or resolve_recipe("scratch", given)

    @property
    def trusts_test_labels(self) -> bool:
        """Whether the user declared the test labels clean."""
        return self.options.trust_test_labels


class LoadedStudy(NamedTuple):
    """A study as read from a folder or from MLflow."""

    record: StudyRecord
    results: list[RunResult]
    epochs: dict[str, pd.DataFrame]  # each run's epochs.csv, by the run's name
    folder: Path | None = None


def write_document(path: Path, document: Document) -> None:
    """Write a document so that the path holds either the old file or the whole new one."""
    content = json.loads(document.model_dump_json())
    write_text_atomically(path, json.dumps({**content, CHECKSUM: json_digest(content)}, indent=2, ensure_ascii=False))


def read_document(path: Path, model: type[Model]) -> Model:
    """Read a document.

    Raises:
        UsageError: the file is missing, damaged, or of another format version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: this file cannot be read ({error}); {REBUILD}") from None
    return parse_document(text, model, str(path))


def parse_document(text: str, model: type[Model], source: str) -> Model:
    """Parse a document's JSON.

    Args:
        source: where the text is from, for the error message.

    Raises:
        UsageError: the text is damaged, or of another format version.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{source}: this file cannot be read ({error}); {REBUILD}") from None
    version = content.get("format", 1) if isinstance(content, dict) else FORMAT
    if version != FORMAT:
        raise UsageError(
            f"{source}: this file has format {version}, written by another version of robustkd, and this one reads format"
            f" {FORMAT}; {REBUILD}"
        )
    if isinstance(content, dict) and content.pop(CHECKSUM, None) not in (None, json_digest(content)):
        raise UsageError(f"{source}: this file is damaged: its content does not match its checksum; {REBUILD}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise UsageError(f"{source}: this file is damaged: '{where}' is missing or wrong in it; {REBUILD}") from None


def read_study(folder: Path) -> LoadedStudy:
    """Read a study's folder.

    Raises:
        UsageError: a file is missing, damaged, or of another format version.
    """
    record = read_document(folder / "study.json", StudyRecord)
    results = [read_document(path, RunResult) for path in sorted(folder.glob("runs/*/result.json"))]
    epochs = {}
    for result in results:
        path = folder / "runs" / result.name / "epochs.csv"
        if path.exists():  # a teacher that was trained elsewhere has none
            epochs[result.name] = read_epochs(path)
    return LoadedStudy(record, results, epochs, folder)


def read_epochs(path: Path) -> pd.DataFrame:
    """Read an epochs.csv.

    Raises:
        UsageError: the file is damaged.
    """
    try:
        table = pd.read_csv(path)
        table["epoch"].astype(int), table["accuracy"].astype(float)
    except (KeyError, ValueError) as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{path}: this file cannot be read ({message}); {REBUILD}") from None
    return table
