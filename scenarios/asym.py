"""asym: asymmetric label noise, each class mislabelled as a similar one.

T[i, i] = 1 - r,  T[i, m(i)] = r     where m maps class i to another class; T[i, i] = 1 where it does not

map          m
auto         the published map: cifar10 or superclass if the class names match, mnist for the data sets digits, mnist and
             svhn (recognised by the data set's name, since the class names 0 to 9 occur in any data set)
cifar10      truck > automobile, bird > airplane, deer > horse, cat <> dog (Patrini et al., arXiv 1609.03683)
mnist        7 > 1, 2 > 7, 3 > 8, 5 <> 6 (the same)
superclass   CIFAR-100: each class to the next of the five in its superclass, the last to the first
"cat:dog, dog:cat"       a custom map by class names
confusion.csv            each class to the one it is most often confused with, the first if tied; a run writes such a table

On CIFAR-10 five of ten classes are mapped, so the overall rate is r / 2: asym0.4 has 20 % wrong labels. Each label is changed
at most once, from the label shown. ELR's published code relabels class by class in place, which turns some of the cats that
became dogs back into cats: 0.236 of the cats become dogs at a nominal rate of 0.4.

Two more maps are used in the literature for CIFAR-100. They use the ids, which are alphabetical, not the superclasses:
legacy_block   each class to the next in its block of five consecutive ids (code of Patrini et al. and of ELR)
legacy_pair    two classes of each such block, drawn by seed, to each other, so the overall rate is 0.4 r (code of SCE)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data.class_matrix import read_class_matrix
from robustkd.data.view import Labels, View
from robustkd.errors import UsageError, did_you_mean, unknown_name
from robustkd.types import Share
from scenarios.base import Draws, MatrixNoise

CIFAR10 = "truck:automobile, bird:airplane, deer:horse, cat:dog, dog:cat"
MNIST = "7:1, 2:7, 3:8, 5:6, 6:5"
# CIFAR-100's twenty superclasses in order, the classes of each in the order of their ids.
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
    """Noise that relabels a fraction of each mapped class as the class that it is mapped to."""

    rate: Share
    map: str = "auto"
    draws: Draws = "exact"

    def transition_matrix(self, view: View) -> NDArray[np.float64]:
        """Return T: (K, K).

        Raises:
            UsageError: The map is unknown or does not fit these classes.
        """
        targets, identity = self.target_classes(view), np.eye(len(view.classes))
        mapped = (targets != np.arange(len(targets)))[:, None]
        return np.where(mapped, (1 - self.rate) * identity + self.rate * identity[targets], identity)

    def target_classes(self, view: View) -> Labels:
        """Return the class that each class is mapped to, itself if it is not mapped: (K,).

        Raises:
            UsageError: As for `transition_matrix`.
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
            f"asym: there is no map '{name}'{did_you_mean(name, MAPS)}; there are: {', '.join(MAPS)},"
            f' a custom map as in map="{classes[0]}:{classes[1]}", and a .csv file of confusions'
        )

    def published_map(self, view: View) -> str:
        """Return the published map that auto resolves to.

        Raises:
            UsageError: There is none for these classes, or their names are the numbers 0 to 9, which are ambiguous.
        """
        source, classes = view.sources[0].name, view.classes
        known = next((known for known, names in CLASSES_BY_MAP.items() if names == set(classes)), None)
        if known or source in NUMERAL_DATASETS:
            return known or "mnist"
        reason = "there is no published map for these classes:"
        if set(classes) == set("0123456789"):
            reason = f"the class names 0 to 9 are ambiguous: for numerals use asym({self.rate:g}, map=mnist); otherwise"
        plain = [name for name in classes if not set(name) & set(",:\"'")][:2]  # names without the syntax of a map
        custom = " "
        if len(plain) == 2:
            pairs = f"{plain[0]}:{plain[1]}, {plain[1]}:{plain[0]}"
            custom = f' a map by class names, as in asym({self.rate:g}, map="{pairs}"), or '
        raise UsageError(
            f"asym: {reason} give{custom}the confusions of a run, as in asym({self.rate:g}, map=confusion.csv)"
        )


def parse_class_map(word: str, text: str, classes: tuple[str, ...]) -> Labels:
    """Parse a map by class names, as in "cat:dog, dog:cat": (K,).

    >>> parse_class_map("asym", "red fox:dog, dog:red fox", ("cat", "dog", "red fox"))
    array([0, 2, 1])

    Raises:
        UsageError: A part is not a pair, names an unknown class, or maps a class a second time.
    """
    number = {name: i for i, name in enumerate(classes)}
    targets, mapped = np.arange(len(classes)), set()
    for part in (part.strip() for part in text.split(",")):
        source, separator, target = (side.strip() for side in part.partition(":"))
        if not separator:
            raise UsageError(f"{word}: '{part}' is not a pair of class names such as '{classes[0]}:{classes[1]}'")
        unknown = next((side for side in (source, target) if side not in number), None)
        if unknown is not None:
            raise UsageError(f"{word}: {unknown_name('class', unknown, classes)}")
        if source in mapped:
            raise UsageError(f"{word}: the map names two targets of class '{source}', expected one")
        mapped.add(source)
        targets[number[source]] = number[target]
    return targets


def legacy_class_map(view: View, *, pairs: bool) -> Labels:
    """Map classes within blocks of five consecutive ids: each to the next, or two drawn by seed to each other: (K,).

    Raises:
        UsageError: The number of classes is not a multiple of five.
    """
    classes = len(view.classes)
    if classes % 5:
        raise UsageError(f"asym: legacy maps use blocks of five classes, but the number of classes is {classes}")
    ids = np.arange(classes).reshape(-1, 5)
    if not pairs:
        return np.roll(ids, -1, axis=1).reshape(-1)
    drawn = (
        np.argsort(seeds.row_keys(view.derive_seed("pair"), ids.reshape(-1)).reshape(-1, 5), axis=1)[:, :2] + ids[:, :1]
    )
    targets = np.arange(classes)
    targets[drawn] = drawn[:, ::-1]
    return targets


def class_map_from_confusions(word: str, file: str, classes: tuple[str, ...]) -> Labels:
    """Map each class to the one it is most often confused with, from a table with row = class, column = prediction: (K,).

    Raises:
        UsageError: The file is not such a table.
    """
    confusions = read_class_matrix(word, file, classes)
    np.fill_diagonal(confusions, 0)
    return np.where(confusions.max(axis=1) > 0, confusions.argmax(axis=1), np.arange(len(classes)))
