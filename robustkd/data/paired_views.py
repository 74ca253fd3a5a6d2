"""Registry of paired views: how each image of a batch is transformed for an additional view.

A view is called with uint8 images (B, H, W, C) and uniform random numbers in [0, 1), `draws` of them per image, and returns
uint8 images. The loader then shifts and mirrors each of these, independently of the first view. The random numbers are derived
from (seed, name, epoch), so a view has no state.
"""

from typing import TYPE_CHECKING, ClassVar, Protocol

from robustkd.registry import Entry, Registry

if TYPE_CHECKING:  # the registry is read before torch is loaded
    from torch import Tensor

PAIRED_VIEWS = Registry(
    "view",
    "robustkd.data",
    "robustkd.views",
    {
        "again": Entry("paired_views:Again", "the same image, shifted and mirrored independently of the first view"),
        "jda": Entry("jda:JDA", "fourteen random operations on colours and geometry, of random strength"),
        "jda_policy": Entry("jda_policy:JDAPolicy", "the operations and strengths of Li et al., ACCV 2022"),
    },
)


class PairedView(Protocol):
    """A transform of images for an additional view."""

    draws: int  # uniform random numbers needed per image

    def __call__(self, images: "Tensor", draws: "Tensor") -> "Tensor":
        """(B, H, W, C) uint8, (B, draws) in [0, 1) -> (B, H, W, C) uint8."""
        ...


class Again:
    """The identity: the image itself."""

    draws: ClassVar[int] = 0

    def __call__(self, images: "Tensor", draws: "Tensor") -> "Tensor":
        return images
