"""Paired views: how each image of a batch is changed for a second look. The table of contents.

A view is called on bytes (B, H, W, C) and numbers drawn evenly from [0, 1), `draws` of them per image, and gives back bytes;
the loader then moves and mirrors each image anew. The draws come from (seed, word, epoch), so a view has no state.
"""

from typing import TYPE_CHECKING, ClassVar, Protocol

from robustkd.registry import Entry, Registry

if TYPE_CHECKING:  # the table is read before torch is loaded
    from torch import Tensor

PAIRED_VIEWS = Registry(
    "view",
    "robustkd.data",
    "robustkd.views",
    {
        "again": Entry("paired_views:Again", "nothing but the loader's own moving and mirroring, drawn anew"),
        "jda": Entry("jda:JDA", "fourteen operations on pixels and places, each by chance (Li et al., ACCV 2022)"),
    },
)


class PairedView(Protocol):
    """A second look at images."""

    draws: int  # numbers that one image takes

    def __call__(self, images: "Tensor", draws: "Tensor") -> "Tensor":
        """(B, H, W, C) uint8, (B, draws) in [0, 1) -> (B, H, W, C) uint8."""
        ...


class Again:
    """The image as it is."""

    draws: ClassVar[int] = 0

    def __call__(self, images: "Tensor", draws: "Tensor") -> "Tensor":
        return images
