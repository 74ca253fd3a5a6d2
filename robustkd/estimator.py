"""A scikit-learn classifier that trains a student by distillation, for notebooks and scikit-learn's own tools.

It trains the run of a study in memory: the same options, the same recipe, and the same weights for the same seed and rows.
Methods can be compared by scikit-learn's means:

    GridSearchCV(DistilledClassifier(), {"method": ["baseline", "hinton", "dml"]}).fit(X, y)
"""

import copy
import os
import sys
from collections.abc import Mapping
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
from robustkd.data.splits import draw_share
from robustkd.data.view import Source, View
from robustkd.method_spec import MethodSpec
from robustkd.models import MODELS
from robustkd.models.class_order import find_class_order, reorder_outputs
from robustkd.models.initialisation import seeded_generators
from robustkd.models.net import Network
from robustkd.study.construct import check_constructible
from robustkd.study.evaluate import Teacher
from robustkd.study.monitor import sample_rows
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Progress, Report, Run, Settings, list_runs, teacher_method
from robustkd.study.run import model_card, train
from robustkd.training import checkpoint, hardware

PREDICTION_BATCH = 512


class _TrainedTeacher(NamedTuple):
    network: Network
    card: Mapping[str, Any]


class DistilledClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Image classifier trained by a distillation method.

    X holds images: (n, H, W), (n, H, W, 1) or (n, H, W, 3), of at least 8x8 pixels. uint8 and other integers range from 0 to
    255, floats from 0 to 1 (rounded to 8 bits), True is white; `white` sets another value for white, such as 16 for
    scikit-learn's digits. Values outside are refused, never scaled by what a fold happens to contain. A table (n, features)
    is accepted where `image_shape` says how a row becomes an image. y holds labels of any kind that scikit-learn accepts.

    Args:
        method: a name of `robustkd methods`, optionally with parameters and criterion: "hinton(alpha=0.7)+balanced".
        student: the network that is trained and predicts, a name of `robustkd models`.
        teacher: the teacher's network, trained first where the method needs one; or a trained one: the path of a model.pt, or
            a fitted DistilledClassifier. Copies by `clone`, as in cross-validation, need the path.
        teacher_classes: "match" finds the classes of a trained teacher by name; "ignore" pairs them with y's by position.
        teacher_criterion: the criterion that the teacher is trained with.
        smooth_teacher: "none", "labels" or "consistency": how the teacher is smoothed.
        epochs: of the student, and of the teacher.
        batch: samples per update.
        lr: the initial learning rate; `schedule`, `milestones`, `factor` and `warmup` define how it changes.
        momentum: of SGD; `nesterov` selects its variant, `weight_decay` applies to all parameters.
        augment: shift each training image by up to an eighth of its side.
        flips: whether a mirrored image keeps its class, and so may be used for augmentation.
        image_shape: (H, W) or (H, W, C) of a row of a table.
        white: the value that is white; inferred from the type of X by default.
        early_stopping: keep the student of the epoch that was best on held-out rows instead of the last one. Under label noise
            a gain of distillation should be compared with that.
        validation_fraction: the share of each class held out for it; images with identical pixels are held out together.
        precision: "bf16", "fp32" or "auto": what networks are trained in. They predict in fp32.
        device: "cpu", "cuda", "cuda:1", "mps"; "auto" uses a GPU if there is one.
        random_state: the seed, as of a study: it fixes teacher, first weights and order, alike for all methods; None draws one.
        verbose: print a line for every epoch.

    Attributes:
        classes_: (K,) the labels, in order.
        student_: the trained network: images (n, C, H, W) in [0, 1] to logits, embedding and feature maps.
        teacher_: the teacher's, or None where the method needs none.
        history_: a row per epoch of the student: the terms of its loss, and train_accuracy on at most 2,000 rows.
        teacher_history_: the same of the teacher, or None where none was trained.
        stopped_at_: the epoch that student_ is from.
        image_shape_: (H, W, C).
        seed_: the seed that was used.
        n_features_in_: the number of columns, where X was a table.

    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> quick = DistilledClassifier("dml", student="wrn_10_1", epochs=1, white=16, device="cpu")
    >>> quick.fit(digits.images[:200], digits.target[:200]).predict_proba(digits.images[200:]).shape
    (1597, 10)
    """

    method: str
    student: str
    teacher: Any
    teacher_classes: str
    epochs: int
    flips: bool
    image_shape: tuple[int, ...] | None
    white: float | None
    early_stopping: bool
    validation_fraction: float
    device: str
    random_state: Any
    verbose: bool

    def __init__(
        self,
        method: str = "hinton",
        *,
        student: str = "wrn_10_2",
        teacher: Any = "wrn_16_2",
        teacher_classes: str = "match",
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
        parameters = locals()
        for name in self._get_param_names():
            setattr(self, name, parameters[name])

    def fit(self, X: ArrayLike, y: ArrayLike) -> "DistilledClassifier":  # noqa: N803  # scikit-learn's names
        """Train the teacher, where the method needs one, and the student.

        Args:
            X: the images, or a table with `image_shape`.
            y: (n,) labels.

        Raises:
            ValueError: an input or parameter cannot be used; the message is one sentence.
            RuntimeError: a loss is not finite.
        """
        with errors.python_messages():
            arrays, targets = validate_data(self, X, y, dtype="numeric", allow_nd=True)
            if arrays.ndim > 2:  # the second axis is not a number of features
                del self.n_features_in_
            check_classification_targets(targets)
            classes, labels = np.unique(targets, return_inverse=True)
            if len(classes) < 2:
                raise ValueError(f"y has one class only, '{classes[0]}', but at least two are needed")
            images = self._images(arrays)
            self._train(images, labels.astype(np.int64), classes, self._seed())
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the most probable class of each image: (n,)."""
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Return the probability of each class, in the order of `classes_`: (n, K)."""
        check_is_fitted(self)
        with errors.python_messages():
            arrays = validate_data(self, X, reset=False, dtype="numeric", allow_nd=True)
            images = self._images(arrays)
            if images.shape[1:] != self.image_shape_:
                raise ValueError(f"X has images of {images.shape[1:]}, but those of fit were {self.image_shape_}")
            device = torch.device(hardware.resolve_device(self.device))
        net = self.student_.to(device)
        source = Source("X", images.transpose(0, 3, 1, 2), np.zeros(len(images), np.int64), (), fingerprint="X")
        with torch.no_grad():
            loader = Loader(View.of(source), PREDICTION_BATCH, device, augment=False)
            parts = [net(batch).logits.double().softmax(dim=1).cpu() for batch, _ in loader.iter_plain()]
        probabilities: NDArray[np.float64] = torch.cat(parts).numpy()
        return probabilities

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the student as a model.pt for `teacher`, for `robustkd predict`, or for a study's --teacher or --init.

        Raises:
            ValueError: the file exists already.
        """
        check_is_fitted(self)
        if Path(path).exists():
            raise ValueError(f"{path}: this file exists already")
        checkpoint.save_net(Path(path), self.student_.cpu().state_dict(), self._cards["student_"])

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
        bf16 = hardware.use_bf16(options.precision, device, options.student, *([] if given else [options.teacher]))
        settings = Settings.of(options, device, bf16, *channel_mean_std(data.train))
        spec = Run("student", MethodSpec.parse(options.methods), seed)
        histories: dict[str, list[dict[str, Any]]] = {"teacher": [], "student": []}

        def report(progress: Progress) -> None:
            histories[progress.run.role].append(progress.row)
            if self.verbose:
                sys.stdout.write(_progress_line(progress) + "\n")

        with seeded_generators(torch.device(device), seeds.derive(seed, "estimator")):
            teacher = self._fit_teacher(data, spec, options, settings, given, report)
            student = train(data, spec, settings, teacher=teacher and Teacher(teacher.network), report=report)
        if self.early_stopping and student.early_weights is not None:
            student.model.load_state_dict(dict(student.early_weights))
        self.student_ = _for_inference(student.model)
        self.teacher_ = None if teacher is None else _for_inference(teacher.network)
        self._cards = {"student_": model_card(student, spec, settings, source.shape, names, dataset="arrays")}
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
        check_constructible(data.train, student, settings)  # before the teacher is trained
        spec = Run("teacher", teacher_method(options, student.method.teacher_labels), student.seed)
        trained = train(data, spec, settings, report=report)
        source = data.train.sources[0]
        card = model_card(trained, spec, settings, source.shape, source.classes, dataset="arrays")
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
        order = find_class_order("the teacher", teacher.card["classes"], names, self.teacher_classes == "match")
        reorder_outputs("the teacher", teacher.network, order, tuple(teacher.card["shape"]))
        return teacher

    def _split(self, source: Source, seed: int) -> manifest.Splits:
        """Hold rows out for early stopping, if requested; the test rows are a sample of the training rows, to be monitored."""
        rows = np.arange(len(source.labels))
        held_out = rows[:0]
        if self.early_stopping:
            share = types.validate("validation_fraction", types.Share, self.validation_fraction)
            held_out = draw_share(source, rows, share, seeds.derive(seed, "split", "held-out"), minimum=0)
            if not len(held_out):
                raise ValueError(
                    f"early_stopping: validation_fraction={share:g} of {len(rows)} rows holds out none; use a larger share"
                )
        train_view = View.of(source, np.setdiff1d(rows, held_out), seed)
        return Splits(train_view, View.of(source, held_out, seed, training=False), sample_rows(train_view))

    def _seed(self) -> int:
        """Return the seed that random_state defines, without using NumPy's global generator."""
        if self.random_state is None:
            return int(np.random.default_rng().integers(2**31))
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31 - 1))
        seed: int = types.validate("random_state", types.Seed, self.random_state)
        return seed

    def _images(self, X: NDArray[Any]) -> NDArray[np.uint8]:  # noqa: N803
        """Convert what scikit-learn has validated to images: (n, H, W, C)."""
        return to_uint8_images(X, self.image_shape, self.white)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = self.image_shape is not None
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Store networks as the bytes of a model.pt, so that pickles also load without the GPU."""
        state = dict(super().__getstate__())
        for name, card in state.get("_cards", {}).items():
            state[name] = checkpoint.net_to_bytes(state[name], card)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        nets = {name: checkpoint.net_from_bytes(state[name]) for name in state.get("_cards", {})}
        super().__setstate__({**state, **nets})


def _is_file(text: str) -> bool:
    return text.endswith(".pt") or Path(text).is_file()


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


def _for_inference(net: Network) -> Network:
    """Return the network on the CPU, in float32 and in evaluation mode."""
    net.bf16 = False
    return net.cpu().requires_grad_(True).eval()
