"""Training images under a wrong label to which a method gives the true one."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.report.section import LabelledImage
from pipelines.report.thumbnails import make_thumbnail
from robustkd.data.view import Source
from robustkd.study.comparison import Comparison
from robustkd.study.results import TEACHER
from robustkd.study.run_folder import load_source

MAX_IMAGES = 24  # shown in a report
FIT_FILE = "fit-last.npz"  # of a run: its predictions on the training rows

FitArrays = dict[str, NDArray[np.int64]]  # row, label, truth, predicted, ... of the training rows: (n,)


class RecoveredImages(NamedTuple):
    """Images whose true label a method recovered.

    Attributes:
        images: at most 24; first those for which the reference predicts the wrong label.
        seed: of the runs, the first that has both.
        total: how many the method recovered.
        memorised: for how many of these the reference predicts the wrong label.
    """

    images: list[LabelledImage]
    seed: int
    total: int
    memorised: int


def load_recovered_images(comparison: Comparison, method: str, reference: str | None) -> RecoveredImages:
    """Load images that a method recovered.

    Raises:
        Exception: whatever prevents reading the images.
    """
    if comparison.folder is None:
        raise OSError("they require the study's files, and this study was read from MLflow.")
    seed, fits = _load_fits(comparison, comparison.folder, [name for name in (reference, method) if name])
    own = fits[method]
    base = fits[reference] if reference else None
    if base is not None and not np.array_equal(base["row"], own["row"]):
        base = None
    recovered = (own["truth"] >= 0) & (own["truth"] != own["label"]) & (own["predicted"] == own["truth"])
    recovered &= own.get("origin", np.zeros_like(own["row"])) == 0
    memorised = np.zeros(len(recovered), bool) if base is None else base["predicted"] == own["label"]
    order = np.lexsort((own["row"], ~memorised))
    selected = order[recovered[order]][:MAX_IMAGES]
    if not len(selected):
        raise OSError(f"{method} recovered none.")
    source = load_source(replace(comparison.record.options, download=False))
    if source.fingerprint != comparison.record.fingerprint:
        raise OSError("the data set is not the one that the study used.")
    images = [_labelled_image(source, int(place), own, base) for place in selected]
    return RecoveredImages(images, seed, int(recovered.sum()), int((recovered & memorised).sum()))


def _load_fits(comparison: Comparison, folder: Path, methods: list[str]) -> tuple[int, dict[str, FitArrays]]:
    """Load the predictions of methods on their training rows, in the first seed that all of them have."""
    names = {(r.run.method, r.run.seed): r.name for r in comparison.results if r.run.role != TEACHER}
    for seed in comparison.record.seed_numbers:
        paths = {name: folder / "runs" / names.get((name, seed), "-") / FIT_FILE for name in methods}
        if all(path.exists() for path in paths.values()):
            return seed, {name: dict(np.load(path)) for name, path in paths.items()}
    raise OSError(f"the predictions on the training images ({FIT_FILE}) are missing.")


def _labelled_image(source: Source, place: int, own: FitArrays, base: FitArrays | None) -> LabelledImage:
    """Return an image with its labels and the predictions of both methods."""
    row, names = int(own["row"][place]), source.classes
    label, truth = names[own["label"][place]], names[own["truth"][place]]
    labels = [("label", label, False), ("truth", truth, True)]
    if base is not None:
        predicted = names[base["predicted"][place]]
        labels.append(("baseline", predicted, predicted == truth))
    labels.append(("best", truth, True))
    alt = f"Training image {row}: labelled {label}, truly {truth}"
    return LabelledImage(make_thumbnail(source, row), alt, labels)
