"""The names of the arrays in npz files."""

import itertools

import pytest

from robustkd.data.array_names import recognise_names
from robustkd.errors import UsageError


@pytest.mark.parametrize(
    ("keys", "meanings"),
    [
        (["X", "y"], {"X": "X", "y": "y"}),
        (
            ["x_train", "Y_train", "XTest", "y-test"],
            {"X": "x_train", "y": "Y_train", "X_test": "XTest", "y_test": "y-test"},
        ),
        (["trainX", "validation_labels"], {"X": "trainX", "y_val": "validation_labels"}),
        (["data", "target", "target_names"], {"X": "data", "y": "target", "classes": "target_names"}),
        (["X", "y", "group", "group_test", "clean", "split", "flips", "classes"], None),
        (["arr_0", "arr_1"], {"X": "arr_0", "y": "arr_1"}),
        (["arr_0", "arr_1", "arr_2"], {}),
        (["Z", "contest", "y_mean", "data_dir"], {}),
    ],
)
def test_meanings(keys: list[str], meanings: dict[str, str] | None) -> None:
    expected = {key: key for key in keys} if meanings is None else meanings
    for order in itertools.islice(itertools.permutations(keys), 24):
        assert recognise_names(order).keys == expected
    assert bool(recognise_names(keys).notes) == any(key != meaning for meaning, key in expected.items())


def test_an_exact_name_is_preferred_to_another_of_the_same_rows() -> None:
    assert recognise_names(["labels", "y", "X", "images"]).keys == {"y": "y", "X": "X"}
    assert recognise_names(["labels", "y", "X"]).notes == ()


@pytest.mark.parametrize(
    "keys", [["X", "X_train"], ["x_train", "train_images"], ["images", "data"], ["y_test", "labels_test"]]
)
def test_two_arrays_of_one_meaning_are_refused(keys: list[str]) -> None:
    with pytest.raises(UsageError, match=f"'{keys[0]}' and '{keys[1]}' could each be"):
        recognise_names(keys)
