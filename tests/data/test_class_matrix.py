"""Class-by-class tables in CSV files. The scenarios that read them test every kind of file."""

from pathlib import Path

import pytest

from robustkd.data.class_matrix import read_class_matrix, read_transition_matrix
from robustkd.errors import UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "T.csv"
    path.write_text("true,b,a\nb,1,3\na,0,4\n")
    return path


def test_rows_and_columns_are_in_the_order_of_the_classes(file: Path) -> None:
    assert read_class_matrix("toy", str(file), ("a", "b")).tolist() == [[4, 0], [3, 1]]


def test_rows_of_a_transition_matrix_sum_to_1(file: Path) -> None:
    with pytest.raises(UsageError, match=r"toy: .*T.csv: row 'a' sums to 4, but should sum to 1"):
        read_transition_matrix("toy", str(file), ("a", "b"))
    file.write_text("0.3333333,0.6666667\n0,1\n")
    assert read_transition_matrix("toy", str(file), ("a", "b")).sum(axis=1).tolist() == pytest.approx([1, 1], abs=1e-15)
