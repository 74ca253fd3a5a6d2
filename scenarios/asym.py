"""asym: asymmetric label noise, each class taken for one that looks like it.

T[i, i] = 1 - r,  T[i, m(i)] = r     where the map m takes class i to another; T[i, i] = 1 where it does not

map          m
auto         the published one: cifar10 or superclass where the classes are theirs, mnist for digits, mnist and svhn, whose
             classes are called 0 to 9 as those of any data set may be
cifar10      truck > automobile, bird > airplane, deer > horse, cat <> dog (Patrini et al., arXiv 1609.03683)
mnist        7 > 1, 2 > 7, 3 > 8, 5 <> 6 (the same)
superclass   CIFAR-100: each class to the next of the five in its superclass, the last to the first
"cat:dog, dog:cat"       your own, by class names
confusion.csv            each class to the one it is most often taken for, of equals the first; a run's table will do

On CIFAR-10 five classes of ten are mapped, so the overall rate is r / 2: asym0.4 has 20 % wrong labels. Each label is changed
once, from what was shown: relabelling class by class in place, as ELR's published code does, moves cats that became
dogs back, and leaves 0.236 of the cats as dogs where 0.4 was asked for.

Two more maps are in the literature under CIFAR-100's name, and go by ids that are alphabetical, not by superclass:
legacy_block   each class to the next in its block of five consecutive ids (Patrini et al.'s and ELR's code)
legacy_pair    in each such block two classes, drawn by the seed, into each other, so the overall rate is 0.4 r (SCE's code)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data.view import Labels, View
from robustkd.errors import UsageError, did_you_mean, unknown_name
from robustkd.types import Share
from scenarios.base import Draws, MatrixNoise
from scenarios.matrix import read_class_matrix

CIFAR10 = "truck:automobile, bird:airplane, deer:horse, cat:dog, dog:cat"
MNIST = "7:1, 2:7, 3:8, 5:6, 6:5"
# CIFAR-100's twenty superclasses in their order, the classes of each in the order of their ids.
SUPERCLASSES = """
    beaver dolphin otter seal whale
    aquarium_fish flatfish ray shark trout
    orchid poppy rose sunflower tulip
    bottle bowl can cup plate
    apple mushroom orange pear sweet_pepper
    clock keyboard lamp telephone television
    bed chair couch table wardrobe
    bee beetle butterfly caterpillar cockroach
    bear leopard lion tiger wolf
    bridge castle house road skyscraper
    cloud forest mountain plain sea
    camel cattle chimpanzee elephant kangaroo
    fox porcupine possum raccoon skunk
    crab lobster snail spider worm
    baby boy girl man woman
    crocodile dinosaur lizard snake turtle
    hamster mouse rabbit shrew squirrel
    maple_tree oak_tree palm_tree pine_tree willow_tree
    bicycle bus motorcycle pickup_truck train
    lawn_mower rocket streetcar tank tractor
