"""A student and its teacher as a scikit-learn classifier, for people who live in notebooks.

What is trained is a cell of a study, in this process and in a folder that is gone afterwards: the same words, the same recipe,
and the same weights for the same seed and rows. Methods can so be compared by scikit-learn's own means:

    GridSearchCV(DistilledClassifier(), {"method": ["baseline", "hinton", "dml"]}).fit(X, y)
"""

import copy
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
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
from robustkd.data.arrays import from_arrays
from robustkd.data.image_arrays import to_uint8_images
from robustkd.data.loader import Loader
from robustkd.data.manifest import Splits
from robustkd.data.normalisation import channel_mean_std
from robustkd.data.view import Source, View, select_smallest_keys
from robustkd.method_spec import MethodSpec
from robustkd.models import MODELS
from robustkd.models.net import Network
from robustkd.study.evaluate import Teacher
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Progress, Report, Run, Settings, list_runs, teacher_method
from robustkd.study.run import check_constructible, sample_rows, train
from robustkd.training import checkpoint, hardware

PREDICTION_BATCH = 512


class _TrainedTeacher(NamedTuple):
    """A trained teacher and its card."""

    network: Network
    card: Mapping[str, Any]


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
        with _notebook_errors():
            given, wanted = validate_data(self, X, y, dtype="numeric", allow_nd=True)
            if given.ndim > 2:  # its second axis is no number of features
                del self.n_features_in_
            check_classification_targets(wanted)
            classes, labels = np.unique(wanted, return_inverse=True)
            if len(classes) < 2:
                raise ValueError(f"y has one class only, '{classes[0]}', but telling apart takes two")
            images = to_uint8_images(given, self.image_shape, self.white)
            self._train(images, labels.astype(np.int64), classes, self._seed())
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """The most probable class of each image: (n,)."""
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """The probability of each class, in the order of `classes_`: (n, K)."""
        check_is_fitted(self)
        with _notebook_errors():
            arrays = validate_data(self, X, reset=False, dtype="numeric", allow_nd=True)
            images = to_uint8_images(arrays, self.image_shape, self.white)
            if images.shape[1:] != self.image_shape_:
                raise ValueError(f"X has images of {images.shape[1:]}, but those of fit were {self.image_shape_}")
            device = torch.device(hardware.resolve_device(self.device))
        net = self.student_.to(device)
        shown = Source("X", images.transpose(0, 3, 1, 2), np.zeros(len(images), np.int64), (), fingerprint="X")
        with torch.no_grad():
            loader = Loader(View.of(shown), PREDICTION_BATCH, device, augment=False)
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
        checkpoint.save_net(Path(path), *_on_cpu(self.student_, self._cards["student_"]))

    def _train(self, images: NDArray[np.uint8], labels: NDArray[Any], classes: Any, seed: int) -> None:
        """Train the teacher and the student, and set the fitted attributes."""
        names = [str(name) for name in classes.tolist()]
        given = self._trained_teacher(images.shape, names)
        options = self._options(given is not None)
        list_runs(options, given is not None)  # refuses options that contradict each other
        if given is None:
            MODELS.parse(options.teacher).kwargs()  # a misspelt teacher is refused even where no method needs one
        # Classes go by number: a label may contain characters that a data set's class names may not.
        source = from_arrays(images, labels, flips=bool(self.flips), name="X")
        data = self._split(source, seed)
        device = hardware.resolve_device(options.device)
        nets = [options.student, *([] if given else [options.teacher])]
        bf16 = hardware.use_bf16(options.precision, device, *nets)
        settings = Settings.of(options, device, bf16, *channel_mean_std(data.train))
        spec = Run("student", MethodSpec.parse(options.methods), seed)
        histories: dict[str, list[dict[str, Any]]] = {"teacher": [], "student": []}

        def report(progress: Progress) -> None:
            histories[progress.run.role].append(progress.row)
            if self.verbose:
                sys.stdout.write(_progress_line(progress) + "\n")

        with _seeded_dropout(torch.device(device), seed):
            teacher = self._fit_teacher(data, spec, options, settings, given, report)
            student = train(data, spec, settings, teacher=teacher and Teacher(teacher.network), report=report)
        if self.early_stopping and student.early_weights is not None:
            student.model.load_state_dict(dict(student.early_weights))
        self.student_ = _for_inference(student.model)
        self.teacher_ = None if teacher is None else _for_inference(teacher.network)
        self._cards = {"student_": _card(options.student, spec, student.head, names, source, settings)}
        if teacher is not None:
            self._cards["teacher_"] = {**teacher.card, "classes": names}
        self.history_ = _history_frame(histories["student"])
        self.teacher_history_ = _history_frame(histories["teacher"]) if histories["teacher"] else None
        stopped_early = self.early_stopping and student.info.early_epoch is not None
        self.stopped_at_ = int(student.info.early_epoch or 0) if stopped_early else len(self.history_)
        self.classes_, self.image_shape_, self.seed_ = classes, images.shape[1:], seed

    def _fit_teacher(
        self,
        data: Splits,
        student: Run,
        options: StudyOptions,
        settings: Settings,
        given: "_TrainedTeacher | None",
        report: Report,
    ) -> "_TrainedTeacher | None":
        """Return the teacher that the method needs, trained now if it was not given."""
        if not student.method.needs_teacher:
            return None
        if given is not None:
            given.network.bf16 = settings.bf16
            return given._replace(network=given.network.to(settings.device))
        check_constructible(data.train, student, settings)  # a student that is refused costs no teacher
        spec = Run("teacher", teacher_method(options), student.seed)
        trained = train(data, spec, settings, report=report)
        names = list(data.train.classes)
        card = _card(options.teacher, spec, trained.head, names, data.train.sources[0], settings)
        return _TrainedTeacher(trained.model, card)

    def _options(self, has_teacher: bool) -> StudyOptions:
        """Return the options of a study that trains the same networks."""
        names = [name for name in StudyOptions.__dataclass_fields__ if name in self.get_params(deep=False)]
        options = {name: getattr(self, name) for name in names}
        options |= {"methods": self.method, "scenario": "clean"}
        options |= {"teacher": "given"} if has_teacher else {}
        try:
            return StudyOptions(**options)
        except ValidationError as error:
            (name,) = error.errors()[0]["loc"][:1]
            parameter = "method" if name == "methods" else name
            raise ValueError(f"{parameter} {errors.describe_validation_error(error)}") from None

    def _trained_teacher(self, shape: tuple[int, ...], names: list[str]) -> "_TrainedTeacher | None":
        """Return the trained teacher that was given, None where a network's name was.

        Raises:
            ValueError: it is not fitted, or its images or classes are not those of fit.
        """
        if isinstance(self.teacher, DistilledClassifier):
            if not hasattr(self.teacher, "student_"):
                raise ValueError(
                    "the teacher is a DistilledClassifier that is not fitted, or a copy that lost what it learned, as in"
                    " cross-validation: save it, and give the path"
                )
            teacher = _TrainedTeacher(copy.deepcopy(self.teacher.student_), self.teacher._cards["student_"])
        elif isinstance(self.teacher, os.PathLike) or _is_file(str(self.teacher)):
            teacher = _TrainedTeacher(*checkpoint.load_net(Path(self.teacher)))
        else:
            return None
        _, height, width, channels = shape
        if tuple(teacher.card["shape"]) != (channels, height, width):
            raise ValueError(
                f"the teacher takes images of {tuple(teacher.card['shape'])}, but X has {(channels, height, width)} (C, H, W)"
            )
        if list(teacher.card["classes"]) != names:
            raise ValueError(
                f"the teacher has the classes {_abbreviate(list(teacher.card['classes']))}, but y has {_abbreviate(names)}"
            )
        return teacher

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
        return Splits(shown, View.of(source, np.sort(taken), seed, training=False), sample_rows(shown))

    def _seed(self) -> int:
        """The seed that random_state comes to; NumPy's global generator is left alone."""
        if self.random_state is None:
            return int(np.random.default_rng().integers(2**31))
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31 - 1))
        seed: int = types.validate("random_state", types.Seed, self.random_state)
        return seed

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = self.image_shape is not None
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Nets as bytes of a model.pt: pickles go from a GPU to a CPU, and hang on no class of ours."""
        state = dict(super().__getstate__())
        for name, card in state.get("_cards", {}).items():
            state[name] = _pack_network(state[name], card)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        nets = {name: _unpack_network(state[name]) for name in state.get("_cards", {})}
        super().__setstate__({**state, **nets})


@contextmanager
def _notebook_errors() -> Iterator[None]:
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


@contextmanager
def _seeded_dropout(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the global generators, which a network's dropout draws from, and restore them afterwards.

    Threads share them: networks with dropout are reproducible in processes of their own only.
    """
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for generator in generators:
            generator.manual_seed(seeds.derive(seed, "estimator"))
        yield


