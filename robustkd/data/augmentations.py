"""Registries of augmentations of the training images: what `--augment` and `--transform` name.

An augmenter cuts what networks see out of the stored images (robustkd.data.augment). An augmentation comes before it, and is
called as a paired view is: with uint8 images (B, H, W, C) and uniform random numbers in [0, 1), `draws` of them per image. It
returns uint8 images of the same shape. The random numbers are derived from (seed, name, epoch), so that all methods of a seed
are trained on the same images, and a run can be resumed.
"""

from typing import TYPE_CHECKING, Any

from robustkd.errors import UsageError
from robustkd.registry import Entry, Registry

if TYPE_CHECKING:  # the registry is read before torch is loaded
    from robustkd.data.paired_views import PairedView

NONE = "none"

AUGMENTERS = Registry(
    "augmentation",
    "robustkd.data",
    "robustkd.augmenters",
    {
        "none": Entry("augment:Centre", "the central crop, as in evaluation"),
        "shift": Entry("augment:Shift", "shifts by up to an eighth of the side, and flips where they keep the class"),
        "photo": Entry("photo:Photo", "random resized crops, flips, colours, one random operation, and erasing"),
    },
)

AUGMENTATIONS = Registry(
    "augmentation",
    "robustkd.data",
    "robustkd.augmentations",
    {
        "jda": Entry("jda:JDA", "fourteen random operations on colours and geometry, of random strength"),
        "jda_policy": Entry("jda_policy:JDAPolicy", "the operations and strengths of Li et al., ACCV 2022"),
    },
)


def augment_text(augment: str | bool) -> str:
    """Return the name of an augmenter that may be given as true or false, as when there was only one.

    >>> augment_text(True), augment_text("false"), augment_text("photo(crop=0.5)")
    ('shift', 'none', 'photo(crop=0.5)')
    """
    return {"true": "shift", "false": "none"}.get(str(augment).lower(), str(augment))


def recorded_augment(augment: str) -> str | bool:
    """Return what earlier versions recorded, by which studies and audits are identified.

    >>> recorded_augment("shift"), recorded_augment("none"), recorded_augment("photo")
    (True, False, 'photo')
    """
    return {"shift": True, "none": False}.get(augment, augment)


def given_augment(augment: str | bool | None) -> str | None:
    """Return the name of an augmenter if one is given."""
    return None if augment is None else augment_text(augment)


def build_augmentation(text: str) -> "PairedView | None":
    """Return the augmentation of a name with parameters, as in jda(probability=0.2); None for none.

    Raises:
        UsageError: the name is unknown, a parameter is wrong, or the augmentation does not say how many numbers it draws.
    """
    if text == NONE:
        return None
    spec = AUGMENTATIONS.parse(text)
    target = spec.load()
    augmentation: Any = target(**spec.kwargs()) if isinstance(target, type) and hasattr(target, "draws") else None
    draws: Any = getattr(augmentation, "draws", None)  # may depend on the parameters
    if type(draws) is not int or draws < 0:
        raise UsageError(
            f"augmentation '{spec.name}': it should be a class with `draws`, the number of random numbers per image, that is"
            " called with images and these numbers"
        )
    found: PairedView = augmentation
    return found


def check_augmentation(text: str, shape: tuple[int, int, int]) -> None:
    """Try an augmentation on two images of a shape (C, H, W).

    Raises:
        UsageError: it cannot be built, fails, or returns something other than uint8 images of the same shape.
    """
    import torch

    augmentation = build_augmentation(text)
    if augmentation is None:
        return
    images = torch.randint(0, 256, (2, *shape[1:], shape[0]), dtype=torch.uint8, generator=torch.Generator())
    try:
        result: Any = augmentation(images.clone(), torch.full((2, augmentation.draws), 0.5))
    except Exception as error:  # whatever a user's code raises
        raise UsageError(f"augmentation '{text}': it failed with {type(error).__name__}: {error}") from error
    kind, found = getattr(result, "dtype", type(result).__name__), tuple(getattr(result, "shape", ()))
    if kind is not torch.uint8 or found != images.shape:
        raise UsageError(
            f"augmentation '{text}': it returns {str(kind).removeprefix('torch.')} {found}, but uint8 {tuple(images.shape)} is"
            " wanted"
        )
