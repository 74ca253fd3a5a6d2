"""Text in CSV files: no cell starts a formula, and everything is read as it was written."""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from robustkd.csv_cells import quote_formula, unquote_formula, write_csv
from robustkd.data.csv_reader import read_csv_rows

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
TEXT = st.text(st.sampled_from("=+-@\t\r\n'\"a1,;. é猫\uff1d"), max_size=8) | st.text(max_size=12)


@given(TEXT)
@settings(max_examples=1000)
def test_every_text_is_read_as_it_was(text: str) -> None:
    written = quote_formula(text)
    assert unquote_formula(written) == text
    assert written in (text, f"'{text}")
    if written.startswith(STARTS):  # a number, which spreadsheets take for itself
        float(written)


@pytest.mark.parametrize("start", STARTS)
def test_each_start_of_a_formula_is_quoted(start: str) -> None:
    assert quote_formula(f"{start}cmd|' /C calc'!A0") == f"'{start}cmd|' /C calc'!A0"


@given(
    names=st.lists(TEXT.filter(lambda text: "\0" not in text), min_size=3, max_size=3, unique=True),
    numbers=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
)
@example(names=["=1+1", "\rx", "'-a"], numbers=[-1.0, 0.5, 1e-7])
@settings(max_examples=100, deadline=None)
def test_a_table_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], numbers: list[float]
) -> None:
    path = tmp_path_factory.getbasetemp() / "table.csv"
    write_csv(pd.DataFrame({"number": numbers, "name": names}, index=names), path)
    (header, *rows), _ = read_csv_rows("toy", path, keep_blank=True)
    assert header == ["", "number", "name"]
    assert [(row[0], float(row[1]), row[2]) for row in rows] == list(zip(names, numbers, names, strict=True))


def test_index_and_header_are_quoted_and_numbers_stay_numbers() -> None:
    table = pd.DataFrame([[-0.5, np.nan], [1, -2]], index=["=a", "b"], columns=["=a", "@b"])
    stream = io.StringIO()
    write_csv(table, stream, digits=2)
    assert list(csv.reader(stream.getvalue().splitlines())) == [
        ["", "'=a", "'@b"],
        ["'=a", "-0.50", ""],
        ["b", "1.00", "-2.00"],
    ]
    assert table.index.tolist() == ["=a", "b"], "the table itself is unchanged"


def test_a_table_without_such_text_is_written_as_pandas_does(tmp_path: Path) -> None:
    table = pd.DataFrame({"n": [-1, 2], "name": ["a", "-3"], "kind": pd.Categorical(["x", "y"])})
    write_csv(table, tmp_path / "table.csv", index=False)
    assert (tmp_path / "table.csv").read_text() == table.to_csv(index=False)
