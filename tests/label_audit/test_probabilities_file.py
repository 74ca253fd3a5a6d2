"""Probabilities from a file: what is read, and one sentence for what cannot be."""

from pathlib import Path

import numpy as np
import pytest

from robustkd.errors import UsageError
from robustkd.label_audit.probabilities_file import load_probabilities

GOOD = np.array([[0.25, 0.75], [1.0, 0.0], [np.nan, np.nan]])


def saved(tmp_path: Path, array: np.ndarray) -> str:
    np.save(tmp_path / "p.npy", array)
    return str(tmp_path / "p.npy")


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_distributions_are_read_and_rows_of_nan_are_kept(tmp_path: Path, kind: type) -> None:
    probabilities = load_probabilities(saved(tmp_path, GOOD.astype(kind)), 3, 2)
    assert probabilities.dtype == np.float32
    assert np.array_equal(probabilities, GOOD.astype(np.float32), equal_nan=True)


def test_rounded_values_are_scaled(tmp_path: Path) -> None:
    probabilities = load_probabilities(saved(tmp_path, np.array([[0.333, 0.333, 0.333]])), 1, 3)
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)


def test_the_only_array_of_an_archive_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", probabilities=GOOD)
    assert load_probabilities(str(tmp_path / "p.npz"), 3, 2).shape == (3, 2)
    np.savez(tmp_path / "two.npz", a=GOOD, b=GOOD)
    with pytest.raises(UsageError, match="should contain one array, but contains: a, b"):
        load_probabilities(str(tmp_path / "two.npz"), 3, 2)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GOOD[:2], r"of shape \(3, 2\), a row per image and a column per class, but is float64 of shape \(2, 2\)"),
        (GOOD[:, 0], r"but is float64 of shape \(3,\)"),
        (np.ones((3, 2), int), r"but is int64 of shape \(3, 2\)"),
        (np.array([[0.5, 0.5], [3.0, -2.0], [0.5, 0.5]]), "row 1 is not a distribution: its values range from -2 to 3"),
        (np.array([[0.5, 0.5], [0.5, 0.5], [0.4, 0.4]]), "row 2 is not a distribution: .* sum to 0.8"),
        (np.array([[np.nan, 0.5], [0.5, 0.5], [0.5, 0.5]]), "row 0 is not a distribution"),
        (np.full((3, 2), np.nan), "no row has probabilities"),
        (np.array([[{}, {}]] * 3, object), r"it cannot be read as an \.npy file"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(tmp_path: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_probabilities(saved(tmp_path, array), 3, 2)


def test_a_missing_or_damaged_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--probabilities: there is no"):
        load_probabilities(str(tmp_path / "lost.npy"), 3, 2)
    (tmp_path / "text.npy").write_text("0.5,0.5")
    with pytest.raises(UsageError, match=r"it cannot be read as an \.npy file"):
        load_probabilities(str(tmp_path / "text.npy"), 3, 2)
