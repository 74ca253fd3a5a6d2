"""Parts recognised by the folder names of public data sets, and names that are left alone."""

import pytest

from robustkd.data.part_names import match_part_names


@pytest.mark.parametrize(
    ("train", "val", "test", "others"),
    [
        ("Training", None, "Testing", []),  # brain tumour MRI
        ("seg_train", None, "seg_test", ["seg_pred"]),  # Intel scenes
        ("training_set", None, "test_set", ["single_prediction"]),  # cats and dogs
        ("Training_Set", "Evaluation_Set", "Test_Set", []),  # RFMiD
        ("training", "validation", "evaluation", []),  # Food-11
        ("TRAIN", None, "TEST", ["TEST_SIMPLE"]),  # blood cells
        ("Training", None, "Test", ["test-multiple_sizes", "papers"]),  # Fruits-360
        ("asl_alphabet_train", None, "asl_alphabet_test", []),
        ("ILSVRC2012_img_train", "ILSVRC2012_img_val", None, []),
        ("Final_Training", None, "Final_Test", []),  # GTSRB
        ("train", "valid", "test", ["images to predict"]),
        ("train", "dev", "eval", []),
        ("train2017", "val2017", None, []),
        ("TrainingSet", "Validation Images", None, []),
        ("train", None, None, ["bus", "car"]),
    ],
)
def test_the_names_of_public_data_sets(train, val, test, others):
    expected = {name: part for name, part in ((train, "train"), (val, "val"), (test, "test")) if name}
    assert match_part_names([*expected, *others]) == expected
    assert match_part_names([*others, *reversed(expected)]) == expected


@pytest.mark.parametrize(
    "names",
    [
        ["cat", "dog"],
        ["valid", "invalid"],
        ["test", "control"],
        ["bullet_train", "freight_train"],
        ["train-clean", "train-noisy"],
        ["strain", "latest", "valley"],
        [],
    ],
)
def test_other_names_are_no_parts(names):
    assert match_part_names(names) == {}
