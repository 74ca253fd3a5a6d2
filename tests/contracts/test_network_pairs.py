"""Every method with pairs of timm's networks, convolutional and transformers: it trains, or refuses them in one sentence."""

import copy
import csv
import importlib
import re
from functools import cache, partial
from pathlib import Path
from types import ModuleType

import pytest

from robustkd.data.view import View
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.models.build import build_network
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
PERTURBS = ("bss", "amkd")  # images that both networks classify correctly: it takes more, so that there are some
SIDE = 32


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))
    return importlib.import_module("networks")


@cache
def cached_network(word: str, seed: int, side: int, own_side: int | None) -> Network:
    return build_network(
        MODELS.parse(word),
        shape=(3, side, side),
        image_size=own_side,
        classes=3,
        mean=[0.5] * 3,
        std=[0.25] * 3,
        seed=seed,
    )


def build(word: str, seed: int, side: int = SIDE, own_side: int | None = None) -> Network:
    return copy.deepcopy(cached_network(word, seed, side, own_side))


@cache
def teacher_and_view(module: ModuleType, word: str, samples: int, side: int = SIDE) -> tuple[Network, View]:
    teacher = build(word, 1000, side)
    return teacher, module.make_view(teacher, (3, side, side), samples)


def samples_for(method: str) -> int:
    return 48 if method.startswith(PERTURBS) else 12


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_with_a_pair_of_networks_or_refuses_it(networks, method, pair):
    epochs = 2 if method == "psd" else 1  # it learns from the previous epoch
    teacher, view = teacher_and_view(networks, PAIRS[pair][0], samples_for(method))
    result = networks.try_method(method, teacher, partial(build, PAIRS[pair][1]), view, epochs)
    if method in REFUSED:
        assert re.fullmatch(f"refused: {REFUSED[method]}", result)
    else:
        assert result == "yes"


@pytest.mark.parametrize("method", ["at", "fsp", "mffkd"])
def test_transformers_of_one_kind_have_maps_to_compare(networks, method):
    teacher, view = teacher_and_view(networks, VIT, 12)
    assert networks.try_method(method, teacher, partial(build, VIT), view, 1) == "yes"


@pytest.mark.parametrize("method", COMPARES_FEATURES)
@pytest.mark.parametrize(("teacher", "student"), [(CNN, OTHER_CNN), (VIT, OTHER_CNN), (CNN, VIT)])
def test_teacher_and_student_may_have_images_of_different_sizes(networks, method, teacher, student):
    net, view = teacher_and_view(networks, teacher, samples_for(method), 96)
    assert networks.try_method(method, net, partial(build, student, side=96, own_side=64), view, 1) == "yes"


def test_terms_without_effect_are_faults(networks):
    record = networks.TermRecord
    teacher, view = teacher_and_view(networks, CNN, 12)
    method = networks.construct("at", view, teacher, partial(build, OTHER_CNN))
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
    assert networks.format_table(rows) in (HOME / "docs" / "networks.md").read_text(encoding="utf-8")
