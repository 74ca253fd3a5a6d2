"""How images were prepared when a net's weights were trained: normalisation, size, crop and interpolation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robustkd.errors import UsageError
from robustkd.models.weight_files import read_model_card
from robustkd.models.weight_sources import carries_weights
from robustkd.specs import Spec

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class Preprocessing:
    """The preparation of images that weights were trained with.

    Attributes:
        mean, std: one value per channel, for pixels in [0, 1].
        image_size: side of the images that the net sees, in pixels.
        crop_share: that side, relative to the side of the resized image which the centre is cropped from.
        interpolation: of the resized image.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    crop_share: float = 1.0
    interpolation: Interpolation = "bilinear"


def nearest_interpolation(name: str) -> Interpolation:
    """Return the interpolation that networks resize images with, in place of one of another name, such as lanczos."""
    return "bilinear" if name == "bilinear" else "bicubic"


def find_preprocessing(spec: Spec) -> Preprocessing | None:
    """Return the preparation of images that belongs to the weights which a net starts from; None for random weights.

    The net is not built, and nothing is downloaded. A builder says it in its attribute `preprocessing`: a Preprocessing, or a
    function that takes the builder's parameters and returns one, or None where it is not known.

    Raises:
        UsageError: a parameter of the spec is wrong, or there are no such weights.
    """
    return weights_preprocessing(spec) if carries_weights(spec) else None


def weights_preprocessing(spec: Spec) -> Preprocessing | None:
    """Return the preparation of images that belongs to the weights which a net could start from; None if it has none.

    Raises:
        UsageError: a parameter of the spec is wrong, or there is no such net.
    """
    found = getattr(spec.load(), "preprocessing", None)
    if callable(found):
        found = found(**spec.kwargs())
    if found is not None and not isinstance(found, Preprocessing):
        raise UsageError(
            f"net '{spec.text}': `preprocessing` of its builder is a {type(found).__name__}, not a Preprocessing"
        )
    return found


def preprocessing_in_file(file: Path) -> Preprocessing | None:
    """Return the preparation of images of the network in a model.pt; None for other files."""
    if (card := read_model_card(file)) is None:
        return None
    side = (card["image_size"] if "interpolation" in card else None) or max(card["shape"][1:])
    crop_share, interpolation = card.get("crop_share", 1.0), card.get("interpolation", "bilinear")
    return Preprocessing(tuple(card["mean"]), tuple(card["std"]), side, crop_share, interpolation)