def _is_file(text: str) -> bool:
    return text.endswith(".pt") or Path(text).is_file()


def _abbreviate(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _progress_line(progress: Progress) -> str:
    """Format a finished epoch."""
    row, run = progress.row, progress.run
    held_out = f", held out {row['held_out_accuracy']:.1%}" if row["held_out_accuracy"] >= 0 else ""
    return (
        f"{run.role} ({run.method.text}), epoch {progress.epoch} of {progress.epochs}: "
        f"training accuracy {row['accuracy']:.1%}{held_out}, {row['seconds']:.1f} s"
    )


def _history_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return epochs as a frame; the monitored rows are training rows."""
    frame = pd.DataFrame(rows).rename(columns={"accuracy": "train_accuracy"})
    return frame.dropna(axis="columns", how="all").set_index("epoch")


def _card(word: str, spec: Run, head: str, names: Sequence[str], source: Source, settings: Settings) -> dict[str, Any]:
    """Return what rebuilds a network, and where it is from."""
    return {
        **{"model": word, "shape": source.shape, "classes": list(names), "mean": settings.mean, "std": settings.std},
        **{"head": head, "role": spec.role, "method": spec.method.text, "criterion": spec.method.criterion_text},
        **{"seed": spec.seed, "scenario": "clean", "dataset": "arrays"},
    }


def _for_inference(net: Network) -> Network:
    """Return the network on the CPU, in float32 and in evaluation mode."""
    net.bf16 = False
    return net.cpu().requires_grad_(True).eval()


def _pack_network(net: Network, card: Mapping[str, Any]) -> bytes:
    """Return the bytes of a model.pt."""
    content = io.BytesIO()
    checkpoint.save_net(content, *_on_cpu(net, card))
    return content.getvalue()


def _unpack_network(content: bytes) -> Network:
    """Load a network from the bytes of a model.pt."""
    return checkpoint.load_net(io.BytesIO(content))[0]


def _on_cpu(net: Network, card: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
    return {name: tensor.cpu() for name, tensor in net.state_dict().items()}, card
