"""Classifiers of other libraries, such as torchvision and timm, as networks with feature maps."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from robustkd.errors import UsageError
from robustkd.models.feature_taps import (
    FeatureTap,
    ImageShape,
    check_logits,
    draw_images,
    find_feature_taps,
    find_head,
    linearise_head,
    record_calls,
    try_forward,
)
from robustkd.models.intermediates import find_intermediates, run_with_intermediates
from robustkd.models.net import FeatureMaps, Network, at_least_float32, eval_no_grad
from robustkd.types import Output


class ExternalNetwork(Network):
    """A classifier of another library. Its computation is unchanged; hooks record its embedding and feature maps.

    Args:
        model: the classifier.
        taps: where its feature maps are computed.
        head_path: the path of its head, whose input is the embedding.
        channel_repeats: how often the images' channels are repeated to match the first convolution.
        mean, std, bf16: see Network.
    """

    def __init__(
        self,
        model: nn.Module,
        taps: Sequence[FeatureTap],
        head_path: str,
        *,
        channel_repeats: int = 1,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        bf16: bool = False,
    ) -> None:
        super().__init__(mean, std, bf16)
        self.model, self.taps, self.channel_repeats, self._head_path = model, tuple(taps), channel_repeats, head_path
        # (inputs, output) of each call by module path; filled during a forward pass and empty otherwise.
        self._recorded: dict[str, list[tuple[Any, Any]]] = {}
        for path in {head_path, *(tap.path for tap in taps)}:
            self._register_hook(path)

    @property
    def head(self) -> nn.Linear:  # type: ignore[override]
        return self.model.get_submodule(self._head_path)  # type: ignore[return-value]

    def replace_head(self, head: nn.Linear) -> None:
        if not self.has_one_head:
            raise UsageError(f"{type(self.model).__name__} combines several heads, which one head cannot replace")
        self.model.set_submodule(self._head_path, head)
        self._register_hook(self._head_path)

    def forward(self, images: Tensor) -> Output:
        x = self.prepare(images)  # grey images have three channels afterwards, if there is a mean for each
        x = x.expand(-1, max(x.shape[1], self.channel_repeats), -1, -1)
        self._recorded = {path: [] for path in (self._head_path, *(tap.path for tap in self.taps))}
        try:
            with self.autocast(x):
                logits, maps = self.run_model(x)
            check_logits(self.model, logits)  # checked again because auxiliary heads are active in training mode only
            (embedding, *_), _ = self._recorded[self._head_path][-1]
        finally:
            self._recorded = {}
        return Output(at_least_float32(logits), at_least_float32(embedding.flatten(1)), FeatureMaps(maps))

    def run_model(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute logits and maps of normalised images: (B, C, H, W) -> (B, K), (B, c, h, w) each."""
        logits = self.model(x)
        return logits, [tap.layout.to_nchw(self._recorded[tap.path][tap.call_index][1]) for tap in self.taps]

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the feature maps. The whole network runs before the first, since its forward cannot be interrupted."""
        yield from self(images).maps

    def _register_hook(self, path: str) -> None:
        self.model.get_submodule(path).register_forward_hook(partial(self._record, path))

    def _record(self, path: str, _: nn.Module, inputs: Any, output: Any) -> None:
        if path in self._recorded:
            self._recorded[path].append((inputs, output))


class IntermediatesNetwork(ExternalNetwork):
    """A classifier that returns its feature maps itself, by timm's `forward_intermediates`, in one evaluation.

    Args:
        indices: of the intermediates that are its feature maps.
        model, head_path, channel_repeats: see ExternalNetwork.
    """

    def __init__(self, model: nn.Module, indices: Sequence[int], head_path: str, *, channel_repeats: int = 1) -> None:
        super().__init__(model, (), head_path, channel_repeats=channel_repeats)
        self.indices = list(indices)

    def run_model(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return run_with_intermediates(self.model, x, self.indices)


def wrap_classifier(model: nn.Module, shape: ImageShape) -> ExternalNetwork:
    """Wrap a classifier as a Network. Its logits are unchanged; only in-place operations (its ReLUs) are disabled.

    A forward pass on images of shape (C, H, W) determines the feature maps: those that the classifier returns itself, as
    timm's do, or the outputs of modules. Grey images are repeated for a network that expects three channels.

    Raises:
        UsageError: the network does not accept such images, or has no feature maps or no nn.Linear.
    """
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]  # a hook would record a tensor that is overwritten later
    channels = _input_channels(model, shape)
    repeats, shape = channels // shape[0], (channels, *shape[1:])
    calls = record_calls(model, shape)
    head_path, indices = linearise_head(model, find_head(model, calls)), find_intermediates(model, shape)
    net = (
        IntermediatesNetwork(model, indices, head_path, channel_repeats=repeats)
        if indices
        else ExternalNetwork(model, find_feature_taps(model, calls), head_path, channel_repeats=repeats)
    )
    net.has_one_head = _has_one_head(net, (channels // repeats, *shape[1:]))
    return net


def _has_one_head(net: ExternalNetwork, shape: ImageShape) -> bool:
    """Return whether the logits are those of the head, not of two, as after distillation with a token of its own."""
    with eval_no_grad(net):
        logits, embedding, _ = net(draw_images(net, shape))
        heads: Tensor = net.head(embedding.to(net.head.weight))
    return heads.shape == logits.shape and torch.allclose(heads, logits, atol=1e-4)


def _input_channels(model: nn.Module, shape: ImageShape) -> int:
    """Return how many channels a classifier expects for images of a shape, of which grey ones can be repeated.

    Raises:
        UsageError: it does not accept images of so many channels.
    """
    channels = shape[0]
    first = next((module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)), channels)
    # A first convolution may be preceded by a rearrangement of pixels as channels, as in TResNet.
    if first == channels or isinstance(try_forward(model, shape), Tensor):
        return channels
    if channels != 1:
        raise UsageError(f"{type(model).__name__} expects images of {first} channels, but these have {channels}")
    return first if isinstance(try_forward(model, (first, *shape[1:])), Tensor) else 3
