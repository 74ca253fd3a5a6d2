"""Out-of-fold probabilities of a linear probe: a regularised linear classifier on embeddings of a network that is not trained.

Each image is embedded once by a network with pretrained weights. For each fold a multinomial logistic regression is fitted on
the embeddings of the other folds and predicts this one. The network itself has never seen the labels, so that it need not be
trained for each fold, and a few classifiers take seconds.

A linear classifier of 1,000 features memorises wrong labels too unless it is regularised. The strength is therefore chosen by
the out-of-fold log loss on the labels as given, from the strongest regularisation on. Wrong labels that do not follow from the
image raise the loss of all strengths alike, and are no reason to choose a weaker one.

Guillaume Alain and Yoshua Bengio, "Understanding intermediate layers using linear classifier probes" (arXiv 1610.01644).
"""

import time
from collections.abc import Callable, Sequence
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
from robustkd.data.view import Labels, View
from robustkd.label_audit.out_of_fold import (
    INFERENCE_BATCH,
    RESIDENT_BYTES,
    ClassProbabilities,
    assign_folds,
    unseen_class_mask,
)
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Network

Embeddings = NDArray[np.float32]  # (n, D)
EmbeddingProgress = Callable[[int], None]  # called with the number of images embedded so far
DIVISIONS = 3  # into folds, whose probabilities are averaged
# Inverse strength of the L2 penalty on the sum of the losses, as in scikit-learn, for standardised embeddings.
STRENGTHS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
MAX_ITERATIONS = 300


@dataclass(frozen=True)
class ProbeConfig:
    """Configuration of a linear probe."""

    net: str  # a spec of MODELS that carries weights
    image_size: int | None = None  # side to which the network resizes images; None: it takes them as they are
    device: str = "cpu"
    half: bool = False
    seed: int = 0


class ProbePredictions(NamedTuple):
    """What a linear probe predicts.

    Attributes:
        own: (n, K) probabilities of the rows, each by classifiers that were not fitted on it.
        other: (m, K) probabilities of the test rows, the mean of all classifiers.
        strength: the chosen C.
        seconds: of embedding and fitting.
        reused: whether they were loaded from a file.
    """

    own: ClassProbabilities
    other: ClassProbabilities
    strength: float
    seconds: float
    reused: bool = False


def build_probe_network(view: View, config: ProbeConfig) -> Network:
    """Build the network that embeds images, on its device.

    Raises:
        UsageError: the network cannot be built, or does not support images of this size.
    """
    mean, std = channel_mean_std(view)
    net = build_network(
        MODELS.parse(config.net),
        shape=view.sources[0].shape,
        image_size=config.image_size,
        classes=len(view.classes),
        mean=mean,
        std=std,
        bf16=config.half,
        seed=seeds.derive(config.seed, "audit", "probe"),
    )
    return net.to(config.device).eval()


def divide_into_folds(view: View, count: int, seed: int) -> list[Labels]:
    """Divide the rows into folds several times, differently: the fold of each row, (n,) each.

    Raises:
        UsageError: as `assign_folds`.
    """
    return [
        assign_folds(view, count, seed if number == 0 else seeds.derive(seed, number)) for number in range(DIVISIONS)
    ]


def unseen_in_any(view: View, divisions: Sequence[Labels]) -> NDArray[np.bool_]:
    """Return the rows whose class is in no other fold in one of the divisions: (n,)."""
    masks = [unseen_class_mask(view.labels, folds, len(view.classes)) for folds in divisions]
    unseen: NDArray[np.bool_] = np.any(masks, axis=0)
    return unseen


def probe_probabilities(
    view: View, divisions: Sequence[Labels], test: View, net: Network, file: Path, report: EmbeddingProgress
) -> ProbePredictions:
    """Predict each row by linear classifiers that were fitted on other folds, and the test rows by the mean of all.

    Args:
        view: the rows, under the labels shown.
        divisions: the fold of each row, (n,) each, as of `divide_into_folds`.
        test: rows that no classifier is fitted on; may be empty.
        net: embeds the images.
        file: where the predictions are kept. It must belong to the other arguments, because an existing one is reused.
        report: called after each batch of images.
    """
    classes = len(view.classes)
    saved = _load_probe(file, (len(view), classes), (len(test), classes))
    if saved is not None:
        return saved
    start = time.monotonic()
    embeddings = embed_images(net, view, report)
    test_embeddings = embed_images(net, test, lambda done: report(len(view) + done))
    own, other, strength = fit_probe(embeddings, view.labels, divisions, test_embeddings, classes)
    predictions = ProbePredictions(own, other, strength, time.monotonic() - start)
    _save_probe(file, predictions)
    return predictions


