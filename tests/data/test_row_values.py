"""Values of rows that are read one by one."""

import numpy as np
import pyarrow as pa

from robustkd.data.row_values import ArrowValues, ImageContents, SelectedValues


def test_a_column_of_several_chunks() -> None:
    values = ArrowValues(pa.chunked_array([[b"a", None], [b"c"]]))
    assert list(values) == [b"a", None, b"c"]
    assert len(values) == 3
    assert list(SelectedValues(values, np.array([2, 0]))) == [b"c", b"a"]


def test_contents_by_file() -> None:
    contents = ImageContents([{"bytes": b"a", "path": None}, b"b", {"bytes": None, "path": "c"}], {"x": 0, "y": 1})
    assert dict(contents) == {"x": b"a", "y": b"b"}
    assert "c" not in contents
    assert contents
    assert not ImageContents([], {})
