"""Sizes of image files, of which only the headers are read."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from robustkd.data.image_formats import open_image

SAMPLED_FILES = 100  # from which the size of all of them is estimated
SMALLEST_SHARE = 1 / 4  # of the side of photographs, below which it is said that they are reduced


def read_sizes(root: Path, files: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return the width and height of each file that exists and can be read, in pixels."""
    with warnings.catch_warnings(action="ignore"):  # Pillow's warnings about metadata and large images
        return dict(_iter_sizes(root, files))


def _iter_sizes(root: Path, files: Sequence[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    for file in dict.fromkeys(files):
        try:
            with open_image(root / file) as opened:
                yield file, opened.size
        except (OSError, ValueError, SyntaxError):
            continue  # held by a table as bytes, or unreadable, which is reported separately


def describe_reduction(root: Path, files: Sequence[str], side: int) -> tuple[str, ...]:
    """Return a sentence where images of a side in pixels are less than a quarter of most files."""
    sizes = read_sizes(root, files[:: max(1, len(files) // SAMPLED_FILES)])
    typical = median(map(min, sizes.values())) if sizes else 0
    if side >= SMALLEST_SHARE * typical:
        return ()
    return (
        f"warning: the files have a shorter side of {typical:.0f} pixels (median), reduced to {side}, less than a quarter:"
        " --image-size keeps more detail",
    )
