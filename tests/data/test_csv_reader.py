"""CSV files: equivalent notations, blank rows, and the errors of every reader of tables."""

from pathlib import Path

import numpy as np
import pytest

from robustkd.data import csv_reader
from robustkd.data.sources import load_dataset
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from scenarios.counts import Counts
from scenarios.human import Human
from scenarios.matrix import Matrix


def write_file(folder: Path, content: str | bytes) -> Path:
    path = folder / "a.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


PLAIN = 'name,size\n"red, brown",3\nb,4\n'
CELLS = [["name", "size"], ["red, brown", "3"], ["b", "4"]]


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        (PLAIN, [1, 2, 3]),
        ("\ufeff" + PLAIN.replace("\n", "\r\n"), [1, 2, 3]),
        (PLAIN.rstrip(), [1, 2, 3]),
        (PLAIN.replace("e,s", "e;s").replace('",', '";').replace("b,", "b;"), [1, 2, 3]),
        (PLAIN.replace("e,s", "e\ts").replace('",', '"\t').replace("b,", "b\t"), [1, 2, 3]),
        (PLAIN.replace("e,s", "e|s").replace('",', '"|').replace("b,", "b|"), [1, 2, 3]),
        (PLAIN.replace("e,s", "e, s").replace('",', '", ').replace("b,", "b,  "), [1, 2, 3]),
        ("\n" + PLAIN.replace("b,", "\n,\n , ,,\nb,"), [2, 3, 7]),
    ],
    ids=["plain", "windows", "short", "semicolons", "tabs", "bars", "spaced", "hollow lines"],
)
def test_equivalent_files_give_the_same_result(tmp_path: Path, content: str, numbers: list[int]) -> None:
    assert csv_reader.read_csv_rows("toy", write_file(tmp_path, content)) == (CELLS, numbers)


def test_spaces_separate_in_lists_only(tmp_path: Path) -> None:
    file = write_file(tmp_path, "a.png 3\nb.png 12\n")
    assert csv_reader.read_csv_rows("toy", file).rows == [["a.png 3"], ["b.png 12"]]
    assert csv_reader.read_csv_rows("toy", file, spaces=True).rows == [["a.png", "3"], ["b.png", "12"]]
    file = write_file(tmp_path, "a b.png,3\nb.png, 12\n")
    assert csv_reader.read_csv_rows("toy", file, spaces=True).rows == [["a b.png", "3"], ["b.png", " 12"]]


def test_separators_within_quotes_are_ignored(tmp_path: Path) -> None:
    found = csv_reader.read_csv_rows("toy", write_file(tmp_path, '"a, b, c";"d, ""e"""\n1;2\n'))
    assert found.rows == [["a, b, c", 'd, "e"'], ["1", "2"]]


@pytest.mark.parametrize(
    ("content", "rows", "numbers"),
    [
        ('a\n1\n\n""\n2\n', [["a"], ["1"], [""], [""], ["2"]], [1, 2, 3, 4, 5]),
        ("\na\n1\n\n", [["a"], ["1"], [""]], [2, 3, 4]),
        ("a,b\n1,2\n,\n\n3,4\n", [["a", "b"], ["1", "2"], ["", ""], ["3", "4"]], [1, 2, 3, 5]),
    ],
)
def test_blank_rows_are_kept_on_request(
    tmp_path: Path, content: str, rows: list[list[str]], numbers: list[int]
) -> None:
    assert csv_reader.read_csv_rows("toy", write_file(tmp_path, content), keep_blank=True) == (rows, numbers)
    assert [row for row in rows if any(row)] == csv_reader.read_csv_rows("toy", tmp_path / "a.csv").rows


INVALID: list[tuple[str | bytes, str]] = [
    ("", "a.csv is empty"),
    ("\n\n", "a.csv is empty"),
    ("a,b\n1,2\n\n3,4,\n", "line 4 of {} has 3 values, but line 1 has 2"),
    ("a,b\n1,2\n3\n", "line 3 of {} has 1 values, but line 1 has 2"),
    ('a,b\n"1\n,2\n', "is not a valid CSV file: line 2 is malformed"),
    ('a,b\n"1"x,2\n', "is not a valid CSV file: line 2 is malformed"),
    ("a,b\n1,ö\n".encode("latin-1"), "is not UTF-8 (line 2)"),
]


@pytest.mark.parametrize(("content", "expected"), INVALID)
def test_all_readers_refuse_invalid_files_alike(tmp_path: Path, content: str | bytes, expected: str) -> None:
    path = write_file(tmp_path, content)
    view = View.of(Source("toy", np.zeros((2, 1, 1, 1), np.uint8), np.array([0, 1]), ("a", "b")))
    readers = {
        "counts": lambda: Counts(str(path))(view),
        "human": lambda: Human("a", str(path))(view),
        "matrix": lambda: Matrix(str(path))(view),
        f"csv:{path}": lambda: load_dataset(f"csv:{path}"),
    }
    for word, reader in readers.items():
        with pytest.raises(UsageError) as caught:
            reader()
        assert str(caught.value).startswith(f"{word}: "), str(caught.value)
        assert expected.format(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    write_file(tmp_path, PLAIN)
    with pytest.raises(UsageError, match=r"^toy: there is no .*b\.csv \(did you mean 'a\.csv'\?\)$"):
        csv_reader.read_csv_rows("toy", tmp_path / "b.csv")
    with pytest.raises(UsageError, match=r"^toy: .* is a folder, not a file$"):
        csv_reader.read_csv_rows("toy", tmp_path)
