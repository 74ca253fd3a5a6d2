"""Classifiers of timm."""

import importlib
from typing import Any

from torch import nn

from robustkd.errors import UsageError, did_you_mean, needs_packages


def timm_net(channels: int, classes: int, image_size: int, *, name: str) -> nn.Module:
    """Build a classifier of timm; build_network wraps it and adapts it to the images' channels.

    Raises:
        UsageError: timm is not installed or has no such classifier.
    """
    timm = import_timm(name)
    config = timm.get_pretrained_cfg(name)
    options = {"img_size": image_size} if config.fixed_input_size else {}
    model: nn.Module = timm.create_model(
        name, num_classes=classes, in_chans=3 if channels == 1 else channels, **options
    )
    return model


def import_timm(name: str) -> Any:
    """Import timm, which takes seconds, and check that it has a model.

    Raises:
        UsageError: it is not installed, or has no such model.
    """
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise UsageError(needs_packages(f"timm:{name}", "timm")) from None
    if not timm.is_model(name):
        raise UsageError(f"timm:{name}: timm has no model of this name{did_you_mean(name, timm.list_models())}")
    return timm