"""
CLASSES_BY_MAP = {
    "cifar10": frozenset(["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]),
    "superclass": frozenset(SUPERCLASSES.split()),
}
NUMERAL_DATASETS = ("digits", "mnist", "svhn")  # data sets whose classes are numerals
MAPS = ("auto", "cifar10", "mnist", "superclass", "legacy_block", "legacy_pair")


@dataclass(frozen=True)
class Asymmetric(MatrixNoise):
    """A share of each class that a map names is shown as the class that the map takes it to."""

    rate: Share
    map: str = "auto"
    draws: Draws = "exact"

    def transition_matrix(self, view: View) -> NDArray[np.float64]:
        """T: (K, K).

        Raises:
            UsageError: the map is none, or not one for these classes.
        """
        goes, kept = self.target_classes(view), np.eye(len(view.classes))
        mapped = (goes != np.arange(len(goes)))[:, None]
        return np.where(mapped, (1 - self.rate) * kept + self.rate * kept[goes], kept)

    def target_classes(self, view: View) -> Labels:
        """The class that each is taken for, itself where the map does not name it: (K,).

        Raises:
            UsageError: as for `matrix`.
        """
        classes, name = view.classes, self.map
        if name == "auto":
            name = self.published_map(view)
        if name in ("cifar10", "mnist"):
            return parse_class_map(f"asym: map={name}", CIFAR10 if name == "cifar10" else MNIST, classes)
        if name == "superclass":
            rings = [line.split() for line in SUPERCLASSES.split("\n") if line.strip()]
            cycles = (f"{a}:{b}" for ring in rings for a, b in zip(ring, ring[1:] + ring[:1], strict=True))
            return parse_class_map("asym: map=superclass", ", ".join(cycles), classes)
        if name in ("legacy_block", "legacy_pair"):
            return legacy_class_map(view, pairs=name == "legacy_pair")
        if name.lower().endswith(".csv"):
            return class_map_from_confusions("asym", name, classes)
        if ":" in name:
            return parse_class_map("asym", name, classes)
        raise UsageError(
            f"asym: no map is called '{name}'{did_you_mean(name, MAPS)}; there are: {', '.join(MAPS)},"
            f' your own as in map="{classes[0]}:{classes[1]}", and a .csv file of confusions'
        )

    def published_map(self, view: View) -> str:
        """The map that auto stands for.

        Raises:
            UsageError: none was published for these classes, or they are called by numbers, which says nothing.
        """
        source, classes = view.sources[0].name, view.classes
        known = next((known for known, names in CLASSES_BY_MAP.items() if names == set(classes)), None)
        if known or source in NUMERAL_DATASETS:
            return known or "mnist"
        why = "there is no published map for these classes:"
        if set(classes) == set("0123456789"):
            why = f"classes called 0 to 9 may be anything: asym({self.rate:g}, map=mnist) says that they are numerals; else"
        plain = [name for name in classes if not set(name) & set(",:\"'")][:2]  # what a map has signs for
        own = " "
        if len(plain) == 2:
            pairs = f"{plain[0]}:{plain[1]}, {plain[1]}:{plain[0]}"
            own = f' yours by their names, as in asym({self.rate:g}, map="{pairs}"), or '
        raise UsageError(f"asym: {why} give{own}a run's confusions, as in asym({self.rate:g}, map=confusion.csv)")


def parse_class_map(word: str, text: str, classes: tuple[str, ...]) -> Labels:
    """A map by class names, as in "cat:dog, dog:cat": (K,).

    >>> parse_class_map("asym", "red fox:dog, dog:red fox", ("cat", "dog", "red fox"))
    array([0, 2, 1])

    Raises:
        UsageError: a part is no pair, names no class, or takes a class a second time.
    """
    number = {name: i for i, name in enumerate(classes)}
    goes, seen = np.arange(len(classes)), set()
    for part in (part.strip() for part in text.split(",")):
        source, found, target = (side.strip() for side in part.partition(":"))
        if not found:
            raise UsageError(f"{word}: '{part}' is not a pair of class names such as '{classes[0]}:{classes[1]}'")
        strange = next((side for side in (source, target) if side not in number), None)
        if strange is not None:
            raise UsageError(f"{word}: {unknown_name('class', strange, classes)}")
        if source in seen:
            raise UsageError(f"{word}: the map takes '{source}' to two classes, but one is wanted")
        seen.add(source)
        goes[number[source]] = number[target]
    return goes


def legacy_class_map(view: View, *, pairs: bool) -> Labels:
    """Within blocks of five consecutive ids, each class to the next, or two that the seed draws into each other: (K,).

    Raises:
        UsageError: the classes are no multiple of five.
    """
    classes = len(view.classes)
    if classes % 5:
        raise UsageError(f"asym: legacy maps go by blocks of five classes, but there are {classes}")
    ids = np.arange(classes).reshape(-1, 5)
    if not pairs:
        return np.roll(ids, -1, axis=1).reshape(-1)
    drawn = np.argsort(seeds.row_keys(view.draw("pair"), ids.reshape(-1)).reshape(-1, 5), axis=1)[:, :2] + ids[:, :1]
    goes = np.arange(classes)
    goes[drawn] = drawn[:, ::-1]
    return goes


def class_map_from_confusions(word: str, file: str, classes: tuple[str, ...]) -> Labels:
    """The class that each is most often taken for by a table of confusions, row = class, column = taken for: (K,).

    Raises:
        UsageError: the file is no such table.
    """
    wrong = read_class_matrix(word, file, classes)
    np.fill_diagonal(wrong, 0)
    return np.where(wrong.max(axis=1) > 0, wrong.argmax(axis=1), np.arange(len(classes)))
