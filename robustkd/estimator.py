"""A scikit-learn classifier that trains a student by distillation, for notebooks and scikit-learn's own tools.

It trains the run of a study in memory: the same options, the same recipe, and the same weights for the same seed and rows.
Methods can be compared by scikit-learn's means:

    GridSearchCV(DistilledClassifier(), {"method": ["baseline", "hinton", "dml"]}).fit(X, y)
"""

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from robustkd import errors, types
from robustkd.data.arrays import from_arrays
from robustkd.data.image_arrays import to_uint8_images
from robustkd.data.image_collections import ImageCollection, ReadingOptions, read_collection
from robustkd.data.resize import add_margin
from robustkd.data.view import Source, View
from robustkd.models import MODELS
from robustkd.models.class_order import find_class_order, reorder_outputs
from robustkd.study.evaluate import evaluation_loader
from robustkd.study.given_networks import is_resizable
from robustkd.study.image_sizes import resolve_study_sizes
from robustkd.study.in_memory import TrainedTeacher, for_inference, hold_out_rows, train_pair
from robustkd.study.options import ComparisonOptions, RecipeOptions, StudyOptions
from robustkd.study.plan import list_runs
from robustkd.training import checkpoint, hardware


class DistilledClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Image classifier trained by a distillation method.

    X holds images of at least 8x8 pixels: an array or tensor (n, H, W), (n, H, W, C) or (n, C, H, W) with 1 or 3 channels; a
    torch Dataset, such as torchvision's ImageFolder, or a Hugging Face Dataset, with or without labels; a pandas frame with
    paths; or a list of paths or images. A table (n, features) is accepted where `image_shape` says how a row becomes an image.

    uint8 and other integers range from 0 to 255, floats from 0 to 1 (rounded to 8 bits), True is white; `white` sets another
    value for white, such as 16 for scikit-learn's digits. Values outside are refused, never scaled by what a fold happens to
    contain. y holds labels of any kind that scikit-learn accepts; where X has labels, it may be left out. Labels that are
    numbers are then replaced by the names of their classes, if X has them.

    Args:
        method: a name of `robustkd methods`, optionally with parameters and criterion: "hinton(alpha=0.7)+balanced".
        student: the network that is trained and predicts, a name of `robustkd models`, as in "timm:resnet18(pretrained=true)".
        teacher: the teacher's network, trained first where the method needs one; or a trained one: the path of a model.pt, or
            a fitted DistilledClassifier. Copies by `clone`, as in cross-validation, need the path.
        teacher_classes: "match" finds the classes of a trained teacher by name; "ignore" pairs them with y's by position.
        teacher_criterion: the criterion that the teacher is trained with.
        smooth_teacher: "none", "labels" or "consistency": how the teacher is smoothed.
        recipe: "scratch" or "finetune": decides what of the following is None; "auto": by whether a network has weights.
        recipe_options: further options of a study's recipe by name: {"backbone_lr": 0.1, "teacher_epochs": 5}.
        epochs: of the student, and of the teacher.
        batch: samples per update.
        optimiser: "sgd" or "adamw".
        lr: the initial learning rate; `schedule`, `milestones`, `factor` and `warmup` define how it changes.
        momentum: of SGD; `nesterov` selects its variant.
        weight_decay: of the parameters.
        augment: "none", "shift" by up to an eighth of the side, or "photo", as in "photo(crop=0.5)"; by the recipe if None.
        sampling: which rows an epoch consists of: "natural", "sqrt", "balanced" or "progressive".
        mixing: how the images of a batch are mixed in pairs: "none", "mixup", "cutmix" or "remix", as in "mixup(alpha=0.2)".
        flips: whether a mirrored image keeps its class, and so may be used for augmentation.
        image_size: the side of the squares that image files, and images of different sizes, are scaled and cropped to; "auto":
            that of the weights that networks start from, or else 32. Networks with weights resize all other images to it.
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
        stopped_at_: the epoch that `student_` is from.
        image_shape_: (H, W, C) as read; of image files, networks with weights see the centre.
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
    flips: bool
    image_size: int | str
    image_shape: tuple[int, ...] | None
    white: float | None
    early_stopping: bool
    validation_fraction: float
    device: str
    recipe_options: dict[str, Any] | None
    random_state: Any
    verbose: bool

    def __init__(
        self,
        method: str = "hinton",
        *,
        student: str = "wrn_10_1",
        teacher: Any = "wrn_16_1",
        teacher_classes: str = "match",
        teacher_criterion: str = "ce",
        smooth_teacher: str = "none",
        recipe: str = "auto",
        recipe_options: dict[str, Any] | None = None,
        epochs: int | None = None,
        batch: int = 64,
        optimiser: str | None = None,
        lr: float | None = None,
        schedule: str | None = None,
        milestones: str | None = None,
        factor: float | None = None,
        warmup: float | None = None,
        momentum: float | None = None,
        nesterov: bool | None = None,
        weight_decay: float | None = None,
        augment: str | bool | None = None,
        sampling: str = "natural",
        mixing: str = "none",
        flips: bool = False,
        image_size: int | str = "auto",
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

    def fit(self, X: Any, y: Any = None) -> "DistilledClassifier":  # noqa: N803  # scikit-learn's names
        """Train the teacher, where the method needs one, and the student.

        Args:
            X: the images, as described above.
            y: (n,) labels; those of X where it has any and y is None.

        Raises:
            ValueError: an input or parameter cannot be used; the message is one sentence.
            RuntimeError: a loss is not finite.
        """
        with errors.python_messages():
            given = self._given_teacher()
            options = self._options(given)
            collection = read_collection(X, ReadingOptions(_decoded_size(options), self.white))
            if collection is not None:
                X, y = collection.images, collection.labels if y is None else y
            arrays, targets = validate_data(self, X, y, dtype="numeric", allow_nd=True)
            if arrays.ndim > 2:  # the second axis is not a number of features
                del self.n_features_in_
            check_classification_targets(targets)
            classes, labels = np.unique(targets, return_inverse=True)
            if len(classes) < 2:
                raise ValueError(f"y has one class only, '{classes[0]}', but at least two are needed")
            self._train(self._images(arrays), labels.astype(np.int64), classes, collection, given, options)
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the most probable class of each image: (n,)."""
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:  # noqa: N803
        """Return the accuracy.

        Args:
            X: images, as in `fit`.
            y: (n,) labels; those of X where it has any and y is None.
            sample_weight: (n,) weights.

        Raises:
            ValueError: X cannot be used, or there are no labels.
        """
        check_is_fitted(self)
        with errors.python_messages():
            collection = self._read(X)
        if collection is not None:
            X, y = collection.images, collection.labels if y is None else y
        if y is None:
            raise ValueError("y is needed, since X has no labels")
        accuracy: float = super().score(X, y, sample_weight)
        return accuracy

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return the probability of each class, in the order of `classes_`: (n, K)."""
        check_is_fitted(self)
        with errors.python_messages():
            collection = self._read(X)
            arrays = X if collection is None else collection.images
            arrays = validate_data(self, arrays, reset=False, dtype="numeric", allow_nd=True)
            images = self._images(arrays)
            if images.shape[1:] != self.image_shape_:
                raise ValueError(f"X has images of {images.shape[1:]}, but those of fit were {self.image_shape_}")
            device = torch.device(hardware.resolve_device(self.device))
        net, pixels = self.student_.to(device), images.transpose(0, 3, 1, 2)
        labels, seen = np.zeros(len(images), np.int64), self._cards["student_"]["shape"][1]
        crop = seen if seen < pixels.shape[2] else None
        loader = evaluation_loader(View.of(Source("X", pixels, labels, (), fingerprint="X", crop=crop)), device)
        with torch.no_grad():
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

    def _train(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[Any],
        classes: Any,
        collection: ImageCollection | None,
        given: TrainedTeacher | None,
        options: StudyOptions,
    ) -> None:
        """Train the teacher and the student, and set the fitted attributes."""
        names, seed = [str(name) for name in classes.tolist()], self._seed()
        list_runs(options, given is not None)  # refuses options that contradict each other
        # Classes go by number: a label may contain characters that a data set's class names may not.
        source = from_arrays(images, labels, flips=bool(self.flips), name="X")
        seen, from_files = options.read_options()["image_size"], collection is not None and collection.from_files
        if from_files and seen < source.stored_shape[1]:
            source = replace(source, crop=seen)
        if given is not None:
            self._fit_teacher_to(given, source.shape, names)
        share = None
        if self.early_stopping:
            share = types.validate("validation_fraction", types.Share, self.validation_fraction)
        data = hold_out_rows(source, seed, share)
        # Without the path of files, which may be gone.
        origin: dict[str, Any] = {"dataset": "files" if from_files else "arrays"}
        if collection is not None and collection.value_range is not None:  # later images must be scaled alike
            origin["value_range"] = collection.value_range
        trained = train_pair(data, options, seed, given=given, verbose=bool(self.verbose), **origin)
        student, info = trained.student, trained.student.info
        if self.early_stopping and student.early_weights is not None:
            student.model.load_state_dict(dict(student.early_weights))
        self.student_ = for_inference(student.model)
        self.teacher_ = None if trained.teacher is None else for_inference(trained.teacher.network)
        self._cards = {"student_": {**trained.card, "classes": names}}
        if trained.teacher is not None:
            self._cards["teacher_"] = {**trained.teacher.card, "classes": names}
        self.history_, self.teacher_history_ = trained.history, trained.teacher_history
        stopped_early = self.early_stopping and info.early_epoch is not None
        self.stopped_at_ = int(info.early_epoch or 0) if stopped_early else len(self.history_)
        self.classes_, self.image_shape_, self.seed_ = classes, images.shape[1:], seed

    def _read(self, X: Any) -> ImageCollection | None:  # noqa: N803
        """Read images from what is no array as those of fit were read; None for an array."""
        card = self._cards["student_"]
        size = checkpoint.stored_shape(card)[1]
        return read_collection(X, ReadingOptions(size, self.white, card.get("value_range")))

    def _options(self, given: TrainedTeacher | None) -> StudyOptions:
        """Return the options of a study that trains the same networks, with the sizes that belong to their weights."""
        names = [name for name in StudyOptions.__dataclass_fields__ if name in self.get_params(deep=False)]
        options = {name: getattr(self, name) for name in names}
        options |= {**self._recipe_options(), "methods": self.method, "scenario": "clean"}
        options |= {"teacher": "given"} if given is not None else {}
        if self.image_size != "auto":
            types.validate("image_size", Annotated[int, Ge(8)], self.image_size)
        try:
            described = StudyOptions(**options, dataset="folder:X")  # images may be files
        except ValidationError as error:
            (name,) = error.errors()[0]["loc"][:1]
            parameter = "method" if name == "methods" else name
            raise ValueError(f"{parameter} {errors.describe_validation_error(error)}") from None
        for net in (described.student, *([] if given is not None else [described.teacher])):
            MODELS.parse(net).kwargs()  # a misspelt teacher is refused even where no method needs one
        return resolve_study_sizes(described, None if given is None else given.card, None)

    def _recipe_options(self) -> dict[str, Any]:
        """Return the further options of the recipe, by name."""
        given = dict(self.recipe_options or {})
        known = {*RecipeOptions.__dataclass_fields__} - {*ComparisonOptions.__dataclass_fields__}
        for name in given.keys() - known:
            raise ValueError(f"recipe_options has no '{name}'{errors.did_you_mean(name, known)}")
        return given

    def _given_teacher(self) -> TrainedTeacher | None:
        """Return the trained teacher that was given, None where a network's name was.

        Raises:
            ValueError: it is not fitted, or the file holds no network.
        """
        if isinstance(self.teacher, DistilledClassifier):
            if not hasattr(self.teacher, "student_"):
                raise ValueError(
                    "the teacher is a DistilledClassifier that is not fitted, or a copy that lost what it learned, as in"
                    " cross-validation: save it, and give the path"
                )
            return TrainedTeacher(copy.deepcopy(self.teacher.student_), self.teacher._cards["student_"])
        if isinstance(self.teacher, os.PathLike) or _is_file(str(self.teacher)):
            return TrainedTeacher(*checkpoint.load_usable_net(Path(self.teacher)))
        return None

    def _fit_teacher_to(self, teacher: TrainedTeacher, shape: tuple[int, int, int], names: list[str]) -> None:
        """Let a trained teacher take images of another size, and put its outputs in the order of the classes.

        Raises:
            ValueError: its images or classes are not those of fit.
        """
        own = tuple(teacher.card["shape"])
        if not is_resizable(own, shape):
            raise ValueError(f"the teacher takes images of {own}, but X has {shape} (C, H, W)")
        if own != shape:
            teacher.network.image_size = teacher.network.image_size or own[1]
        order = find_class_order("the teacher", teacher.card["classes"], names, self.teacher_classes == "match")
        reorder_outputs("the teacher", teacher.network, order, shape)

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


def _decoded_size(options: StudyOptions) -> int:
    """Return the side of the squares that image files are scaled and cropped to, with their margin."""
    read = options.read_options()
    return add_margin(read["image_size"], read["crop_share"])


def _is_file(text: str) -> bool:
    return text.endswith(".pt") or Path(text).is_file()
