"""matrix: transition matrices from files, with classes in any order, and all kinds of invalid files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scenarios
from scenarios.matrix import Matrix
from tests.scenarios.labelled import REAL, assert_rejected, balanced_view, count_transitions

PETS = ("cat", "red fox", "dog")
T = [[0.7, 0.3, 0], [0.1, 0.8, 0.1], [0, 0.25, 0.75]]
EXPECTED = [[140, 60, 0], [20, 160, 20], [0, 50, 150]]


def write_matrix(folder: Path, text: str, encoding: str = "utf-8") -> str:
    path = folder / "T.csv"
    path.write_bytes(text.encode(encoding))
    return f'matrix(file="{path}")'


PLAIN = "0.7,0.3,0\n0.1,0.8,0.1\n0,0.25,0.75\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n") + "\r\n",
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t") + "\t\t\n",
        "\ufeff" + PLAIN,
        ",cat,red fox,dog\ncat,0.7,0.3,0\nred fox,0.1,0.8,0.1\ndog,0,0.25,0.75\n",
        "\ufeffshown,dog,cat,red fox\nred fox,.1,.1,.8\ncat,0,7e-1,0.3\ndog,0.75,0,0.25",
        '"","cat","red fox","dog"\n"cat","0.7","0.3","0"\n"red fox",0.1,0.8,0.1\n"dog",0,0.25,0.75\n',
    ],
)
def test_tables_with_and_without_class_names_are_read(tmp_path: Path, text: str) -> None:
    before = balanced_view(200, PETS)
    assert count_transitions(before, scenarios.parse(write_matrix(tmp_path, text))(before)) == EXPECTED


def test_class_names_that_are_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame(T, index=["2", "0", "1"], columns=["2", "0", "1"])
    frame.to_csv(tmp_path / "T.csv")
    matrix = Matrix(str(tmp_path / "T.csv")).transition_matrix(balanced_view(1, 3))
    assert matrix[2].tolist() == pytest.approx([0.3, 0, 0.7])


def test_rows_are_normalised_to_sum_to_one(tmp_path: Path) -> None:
    write_matrix(tmp_path, "0.3333333,0.3333333,0.3333333\n0,1,0\n0,0,1.0000009")
    matrix = Matrix(str(tmp_path / "T.csv")).transition_matrix(balanced_view(1, PETS))
    assert matrix.sum(axis=1).tolist() == pytest.approx([1, 1, 1], abs=1e-15)
    before = balanced_view(
        10**6, PETS
    )  # with a million labels the rounding error must not select a label without targets
    after = Matrix(str(tmp_path / "T.csv"))(before)
    assert np.array_equal(after.labels[10**6 :], before.labels[10**6 :])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.7,0.3\n0.1,0.9\n", ["2 lines of 2 values", "3 classes need 3 of 3"]),
        ("0.7,0.3,0\n0.1,0.8\n0,0,1\n", ["line 2 of ", "has 2 values, but line 1 has 3"]),
        ("", ["is empty"]),
        (PLAIN.replace(",", " "), ["3 lines of 1 values"]),
        (PLAIN.replace("0.25", "a quarter"), ["'dog' to 'red fox' is 'a quarter'", "should be a number from 0 up"]),
        (PLAIN.replace("0.25", "nan"), ["'dog' to 'red fox' is 'nan'"]),
        (PLAIN.replace("0.25", ""), ["'dog' to 'red fox' is ''"]),
        (PLAIN.replace("0.3,0", "0.4,-0.1"), ["'cat' to 'dog' is '-0.1'"]),
        (PLAIN.replace("0.25", "0.24"), ["row 'dog' sums to 0.99, but should sum to 1"]),
        (PLAIN.replace("0.25", "0.250002"), ["row 'dog' sums to 1.000002"]),
        (
            ",cat,fox,dog\ncat,1,0,0\nfox,0,1,0\ndog,0,0,1",
            ["T.csv, columns: there is no class 'fox' (did you mean 'red fox'?); there are: cat"],
        ),
        (
            ",cat,red fox,dog\ncat,1,0,0\nred fox,0,1,0\ndg,0,0,1",
            ["T.csv, rows: there is no class 'dg' (did you mean 'dog'?)"],
        ),
        (
            ",cat,dog,dog\ncat,1,0,0\nred fox,0,1,0\ndog,0,0,1",
            ["columns: class 'dog' is named twice and class 'red fox' is missing"],
        ),
    ],
)
def test_an_invalid_file_is_rejected_with_its_problem(tmp_path: Path, text: str, parts: list[str]) -> None:
    assert_rejected(write_matrix(tmp_path, text), balanced_view(1, PETS), "T.csv", *parts)


def test_a_missing_file_is_rejected_with_the_nearest_name(tmp_path: Path) -> None:
    write_matrix(tmp_path, PLAIN)
    assert_rejected(f'matrix(file="{tmp_path}/t.csv")', balanced_view(1, PETS), "there is no", "did you mean 'T.csv'?")
    assert_rejected(f'matrix(file="{tmp_path}")', balanced_view(1, PETS), "is a folder, not a file")
    assert_rejected("matrix", balanced_view(1, PETS), "needs a value for file")
    (tmp_path / "U.csv").write_bytes(b"\xff\xfe0\x00")
    assert_rejected(f'matrix(file="{tmp_path}/U.csv")', balanced_view(1, PETS), "is not UTF-8")


@pytest.mark.skipif(not (REAL / "cifar10n").is_dir(), reason="the shared data is missing")
def test_a_matrix_of_human_labels_is_matched_in_cells_and_columns(tmp_path: Path) -> None:
    columns = np.load(REAL / "cifar10n" / "cifar100n_labels.npz")
    matrix = np.zeros((100, 100))
    np.add.at(matrix, (columns["clean_label"], columns["noisy_label"]), 1 / 500)
    file = tmp_path / "T.csv"
    np.savetxt(file, matrix, delimiter=",")
    for each in (450, 50):
        before = balanced_view(each, 100)
        after = scenarios.parse(f'matrix(file="{file}")')(before)
        counts = np.array(count_transitions(before, after))
        assert np.abs(counts - matrix * each).max() < 2.5
        assert np.abs(after.counts - matrix.sum(axis=0) * each).max() < 15, "a hundred rounding errors of either sign"
