"""Out-of-fold probabilities: class probabilities from nets that were not trained on the row they predict.

The rows are divided into folds. For each fold a net is trained with the baseline on the other folds and predicts this one,
so that no net has memorised a wrong label that it predicts. Other rows, such as a test set, are predicted by the mean of all
nets, none of which was trained on them. The predictions of each fold are saved to a file, so that an interrupted run resumes.
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
from robustkd.data.groups import group_rows
from robustkd.data.loader import Loader
from robustkd.data.normalisation import channel_mean_std
from robustkd.data.splits import merge_singleton_groups
from robustkd.data.view import Labels, View
from robustkd.errors import ExecutionError, UsageError
from robustkd.method import Method
from robustkd.method_spec import MethodSpec
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Network
from robustkd.training import engine
from robustkd.training.build import Ingredients, build_method
from robustkd.training.recipe import Recipe
from robustkd.types import DatasetInfo

ClassProbabilities = NDArray[np.float32]  # (n, K)
# Mean and standard deviation per channel, in units of [0, 1].
ChannelMoments = tuple[tuple[float, ...], tuple[float, ...]]
RESIDENT_BYTES = 256 << 20  # pixels held in memory at once; larger data sets stay memory-mapped
INFERENCE_BATCH = 128  # at 64x64 the feature maps of a batch take more memory than the data


@dataclass(frozen=True)
class TrainingConfig:
    """Configuration of the training of each fold's net."""

    net: str  # a spec of MODELS
    recipe: Recipe
    batch: int = 64
    augment: str = "shift"
    device: str = "cpu"
    half: bool = False
    seed: int = 0


@dataclass(frozen=True)
class FoldProgress:
    """The end of an epoch, or of a fold if `agreement` is set."""

    fold: int
    epoch: int
    epochs: int
    agreement: float | None = None  # the fraction of the fold's labels that its net predicts
    seconds: float = 0.0  # time to train and evaluate the fold's net, in this run or an earlier one
    reused: bool = False  # whether the fold was loaded from its file


ProgressCallback = Callable[[FoldProgress], None]


def assign_folds(view: View, count: int, seed: int) -> Labels:
    """Assign each row to a fold, 0 to count - 1: (n,).

    Each class is spread evenly over the folds, or over as many folds as it has samples. Groups are never divided, because
    a net would recognise the rest of a group it was trained on, and neither are images with identical pixels; classes are then
    spread as evenly as the groups allow.

    Raises:
        UsageError: Every class has fewer samples than there are folds, or there are fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    largest = int(view.counts.max())
    if largest < count:
        raise UsageError(
            f"--folds {count}: should be at most {largest}, the number of training samples of the largest class"
        )
    # Sorted by key, so that a row's fold does not depend on the order of the rows.
    keys = seeds.row_keys(seeds.derive(seed, "folds"), view.sample_ids)
    order = np.argsort(keys, kind="stable")
    labels, groups = view.labels[order], _groups_by_row(view)
    if groups is None:
        splitter, split_groups = StratifiedKFold(count), None
    else:
        group_count = len(np.unique(groups))
        if group_count < count:
            raise UsageError(
                f"--folds {count}: should be at most {group_count}, the number of training groups, which are never divided"
                + (" (images with identical pixels are one group)" if view.sources[0].groups is None else "")
            )
        groups = merge_singleton_groups(view.labels, groups, keys, max(20, 4 * count))
        # scikit-learn breaks ties by group number. Groups are numbered by their first row in key order to depend on the seed.
        _, first, number = np.unique(groups[order], return_index=True, return_inverse=True)
        splitter, split_groups = StratifiedGroupKFold(count), np.argsort(np.argsort(first))[number]
    folds = np.empty(len(view), np.int64)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # classes smaller than the number of folds
        for index, (_, members) in enumerate(splitter.split(labels, labels, split_groups)):
            folds[order[members]] = index
    return folds


def unseen_class_mask(labels: Labels, folds: Labels, classes: int) -> NDArray[np.bool_]:
    """Return the rows whose class is in no other fold, so that their net was not trained on it: (n,)."""
    counts = np.zeros((classes, int(folds.max(initial=0)) + 1), np.int64)
    np.add.at(counts, (labels, folds), 1)
    unseen: NDArray[np.bool_] = (counts.sum(axis=1, keepdims=True) == counts)[labels, folds]
    return unseen


def out_of_fold_probabilities(
    view: View, folds: Labels, test: View, config: TrainingConfig, folder: Path, on_progress: ProgressCallback
) -> tuple[ClassProbabilities, ClassProbabilities]:
    """Predict each row by the net of its fold, and the test rows by the mean of all nets: (n, K) and (m, K).

    Args:
        view: The rows, under the labels shown.
        folds: (n,) the fold of each row.
        test: Rows that no net is trained on; may be empty.
        config: The training configuration.
        folder: The folder for fold-0.npz and so on. It must belong to these arguments, because files in it are reused.
        on_progress: Called after each epoch and each fold.

    Raises:
        ExecutionError: The training of a net diverged.
    """
    count, classes = int(folds.max()) + 1, len(view.classes)
    own = np.empty((len(view), classes), np.float32)
    other = np.zeros((len(test), classes), np.float32)
    channels: ChannelMoments | None = None
    for fold in range(count):
        path, rows = folder / f"fold-{fold}.npz", np.flatnonzero(folds == fold)
        saved = _load_predictions(path, (len(rows), classes), (len(test), classes))
        if saved is None:
            start = time.monotonic()
            channels = channel_mean_std(view) if channels is None else channels
            net = _train_network(view.take(folds != fold), fold, config, channels, on_progress)
            pair = _predict_probabilities(net, view.take(rows), config), _predict_probabilities(net, test, config)
            predictions = _FoldPredictions(*pair, time.monotonic() - start)
            _save_predictions(path, predictions)
        else:
            predictions = saved
        own[rows] = predictions.own
        other += predictions.other / count
        agreement = float((own[rows].argmax(axis=1) == view.labels[rows]).mean())
        epochs = config.recipe.epochs
        on_progress(FoldProgress(fold, epochs, epochs, agreement, predictions.seconds, reused=saved is not None))
    return own, other


def estimate_seconds(
    view: View, folds: Labels, config: TrainingConfig, folder: Path, steps: int = 4
) -> tuple[int, float]:
    """Return how many folds are not finished, and the seconds that training them would take, from a few timed updates."""
    todo = [fold for fold in range(int(folds.max()) + 1) if not (folder / f"fold-{fold}.npz").exists()]
    if not todo:
        return 0, 0.0
    method, loader = _prepare_training(view.take(folds != todo[0]), todo[0], config, channel_mean_std(view))
    (phase,) = method.phases()
    seconds = engine.seconds_per_step(method, phase, loader, config.recipe, steps)
    return len(todo), len(todo) * seconds * len(loader) * config.recipe.epochs


class _FoldPredictions(NamedTuple):
    """The predictions of a fold's net, and the time they took."""

    own: ClassProbabilities  # of the fold's rows
    other: ClassProbabilities  # of the test rows
    seconds: float


