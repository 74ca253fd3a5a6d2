"""asym: counts of the published maps, superclasses of real labels, custom maps and maps from confusions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scenarios
from robustkd.data.view import View
from scenarios.asym import SUPERCLASSES, Asymmetric
from tests.scenarios.labelled import CIFAR10, REAL, assert_rejected, balanced_view, count_transitions, make_view

CIFAR100 = tuple(sorted(SUPERCLASSES.split()))  # torchvision's ids are alphabetical
DIGITS = tuple("0123456789")


def mapped_classes(words: str, classes: tuple[str, ...] | int, seed: int = 0) -> dict[int, int]:
    """Return the mapped classes and their targets."""
    scenario = scenarios.parse(words)
    assert isinstance(scenario, Asymmetric)
    return {i: j for i, j in enumerate(scenario.target_classes(balanced_view(1, classes, seed)).tolist()) if i != j}


def test_on_cifar10_half_of_the_classes_are_mapped() -> None:
    before = balanced_view(5000, CIFAR10)
    after = scenarios.parse("asym0.4")(before)
    counts = count_transitions(before, after)
    for source, target in {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}.items():
        assert counts[source][target] == 2000
        assert counts[source][source] == 3000
    for untouched in (0, 1, 6, 7, 8):
        assert counts[untouched][untouched] == 5000
    assert (after.labels != before.labels).mean() == 0.20
    assert counts[3][5] / 5000 == 0.4, "a cat that became a dog does not become a cat again"


def test_maps_are_recognised_by_class_names() -> None:
    assert (
        mapped_classes("asym0.4", CIFAR10)
        == mapped_classes("asym(0.4, map=cifar10)", CIFAR10)
        == {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
    )
    assert mapped_classes("asym0.4", CIFAR100) == mapped_classes("asym(0.4, map=superclass)", CIFAR100)
    backwards = mapped_classes("asym0.4", CIFAR10[::-1])  # by name, independent of the order
    assert backwards == {9 - i: 9 - j for i, j in {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}.items()}


def view_of_dataset(name: str, classes: tuple[str, ...]) -> View:
    """Return a label of each class in a data set of this name."""
    shown = balanced_view(1, classes)
    return replace(shown, sources=(replace(shown.sources[0], name=name),))


def test_numerals_are_recognised_by_the_name_of_the_data_set() -> None:
    """Classes of arrays without class names are called 0 to 9 too, and could be those of CIFAR-10."""
    expected = mapped_classes("asym(0.4, map=mnist)", DIGITS)
    assert expected == {7: 1, 2: 7, 3: 8, 5: 6, 6: 5}
    for name in ("digits", "mnist", "svhn"):
        targets = Asymmetric(0.4).target_classes(view_of_dataset(name, DIGITS)).tolist()
        assert {i: j for i, j in enumerate(targets) if i != j} == expected
    for name in ("kmnist", "fashion-mnist", "npz:cifar10.npz", "folder:mnist", "toy"):
        assert_rejected(
            "asym0.4",
            view_of_dataset(name, DIGITS),
            "the class names 0 to 9 are ambiguous",
            "asym(0.4, map=mnist)",
            'map="0:1, 1:0"',
        )
    # Distinctive class names are recognised in any data set.
    assert np.array_equal(
        Asymmetric(0.4).target_classes(view_of_dataset("npz:mine.npz", CIFAR10)), [0, 1, 0, 5, 7, 3, 6, 7, 8, 1]
    )


@pytest.mark.skipif(not (REAL / "cifar10n").is_dir(), reason="the shared data is missing")
def test_superclasses_are_those_of_the_real_labels() -> None:
    columns = np.load(REAL / "cifar10n" / "cifar100n_labels.npz")
    fine, coarse = columns["clean_label"].tolist(), columns["clean_coarse_label"].tolist()
    superclass = dict(zip(fine, coarse, strict=True))
    rings = [sorted(i for i in superclass if superclass[i] == ring) for ring in range(20)]
    expected = {i: ring[(place + 1) % 5] for ring in rings for place, i in enumerate(ring)}
    assert mapped_classes("asym0.4", CIFAR100) == expected
    # The legacy map rarely stays within a superclass.
    block = mapped_classes("asym(0.4, map=legacy_block)", CIFAR100)
    assert block == {i: i // 5 * 5 + (i + 1) % 5 for i in range(100)}
    assert sum(superclass[i] == superclass[j] for i, j in block.items()) < 10


def test_legacy_pair_swaps_two_classes_of_each_five() -> None:
    drawn = mapped_classes("asym(0.4, map=legacy_pair)", 100)
    assert len(drawn) == 40
    assert all(drawn[j] == i and i // 5 == j // 5 for i, j in drawn.items())
    assert drawn == mapped_classes("asym(0.9, map=legacy_pair)", 100)
    assert drawn != mapped_classes("asym(0.4, map=legacy_pair)", 100, seed=1)
    before = balanced_view(50, 100)
    after = scenarios.parse("asym(0.5, map=legacy_pair)")(before)
    assert (after.labels != before.labels).mean() == 0.4 * 0.5
    pairs = [tuple(sorted(mapped_classes("asym(1, map=legacy_pair)", 5, seed))) for seed in range(300)]
    times = [pairs.count((i, j)) for i in range(5) for j in range(i + 1, 5)]
    assert min(times) > 10, "each of ten pairs is drawn about thirty times"


def test_a_custom_map_uses_names_and_leaves_other_classes() -> None:
    pets = ("cat", "red fox", "dog", "cow")
    before = balanced_view(10, pets)
    after = scenarios.parse('asym(0.3, map="red fox:dog,dog : red fox, cat:dog")')(before)
    assert count_transitions(before, after) == [[7, 0, 3, 0], [0, 7, 3, 0], [0, 3, 7, 0], [0, 0, 0, 10]]
    assert scenarios.parse('asym(0.3, map="cat:dog")').corruption_rates(before).tolist() == pytest.approx(
        [0.3, 0, 0, 0]
    )
    assert scenarios.parse("asym(0.3, map=cat:dog)")(before).labels[:10].tolist().count(2) == 3


def test_a_map_from_the_confusions_of_a_run(tmp_path: Path) -> None:
    pets = ("cat", "dog", "cow", "hen")
    table = pd.DataFrame([[50, 9, 1, 0], [3, 40, 0, 3], [0, 0, 70, 0], [2, 1, 4, 60]], index=pets, columns=pets)
    table.to_csv(tmp_path / "confusion.csv")  # in the format of a run
    words = f'asym(0.4, map="{tmp_path}/confusion.csv")'
    assert mapped_classes(words, pets) == {0: 1, 1: 0, 3: 2}, "cows are never confused; the first class if tied"
    assert mapped_classes(words, ("hen", "cow", "dog", "cat")) == {3: 2, 2: 0, 0: 1}
    assert_rejected(words, balanced_view(1, ("cat", "dog", "cow", "pig")), "confusion.csv", "'hen'", "no class")
    assert_rejected(words, balanced_view(1, ("cat", "dog")), "5 lines of 5 values", "2 classes")
    assert_rejected(
        f'asym(0.4, map="{tmp_path}/confusions.csv")', balanced_view(1, pets), "did you mean 'confusion.csv'?"
    )


@pytest.mark.parametrize(
    ("words", "classes", "parts"),
    [
        ("asym0.4", ("cat", "dog"), ['asym(0.4, map="cat:dog, dog:cat")', "map=confusion.csv"]),
        (
            "asym(0.4, map=cifar01)",
            DIGITS,
            ["there is no map 'cifar01' (did you mean 'cifar10'?); there are: auto", "legacy_pair"],
        ),
        ("asym(0.4, map=cifar10)", ("cat", "truk"), ["map=cifar10", "no class 'truck' (did you mean 'truk'?)"]),
        ("asym(0.4, map=superclass)", DIGITS, ["map=superclass", "no class 'beaver'", "there are: 0, 1"]),
        ('asym(0.4, map="cat:dgo")', ("cat", "dog"), ["no class 'dgo' (did you mean 'dog'?)"]),
        ('asym(0.4, map="Cat:dog")', ("cat", "dog"), ["no class 'Cat' (did you mean 'cat'?)"]),
        ('asym(0.4, map="cat:dog, dog")', ("cat", "dog"), ["'dog' is not a pair", "'cat:dog'"]),
        ('asym(0.4, map="cat:dog, cat:cow")', ("cat", "dog", "cow"), ["two targets of class 'cat', expected one"]),
        ("asym(0.4, map=legacy_block)", ("cat", "dog"), ["blocks of five", "the number of classes is 2"]),
        ("asym(0.4, map=legacy_pair)", 7, ["blocks of five", "the number of classes is 7"]),
        ("asym(1.4)", DIGITS, ["less than or equal to 1"]),
    ],
)
def test_an_invalid_map_is_rejected(words: str, classes: tuple[str, ...] | int, parts: list[str]) -> None:
    assert_rejected(words, balanced_view(1, classes), *parts)


def test_a_long_list_of_classes_is_truncated() -> None:
    assert_rejected("asym(0.4, map=a:b)", make_view([0], 43), "9 and 33 more")
