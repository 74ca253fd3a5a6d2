"""Sizes of images: what `auto` stands for, given the weights that networks start from.

Batches have the side of the largest of a study's networks, and networks of another size resize them (`Network.prepare`). Image
files are decoded to that side divided by the crop share, and the loader crops. Arrays keep their size.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from robustkd.data.labelled_images import FILE_KINDS
from robustkd.models import MODELS
from robustkd.models.preprocessing import Preprocessing, find_preprocessing
from robustkd.study.options import SourceOptions, StudyOptions

Options = TypeVar("Options", bound=SourceOptions)
Card = Mapping[str, Any]


def resolve_study_sizes(options: StudyOptions, teacher: Card | None, init: Card | None) -> StudyOptions:
    """Return a study's options with the sizes and the crop share that belong to the weights of its networks.

    Where no network starts from weights, `auto` is left: it stands for 32 pixels without a margin.

    Args:
        options: of the study.
        teacher: the model card of a trained teacher, if one was given.
        init: the model card of the network that students start from, if one was given.

    Raises:
        UsageError: a network's parameters are wrong.
    """
    student, teacher_weights = _find(options.student, init, options), _find(options.teacher, teacher, options)
    side, own = _side(options, student), options.teacher_image_size
    # A trained teacher keeps the size that it was trained at.
    teacher_side = own or (_side(options, teacher_weights) if teacher is None else _size_of(teacher_weights))
    if side and teacher_side and side != teacher_side:
        own = teacher_side
    return replace(_resolve(options, side or teacher_side, student or teacher_weights), teacher_image_size=own)


def resolve_net_size(options: Options, net: str) -> Options:
    """Return the options of a command with one network, with the size and the crop share that belong to its weights.

    Raises:
        UsageError: the network's parameters are wrong.
    """
    weights = find_preprocessing(MODELS.parse(net))
    return _resolve(options, _side(options, weights), weights)


def _resolve(options: Options, side: int | None, weights: Preprocessing | None) -> Options:
    """Replace `auto` by what belongs to weights, if there are any."""
    if weights is None or side is None:
        return options
    share = weights.crop_share if options.crop_share == "auto" else options.crop_share
    return replace(options, image_size=side, crop_share=share)


def _side(options: SourceOptions, weights: Preprocessing | None) -> int | None:
    """Return the side that was given, or that of the weights; None where there is neither."""
    return _size_of(weights) if options.image_size == "auto" else options.image_size


def _size_of(weights: Preprocessing | None) -> int | None:
    return None if weights is None else weights.image_size


def _find(net: str, card: Card | None, options: SourceOptions) -> Preprocessing | None:
    """Return how images are prepared for a network to train, or for a stored one; None for one that takes them as they are."""
    if card is None:
        return find_preprocessing(MODELS.parse(net))
    side = card.get("image_size") if "interpolation" in card else None  # earlier cards have another `image_size`
    if side is None and options.dataset.partition(":")[0] in FILE_KINDS:
        side = card["shape"][1]
    return Preprocessing(tuple(card["mean"]), tuple(card["std"]), side, card.get("crop_share", 1.0)) if side else None
