"""Out-of-fold probabilities: what nets say of rows that they were not trained on.

The rows are cut into folds. For each fold a net is trained, plainly, on the others, and asked about this one; so a wrong
label cannot have been learnt by the net that judges it. Other rows, such as a test set's, are judged by the mean of all
the nets, none of which was trained on them. What a fold has come to is kept in a file, and an interrupted command goes on.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.atomic import write_atomically
from robustkd.data.loader import Loader
from robustkd.data.normalisation import channel_mean_std
from robustkd.data.splits import merge_singleton_groups
from robustkd.data.view import Labels, View
from robustkd.errors import ExecutionError, UsageError
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Network
from robustkd.training import build, engine
from robustkd.training.recipe import Recipe
from robustkd.types import DatasetInfo

ClassProbabilities = NDArray[np.float32]  # (n, K)
ChannelMoments = tuple[
    tuple[float, ...], tuple[float, ...]
]  # mean and standard deviation per channel, in units of [0, 1]
RESIDENT_BYTES = 256 << 20  # bytes of pixels held at once: what is larger stays where it is mapped
INFERENCE_BATCH = 128  # images a net is asked about at once: at 64x64 their maps, not the data, are what takes memory


@dataclass(frozen=True)
class TrainingConfig:
    """How the net of each fold is trained."""

    net: str  # a word of MODELS
    recipe: Recipe
    batch: int = 64
    augment: bool = True
    device: str = "cpu"
    half: bool = False
    seed: int = 0


@dataclass(frozen=True)
class FoldProgress:
    """An epoch that has ended, or a fold: `agreed` is then there."""

    fold: int
    epoch: int
    epochs: int
    agreement: float | None = None  # the share of the fold's labels that its net gives
    seconds: float = 0.0  # what training and asking the fold's net took, whenever that was
    reused: bool = False  # whether it was there already


ProgressCallback = Callable[[FoldProgress], None]


def assign_folds(view: View, count: int, seed: int) -> Labels:
    """Which fold each row is in, 0 to count - 1: (n,).

    Each class is spread evenly, a class smaller than the folds over as many as it has samples. Where the data set has
    groups none is divided, as its members would vote for one another, and classes are spread as evenly as groups allow.

    Raises:
        UsageError: there are fewer samples of every class, or fewer groups, than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    most = int(view.counts.max())
    if most < count:
        raise UsageError(f"--folds {count}: no class has more than {most} samples to train on, so {most} is the most")
    # Dealt in the order of keys: the draw is the rows' own, whatever order they come in.
    keys = seeds.row_keys(seeds.derive(seed, "folds"), view.sample_ids)
    order = np.argsort(keys, kind="stable")
    labels, groups = view.labels[order], _groups_by_row(view)
    if groups is None:
        folder, cut = StratifiedKFold(count), None
    else:
        there = len(np.unique(groups))
        if there < count:
            raise UsageError(f"--folds {count}: there are {there} groups to train on, and no group is divided")
        groups = merge_singleton_groups(view.labels, groups, keys, max(20, 4 * count))
        # The library breaks ties by a group's number: numbered by its first row in that order, it hangs on the seed.
        _, first, number = np.unique(groups[order], return_index=True, return_inverse=True)
        folder, cut = StratifiedGroupKFold(count), np.argsort(np.argsort(first))[number]
    fold = np.empty(len(view), np.int64)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # classes smaller than the number of folds
        for which, (_, members) in enumerate(folder.split(labels, labels, cut)):
            fold[order[members]] = which
    return fold


def unseen_class_mask(labels: Labels, fold: Labels, classes: int) -> NDArray[np.bool_]:
    """Rows whose class is in no other fold: their net has never met it and cannot judge them. (n,)."""
    table = np.zeros((classes, int(fold.max(initial=0)) + 1), np.int64)
    np.add.at(table, (labels, fold), 1)
    alone: NDArray[np.bool_] = (table.sum(axis=1, keepdims=True) == table)[labels, fold]
    return alone


