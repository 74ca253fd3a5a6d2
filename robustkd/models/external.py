"""Classifiers of other libraries, such as torchvision and timm, as networks with feature maps."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from robustkd.errors import UsageError
from robustkd.models.feature_taps import FeatureTap, ImageShape, check_logits, find_feature_taps
from robustkd.models.net import FeatureMaps, Network, at_least_float32
from robustkd.types import Output


class ExternalNetwork(Network):
    """A classifier of another library. Its computation is unchanged; forward hooks record its feature maps and embedding.

    Args:
        model: the classifier.
        taps: where its feature maps are computed.
        head_path: the path of its last nn.Linear, whose input is the embedding.
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
        self.model.set_submodule(self._head_path, head)
        self._register_hook(self._head_path)

    def forward(self, images: Tensor) -> Output:
        x = self.prepare(images)  # grey images have three channels afterwards, if there is a mean for each
        x = x.expand(-1, max(x.shape[1], self.channel_repeats), -1, -1)
        self._recorded = {path: [] for path in (self._head_path, *(tap.path for tap in self.taps))}
        try:
            with self.autocast(x):
                logits = self.model(x)
            recorded = self._recorded
        finally:
            self._recorded = {}
        check_logits(self.model, logits)  # checked again because auxiliary heads are active in training mode only
        (embedding, *_), _ = recorded[self._head_path][-1]
        maps = FeatureMaps(recorded[tap.path][tap.call_index][1] for tap in self.taps)
        return Output(at_least_float32(logits), at_least_float32(embedding.flatten(1)), maps)

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the feature maps. The whole network runs before the first, since its forward cannot be interrupted."""
        yield from self(images).maps

    def _register_hook(self, path: str) -> None:
        self.model.get_submodule(path).register_forward_hook(partial(self._record, path))

    def _record(self, path: str, _: nn.Module, inputs: Any, output: Any) -> None:
        if path in self._recorded:
            self._recorded[path].append((inputs, output))


def wrap_classifier(model: nn.Module, shape: ImageShape) -> ExternalNetwork:
    """Wrap a classifier as a Network. The only change to the model is that in-place operations (its ReLUs) are disabled.

    A forward pass on images of shape (C, H, W) determines the feature taps: the last map at each resolution, and the input of
    the last nn.Linear. Grey images are repeated for a network whose first convolution expects three channels.

    Raises:
        UsageError: the network does not accept such images, or has no feature maps or no nn.Linear.
    """
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]  # a hook would record a tensor that is overwritten later
    name, channels = type(model).__name__, shape[0]
    expected = next((module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)), channels)
    if channels not in (1, expected):
        raise UsageError(f"{name} expects images of {expected} channels, but these have {channels}")
    taps, head_path = find_feature_taps(model, (expected, *shape[1:]))
    return ExternalNetwork(model, taps, head_path, channel_repeats=expected // channels)
