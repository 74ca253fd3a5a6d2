"""Every method with pairs of timm's networks, convolutional and transformers: it trains, or refuses them in one sentence."""

import csv
import importlib
import re
from functools import cache, partial
from pathlib import Path
from types import ModuleType

import pytest

from robustkd.data.view import View
from robustkd.methods import METHODS
from robustkd.models.net import Network

HOME = Path(__file__).parents[2]
CNN, OTHER_CNN, VIT = "timm:test_resnet", "timm:test_efficientnet", "timm:test_vit"
PAIRS = {"CNN → CNN": (CNN, OTHER_CNN), "ViT → CNN": (VIT, OTHER_CNN), "CNN → ViT": (CNN, VIT)}
# What networks of different families cannot do, and why; all else must train.
REFUSED = {
    "fsp": r"fsp: the student's maps have \[.*\] channels and the teacher's \[.*\]; they should be equal, .*",
    "one": r"one: an external network cannot be split before its last stage; use a resnet or a wrn",
}
COMPARES_FEATURES = (
    "at",
    "amkd(space=embedding, margin=0.5)",
    "crd",
    "fitnet",
    "mffkd",
    "mjkd",
    "mtkd_ssr",
    "rkd_da",
    "sp",
)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))
    return importlib.import_module("networks")


def try_pair(networks: ModuleType, method: str, teacher: str, student: str, side: int, own: int | None = None) -> str:
    """Train a method for a few updates; `own` is the side to which the student resizes images."""
    shape = (3, side, side)
    net, view = teacher_and_view(networks, teacher, networks.count_samples(method, 6), side)
    return networks.try_method(method, net, partial(networks.build_untrained, student, shape, image_size=own), view)


@cache
def teacher_and_view(networks: ModuleType, word: str, samples: int, side: int) -> tuple[Network, View]:
    teacher = networks.build_untrained(word, (3, side, side), seed=1000)
    return teacher, networks.make_view(teacher, (3, side, side), samples)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_with_a_pair_of_networks_or_refuses_it(networks, method, pair):
    result = try_pair(networks, method, *PAIRS[pair], side=32)
    if method in REFUSED:
        assert re.fullmatch(f"refused: {REFUSED[method]}", result)
    else:
        assert result == "yes"


@pytest.mark.parametrize("method", ["at", "fsp", "mffkd"])
def test_transformers_of_one_kind_have_maps_to_compare(networks, method):
    assert try_pair(networks, method, VIT, VIT, side=32) == "yes"


@pytest.mark.parametrize("method", COMPARES_FEATURES)
@pytest.mark.parametrize(("teacher", "student"), PAIRS.values(), ids=PAIRS)
def test_teacher_and_student_may_have_images_of_different_sizes(networks, method, teacher, student):
    assert try_pair(networks, method, teacher, student, side=96, own=64) == "yes"


def test_terms_without_effect_are_faults(networks):
    record = networks.TermRecord
    teacher, view = teacher_and_view(networks, CNN, 12, 32)
    method = networks.construct("at", view, teacher, partial(networks.build_untrained, OTHER_CNN, (3, 32, 32)))
    good = record("train", "ce", 1.0, True, True, True)
    assert networks.find_faults(method, [good, record("train", "at", 2.0, True, True, True)]) == []
    assert networks.find_faults(method, [good, record("train", "at", 0.0, True, True, True)]) == ["train: at is 0"]
    assert "train: at has no gradient" in networks.find_faults(method, [good, record("train", "at", 2.0)])
    only_adapters = networks.find_faults(method, [good, record("train", "at", 2.0, True, True, False)])
    assert only_adapters == ["no term but that of the labels reaches the student"]


def test_the_table_of_the_documentation_is_that_of_the_benchmark(networks):
    with (HOME / "benchmarks" / "networks.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == set(METHODS)
    assert {(row["pair"], row["teacher"], row["student"]) for row in rows} == {
        (p, *n) for p, n in networks.PAIRS.items()
    }
    assert {row["method"] for row in rows if row["result"] != "yes"} == set(REFUSED)
    assert networks.format_table(rows) in (HOME / "docs" / "feature-maps.md").read_text(encoding="utf-8")
