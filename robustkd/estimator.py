"""A student and its teacher as a scikit-learn classifier, for people who live in notebooks.

What is trained is a cell of a study, in this process and in a folder that is gone afterwards: the same words, the same recipe,
and the same weights for the same seed and rows. Methods can so be compared by scikit-learn's own means:

    GridSearchCV(DistilledClassifier(), {"method": ["baseline", "hinton", "dml"]}).fit(X, y)
"""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from robustkd import errors, seeds, types
from robustkd.data import manifest
from robustkd.data.loader import Loader
from robustkd.data.normalisation import channel_mean_std
from robustkd.data.view import Source, View, select_smallest_keys
from robustkd.study import plan as study
from robustkd.study.options import StudyOptions
from robustkd.study.run import rehearse, train, watched
from robustkd.training import checkpoint, hardware

TOGETHER = 512  # images that are answered at once
# A net's first weights come from torch's global generator, set and put back: two threads would mix their draws.
_ONE_AT_A_TIME = threading.Lock()


class _Given(NamedTuple):
    """A teacher that is trained already, and what it knows."""

    file: Path
    classes: list[str]
    shape: tuple[int, int, int]  # C, H, W


class DistilledClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A small image classifier, trained by a distillation method.

    X is images: (n, H, W), (n, H, W, 1) or (n, H, W, 3), of 8x8 pixels at least. uint8 and other whole numbers go from 0 to
    255, floats from 0 to 1 and are kept to 8 bits, True is white; `white` names another value for white, as 16 for
    scikit-learn's digits. Values outside are refused, never scaled by what a fold happens to hold. A table (n, features) is
    taken where `image_shape` says how a row becomes an image. y is labels of any kind that scikit-learn takes.

    Args:
        method: a word of `robustkd methods`, with values and criterion if you like: "hinton(alpha=0.7)+balanced".
        student: the net that is trained and predicts, a word of `robustkd models`.
        teacher: the teacher's net, trained first where the method wants one; or one that is trained: the path of a model.pt,
            or a fitted DistilledClassifier. Copies by `clone`, as in cross-validation, need the path.
        teacher_criterion: the criterion the teacher is trained with.
        smooth_teacher: "none", "labels" or "consistency": how the teacher is smoothed.
        epochs: of the student, and of the teacher.
        batch: samples per update.
        lr: the learning rate at the start; `schedule`, `milestones`, `factor` and `warmup` say how it goes on.
        momentum: of SGD; `nesterov` its form, `weight_decay` on everything that learns.
        augment: move each image by up to an eighth of its side while training.
        flips: whether a mirrored image keeps its class, and so may be shown.
        image_shape: (H, W) or (H, W, C) of a row of a table.
        white: the value that is white; what X is of decides where it is not given.
        early_stopping: keep the student of the epoch that was best on rows held out, instead of the last. Under label noise
            that is what a gain of distillation should be compared with.
        validation_fraction: the share of each class held out for it.
        precision: "bf16", "fp32" or "auto": what nets are trained in. They answer in fp32.
        device: "cpu", "cuda", "cuda:1", "mps"; "auto" takes a GPU where there is one.
        random_state: the seed, as a study's: teacher, first weights and order hang on it, alike for all methods; None draws
            one.
        verbose: a line for every epoch.

    Attributes:
        classes_: (K,) the labels, in order.
        student_: the trained net: images (n, C, H, W) in [0, 1] to logits, embedding and maps.
        teacher_: the teacher's, or None where the method needs none.
        history_: a row per epoch of the student: the terms of its loss, and train_accuracy on at most 2,000 rows.
        teacher_history_: the same of the teacher, or None where none was trained.
        stopped_at_: the epoch that student_ is of.
        image_shape_: (H, W, C).
        seed_: the seed that it came to.
        n_features_in_: the columns, where X was a table.

    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> quick = DistilledClassifier("dml", student="wrn_10_1", epochs=1, white=16, device="cpu")
    >>> quick.fit(digits.images[:200], digits.target[:200]).predict_proba(digits.images[200:]).shape
    (1597, 10)
    """

    def __init__(
        self,
        method: str = "hinton",
        *,
        student: str = "wrn_10_2",
        teacher: Any = "wrn_16_2",
        teacher_criterion: str = "ce",
        smooth_teacher: str = "none",
        epochs: int = 30,
        batch: int = 64,
        lr: float = 0.1,
        schedule: str = "step",
        milestones: str = "0.3,0.6,0.8",
        factor: float = 0.2,
        warmup: float = 0.0,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 5e-4,
        augment: bool = True,
        flips: bool = False,
        image_shape: tuple[int, ...] | None = None,
        white: float | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        precision: str = "auto",
        device: str = "auto",
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        self.method = method
        self.student = student
        self.teacher = teacher
        self.teacher_criterion = teacher_criterion
        self.smooth_teacher = smooth_teacher
        self.epochs = epochs
        self.batch = batch
        self.lr = lr
        self.schedule = schedule
        self.milestones = milestones
        self.factor = factor
        self.warmup = warmup
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.augment = augment
        self.flips = flips
        self.image_shape = image_shape
        self.white = white
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> "DistilledClassifier":  # noqa: N803  # scikit-learn's names
        """Train the teacher, where the method wants one, and the student.

        Args:
            X: the images, or a table with `image_shape`.
            y: (n,) labels.

        Raises:
            ValueError: something that cannot be used, in one sentence.
            RuntimeError: a loss is no longer finite.
        """
        with _plainly():
            given, wanted = validate_data(self, X, y, dtype="numeric", allow_nd=True)
            if given.ndim > 2:  # its second axis is no number of features
                del self.n_features_in_
            check_classification_targets(wanted)
            classes, labels = np.unique(wanted, return_inverse=True)
            if len(classes) < 2:
                raise ValueError(f"y has one class only, '{classes[0]}', but telling apart takes two")
            images = self._pixels(given)
            seed = self._seed()
            with _ONE_AT_A_TIME, TemporaryDirectory(prefix="robustkd-") as folder:
                try:
                    self._train(Path(folder), images, labels.astype(np.int64), classes, seed)
                finally:
                    study._source.cache_clear()  # its images are not wanted any longer, and its folder goes
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """The most probable class of each image: (n,)."""
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """The probability of each class, in the order of `classes_`: (n, K)."""
        check_is_fitted(self)
        with _plainly():
            images = self._pixels(validate_data(self, X, reset=False, dtype="numeric", allow_nd=True))
            if images.shape[1:] != self.image_shape_:
                raise ValueError(f"X has images of {images.shape[1:]}, but those of fit were {self.image_shape_}")
            device = torch.device(hardware.resolve_device(self.device))
        net = self.student_.to(device)
        shown = Source("X", images.transpose(0, 3, 1, 2), np.zeros(len(images), np.int64), (), fingerprint="X")
        with torch.no_grad():
            loader = Loader(View.of(shown), TOGETHER, device, augment=False)
            parts = [net(batch).logits.double().softmax(dim=1).cpu() for batch, _ in loader.iter_plain()]
        probabilities: NDArray[np.float64] = torch.cat(parts).numpy()
        return probabilities

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the student as a model.pt: for `teacher`, for `robustkd predict`, for a study's --teacher or --init.

        Raises:
            ValueError: the file exists already.
        """
        check_is_fitted(self)
        if Path(path).exists():
            raise ValueError(f"{path}: this file exists already")
        checkpoint.save_net(Path(path), *_saved(self.student_, self._cards["student_"]))

    def _train(self, folder: Path, images: NDArray[np.uint8], labels: NDArray[Any], classes: Any, seed: int) -> None:
        """Train what is wanted in a folder, and take in what came of it."""
        names = [str(name) for name in classes.tolist()]
        _, height, width, channels = images.shape
        # Classes go by number there: a label may be of letters that a data set's class names may not have.
        np.savez(folder / "data.npz", X=images, y=labels, flips=np.array(bool(self.flips)))
        given = self._given(folder)
        options = self._options(folder, given)
        if given and given.shape != (channels, height, width):
            raise ValueError(
                f"the teacher takes images of {given.shape}, but X has {(channels, height, width)} (C, H, W)"
            )
        if given and given.classes != names:
            raise ValueError(f"the teacher knows the classes {_few(given.classes)}, but y has {_few(names)}")
        study.list_runs(options, given is not None)  # refuses what does not go together
        if not given:
            study.TABLES["MODELS"].parse(options.teacher).kwargs()  # misspelt, it is refused even where nobody wants it
        source = study.source(options)
        shown = self._split(source, seed)
        device = hardware.resolve_device(options.device)
        plan = study.Plan(
            options,
            folder,
            device,
            hardware.use_bf16(options.precision, device, options.student, *([] if given else [options.teacher])),
            *channel_mean_std(shown.train),
            given.file if given else None,
            init=None,
            jobs=1,
            threads=torch.get_num_threads(),
        )
        manifest.save_manifest(folder / f"manifest-{options.data_seed(seed)}", shown, {"scenario": options.scenario})
        cell = study.Run("student", options.methods, seed)
        before = study.teacher_of(plan, cell)
        todo = [cell] if before is None or given else [before, cell]
        if len(todo) > 1:  # a student that cannot be made is refused before its teacher is trained
            rehearse(plan, cell, shown.train)
        rows: dict[str, list[dict[str, Any]]] = {"teacher": [], "student": []}

        def report(progress: study.Progress) -> None:
            rows[progress.cell.role].append(progress.row)
            if self.verbose:
                sys.stdout.write(_line(progress) + "\n")

        on = torch.device(device)
        cards = {"student_": plan.run(cell) / ("early.pt" if self.early_stopping else "model.pt")}
        if before is not None:
            cards["teacher_"] = given.file if given else plan.run(before) / "model.pt"
        with torch.random.fork_rng(devices=[on] if on.type == "cuda" else []):
            for generator in _generators(on):  # what a foreign net's dropout draws from
                generator.manual_seed(seeds.derive(seed, "estimator"))
            for each in todo:
                train(plan, each, report)
        loaded = {name: checkpoint.load_net(file) for name, file in cards.items()}
        self._cards = {name: {**card, "classes": names, "dataset": "arrays"} for name, (_, card) in loaded.items()}
        self.student_ = loaded["student_"][0]
        self.teacher_ = loaded["teacher_"][0] if before is not None else None
        self.history_ = _frame(rows["student"])
        self.teacher_history_ = _frame(rows["teacher"]) if rows["teacher"] else None
        self.stopped_at_ = int(loaded["student_"][1].get("stopped_at", len(self.history_)))
        self.classes_, self.image_shape_, self.seed_ = classes, (height, width, channels), seed

    def _options(self, folder: Path, given: _Given | None) -> StudyOptions:
        """What a study would be asked for."""
        names = [name for name in StudyOptions.__dataclass_fields__ if name in self.get_params(deep=False)]
        asked = {name: getattr(self, name) for name in names}
        asked |= {"methods": self.method, "scenario": "clean", "dataset": f"npz:{folder / 'data.npz'}"}
        asked |= {"teacher": str(given.file)} if given else {}
        try:
            return StudyOptions(**asked)
        except ValidationError as error:
            (name,) = error.errors()[0]["loc"][:1]
            raise ValueError(
                f"{'method' if name == 'methods' else name} {errors.describe_validation_error(error)}"
            ) from None

    def _given(self, folder: Path) -> _Given | None:
        """A teacher that is trained already, as a file."""
        if isinstance(self.teacher, DistilledClassifier):
            if not hasattr(self.teacher, "student_"):
                raise ValueError(
                    "the teacher is a DistilledClassifier that is not fitted, or a copy that lost what it learned, as in"
                    " cross-validation: save it, and give the path"
                )
            file = folder / "teacher.pt"
            self.teacher.save(file)
        elif (
            isinstance(self.teacher, os.PathLike)
            or str(self.teacher).endswith(".pt")
            or Path(str(self.teacher)).is_file()
        ):
            file = Path(self.teacher)
        else:
            return None
        _, card = checkpoint.load_net(file)
        return _Given(file, list(card["classes"]), tuple(card["shape"]))

    def _split(self, source: Source, seed: int) -> manifest.Splits:
        """All rows to train on, but for those held out; a sample of them stands in for test rows, to be watched."""
        rows = np.arange(len(source.labels))
        taken = rows[:0]
        if self.early_stopping:
            share = types.validate("validation_fraction", types.Share, self.validation_fraction)
            counts = np.bincount(source.labels)
            sizes = np.rint(share * counts).astype(np.int64).clip(max=counts - 1)
            if not sizes.any():
                raise ValueError(
                    f"early_stopping: validation_fraction={share:g} of {len(rows)} rows holds none out; more are needed"
                )
            taken, _ = select_smallest_keys(
                source.labels, seeds.row_keys(seeds.derive(seed, "split", "held-out"), rows), sizes
            )
        shown = View.of(source, np.setdiff1d(rows, taken), seed)
        return manifest.Splits(shown, View.of(source, np.sort(taken), seed, training=False), watched(shown))

    def _seed(self) -> int:
        """The seed that random_state comes to; NumPy's global generator is left alone."""
        if self.random_state is None:
            return int(np.random.default_rng().integers(2**31))
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31 - 1))
        seed: int = types.validate("random_state", types.Seed, self.random_state)
        return seed

    def _pixels(self, X: NDArray[Any]) -> NDArray[np.uint8]:  # noqa: N803
        """What scikit-learn has looked at, as images: (n, H, W, C) uint8."""
        images = self._laid_out(X)
        if images.shape[-1] not in (1, 3):
            first = images.ndim == 4 and images.shape[1] in (1, 3)
            hint = ": channels stand last, X.transpose(0, 2, 3, 1)" if first else ""
            raise ValueError(f"X has shape {X.shape}, but (n, H, W) or (n, H, W, 1 or 3) is wanted{hint}")
        if images.dtype == np.uint8 and self.white is None:
            return images
        white: float = {"b": 1.0, "i": 255.0, "u": 255.0}.get(images.dtype.kind, 1.0)
        if self.white is not None:
            white = types.validate("white", types.Positive, self.white)
        low, high = float(images.min()), float(images.max())
        if low < 0 or high > white:
            hint = f": white={255 if 127 < high <= 255 else high:g} would say which value is white" if low >= 0 else ""
            raise ValueError(f"X goes from {low:g} to {high:g}, but values from 0 to {white:g} are wanted{hint}")
        return np.rint(images * (255 / white)).astype(np.uint8)

    def _laid_out(self, X: NDArray[Any]) -> NDArray[Any]:  # noqa: N803
        """Rows of a table as images, images with their channels: (n, H, W, C)."""
        wanted = None if self.image_shape is None else tuple(self.image_shape)
        if wanted is not None and (len(wanted) not in (2, 3) or not all(int(side) == side > 0 for side in wanted)):
            raise ValueError(f"image_shape is {self.image_shape!r} but should be (H, W) or (H, W, C)")
        if X.ndim == 2:
            if wanted is None:
                side = round(X.shape[1] ** 0.5)
                raise ValueError(
                    f"X is a table of shape {X.shape}, but images of shape (n, H, W) or (n, H, W, C) are wanted; image_shape="
                    f"{(side, side) if side * side == X.shape[1] else '(H, W)'} would make an image of every row"
                )
            if int(np.prod(wanted)) != X.shape[1]:
                raise ValueError(
                    f"X has n_features = {X.shape[1]}, but image_shape={wanted} takes {int(np.prod(wanted))}"
                )
            X = X.reshape(len(X), *wanted)
        elif wanted is not None and (*wanted, 1)[:3] != (*X.shape[1:], 1)[:3]:
            raise ValueError(f"X has images of {X.shape[1:]}, but image_shape is {wanted}")
        return X[..., None] if X.ndim == 3 else X

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = self.image_shape is not None
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Nets as bytes of a model.pt: pickles go from a GPU to a CPU, and hang on no class of ours."""
        state = dict(super().__getstate__())
        for name, card in state.get("_cards", {}).items():
            state[name] = _packed(state[name], card)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        nets = {name: _unpacked(state[name]) for name in state.get("_cards", {})}
        super().__setstate__({**state, **nets})


@contextmanager
def _plainly() -> Iterator[None]:
    """Errors as someone in a notebook reads them: a ValueError, and parameters by their names here."""

    def plain(text: str) -> str:
        return re.sub(r"--([a-z][a-z-]*)", lambda found: found[1].replace("-", "_"), text)

    try:
        yield
    except errors.UsageError as error:
        raise ValueError(plain(str(error))) from None
    except RuntimeError as error:  # such as a loss that is no longer finite
        error.args = tuple(plain(part) if isinstance(part, str) else part for part in error.args)
        raise


def _generators(device: torch.device) -> list[torch.Generator]:
    """The global generators that computing on a device may draw from."""
    if device.type != "cuda":
        return [torch.default_generator]
    index = torch.cuda.current_device() if device.index is None else device.index
    return [torch.default_generator, torch.cuda.default_generators[index]]


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _line(progress: study.Progress) -> str:
    """What is said of an epoch."""
    row, cell = progress.row, progress.cell
    held = f", held out {row['held_out_accuracy']:.1%}" if row["held_out_accuracy"] >= 0 else ""
    return (
        f"{cell.role} ({cell.method}), epoch {progress.epoch} of {progress.epochs}: "
        f"training accuracy {row['accuracy']:.1%}{held}, {row['seconds']:.1f} s"
    )


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Epochs as a frame; what was watched were training rows."""
    frame = pd.DataFrame(rows).rename(columns={"accuracy": "train_accuracy"})
    return frame.dropna(axis="columns", how="all").set_index("epoch")


def _saved(net: Any, card: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights, on the CPU, and card."""
    return {name: tensor.cpu() for name, tensor in net.state_dict().items()}, card


def _packed(net: Any, card: dict[str, Any]) -> bytes:
    with TemporaryDirectory(prefix="robustkd-") as folder:
        checkpoint.save_net(Path(folder) / "net.pt", *_saved(net, card))
        return (Path(folder) / "net.pt").read_bytes()


def _unpacked(content: bytes) -> Any:
    with TemporaryDirectory(prefix="robustkd-") as folder:
        (Path(folder) / "net.pt").write_bytes(content)
        return checkpoint.load_net(Path(folder) / "net.pt")[0]
