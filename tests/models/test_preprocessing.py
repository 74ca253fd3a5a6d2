"""The preparation of images that belongs to weights."""

import pytest

from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.models.preprocessing import Preprocessing, find_preprocessing
from robustkd.registry import Entry, Registry

OWN = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.2, 0.1), 48, 0.9, "bicubic")


def builder(preprocessing):
    def build(channels, classes, *, size=1, pretrained=True):
        raise AssertionError("the net is not built")

    build.preprocessing = preprocessing
    return Registry("net", "robustkd.models", "none", {"mine": Entry(build)})


def test_preprocessing_of_a_builder_with_weights():
    assert find_preprocessing(builder(OWN).parse("mine")) == OWN
    sized = builder(lambda size=1, pretrained=True: Preprocessing(OWN.mean, OWN.std, 32 * size))
    assert find_preprocessing(sized.parse("mine(size=3)")).image_size == 96
    assert find_preprocessing(builder(lambda size=1, pretrained=True: None).parse("mine")) is None


def test_random_weights_have_none():
    assert find_preprocessing(builder(OWN).parse("mine(pretrained=false)")) is None
    assert find_preprocessing(MODELS.parse("wrn_16_2")) is None


def test_another_kind_of_value_is_refused():
    with pytest.raises(UsageError, match="`preprocessing` of its builder is a dict, not a Preprocessing"):
        find_preprocessing(builder({"mean": 0.5}).parse("mine"))
