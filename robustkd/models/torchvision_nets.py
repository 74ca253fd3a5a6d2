"""Classifiers of torchvision: from random weights, from published ones, or from a file."""

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustkd.errors import UsageError, as_one_line, did_you_mean, needs_packages
from robustkd.models.preprocessing import Preprocessing, nearest_interpolation, preprocessing_in_file
from robustkd.models.published_weights import cannot_download, find_in_torch_cache, require_connection
from robustkd.models.weight_files import StateDict, load_weights

WITH_AUXILIARY = ("googlenet", "inception_v3")  # nets with classifiers in the middle, which are left out


def torchvision_net(
    channels: int,
    classes: int,
    image_size: int,
    *,
    name: str,
    weights: str | None = None,
    checkpoint: str | None = None,
) -> nn.Module:
    """Build a classifier of torchvision; build_network wraps it and repeats grey images.

    A ViT is built for `image_size`; position embeddings of weights are resampled.

    Args:
        weights: published weights to start from, which are downloaded once: DEFAULT, IMAGENET1K_V1, ...
        checkpoint: file with weights to start from.

    Raises:
        UsageError: torchvision is not installed, has no such classifier or weights, or they cannot be loaded.
    """
    models = import_models(name)
    if weights and checkpoint:
        raise UsageError(f"torchvision:{name}: weights and checkpoint are two sources of weights; give one")
    options: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name in WITH_AUXILIARY else {}
    if name.startswith("vit_"):
        options["image_size"] = image_size
    model: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
    file = Path(checkpoint).expanduser() if checkpoint else download_weights(models, name, weights) if weights else None
    if file is not None:
        model.replaced_head = load_weights(model, file, convert=convert)  # type: ignore[assignment]
    return model


def torchvision_preprocessing(name: str, weights: str | None = None, checkpoint: str | None = None) -> Preprocessing:
    """Return the preparation of images of torchvision's weights, the default ones for a file; of a model.pt, its own.

    Raises:
        UsageError: torchvision is not installed or has no such classifier or weights, or the file cannot be read.
    """
    models = import_models(name)
    if checkpoint and (own := preprocessing_in_file(Path(checkpoint).expanduser())):
        return own
    preset = find_entry(models, name, weights or "DEFAULT").transforms()
    (side,), (resized,) = preset.crop_size, preset.resize_size
    mean, std = preset.mean, preset.std
    if name in WITH_AUXILIARY:  # with published weights, torchvision normalises the input of these once more
        mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    interpolation = nearest_interpolation(preset.interpolation.value)
    return Preprocessing(tuple(mean), tuple(std), side, min(1.0, side / resized), interpolation)


torchvision_net.preprocessing = torchvision_preprocessing  # type: ignore[attr-defined]


def import_models(name: str) -> Any:
    """Import torchvision's models, and check that there is a classifier of this name.

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
    return models


def find_entry(models: Any, name: str, weights: str) -> Any:
    """Return torchvision's entry of published weights: their address and their preparation of images.

    Raises:
        UsageError: there are none of this name.
    """
    known = models.get_model_weights(name).__members__
    if weights not in known:
        hint = did_you_mean(weights, known)
        raise UsageError(f"torchvision:{name}: it has no weights '{weights}'{hint}; there are: {', '.join(known)}")
    return known[weights]


def download_weights(models: Any, name: str, weights: str) -> Path:
    """Return the file of published weights, which is downloaded if it is not in torch's cache.

    Raises:
        UsageError: they cannot be downloaded.
    """
    url = find_entry(models, name, weights).url
    if (file := find_in_torch_cache(url)) is not None:
        return file
    require_connection(f"torchvision:{name}", url)
    try:
        torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {as_one_line(str(error), 120)}"
        raise UsageError(cannot_download(f"torchvision:{name}", url, reason)) from None
    file = find_in_torch_cache(url)
    assert file is not None
    return file


def convert(state: StateDict, model: nn.Module) -> StateDict:
    """Leave out auxiliary classifiers, rename the layers of old densenets, and resample the position embeddings of a ViT."""
    state = {name: value for name, value in state.items() if not name.startswith(("AuxLogits.", "aux1.", "aux2."))}
    if type(model).__name__ == "DenseNet":
        for old in ("norm.1", "relu.1", "conv.1", "norm.2", "relu.2", "conv.2"):
            state = {name.replace(f".{old}.", f".{old.replace('.', '')}."): value for name, value in state.items()}
    if type(model).__name__ == "VisionTransformer":
        resample = importlib.import_module("torchvision.models.vision_transformer").interpolate_embeddings
        state = dict(resample(model.image_size, model.patch_size, state))
    return state