def build_fold_network(view: View, config: TrainingConfig, fold: int, channels: ChannelMoments) -> Network:
    """Build a fold's untrained net on the CPU.

    Raises:
        UsageError: The net cannot be built, or does not support images of this size.
    """
    return build_network(
        MODELS.parse(config.net),
        shape=view.sources[0].shape,
        classes=len(view.classes),
        mean=channels[0],
        std=channels[1],
        bf16=config.half,
        seed=seeds.derive(config.seed, "audit", "init", fold),
    )


def _groups_by_row(view: View) -> Labels | None:
    """Return the group of each row, None if every row is alone: (n,). Equal images are one group, as groups of a source are."""
    origin = np.zeros(len(view), np.int64) if view.origin is None else view.origin
    groups, total = np.empty(len(view), np.int64), 0
    for number, source in enumerate(view.sources):
        own = origin == number
        _, groups[own] = np.unique(group_rows(source, view.source_rows[own]), return_inverse=True)
        groups[own] += total
        total += int(own.sum())
    alone = view.sources[0].groups is None and len(np.unique(groups)) == len(groups)
    return None if alone else groups


def _train_network(
    view: View, fold: int, config: TrainingConfig, channels: ChannelMoments, on_progress: ProgressCallback
) -> Network:
    """Train a net on a view with the baseline and cross entropy."""
    method, loader = _prepare_training(view, fold, config, channels)
    try:
        for epoch in engine.fit(method, loader, config.recipe):
            on_progress(FoldProgress(fold, epoch.number, config.recipe.epochs))
    except engine.DivergedError as error:
        raise ExecutionError(f"fold {fold + 1}: {error}") from None
    return method.model


def _prepare_training(view: View, fold: int, config: TrainingConfig, channels: ChannelMoments) -> tuple[Method, Loader]:
    """Return the baseline with an untrained net, and the loader of a view."""
    baseline = MethodSpec.parse("baseline")
    dataset_info = DatasetInfo(len(view), tuple(view.counts.tolist()), view.sources[0].shape)
    ingredients: Ingredients = {
        "student": lambda: build_fold_network(view, config, fold, channels),
        "criterion": lambda: lambda: baseline.criterion.load()(dataset_info),
    }
    method = build_method(baseline, ingredients)
    method.to(config.device)
    device, run = torch.device(config.device), seeds.derive(config.seed, "audit", "run", fold)
    return method, Loader(view, config.batch, device, seed=run, augment=config.augment, budget=RESIDENT_BYTES)


def _predict_probabilities(net: Network, view: View, config: TrainingConfig) -> ClassProbabilities:
    """Return the net's class probabilities for a view's rows, in order: (n, K)."""
    probabilities = np.empty((len(view), len(view.classes)), np.float32)
    if not len(view):
        return probabilities
    device, start = torch.device(config.device), 0
    net.eval()
    with torch.no_grad():
        for images, _ in Loader(view, INFERENCE_BATCH, device, augment=False, budget=RESIDENT_BYTES).iter_plain():
            probabilities[start : start + len(images)] = net(images).logits.softmax(dim=1).cpu().numpy()
            start += len(images)
    return probabilities


def _save_predictions(path: Path, predictions: _FoldPredictions) -> None:
    """Write a fold's file atomically."""
    own, other, seconds = predictions
    write_atomically(path, lambda file: np.savez(file, own=own, other=other, seconds=seconds))


def _load_predictions(path: Path, own: tuple[int, int], other: tuple[int, int]) -> _FoldPredictions | None:
    """Load a fold's file; return None if it is missing, damaged or has other shapes."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            predictions = _FoldPredictions(file["own"], file["other"], float(file["seconds"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return predictions if (predictions.own.shape, predictions.other.shape) == (own, other) else None
