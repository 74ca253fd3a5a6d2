"""From a word to a network that is ready to train."""

from collections.abc import Sequence

import torch
from torch import nn

from robustkd.errors import UsageError
from robustkd.models.external import wrap_classifier
from robustkd.models.layers import build_head as head_of
from robustkd.models.net import Network, infer_shapes, per_channel
from robustkd.specs import Spec

MIN_IMAGE_SIZE = 8  # three stages leave 2x2 of it


def build_network(
    word: Spec,
    *,
    shape: tuple[int, int, int],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    head: str = "linear",
    bf16: bool = False,
    seed: int,
) -> Network:
    """The network that a word stands for, channels-last, on the CPU.

    Args:
        shape: (C, H, W) of the images.
        mean, std: one value per channel, in units of [0, 1].
        head: 'linear' or 'cosine'; the rest of the network starts from the same weights with either.
        seed: decides all weights; the global generators are left as they were.

    Raises:
        UsageError: the word's values, the images' size or what the word builds cannot be used.
    """
    name = f"net '{word.text}'"
    if min(shape[1:]) < MIN_IMAGE_SIZE:
        raise UsageError(
            f"{name}: images of {shape[1]}x{shape[2]} are too small: {MIN_IMAGE_SIZE}x{MIN_IMAGE_SIZE} is the least"
        )
    values = word.kwargs()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs' generators too
        built = word.load()(shape[0], classes, **values)
        if not isinstance(built, nn.Module):
            raise UsageError(f"{name} builds a {type(built).__name__}, not a torch.nn.Module")
        try:
            net = built if isinstance(built, Network) else wrap_classifier(built, shape)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
        if head != "linear":
            net.replace_head(head_of(head, net.head.in_features, classes))
    net.mean, net.std, net.bf16 = per_channel(mean), per_channel(std), bf16
    (answers,) = infer_shapes(net, shape).logits
    if answers != classes:
        raise UsageError(f"{name} gives {answers} logits for {classes} classes: its builder must heed `classes`")
    return net.to(memory_format=torch.channels_last)
