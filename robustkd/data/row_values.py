"""Values of the rows of a table that are read one by one, so that images held by the table are not all in memory."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robustkd.data.view import Labels


class ArrowValues(Sequence[Any]):
    """A column of an Arrow table as Python values: N."""

    def __init__(self, column: Any) -> None:
        self.column = column  # a ChunkedArray

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, row: Any) -> Any:
        return self.column[row].as_py()


class SelectedValues(Sequence[Any]):
    """Some of the rows of a column: (n,)."""

    def __init__(self, values: Sequence[Any], rows: Labels) -> None:
        self.values, self.rows = values, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: Any) -> Any:
        return self.values[int(self.rows[row])]


class ImageContents(Mapping[str, bytes]):
    """The encoded images that a table holds, by file name.

    Args:
        images: the column: bytes, or mappings with bytes.
        rows: the row by the file name.
    """

    def __init__(self, images: Sequence[Any], rows: Mapping[str, int]) -> None:
        self.images, self.rows = images, rows

    def __getitem__(self, file: str) -> bytes:
        image = self.images[self.rows[file]]
        content: bytes = image["bytes"] if isinstance(image, dict) else image
        return content

    def __contains__(self, file: object) -> bool:
        return file in self.rows  # a Mapping's own test would read the image

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)