def out_of_fold_probabilities(
    view: View, fold: Labels, test: View, trainer: TrainingConfig, folder: Path, report: ProgressCallback
) -> tuple[ClassProbabilities, ClassProbabilities]:
    """What each fold's net says of its own rows, and the mean of what all say of the test rows: (n, K) and (m, K).

    Args:
        view: the rows, under the labels shown.
        fold: (n,) the fold of each.
        test: rows that no net is trained on; there may be none.
        folder: keeps fold-0.npz and so on. It belongs to these arguments: what lies there is taken for theirs.

    Raises:
        Failed: a net's training diverged.
    """
    count, classes = int(fold.max()) + 1, len(view.classes)
    own = np.empty((len(view), classes), np.float32)
    other = np.zeros((len(test), classes), np.float32)
    pixels: ChannelMoments | None = None
    for which in range(count):
        path, rows = folder / f"fold-{which}.npz", np.flatnonzero(fold == which)
        kept = _load_predictions(path, (len(rows), classes), (len(test), classes))
        if kept is None:
            start = time.monotonic()
            pixels = channel_mean_std(view) if pixels is None else pixels
            net = _train_network(view.take(fold != which), which, trainer, pixels, report)
            asked = _predict_probabilities(net, view.take(rows), trainer), _predict_probabilities(net, test, trainer)
            answers = _FoldPredictions(*asked, time.monotonic() - start)
            _save_predictions(path, answers)
        else:
            answers = kept
        own[rows] = answers.own
        other += answers.other / count
        agreed, epochs = float((own[rows].argmax(axis=1) == view.labels[rows]).mean()), trainer.recipe.epochs
        report(FoldProgress(which, epochs, epochs, agreed, answers.seconds, reused=kept is not None))
    return own, other


class _FoldPredictions(NamedTuple):
    """What a fold's net said, and the seconds it took."""

    own: ClassProbabilities
    other: ClassProbabilities
    seconds: float


def build_fold_network(view: View, trainer: TrainingConfig, which: int, pixels: ChannelMoments) -> Network:
    """A fold's net before it is trained, on the CPU.

    Raises:
        UsageError: the net cannot be built, or not for images of this size.
    """
    return build_network(
        MODELS.parse(trainer.net),
        shape=view.sources[0].shape,
        classes=len(view.classes),
        mean=pixels[0],
        std=pixels[1],
        bf16=trainer.half,
        seed=seeds.derive(trainer.seed, "audit", "init", which),
    )


def _groups_by_row(view: View) -> Labels | None:
    """The group of each row, foreign rows and those of no group (-1) each in one of its own: (n,), None without groups."""
    groups = view.sources[0].groups
    if groups is None:
        return None
    own = np.where(view.foreign, -1, groups[np.where(view.foreign, 0, view.rows)])
    return np.where(own < 0, int(groups.max()) + 1 + np.arange(len(own)), own)


def _train_network(
    view: View, which: int, trainer: TrainingConfig, pixels: ChannelMoments, report: ProgressCallback
) -> Network:
    """A net trained plainly on a view."""
    baseline, ce = build.read("baseline")
    facts = DatasetInfo(len(view), tuple(view.counts.tolist()), view.sources[0].shape)
    ingredients: build.Ingredients = {
        "student": lambda: build_fold_network(view, trainer, which, pixels),
        "criterion": lambda: lambda: ce.load()(facts),
    }
    method = build.build(baseline, ingredients)
    method.to(trainer.device)
    device, run = torch.device(trainer.device), seeds.derive(trainer.seed, "audit", "run", which)
    loader = Loader(view, trainer.batch, device, seed=run, augment=trainer.augment, budget=RESIDENT_BYTES)
    try:
        for epoch in engine.fit(method, loader, trainer.recipe):
            report(FoldProgress(which, epoch.number, trainer.recipe.epochs))
    except engine.DivergedError as error:
        raise ExecutionError(f"fold {which + 1}: {error}") from None
    return method.model


def _predict_probabilities(net: Network, view: View, trainer: TrainingConfig) -> ClassProbabilities:
    """What a net says of a view's rows, in order: (n, K)."""
    said = np.empty((len(view), len(view.classes)), np.float32)
    if not len(view):
        return said
    done = 0
    net.eval()
    with torch.no_grad():
        for images, _ in Loader(
            view, INFERENCE_BATCH, torch.device(trainer.device), augment=False, budget=RESIDENT_BYTES
        ).iter_plain():
            said[done : done + len(images)] = net(images).logits.softmax(dim=1).cpu().numpy()
            done += len(images)
    return said


def _save_predictions(path: Path, answers: _FoldPredictions) -> None:
    """Write a fold's file whole, or not at all."""
    write_atomically(path, lambda file: np.savez(file, own=answers.own, other=answers.other, seconds=answers.seconds))


def _load_predictions(path: Path, own: tuple[int, int], other: tuple[int, int]) -> _FoldPredictions | None:
    """A fold's file, None where there is none or it is not what it should be."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = _FoldPredictions(file["own"], file["other"], float(file["seconds"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return found if (found.own.shape, found.other.shape) == (own, other) else None
