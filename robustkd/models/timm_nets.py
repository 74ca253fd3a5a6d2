"""Classifiers of timm: from random weights, from published ones, or from a file."""

import importlib
import sys
from pathlib import Path
from typing import Any

from torch import nn

from robustkd.errors import UsageError, as_one_line, did_you_mean, needs_packages
from robustkd.models.preprocessing import Preprocessing, nearest_interpolation, preprocessing_in_file
from robustkd.models.published_weights import cannot_download, find_in_torch_cache, require_connection
from robustkd.models.weight_files import load_weights

HF_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
)  # of a model on Hugging Face, in the order in which timm looks for them


def timm_net(
    channels: int, classes: int, image_size: int, *, name: str, pretrained: bool = False, checkpoint: str | None = None
) -> nn.Module:
    """Build a classifier of timm; build_network wraps it and repeats grey images for nets of three channels.

    A net that is made for one size of images, such as a ViT, is built for `image_size`; timm resamples its position embeddings.

    Args:
        pretrained: whether to start from the weights that timm publishes under this name, which are downloaded once.
        checkpoint: file with weights to start from.

    Raises:
        UsageError: timm is not installed, has no such model or weights, or they cannot be loaded.
    """
    timm, config = find_model(name)
    if pretrained and checkpoint:
        raise UsageError(f"timm:{name}: pretrained and checkpoint are two sources of weights; give one")
    options: dict[str, Any] = {"img_size": image_size} if config.fixed_input_size else {}
    if not pretrained:
        options["in_chans"] = channels if channels != 1 and not checkpoint else 3
    else:
        options |= {"pretrained": True, "pretrained_cfg_overlay": locate_published(name, config)}
    try:
        model: nn.Module = timm.create_model(name, num_classes=classes, **options)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        reason = f"{type(error).__name__}: {as_one_line(str(error), 120)}"
        raise UsageError(cannot_download(f"timm:{name}", weights_url(config), reason)) from None
    check_patches(name, model, image_size)
    if checkpoint:
        convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
        other = load_weights(model, Path(checkpoint).expanduser(), convert=convert)
    else:
        other = config.num_classes if pretrained and config.num_classes != classes else None
    model.replaced_head = other  # type: ignore[assignment]
    return model


def timm_preprocessing(name: str, pretrained: bool = False, checkpoint: str | None = None) -> Preprocessing:
    """Return the preparation of images that timm's weights of this name are evaluated with; of a model.pt, its own.

    Raises:
        UsageError: timm is not installed or has no such model, or the file cannot be read.
    """
    _, config = find_model(name)
    if checkpoint and (own := preprocessing_in_file(Path(checkpoint).expanduser())):
        return own
    return Preprocessing(
        config.mean,
        config.std,
        config.input_size[-1],
        min(1.0, config.crop_pct),
        nearest_interpolation(config.interpolation),
    )


def check_patches(name: str, model: nn.Module, image_size: int) -> None:
    """Refuse images that a transformer's patches do not cover exactly: timm would ignore their last rows and columns.

    Raises:
        UsageError: the side of the images is no multiple of that of the patches.
    """
    patch_size = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if not isinstance(patch_size, tuple) or image_size % (side := patch_size[0]) == 0:
        return
    below = image_size // side * side
    fitting = " and ".join(f"{size}x{size}" for size in (below, below + side) if size)
    raise UsageError(
        f"timm:{name}: images of {image_size}x{image_size} cannot be divided into patches of {side}x{side};"
        f" those of {fitting} can"
    )


timm_net.preprocessing = timm_preprocessing  # type: ignore[attr-defined]


def find_model(name: str) -> tuple[Any, Any]:
    """Import timm, which takes seconds, and return it with the configuration of a model's weights.

    Raises:
        UsageError: timm is not installed, or has no such model or weights.
    """
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise UsageError(needs_packages(f"timm:{name}", "timm")) from None
    model, _, tag = name.partition(".")
    if not timm.is_model(model):
        raise UsageError(f"timm:{name}: timm has no model of this name{did_you_mean(model, timm.list_models())}")
    try:
        return timm, timm.get_pretrained_cfg(name)
    except RuntimeError:
        known = timm.list_pretrained(f"{model}.*")
        listed = f"; there are: {', '.join(known)}" if known else ""
        raise UsageError(
            f"timm:{name}: timm has no weights '{tag}' of {model}{did_you_mean(name, known)}{listed}"
        ) from None


def locate_published(name: str, config: Any) -> dict[str, Any]:
    """Return where timm is to load a model's published weights from: the file in a cache, if it was downloaded before.

    Raises:
        UsageError: no weights are published, or they are not in the cache and cannot be downloaded.
    """
    if not config.has_weights:
        raise UsageError(
            f"timm:{name}: timm publishes no weights of this model: leave out pretrained, or give checkpoint=FILE"
        )
    file = _find_in_hf_cache(config) if config.hf_hub_id else find_in_torch_cache(config.url)
    if file is None:
        require_connection(f"timm:{name}", weights_url(config))
        return {}
    return {"file": str(file), "custom_load": False if config.hf_hub_id else config.custom_load}


def weights_url(config: Any) -> str:
    """Return the address that a model's published weights are downloaded from."""
    if not config.hf_hub_id:
        return str(config.url)
    endpoint = importlib.import_module("huggingface_hub").constants.ENDPOINT
    return f"{endpoint}/{config.hf_hub_id}/resolve/main/{config.hf_hub_filename or HF_FILES[0]}"


def _find_in_hf_cache(config: Any) -> Path | None:
    """Return the file of a model in Hugging Face's cache, if it was downloaded."""
    hub = importlib.import_module("huggingface_hub")
    for filename in (config.hf_hub_filename,) if config.hf_hub_filename else HF_FILES:
        if isinstance(file := hub.try_to_load_from_cache(config.hf_hub_id, filename), str):
            return Path(file)
    return None
