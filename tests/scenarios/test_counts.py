"""counts: class sizes from a file, and invalid files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from scenarios.counts import Counts


def named_view(counts: list[int], seed: int = 0) -> View:
    labels = np.repeat(np.arange(3), counts)
    classes = ("NA", "süß, sauer", "007")
    return View.of(Source("toy", np.zeros((len(labels), 1, 1, 1), np.uint8), labels, classes), seed=seed)


LINES = 'class,count\nNA,4\n"süß, sauer",10\n007,1\n'
SEMICOLONS = 'class;count\nNA;4\n"süß, sauer";10\n007;1\n'


def write_file(tmp_path: Path, text: str, name: str = "sizes.csv") -> str:
    (tmp_path / name).write_bytes(text.encode())
    return str(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        *(LINES, "\ufeff" + LINES, LINES.replace("\n", "\r\n") + ",\r\n", SEMICOLONS),
        'count,note,class\n10,x,"süß, sauer"\n1,,007\n4,,NA\n',
    ],
    ids=["plain", "byte order mark", "windows", "semicolons", "columns and lines in another order"],
)
def test_counts_match_the_file(tmp_path: Path, text: str) -> None:
    after = Counts(write_file(tmp_path, text))(named_view([10, 10, 10]))
    assert after.counts.tolist() == [4, 10, 1]
    assert after.digest == scenarios.parse(f"counts(file={tmp_path / 'sizes.csv'})")(named_view([10, 10, 10])).digest
    fewer = Counts(write_file(tmp_path, LINES.replace("4", "3")))(named_view([10, 10, 10]))
    assert set(fewer.rows) < set(after.rows)


def test_order_size_gives_larger_classes_larger_counts(tmp_path: Path) -> None:
    after = Counts(write_file(tmp_path, LINES), order="size")(named_view([10, 20, 30]))
    assert after.counts.tolist() == [1, 4, 10]


@given(counts=st.lists(st.integers(1, 60), min_size=3, max_size=3), scale=st.floats(0.02, 1.5))
@settings(max_examples=60, deadline=None)
def test_counts_of_held_out_rows_are_scaled_and_clipped(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], scale: float
) -> None:
    path = write_file(tmp_path_factory.mktemp("counts"), LINES)
    after = Counts(path)(replace(named_view(counts), scale=scale, training=False))
    expected = [
        min(round(round(count * scale, 6)), available) for count, available in zip((4, 10, 1), counts, strict=True)
    ]
    assert after.counts.tolist() == expected


def test_held_out_counts_are_limited_by_the_available_rows(tmp_path: Path) -> None:
    path = write_file(tmp_path, LINES)
    assert Counts(path)(replace(named_view([3, 20, 7]), training=False)).counts.tolist() == [3, 10, 1]
    with pytest.raises(UsageError, match="requests 4 samples of class 'NA', which has 3"):
        Counts(path)(named_view([3, 20, 7]))


def test_counts_are_assigned_in_another_order_on_request(tmp_path: Path) -> None:
    path = write_file(tmp_path, LINES)
    assert Counts(path, order="reversed")(named_view([10, 10, 10])).counts.tolist() == [1, 10, 4]
    orders = {tuple(Counts(path, order="seeded")(named_view([10, 10, 10], seed)).counts) for seed in range(12)}
    assert len(orders) > 2
    assert {tuple(sorted(order)) for order in orders} == {(1, 4, 10)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINES.replace("NA,4", "NA,11"), "requests 11 samples of class 'NA', which has 10"),
        (LINES.replace("007", "07"), "line 4: there is no class '07' (did you mean '007'?); there are: NA, "),
        (LINES + "NA,3\n", "lists class 'NA' twice, but should list each class once"),
        (LINES.replace("NA,4\n", ""), "does not list class 'NA', but should list each class once"),
        (LINES.replace("4", "0"), "the count of class 'NA' is '0' but should be greater than or equal to 1"),
        (LINES.replace("4", "-4"), "the count of class 'NA' is '-4' but should be greater than or equal to 1"),
        (LINES.replace("4", "4.5"), "the count of class 'NA' is '4.5' but should be a valid integer"),
        (LINES.replace("4", ""), "the count of class 'NA' is '' but should be a valid integer"),
        (LINES.replace("4", "9" * 400), "should be less than or equal to 1000000000000"),
        (LINES.replace("class,count", "class,size"), "has no column count; it has: class, size"),
        (LINES.replace("class,count", "count,count"), "has no column class; it has: count, count"),
        ("count,class,count\n4,NA,4\n", "has two columns called count; it has: count, class, count"),
        (LINES.replace("1\n", "1,\n"), "has 3 values, but line 1 has 2"),
        ("class,count\n0,NA,4\n1,007,2\n", "line 2 of "),
        ("", "is empty"),
        ('class,count\n"NA,4\n', "is not a valid CSV file: line 2"),
    ],
)
def test_an_invalid_file_of_counts_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Counts(write_file(tmp_path, text))(named_view([10, 10, 10]))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_of_counts_is_rejected_with_the_nearest_name(tmp_path: Path) -> None:
    write_file(tmp_path, LINES)
    with pytest.raises(UsageError, match=r"there is no .*size\.csv \(did you mean 'sizes\.csv'\?\)"):
        Counts(str(tmp_path / "size.csv"))(named_view([10, 10, 10]))
    with pytest.raises(UsageError, match="is a folder, not a file"):
        Counts(str(tmp_path))(named_view([10, 10, 10]))
    (tmp_path / "latin.csv").write_bytes(LINES.encode("latin-1"))
    with pytest.raises(UsageError, match=r"is not UTF-8 \(line 3\)"):
        Counts(str(tmp_path / "latin.csv"))(named_view([10, 10, 10]))


@pytest.mark.parametrize("words", ["counts", "counts(3)", "counts(file=sizes.csv, order=random)"])
def test_invalid_values_are_rejected(words: str) -> None:
    with pytest.raises(UsageError):
        scenarios.parse(words)
