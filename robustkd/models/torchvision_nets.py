"""Classifiers of torchvision."""

import importlib

from torch import nn

from robustkd.errors import UsageError, did_you_mean, needs_packages


def torchvision_net(channels: int, classes: int, *, name: str) -> nn.Module:
    """Build a randomly initialised torchvision classifier; build_network wraps it and adapts it to the images' channels.

    Raises:
        UsageError: torchvision is not installed or has no such classifier.
    """
    try:  # imported on use, because the import takes a second that most runs do not need
        models = importlib.import_module("torchvision.models")
    except ImportError:
        raise UsageError(needs_packages(f"torchvision:{name}", "torchvision")) from None
    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(f"torchvision:{name}: torchvision has no classifier of this name{did_you_mean(name, known)}")
    options = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
    return model