def embed_images(net: Network, view: View, report: EmbeddingProgress) -> Embeddings:
    """Embed a view's images in order, averaged with their mirror images where these keep the class: (n, D)."""
    batches: list[Embeddings] = []
    if not len(view):
        return np.empty((0, net.head.in_features), np.float32)
    loader = Loader(view, INFERENCE_BATCH, net.mean.device, augment=False, budget=RESIDENT_BYTES)
    done = 0
    with torch.no_grad():
        for images, _ in loader.iter_plain():
            embedded = net(images).embedding
            if view.sources[0].flips:
                embedded = (embedded + net(images.flip(3)).embedding) / 2
            batches.append(embedded.cpu().numpy())
            done += len(images)
            report(done)
    return np.concatenate(batches)


def fit_probe(
    embeddings: Embeddings, labels: Labels, divisions: Sequence[Labels], test: Embeddings, classes: int
) -> tuple[ClassProbabilities, ClassProbabilities, float]:
    """Fit linear classifiers on the folds of each division, with the regularisation that predicts the first one best.

    Args:
        embeddings: (n, D).
        labels: (n,) given labels, 0 to K - 1.
        divisions: the fold of each row, (n,) each.
        test: (m, D) further embeddings, predicted by the mean of all classifiers.
        classes: K.

    Returns:
        The probabilities (n, K) and (m, K), and the chosen C.
    """
    mean, std = embeddings.mean(axis=0), embeddings.std(axis=0)
    scale = np.where(std > 0, std, 1)
    rows, test_rows = (embeddings - mean) / scale, (test - mean) / scale
    chosen, smallest, predicted = 0.0, np.inf, []
    for strength in STRENGTHS:
        first = _predict_folds(rows, labels, divisions[0], test_rows, classes, strength)
        if (loss := log_loss(first[0], labels)) >= smallest:
            break
        chosen, smallest, predicted = strength, loss, [first]
    predicted += [_predict_folds(rows, labels, folds, test_rows, classes, chosen) for folds in divisions[1:]]
    own, other = (np.stack(each).mean(axis=0) for each in zip(*predicted, strict=True))
    return own, other, chosen


def log_loss(probabilities: ClassProbabilities, labels: Labels) -> float:
    """Return the mean negative log probability of the labels: (n, K), (n,)."""
    of_label = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_label, 1e-12)).mean())


def _predict_folds(
    rows: Embeddings, labels: Labels, folds: Labels, test: Embeddings, classes: int, strength: float
) -> tuple[ClassProbabilities, ClassProbabilities]:
    """Predict each fold by a classifier of the others, and the test rows by their mean: (n, K) and (m, K)."""
    from sklearn.linear_model import LogisticRegression

    count = int(folds.max()) + 1
    own, other = np.zeros((len(rows), classes), np.float32), np.zeros((len(test), classes), np.float32)
    for fold in range(count):
        inside, outside = folds == fold, folds != fold
        known = np.unique(labels[outside])  # a classifier has no column for a class that it was not fitted on
        if len(known) == 1:
            own[inside, known], other[:, known] = 1, other[:, known] + 1 / count
            continue
        classifier = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(rows[outside], labels[outside])
        own[np.ix_(inside, known)] = classifier.predict_proba(rows[inside])
        if len(test):
            other[:, known] += classifier.predict_proba(test) / count
    return own, other


def _save_probe(file: Path, predictions: ProbePredictions) -> None:
    """Write predictions atomically."""
    own, other, strength, seconds, _ = predictions
    write_atomically(file, lambda opened: np.savez(opened, own=own, other=other, strength=strength, seconds=seconds))


def _load_probe(file: Path, own: tuple[int, int], other: tuple[int, int]) -> ProbePredictions | None:
    """Load saved predictions; return None if they are missing, damaged or of other shapes."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as saved:
            strength, seconds = float(saved["strength"]), float(saved["seconds"])
            predictions = ProbePredictions(saved["own"], saved["other"], strength, seconds, reused=True)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return predictions if (predictions.own.shape, predictions.other.shape) == (own, other) else None
