"""Networks of other houses, torchvision's and timm's, behind the same face."""

import importlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from robustkd.errors import UsageError, did_you_mean
from robustkd.models.feature_taps import FeatureTap, Shape, check_logits, find_feature_taps
from robustkd.models.net import FeatureMaps, Network, at_least_float32
from robustkd.types import Output


class ExternalNetwork(Network):
    """A foreign classifier: what it computes is untouched, hooks keep what it computes on the way."""

    def __init__(
        self,
        model: nn.Module,
        taps: Sequence[FeatureTap],
        head: str,
        *,
        repeat: int = 1,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        bf16: bool = False,
    ) -> None:
        super().__init__(mean, std, bf16)
        self.model, self.taps, self.repeat, self._last = model, tuple(taps), repeat, head
        self._seen: dict[str, list[tuple[Any, Any]]] = {}  # filled during a forward, empty between two
        for path in {head, *(tap.path for tap in taps)}:
            self._watch(path)

    @property
    def head(self) -> nn.Linear:  # type: ignore[override]
        return self.model.get_submodule(self._last)  # type: ignore[return-value]

    def replace_head(self, head: nn.Linear) -> None:
        self.model.set_submodule(self._last, head)
        self._watch(self._last)

    def forward(self, images: Tensor) -> Output:
        x = self.normalise(images).expand(-1, self.repeat * images.shape[1], -1, -1)
        self._seen = {path: [] for path in (self._last, *(tap.path for tap in self.taps))}
        try:
            with self.autocast(x):
                logits = self.model(x)
            seen = self._seen
        finally:
            self._seen = {}
        check_logits(self.model, logits)  # again: auxiliary heads answer in training only
        (embedding, *_), _ = seen[self._last][-1]
        maps = FeatureMaps(seen[tap.path][tap.turn][1] for tap in self.taps)
        return Output(at_least_float32(logits), at_least_float32(embedding.flatten(1)), maps)

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        """The maps of forward. The whole network runs before the first: a foreign forward cannot be stopped midway."""
        yield from self(images).maps

    def _watch(self, path: str) -> None:
        self.model.get_submodule(path).register_forward_hook(partial(self._keep, path))

    def _keep(self, path: str, _: nn.Module, inputs: Any, output: Any) -> None:
        if path in self._seen:
            self._seen[path].append((inputs, output))


def wrap_classifier(model: nn.Module, shape: Shape) -> ExternalNetwork:
    """Give a classifier our face. It is changed in one thing: what works in place (its ReLUs) does so no longer.

    A dry run on images of shape (C, H, W) finds where to read: the last map at each resolution, and what the last
    nn.Linear reads. Grey images are repeated for a network whose first convolution reads three channels.

    Raises:
        UsageError: the network cannot take such images, or has no maps, or no nn.Linear at its end.
    """
    for part in model.modules():
        if getattr(part, "inplace", False) is True:
            part.inplace = False  # type: ignore[assignment]  # a hook would keep what is overwritten
    name, channels = type(model).__name__, shape[0]
    wanted = next((part.in_channels for part in model.modules() if isinstance(part, nn.Conv2d)), channels)
    if channels not in (1, wanted):
        raise UsageError(f"{name} reads images of {wanted} channels and these have {channels}")
    taps, head = find_feature_taps(model, (wanted, *shape[1:]))
    return ExternalNetwork(model, taps, head, repeat=wanted // channels)


def torchvision_net(channels: int, classes: int, *, name: str) -> nn.Module:
    """A torchvision classifier with random weights, for `make` to tap; it finds out about the channels there."""
    try:  # imported here, because it takes a second that most runs need not spend
        models = importlib.import_module("torchvision.models")
    except ImportError:
        raise UsageError(f"torchvision:{name} needs torchvision: pip install torchvision") from None
    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(f"torchvision:{name}: torchvision has no classifier of this name{did_you_mean(name, known)}")
    plain = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = models.get_model(name, weights=None, num_classes=classes, **plain)
    return model
