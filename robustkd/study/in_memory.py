"""A student and its teacher trained in memory, as a study would train them: what DistilledClassifier.fit does."""

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from robustkd import seeds
from robustkd.data.manifest import Splits
from robustkd.data.normalisation import channel_mean_std
from robustkd.data.splits import draw_share
from robustkd.data.view import Source, View
from robustkd.method_spec import MethodSpec
from robustkd.models.net import Network
from robustkd.study.construct import check_constructible
from robustkd.study.early_stopping import check_early_stopping
from robustkd.study.evaluate import Teacher
from robustkd.study.monitor import sample_rows
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Progress, Report, Run, Settings, resolve_settings, teacher_method
from robustkd.study.run import TrainedRun, model_card, train
from robustkd.training import hardware


class TrainedTeacher(NamedTuple):
    """A teacher's network, and what rebuilds it."""

    network: Network
    card: Mapping[str, Any]


class TrainedPair(NamedTuple):
    """A trained student with its teacher.

    Attributes:
        student: the student's run.
        card: what rebuilds the student's network.
        teacher: None where the method needs none.
        history: a row per epoch of the student.
        teacher_history: the same of the teacher; None where none was trained.
    """

    student: TrainedRun
    card: Mapping[str, Any]
    teacher: TrainedTeacher | None
    history: pd.DataFrame
    teacher_history: pd.DataFrame | None


def train_pair(
    data: Splits, options: StudyOptions, seed: int, *, given: TrainedTeacher | None, verbose: bool, **origin: Any
) -> TrainedPair:
    """Train the teacher, where the method needs one and none is given, and the student.

    Args:
        data: the training rows, those held out, and a sample of rows to be monitored.
        options: of a study with one method.
        given: a trained teacher.
        verbose: print a line for every epoch.
        origin: further entries of the networks' cards.
    """
    check_early_stopping(options, len(data.held_out), given is not None)
    device = hardware.resolve_device(options.device)
    settings = resolve_settings(options, device, channel_mean_std(data.train), given is not None)
    spec = Run("student", MethodSpec.parse(options.methods), seed)
    histories: dict[str, list[dict[str, Any]]] = {"teacher": [], "student": []}

    def report(progress: Progress) -> None:
        histories[progress.run.role].append(progress.row)
        if verbose:
            sys.stdout.write(format_progress(progress) + "\n")

    teacher = fit_teacher(data, spec, options, settings, given, report, origin)
    student = train(data, spec, settings, teacher=teacher and Teacher(teacher.network), report=report)
    source = data.train.sources[0]
    return TrainedPair(
        student,
        model_card(student, spec, settings, source, **origin),
        teacher,
        history_frame(histories["student"]),
        history_frame(histories["teacher"]) if histories["teacher"] else None,
    )


def fit_teacher(
    data: Splits,
    student: Run,
    options: StudyOptions,
    settings: Settings,
    given: TrainedTeacher | None,
    report: Report,
    origin: Mapping[str, Any],
) -> TrainedTeacher | None:
    """Return the teacher that the method needs, trained now if it was not given."""
    if not student.method.needs_teacher:
        return None
    if given is not None:
        given.network.bf16 = settings.bf16_of("teacher")
        return given._replace(network=given.network.to(settings.device))
    check_constructible(data.train, student, settings)  # before the teacher is trained
    spec = Run("teacher", teacher_method(options, student.method.teacher_labels), student.seed)
    trained = train(data, spec, settings, report=report)
    source = data.train.sources[0]
    card = model_card(trained, spec, settings, source, **origin)
    return TrainedTeacher(trained.model, card)


def hold_out_rows(source: Source, seed: int, share: float | None) -> Splits:
    """Hold a share of each class out, None for no row; the test rows are a sample of the training rows, to be monitored.

    Raises:
        ValueError: the share is less than one row.
    """
    rows = np.arange(len(source.labels))
    held_out = rows[:0]
    if share is not None:
        held_out = draw_share(source, rows, share, seeds.derive(seed, "split", "held-out"), minimum=0)
        if not len(held_out):
            raise ValueError(
                f"early_stopping: validation_fraction={share:g} of {len(rows)} rows holds out none; use a larger share"
            )
    train_view = View.of(source, np.setdiff1d(rows, held_out), seed)
    return Splits(train_view, View.of(source, held_out, seed, training=False), sample_rows(train_view))


def format_progress(progress: Progress) -> str:
    """Format a finished epoch as a line."""
    row, run = progress.row, progress.run
    held_out = f", held out {row['held_out_accuracy']:.1%}" if row["held_out_accuracy"] >= 0 else ""
    return (
        f"{run.role} ({run.method.text}), epoch {progress.epoch} of {progress.epochs}: "
        f"training accuracy {row['accuracy']:.1%}{held_out}, {row['seconds']:.1f} s"
    )


def history_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return epochs as a frame; the monitored rows are training rows."""
    frame = pd.DataFrame(rows).rename(columns={"accuracy": "train_accuracy"})
    return frame.dropna(axis="columns", how="all").set_index("epoch")


def for_inference(net: Network) -> Network:
    """Return the network on the CPU, in float32 and in evaluation mode."""
    net.bf16 = False
    return net.cpu().requires_grad_(True).eval()
