"""Construction of networks from the names that users type."""

from collections.abc import Sequence

import torch
from torch import nn

from robustkd.errors import UsageError
from robustkd.models.external import wrap_classifier
from robustkd.models.initialisation import seeded_initialisation
from robustkd.models.layers import build_head
from robustkd.models.net import Network, infer_shapes, per_channel
from robustkd.specs import Spec

MIN_IMAGE_SIZE = 8  # three stages reduce it to 2x2


def build_network(
    spec: Spec,
    *,
    shape: tuple[int, int, int],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    head: str = "linear",
    bf16: bool = False,
    seed: int,
) -> Network:
    """Build a randomly initialised network on the CPU, in channels-last memory format.

    Args:
        shape: (C, H, W) of the images.
        mean, std: one value per channel, for pixels in [0, 1].
        head: 'linear' or 'cosine'; the initial weights of the other layers are the same with either.
        bf16: whether the network computes in bfloat16.
        seed: determines all weights; the global random generators are left unchanged.

    Raises:
        UsageError: the spec's parameters or the image size are invalid, or the builder does not return a classifier of this
            many classes.
    """
    name = f"net '{spec.text}'"
    if min(shape[1:]) < MIN_IMAGE_SIZE:
        minimum = f"{MIN_IMAGE_SIZE}x{MIN_IMAGE_SIZE}"
        raise UsageError(f"{name}: images of {shape[1]}x{shape[2]} are too small; the minimum is {minimum}")
    kwargs = spec.kwargs()
    with seeded_initialisation(seed):
        net = _as_network(spec.load()(shape[0], classes, **kwargs), name, shape)
        if head != "linear":
            net.replace_head(build_head(head, net.head.in_features, classes))
    net.mean, net.std, net.bf16 = per_channel(mean), per_channel(std), bf16
    (outputs,) = infer_shapes(net, shape).logits
    if outputs != classes:
        raise UsageError(f"{name} returns {outputs} logits for {classes} classes; its builder must use `classes`")
    return net.to(memory_format=torch.channels_last)


def _as_network(built: object, name: str, shape: tuple[int, int, int]) -> Network:
    """Return what a builder returned as a Network; wrap it if it is another kind of module."""
    if isinstance(built, Network):
        return built
    if not isinstance(built, nn.Module):
        raise UsageError(f"{name} builds a {type(built).__name__}, not a torch.nn.Module")
    try:
        return wrap_classifier(built, shape)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
