"""Parameters that name a net's first weights."""

from pathlib import Path

import pytest
from torch import nn

from robustkd.models import MODELS
from robustkd.models.weight_sources import carries_weights, checkpoint_files, with_checkpoint, without_weights
from robustkd.registry import Entry, Registry


def plugged(channels, classes, *, width=4, pretrained=True, weights=None):
    return nn.Linear(channels, classes)


NETS = Registry("net", "robustkd.models", "none", {"plugged": Entry(plugged)})


@pytest.mark.parametrize(
    ("text", "carries", "bare"),
    [
        ("plugged", True, "plugged(pretrained=False)"),
        ("plugged(8)", True, "plugged(pretrained=False, width=8)"),
        ("plugged(pretrained=false)", False, "plugged(pretrained=false)"),
        ("plugged(pretrained=false, weights=V1)", True, "plugged(pretrained=False)"),
        ("plugged(weights=V1)", True, "plugged(pretrained=False)"),
    ],
)
def test_weights_named_by_parameters_and_by_a_builders_defaults(text, carries, bare):
    spec = NETS.parse(text)
    assert carries_weights(spec) is carries
    assert without_weights(spec).text == bare
    assert not carries_weights(NETS.parse(bare))
    assert without_weights(spec).kwargs() == NETS.parse(bare).kwargs()


def test_nets_of_this_package_start_from_random_weights():
    spec = MODELS.parse("wrn_16_2")
    assert not carries_weights(spec)
    assert without_weights(spec) == spec
    assert checkpoint_files(spec) == ()
    assert with_checkpoint(spec, Path("weights.pth")) is None
