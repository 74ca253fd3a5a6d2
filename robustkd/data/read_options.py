"""How a data set is read; see robustkd.data.sources.load_dataset."""

from pathlib import Path
from typing import NamedTuple

from robustkd.data.image_formats import MAX_PIXELS
from robustkd.data.resize import add_margin
from robustkd.data.value_range import ValueRange


class ColumnOptions(NamedTuple):
    """The columns of a table that the user named; None for those to be recognised by their names."""

    image: str | None = None
    label: str | None = None  # or several, separated by commas
    split: str | None = None  # or "none"


class ReadOptions(NamedTuple):
    """How image files are decoded, and how tables and folders of them are read."""

    image_size: int = 32  # that networks see
    skip_bad_images: bool = False
    cache_dir: Path | None = None
    columns: ColumnOptions = ColumnOptions()
    root: Path | None = None  # None: the folder of the table
    header: bool = True  # of a CSV file
    class_level: int | None = None  # depth of class folders; None: recognised by their names
    value_range: ValueRange | None = None  # of values of more than 8 bits; None: that of all files
    every_class_trained: bool = True  # whether a class without training images is refused
    max_pixels: int = MAX_PIXELS  # of an image file
    crop_share: float = 1.0  # of the decoded side that networks see

    @property
    def decoded_size(self) -> int:
        """Side that image files are scaled and cropped to, with the margin."""
        return add_margin(self.image_size, self.crop_share)

    @property
    def crop(self) -> int | None:
        """Side of the square that networks see, None where it is the decoded one."""
        return self.image_size if self.decoded_size > self.image_size else None
