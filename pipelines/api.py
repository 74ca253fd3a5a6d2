"""The commands as Python functions; `robustkd` exports them.

Each takes the options of its command as keyword arguments, returns what the command prints as objects and pandas frames, and
raises a UsageError with one sentence where the command would refuse to start. MLflow is used only where `tracker="mlflow"` asks
for it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from pydantic import ValidationError

import scenarios
from pipelines import planning
from pipelines.auditing.summary import summarise_findings
from pipelines.cli_options import AuditOptions, CheckOptions, SelectOptions
from pipelines.console import console
from pipelines.report.renderers.terminal import render_text
from pipelines.report.study_table import find_ranked_metric
from pipelines.report.summary import summarise_study
from pipelines.scenario_effect import ScenarioEffect
from pipelines.stages import compare as compare_stage
from pipelines.stages.audit import execute_audit, load_audited, require_believable
from pipelines.stages.check_data import DataCheck, check_data_set
from pipelines.stages.describe import apply_to_dataset
from pipelines.stages.run import run_stages
from pipelines.stages.select import prepare_selection
from robustkd.errors import UsageError, describe_validation_error, did_you_mean, python_messages, unknown_name
from robustkd.method_spec import spell_method
from robustkd.models.net import Network
from robustkd.plugins import load_plugins
from robustkd.study.across import compare_studies
from robustkd.study.comparison import Comparison
from robustkd.study.conclusions import question_and_answer
from robustkd.study.options import DataOptions, SourceOptions, StudyOptions
from robustkd.study.pairing import HEADLINE
from robustkd.study.ray_cluster import ray_session
from robustkd.study.results import TEACHER, run_name
from robustkd.training.checkpoint import load_net

Options = TypeVar("Options", bound=SourceOptions)


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """The results of a study. Printed, it shows the page of `robustkd compare`.

    Attributes:
        folder: with all files, report.html among them, below `comparison`.
        options: of the study.
        answer: the study's result in one sentence.
        verdicts: a row per method: reference, difference from it in balanced accuracy, interval, p-values and verdict.
        summary: a row per method: mean and standard deviation over the seeds of every metric.
        classes: a row per class and method: recall, difference from the reference, interval, p and q.
        per_class: a row per class: the baseline's recall, and each method's mean difference from its reference.
        curves: a row per epoch, method and seed: test accuracy and, where wrong labels are known, memorised and recovered.
        costs: a row per method: parameters, time, memory and more of a run.
    """

    folder: Path
    options: StudyOptions
    answer: str
    verdicts: pd.DataFrame
    summary: pd.DataFrame
    classes: pd.DataFrame
    per_class: pd.DataFrame
    curves: pd.DataFrame
    costs: pd.DataFrame
    _page: str = field(default="")

    def __repr__(self) -> str:
        return self._page

    def network(self, method: str, seed: int = 0) -> Network:
        """Load a trained network, in evaluation mode on the CPU.

        Args:
            method: of the student, as in the study's options, or "teacher".
            seed: of the run.

        Returns:
            A torch module: images (n, C, H, W) in [0, 1] to an Output of logits (n, K), embedding and feature maps.

        Raises:
            UsageError: the study has no such run.
        """
        name = run_name(TEACHER if method == TEACHER else "student", spell_method(method), seed)
        path = self.folder / "runs" / name / "model.pt"
        if not path.is_file():
            known = sorted(model.parent.name for model in self.folder.glob("runs/*/model.pt"))
            raise UsageError(
                f"{self.folder}: there is no run {name}{did_you_mean(name, known)}; there are: {', '.join(known)}"
            )
        return load_net(path)[0].eval()


@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """The findings of an audit. Printed, it shows them in sentences.

    Attributes:
        noise_rate: estimated share of the training labels that are wrong; NaN where none could be assessed.
        is_believable: whether it is more than an upper bound (see robustkd.label_audit.reliability).
        suspects: a row per suspicious label, training rows before test rows, worst first: rank, part, row, file, given and
            suggested label with their probabilities, quality.
        classes: a row per class: labels given, estimated noise rate, suspicious labels, estimated true size.
        transitions: estimated, a row per true class and a column per given label.
        folder: with all files; report.html shows the images.
        sentences: the findings as the command prints them.
    """

    noise_rate: float
    is_believable: bool
    suspects: pd.DataFrame
    classes: pd.DataFrame
    transitions: pd.DataFrame
    folder: Path
    sentences: tuple[str, ...]

    def __repr__(self) -> str:
        return "\n".join([*self.sentences, f"files: {self.folder}"])


def run_study(
    options: StudyOptions | Mapping[str, Any] | None = None, /, *, verbose: bool = True, **changes: Any
) -> Study:
    """Train and compare the methods of a study; what an earlier call finished is reused.

    Args:
        options: the options of `robustkd run` by name, or an options object; by default, those of the command.
        verbose: print a line for every run that ends.
        changes: further options, which take precedence: run_study(scenario="noise0.4", methods=["baseline", "dml"]). Results
            are written as files; tracker="mlflow" logs them to MLflow too.

    Raises:
        UsageError: an option is invalid, or the options do not go together.
        ExecutionError: some runs failed; the others are finished.
    """
    with python_messages(), _output(verbose), ray_session():
        given = asdict(options) if isinstance(options, StudyOptions) else {"tracker": "files", **(options or {})}
        draft = planning.draft_study(_parse_options(StudyOptions, {**given, **changes}))
        run_stages(draft)
        return load_study(draft.plan.folder)


def load_study(folder: str | os.PathLike[str], *, trust_test_labels: bool | None = None, reference: str = "") -> Study:
    """Load the results of a study, as far as its runs are finished.

    Args:
        folder: of the study, such as studies/digits-noise0.4-0123abcd.
        trust_test_labels: whether to treat the test labels as clean even if that is not known; None: as the study was asked to.
        reference: a method of the study that all others are compared with; by default, each with its baseline.

    Raises:
        UsageError: the folder is not that of one study, or a file cannot be read, or the study has no such method.
    """
    with python_messages():
        comparisons = compare_stage.load_comparisons(os.fspath(folder), trust=trust_test_labels, reference=reference)
        if len(comparisons) != 1:
            raise UsageError(
                f"{folder}: there are {len(comparisons)} studies in this folder; load one, or compare them"
            )
        return _to_study(comparisons[0])


@dataclass(frozen=True, eq=False, repr=False)
class Selected:
    """The result of a selection. Printed, it shows the page of `robustkd select`.

    Attributes:
        folder: of its files, report.html among them.
        answer: in sentences.
        winner: the method that is better than plain training; None where none is shown to be.
        race: a row per rung and contender, the screening last: rung, share of the epochs, seeds, the rows it was judged on
            (held-out or test), method, score, how far behind the leader, noise, whether it went on, and why not.
        finalists: a row per finalist and reference: seeds, difference in balanced accuracy, interval, p, the level of p, and
            the finalist's verdict.
        confirmation: the study of the finalists.
        student: the file of the network to ship.
        command: that repeats the confirmation.
    """

    folder: Path
    answer: str
    winner: str | None
    race: pd.DataFrame
    finalists: pd.DataFrame
    confirmation: Study
    student: Path
    command: str
    _page: str = field(default="")

    def __repr__(self) -> str:
        return self._page


def select(*, verbose: bool = True, **options: Any) -> Selected:
    """Select a method by a race on held-out rows and a screening, and confirm the finalists on fresh seeds and the test set.

    Args:
        verbose: print the progress.
        options: of `robustkd select`: scenario="noise0.4", methods="all", budget="4h", and those of a study. Results are
            written as files; tracker="mlflow" logs them to MLflow too. The same call continues what was interrupted.

    Raises:
        UsageError: an option is invalid, nothing can be selected, or the budget is too small.
        ExecutionError: a run that is needed failed.
    """
    with python_messages(), _output(verbose), ray_session():
        selection = prepare_selection(_parse_options(SelectOptions, {"tracker": "files", **options}))
        selection.execute()
    record = selection.record
    return Selected(
        selection.folder,
        record.answer,
        record.winner,
        record.race_table(),
        record.finalist_table(),
        load_study(selection.folder.parent / str(record.final_study)),
        Path(str(record.student)),
        str(record.command),
        render_text(selection.page()),
    )


def compare(
    *studies: Study | str | os.PathLike[str], metric: str = HEADLINE, trust_test_labels: bool | None = None
) -> pd.DataFrame:
    """Compare studies: the frame behind the table of `robustkd compare`.

    Args:
        studies: studies, their folders, folders with studies in them, or MLflow run ids.
        metric: the name of a metric: accuracy, balanced_accuracy, worst_recall, macro_f1, ...
        trust_test_labels: see `load_study`.

    Returns:
        A row per study and method: study, method, mean and std over the seeds, seeds, difference from the reference, verdict
        (only of balanced accuracy), and whether the mean is the study's best or below that of the reference.

    Raises:
        UsageError: there is no study, or no such metric.
    """
    with python_messages():
        if not studies:
            raise UsageError("compare needs at least one study or folder, as in compare('studies')")
        places = [study.folder if isinstance(study, Study) else os.fspath(study) for study in studies]
        comparisons = compare_stage.load_comparisons(*places, trust=trust_test_labels)
        return compare_studies(comparisons, find_ranked_metric(comparisons, metric)).table


def audit(dataset: str, *, verbose: bool = True, **options: Any) -> Audit:
    """Estimate the label noise of a data set and list suspicious labels.

    Args:
        dataset: a name such as "digits", or your own as "folder:PATH" etc.
        verbose: print the progress.
        options: of `robustkd audit`, such as scenario, folds, epochs or prune.

    Raises:
        UsageError: an option is invalid, or the data cannot be audited with them.
    """
    with python_messages(), _output(verbose):
        checked = _parse_options(AuditOptions, {**options, "dataset": dataset})
        load_plugins(checked.plug, {"SCENARIOS": scenarios.SCENARIOS})
        source = load_audited(checked)
        findings, folder, _ = execute_audit(checked, source)
        require_believable(checked, findings)
    classes = list(source.classes)
    return Audit(
        findings.train.issues.noise_rate,
        findings.train.reliability.is_believable,
        pd.concat([rows.suspect_table() for rows in findings.parts], ignore_index=True),
        findings.train.class_table(),
        pd.DataFrame(findings.train.issues.transition_matrix, index=classes, columns=classes),
        folder,
        tuple(summarise_findings(checked, findings)),
    )


def check_data(dataset: str, **options: Any) -> DataCheck:
    """Check a data set for unreadable files, duplicates, leaks, names and sizes.

    Args:
        dataset: a name such as "digits", or your own as "folder:PATH" etc.
        options: of `robustkd check-data`, such as image_size, least or plug.

    Returns:
        The findings with severity, name, sentence and examples, most severe first, and as a frame, `table`; the number of
        images, the class sizes, and the verdict: "errors", "warnings" or "clean".

    Raises:
        UsageError: an option is invalid, there is no such data set, or it cannot be loaded.
    """
    with python_messages():
        checked = _parse_options(CheckOptions, {**options, "dataset": dataset})
        load_plugins(checked.plug)
        return check_data_set(checked)


def describe(
    scenario: str, dataset: str = "digits", *, seed: int = 0, plug: str | None = None, **options: Any
) -> ScenarioEffect:
    """Measure what a scenario does to the training rows of a data set.

    Args:
        scenario: scenarios chained with +, as in "imbalance0.2+noise0.4".
        dataset: a name such as "digits", or your own as "folder:PATH" etc.
        seed: data seed of the draw.
        plug: your own Python files that define SCENARIOS or DATASETS.
        options: how the data are read and split: image_size, held_out, ... as in `robustkd describe --help`.

    Returns:
        per_class, a frame with sizes before and after by class; transitions (K, K), the counts by published and shown label;
        the effect of each step; and the digest of what was drawn.

    Raises:
        UsageError: an option is invalid, or the scenario cannot be applied.
    """
    with python_messages(), _output(verbose=False):
        load_plugins(plug, {"SCENARIOS": scenarios.SCENARIOS})
        data = _parse_options(DataOptions, {**options, "dataset": dataset})
        return apply_to_dataset(scenarios.parse(scenario), data, seed).effect


def _parse_options(kind: type[Options], given: Mapping[str, Any]) -> Options:
    """Validate options by name; lists become words with commas, and paths texts.

    Raises:
        UsageError: a name does not exist, is missing, or has a value that is not allowed.
    """
    known = kind.__dataclass_fields__
    for name in given:
        if name not in known:
            raise UsageError(unknown_name("option", name, list(known), limit=len(known)))
    try:
        return kind(**{name: _to_option_value(value) for name, value in given.items()})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"].startswith("missing"):
            raise UsageError(f"{name} is needed, as in {name}='noise0.4'") from None
        raise UsageError(f"{name} {describe_validation_error(error)}") from None


def _to_option_value(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _to_study(comparison: Comparison) -> Study:
    """Return what a comparison of a folder's runs shows."""
    return Study(
        Path(comparison.folder or "."),
        comparison.record.options,
        question_and_answer(comparison)[1],
        comparison.verdicts,
        comparison.summary,
        comparison.classes,
        comparison.per_class,
        comparison.curves,
        comparison.costs,
        render_text(summarise_study(comparison)),
    )


@contextmanager
def _output(verbose: bool) -> Iterator[None]:
    """Print progress if requested, and restore what a study changes in its process."""
    quiet, threads = console.quiet, torch.get_num_threads()
    console.quiet = quiet or not verbose
    try:
        yield
    finally:
        console.quiet = quiet
        torch.set_num_threads(threads)
