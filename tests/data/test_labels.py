"""Encoding labels, clean labels, groups and parts; the fingerprint of what is trained on."""

from typing import Any

import numpy as np
import pytest

from robustkd.data.labels import Annotations, ColumnNames, encode_labels
from robustkd.errors import UsageError
from tests.data.image_files import annotated_source


def raw(*values: Any) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def test_classes_are_the_sorted_labels() -> None:
    texts = encode_labels("toy", raw("dog", "cat", "Eel", "cat"))
    assert texts.classes == ("Eel", "cat", "dog")
    assert texts.labels.tolist() == [2, 1, 0, 1]
    assert texts.labels.dtype == np.int64
    numbers = encode_labels("toy", np.array([10, 9, 10, 100]))
    assert numbers.classes == ("9", "10", "100")  # by size, not by letter
    assert (texts.truth, texts.parts, texts.groups) == (None, None, None)


@pytest.mark.parametrize("form", ["{}", "{:02}", "{}.0", "{:+}"])
def test_whole_numbers_as_text_are_in_the_order_of_numbers(form: str) -> None:
    numbers = [10, 2, 0, 11, 1, 2]
    annotations = encode_labels("toy", raw(*map(form.format, numbers)), clean=raw(*map(form.format, numbers)))
    assert annotations.classes == tuple(form.format(number) for number in (0, 1, 2, 10, 11))
    assert annotations.labels.tolist() == [3, 2, 0, 4, 1, 2]
    assert annotations.truth is not None
    assert annotations.truth.tolist() == annotations.labels.tolist()


@pytest.mark.parametrize("names", [["10", "9", "b"], ["10", "9", "1e3"], ["1.5", "10.25"], ["٣", "١"]])
def test_other_labels_are_in_alphabetical_order(names: list[str]) -> None:
    assert encode_labels("toy", raw(*names)).classes == tuple(sorted(names))


def test_class_names_apply_to_integers_only() -> None:
    names = np.array(["zero", "one", "two"])
    assert encode_labels("toy", np.array([2, 0, 2]), class_names=names).classes == ("zero", "two")
    assert encode_labels("toy", raw("b", "a"), class_names=names).classes == ("a", "b")
    with pytest.raises(UsageError, match=r"^toy: classes has names for 0 to 2, but label ranges from 1 to 3$"):
        encode_labels("toy", np.array([1, 3]), class_names=names)


def test_clean_labels_are_the_truth_of_their_rows() -> None:
    annotations = encode_labels("toy", raw("a", "b", "a", "b"), clean=raw("b", None, "", "b"))
    assert annotations.truth is not None
    assert annotations.truth.tolist() == [1, -1, -1, 1]
    assert encode_labels("toy", np.array([0, 1]), clean=np.array([-1, -1])).truth is None


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    groups = encode_labels("toy", raw("a", "b", "a", "b", "a"), groups=raw("x", "", "x", None, " ")).groups
    assert groups is not None
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 4
    assert encode_labels("toy", raw("a", "b"), groups=raw("", None)).groups is None


def test_parts_have_aliases_in_any_case() -> None:
    parts = raw("Train", "train", "VALID", "validation", "Test")
    annotations = encode_labels("toy", raw("a", "b", "a", "b", "a"), parts=parts)
    assert annotations.parts is not None
    assert annotations.parts.tolist() == ["train", "train", "val", "val", "test"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": raw("a", None)}, "item 1 has no kind"),
        ({"labels": raw("a", "a")}, "kind is 'a' in all rows, but at least two classes are needed"),
        ({"clean": raw("a", "c")}, r"item 1: checked 'c' is not among the labels"),
        ({"parts": raw("train", "tset")}, r"item 1: half 'tset' is none of train, val, test \(did you mean 'test'\?\)"),
        ({"parts": raw("train", "")}, "item 1 has no half, but other rows have one"),
        ({"parts": raw("test", "val")}, "half leaves no row for training"),
        ({"parts": raw("train", "test")}, "val or test has classes that train does not have: b"),
        (
            {"labels": raw("a", "b", "a"), "parts": raw("train", "train", "test"), "groups": raw("p", "q", "p")},
            "patient 'p' is in train and test, but a group must not be divided",
        ),
    ],
)
def test_errors_use_the_names_and_locations_of_the_user(options: dict[str, Any], message: str) -> None:
    inputs = {"labels": raw("a", "b"), **options}
    with pytest.raises(UsageError, match=f"^toy: {message}"):
        encode_labels(
            "toy",
            inputs.pop("labels"),
            columns=ColumnNames("kind", "checked", "patient", "half"),
            locate="item {}".format,
            **inputs,
        )


def test_rows_can_be_selected() -> None:
    annotations = encode_labels(
        "toy", raw("a", "b", "a"), clean=raw("a", "", "b"), groups=raw("p", "q", "p"), parts=raw(*["train"] * 3)
    )
    chosen = annotations.take(np.array([True, False, True]))
    assert chosen.labels.tolist() == [0, 0]
    assert chosen.classes == ("a", "b")
    assert all(array is not None and len(array) == 2 for array in (chosen.truth, chosen.groups, chosen.parts))
    assert chosen.classes_without_training_rows() == ["b"]
    assert annotations.classes_without_training_rows() == []
    plain = Annotations(np.array([0, 1]), ("a", "b")).take(np.array([True, False]))
    assert (plain.truth, plain.parts, plain.groups) == (None, None, None)


def test_class_names_with_control_characters_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^toy: the class 'a\\x1b' has a control character in its name: rename it$"):
        Annotations(np.array([0, 1]), ("a\x1b", "b")).to_source("toy", np.zeros((2, 1, 2, 2), np.uint8), flips=False)


def test_a_known_digest_of_the_images_gives_the_same_fingerprint() -> None:
    from robustkd.hashing import digest

    images = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2)
    annotations = Annotations(np.array([0, 1]), ("a", "b"))
    computed = annotations.to_source("toy", images, flips=False)
    assert annotations.to_source("toy", images, flips=False, images_digest=digest(images)).fingerprint == (
        computed.fingerprint
    )


def test_the_fingerprint_depends_on_what_is_trained_on_only():
    same = annotated_source().fingerprint
    assert same == "72ebd0b4df99838c"  # manifests and studies refer to it
    assert (
        annotated_source(clean=None).fingerprint
        == annotated_source(groups=None).fingerprint
        == annotated_source(name="other").fingerprint
        == same
    )
    ten = {"labels": annotated_source().labels + 10, "classes": ["x"] * 10 + ["ä", "b, c", "NA"], "clean": None}
    assert annotated_source(**ten).fingerprint == same  # other numbers for the same classes
    changed = [
        annotated_source(images=np.zeros((8, 5, 6, 3), np.uint8)),
        annotated_source(labels=np.array([0, 1, 2, 1, 0, 1, 2, 1])),
        annotated_source(classes=["a", "b, c", "NA"]),
        annotated_source(parts=None),
        annotated_source(parts=["train"] * 5 + ["test", "train", "val"]),
        annotated_source(flips=False),
    ]
    assert len({same, *(source.fingerprint for source in changed)}) == 7
    assert annotated_source(parts=["train"] * 8).fingerprint == annotated_source(parts=None).fingerprint
