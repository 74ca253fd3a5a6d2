"""asym: the published maps by count, the superclasses by real labels, the user's own map, and a run's confusions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from labelled import CIFAR10, REAL, counted, even, refused, view

import scenarios
from robustkd.data.view import View
from scenarios.asym import SUPERCLASSES, Asymmetric

CIFAR100 = tuple(sorted(SUPERCLASSES.split()))  # torchvision's ids are alphabetical
DIGITS = tuple("0123456789")


def goes(words: str, classes: tuple[str, ...] | int, seed: int = 0) -> dict[int, int]:
    """Where each class goes that does not stay."""
    scenario = scenarios.parse(words)
    assert isinstance(scenario, Asymmetric)
    return {i: j for i, j in enumerate(scenario.target_classes(even(1, classes, seed)).tolist()) if i != j}


def test_on_cifar10_half_of_the_classes_are_mapped() -> None:
    before = even(5000, CIFAR10)
    after = scenarios.parse("asym0.4")(before)
    found = counted(before, after)
    for source, target in {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}.items():
        assert found[source][target] == 2000
        assert found[source][source] == 3000
    for untouched in (0, 1, 6, 7, 8):
        assert found[untouched][untouched] == 5000
    assert (after.labels != before.labels).mean() == 0.20
    assert found[3][5] / 5000 == 0.4, "no cat that became a dog becomes a cat again"


def test_maps_are_recognised_by_the_names_of_the_classes() -> None:
    assert goes("asym0.4", CIFAR10) == goes("asym(0.4, map=cifar10)", CIFAR10) == {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
    assert goes("asym0.4", CIFAR100) == goes("asym(0.4, map=superclass)", CIFAR100)
    backwards = goes("asym0.4", CIFAR10[::-1])  # by name, whatever the order
    assert backwards == {9 - i: 9 - j for i, j in {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}.items()}


def called(name: str, classes: tuple[str, ...]) -> View:
    """A label of each class, in a data set of this name."""
    shown = even(1, classes)
    return replace(shown, sources=(replace(shown.sources[0], name=name),))


def test_numerals_are_known_by_the_name_of_the_data_set() -> None:
    """Arrays without class names are called 0 to 9 too, and may be CIFAR-10's."""
    wanted = goes("asym(0.4, map=mnist)", DIGITS)
    assert wanted == {7: 1, 2: 7, 3: 8, 5: 6, 6: 5}
    for name in ("digits", "mnist", "svhn"):
        found = Asymmetric(0.4).target_classes(called(name, DIGITS)).tolist()
        assert {i: j for i, j in enumerate(found) if i != j} == wanted
    for name in ("kmnist", "fashion-mnist", "npz:cifar10.npz", "folder:mnist", "toy"):
        refused(
            "asym0.4",
            called(name, DIGITS),
            "the class names 0 to 9 are ambiguous",
            "asym(0.4, map=mnist)",
            'map="0:1, 1:0"',
        )
    # Names that say what they are do so in any data set.
    assert np.array_equal(
        Asymmetric(0.4).target_classes(called("npz:mine.npz", CIFAR10)), [0, 1, 0, 5, 7, 3, 6, 7, 8, 1]
    )


@pytest.mark.skipif(not (REAL / "cifar10n").is_dir(), reason="no shared data beside the repository")
def test_superclasses_are_those_of_the_real_labels() -> None:
    told = np.load(REAL / "cifar10n" / "cifar100n_labels.npz")
    fine, coarse = told["clean_label"].tolist(), told["clean_coarse_label"].tolist()
    above = dict(zip(fine, coarse, strict=True))
    rings = [sorted(i for i in above if above[i] == ring) for ring in range(20)]
    wanted = {i: ring[(place + 1) % 5] for ring in rings for place, i in enumerate(ring)}
    assert goes("asym0.4", CIFAR100) == wanted
    # The wrong variants leave the superclasses nearly always.
    block = goes("asym(0.4, map=legacy_block)", CIFAR100)
    assert block == {i: i // 5 * 5 + (i + 1) % 5 for i in range(100)}
    assert sum(above[i] == above[j] for i, j in block.items()) < 10


def test_a_legacy_pair_swaps_two_of_each_five() -> None:
    drawn = goes("asym(0.4, map=legacy_pair)", 100)
    assert len(drawn) == 40
    assert all(drawn[j] == i and i // 5 == j // 5 for i, j in drawn.items())
    assert drawn == goes("asym(0.9, map=legacy_pair)", 100)
    assert drawn != goes("asym(0.4, map=legacy_pair)", 100, seed=1)
    before = even(50, 100)
    after = scenarios.parse("asym(0.5, map=legacy_pair)")(before)
    assert (after.labels != before.labels).mean() == 0.4 * 0.5
    pairs = [tuple(sorted(goes("asym(1, map=legacy_pair)", 5, seed))) for seed in range(300)]
    times = [pairs.count((i, j)) for i in range(5) for j in range(i + 1, 5)]
    assert min(times) > 10, "of ten pairs each is drawn about thirty times"


def test_your_own_map_goes_by_names_and_leaves_the_others() -> None:
    pets = ("cat", "red fox", "dog", "cow")
    before = even(10, pets)
    after = scenarios.parse('asym(0.3, map="red fox:dog,dog : red fox, cat:dog")')(before)
    assert counted(before, after) == [[7, 0, 3, 0], [0, 7, 3, 0], [0, 3, 7, 0], [0, 0, 0, 10]]
    assert scenarios.parse('asym(0.3, map="cat:dog")').corruption_rates(before).tolist() == pytest.approx(
        [0.3, 0, 0, 0]
    )
    assert scenarios.parse("asym(0.3, map=cat:dog)")(before).labels[:10].tolist().count(2) == 3


def test_a_runs_confusions_make_a_map(tmp_path: Path) -> None:
    pets = ("cat", "dog", "cow", "hen")
    table = pd.DataFrame([[50, 9, 1, 0], [3, 40, 0, 3], [0, 0, 70, 0], [2, 1, 4, 60]], index=pets, columns=pets)
    table.to_csv(tmp_path / "confusion.csv")  # as a run writes it
    words = f'asym(0.4, map="{tmp_path}/confusion.csv")'
    assert goes(words, pets) == {0: 1, 1: 0, 3: 2}, "cows are never taken for others; of equals the first"
    assert goes(words, ("hen", "cow", "dog", "cat")) == {3: 2, 2: 0, 0: 1}
    refused(words, even(1, ("cat", "dog", "cow", "pig")), "confusion.csv", "'hen'", "no class")
    refused(words, even(1, ("cat", "dog")), "5 lines of 5 values", "2 classes")
    refused(f'asym(0.4, map="{tmp_path}/confusions.csv")', even(1, pets), "did you mean 'confusion.csv'?")


@pytest.mark.parametrize(
    ("words", "classes", "said"),
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
def test_a_map_that_is_none_is_refused(words: str, classes: tuple[str, ...] | int, said: list[str]) -> None:
    refused(words, even(1, classes), *said)


def test_a_long_list_of_classes_is_cut_short() -> None:
    refused("asym(0.4, map=a:b)", view([0], 43), "9 and 33 more")
