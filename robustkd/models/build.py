"""Construction of networks from the names that users type."""

import inspect
from collections.abc import Sequence

import torch
from torch import nn

from robustkd.errors import UsageError
from robustkd.models.external import wrap_classifier
from robustkd.models.feature_taps import ImageShape
from robustkd.models.initialisation import seeded_initialisation
from robustkd.models.layers import build_head
from robustkd.models.net import Network, infer_shapes, per_channel
from robustkd.models.preprocessing import find_preprocessing
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
    name = f"net '{spec.text}'"
    own = shape if image_size is None else (shape[0], image_size, image_size)
    with seeded_initialisation(seed):
        net = _call_builder(spec, own, classes)
        if head != "linear":
            net.replace_head(build_head(head, net.head.in_features, classes))
    if (preprocessing := find_preprocessing(spec)) is not None:
        mean, std, interpolation = preprocessing.mean, preprocessing.std, preprocessing.interpolation
    net.mean, net.std, net.bf16 = per_channel(mean), per_channel(std), bf16
    net.image_size, net.interpolation = image_size, interpolation
    (outputs,) = infer_shapes(net, shape).logits
    if outputs != classes:
        raise UsageError(f"{name} returns {outputs} logits for {classes} classes; its builder must use `classes`")
    return net.to(memory_format=torch.channels_last)


def _call_builder(spec: Spec, shape: ImageShape, classes: int) -> Network:
    """Call a net's builder with the images' channels, the number of classes and, if it asks for a third, the images' side."""
    name, kwargs, builder = f"net '{spec.text}'", spec.kwargs(), spec.load()
    if min(shape[1:]) < MIN_IMAGE_SIZE:
        minimum = f"{MIN_IMAGE_SIZE}x{MIN_IMAGE_SIZE}"
        raise UsageError(f"{name}: images of {shape[1]}x{shape[2]} are too small; the minimum is {minimum}")
    ingredients = [shape[0], classes, max(shape[1:])]
    count = (
        3 if "image_size" in inspect.signature(builder).parameters.keys() - settable_parameters(builder).keys() else 2
    )
    built = builder(*ingredients[:count], **kwargs)
    if isinstance(built, Network):
        return built
    if not isinstance(built, nn.Module):
        raise UsageError(f"{name} builds a {type(built).__name__}, not a torch.nn.Module")
    try:
        return wrap_classifier(built, shape)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
