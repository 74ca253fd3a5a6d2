"""Construction of networks from the names that users type."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustkd.errors import UsageError, as_one_line
from robustkd.models.external import ExternalNetwork, wrap_classifier
from robustkd.models.feature_taps import ImageShape
from robustkd.models.initialisation import seeded_initialisation
from robustkd.models.layers import build_head
from robustkd.models.net import Network, eval_no_grad, infer_shapes, per_channel
from robustkd.models.preprocessing import find_preprocessing
from robustkd.models.weight_files import load_weights
from robustkd.models.weight_sources import with_checkpoint, without_weights
from robustkd.specs import Spec, settable_parameters

MIN_IMAGE_SIZE = 8  # three stages reduce it to 2x2


def build_network(
    spec: Spec,
    *,
    shape: tuple[int, int, int],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    image_size: int | None = None,
    interpolation: str = "bilinear",
    head: str = "linear",
    bf16: bool = False,
    seed: int,
) -> Network:
    """Build a network on the CPU, in channels-last memory format, from random weights or those that the spec names.

    Args:
        shape: (C, H, W) of the images.
        mean, std: one value per channel, for pixels in [0, 1]. Weights have their own, and their own interpolation.
        image_size, interpolation: side to which the network resizes images, and how; None for networks that take them as given.
        head: 'linear' or 'cosine'; the initial weights of the other layers are the same with either.
        bf16: whether the network computes in bfloat16.
        seed: determines all random weights; the global random generators are left unchanged.

    Raises:
        UsageError: the spec's parameters or the image size are invalid, its weights cannot be used, or the builder does not
            return a classifier of this many classes.
    """
    own = shape if image_size is None else (shape[0], image_size, image_size)
    with seeded_initialisation(seed):
        net = _call_builder(spec, own, classes)
        if head != "linear":
            net.replace_head(build_head(head, net.head.in_features, classes))
    if (preprocessing := find_preprocessing(spec)) is not None:
        mean, std, interpolation = preprocessing.mean, preprocessing.std, preprocessing.interpolation
    net.mean, net.std, net.bf16 = per_channel(mean), per_channel(std), bf16
    net.image_size, net.interpolation = image_size, interpolation
    _check_number_of_logits(spec, infer_shapes(net, shape).logits[0], classes)
    return net.to(memory_format=torch.channels_last)


def _check_number_of_logits(spec: Spec, outputs: int, classes: int) -> None:
    if outputs != classes:
        name = f"net '{spec.text}'"
        raise UsageError(f"{name} returns {outputs} logits for {classes} classes; its builder must use `classes`")


def build_with_weights(spec: Spec, file: Path, **options: Any) -> Network:
    """Build a network with the weights in a file; a head for other classes is replaced by a random one.

    Args:
        options: see `build_network`.

    Raises:
        UsageError: as by `build_network`, or the weights are not those of such a network.
    """
    if (named := with_checkpoint(spec, file)) is not None:
        return build_network(named, **options)
    net = build_network(without_weights(spec), **options)
    model = net.model if isinstance(net, ExternalNetwork) else net
    own = () if model is not net else ("mean", "std")
    net.replaced_head = load_weights(model, file, other=own)
    return net


def _call_builder(spec: Spec, shape: ImageShape, classes: int) -> Network:
    """Call a net's builder with the images' channels, the number of classes and, if it asks for a third, the images' side."""
    name, builder, kwargs = f"net '{spec.text}'", spec.load(), spec.kwargs()
    if min(shape[1:]) < MIN_IMAGE_SIZE:
        minimum = f"{MIN_IMAGE_SIZE}x{MIN_IMAGE_SIZE}"
        raise UsageError(f"{name}: images of {shape[1]}x{shape[2]} are too small; the minimum is {minimum}")
    ingredients = inspect.signature(builder).parameters.keys() - settable_parameters(builder).keys()
    sides = [max(shape[1:])] if "image_size" in ingredients else []
    try:
        built = builder(shape[0], classes, *sides, **kwargs)
    except UsageError:
        raise
    except Exception as error:  # each library rejects an unsuitable size with exceptions of its own
        hint = _describe_accepted(without_weights(spec), shape) if sides else ""
        reason = f"{type(error).__name__}: {as_one_line(str(error), 120)}"
        raise UsageError(
            f"{name}: it cannot be built for images of {shape[1]}x{shape[2]} and {classes} classes ({reason}){hint}"
        ) from error
    if isinstance(built, Network):
        return built
    if not isinstance(built, nn.Module):
        raise UsageError(f"{name} builds a {type(built).__name__}, not a torch.nn.Module")
    try:
        net = wrap_classifier(built, shape)
    except UsageError as error:
        is_answered = not sides or "it accepts" in str(error)
        hint = "" if is_answered else _describe_accepted(without_weights(spec), shape)
        raise UsageError(f"{name}: {error}{hint}") from None
    if hasattr(built, "replaced_head"):  # otherwise it is not known whether the head is that of the weights
        net.replaced_head = built.replaced_head  # type: ignore[assignment]
    return net


def _describe_accepted(spec: Spec, shape: ImageShape) -> str:
    """Return the part of an error message that names sizes for which a net can be built, empty if none are found."""
    accepted = " and ".join(f"{side}x{side}" for side in _accepted_sides(spec, shape))
    return f"; it can be built for images of {accepted}" if accepted else ""


def _accepted_sides(spec: Spec, shape: ImageShape) -> list[int]:
    """Return the sides next to that of some images, below and above, for which a net can be built and computes logits."""
    side, builder = max(shape[1:]), spec.load()

    def accepts(other: int) -> bool:
        try:
            with torch.device("meta"):  # shapes alone
                model = builder(shape[0], 2, other, **spec.kwargs())
                channels = next(module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))
                with eval_no_grad(model):
                    return bool(model(torch.zeros(2, channels, other, other)).ndim == 2)
        except Exception:  # each library rejects an unsuitable size with exceptions of its own
            return False

    steps = sorted({step * count for step in (14, 16) for count in range(1, side // step + 5)})
    below = next(filter(accepts, [other for other in reversed(steps) if MIN_IMAGE_SIZE <= other < side]), None)
    above = next(filter(accepts, [other for other in steps if other > side]), None)
    return [found for found in (below, above) if found is not None]
