"""The interface of networks, and the implementation for networks made of stages.

A network takes images in [0, 1] and returns an Output in float32, whatever precision it computes in. Their preparation is its
first layer: images of another size than the network's own are resized, and all are normalised. Images, and attacks on them, are
therefore always in [0, 1], and networks of different sizes take the same batches.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustkd.types import Output


class FeatureMaps(Sequence[Tensor]):
    """Feature maps in float32, each converted on first access: most methods use none, and converting all costs 2-4 % of a step.

    With bf16 the converted maps are copies. Losses on them back-propagate into the network as usual. Logits do not depend on
    the copies, so the derivative of a logit with respect to a map is not available.

    Args:
        maps: (B, c, h, w) each.
        convert: replaces the conversion to float32.
    """

    def __init__(self, maps: Sequence[Tensor], convert: Callable[[Tensor], Tensor] | None = None) -> None:
        self._maps, self._convert = maps, convert or at_least_float32
        self._converted: dict[int, Tensor] = {}

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Tensor, ...]: ...
    def __getitem__(self, index: int | slice) -> Tensor | tuple[Tensor, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        index = range(len(self))[index]
        if index not in self._converted:
            x = self._maps[index]
            # A first access under no_grad must not detach the map for a later access that needs gradients.
            with torch.set_grad_enabled(x.requires_grad):
                self._converted[index] = self._convert(x)
        return self._converted[index]

    def __len__(self) -> int:
        return len(self._maps)


class Network(nn.Module, ABC):
    """The interface that methods rely on, for the networks of this package and for wrapped classifiers.

    With `bf16` the network computes in bfloat16 autocast, which is entered and left inside its forward, and returns float32.
    Losses are therefore always computed in float32.
    """

    mean: Tensor  # (1, C, 1, 1), or (1, 1, 1, 1) for all channels
    std: Tensor
    head: nn.Linear  # its input is the embedding
    has_one_head: bool = True  # whether its logits are head(embedding)
    image_size: int | None = None  # side that images are resized to; None for networks that take them as they are
    interpolation: str = "bilinear"  # or bicubic
    # Classes of the head that was not taken from given weights, 0 if they had none; set where that is known.
    replaced_head: int | None = None

    def __init__(self, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,), bf16: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", per_channel(mean))
        self.register_buffer("std", per_channel(std))
        self.bf16 = bf16

    if TYPE_CHECKING:  # nn.Module's __call__ returns Any

        def __call__(self, images: Tensor) -> Output: ...

    @abstractmethod
    def forward(self, images: Tensor) -> Output:
        """Images (B, C, H, W) in [0, 1] -> logits (B, K), embedding (B, D), maps (B, c, h, w)."""

    @abstractmethod
    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the feature maps of forward, one after another."""

    @abstractmethod
    def replace_head(self, head: nn.Linear) -> None:
        """Replace the classification head."""

    def prepare(self, images: Tensor) -> Tensor:
        """Resize images (B, C, H, W) to the network's own size, where they have another, and normalise them."""
        side = self.image_size
        if side is not None and images.shape[-2:] != (side, side):
            images = functional.interpolate(images, (side, side), mode=self.interpolation, antialias=True).clamp(0, 1)
        return self.normalise(images)

    def normalise(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std

    def autocast(self, x: Tensor) -> torch.autocast:
        """Return the autocast context that the network computes in. It overrides the caller's, enabled or not."""
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16)


class StagedNetwork(Network):
    """prepare -> stem -> stages -> neck -> global average pool -> head. The feature maps are those of stem and stages.

    The neck comes between the last map and the pool, such as the last BN-ReLU of a pre-activation network.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        head: nn.Linear,
        *,
        neck: nn.Module | None = None,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        bf16: bool = False,
    ) -> None:
        super().__init__(mean, std, bf16)
        self.stem, self.stages, self.neck = stem, nn.ModuleList(stages), neck or nn.Identity()
        self.head = head

    def forward(self, images: Tensor) -> Output:
        maps = tuple(self._iter_stage_outputs(images))
        logits, embedding = self.classify(maps[-1])
        return Output(logits, embedding, FeatureMaps(maps))

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the feature maps of forward as they are computed; later stages run only if the iteration continues."""
        return map(at_least_float32, self._iter_stage_outputs(images))

    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits (B, K) and embedding (B, D) from the last map (B, c, h, w)."""
        with self.autocast(x):
            x = self.neck(x)
        # Pool and head run in float32 also with bf16: it costs nothing, and bfloat16 would keep 3 digits of a logit.
        with torch.autocast(x.device.type, enabled=False):
            embedding = x.mean((2, 3), dtype=torch.float32 if x.dtype is torch.bfloat16 else None)
            return self.head(embedding), embedding

    def replace_head(self, head: nn.Linear) -> None:
        self.head = head

    def _iter_stage_outputs(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the maps in the precision they are computed in. Autocast is left before each yield, or it would leak."""
        x = self.prepare(images)
        for module in (self.stem, *self.stages):
            with self.autocast(x):
                x = module(x)
            yield x


class Frozen:
    """A teacher: always in evaluation mode, without parameter gradients; gradients with respect to its input are available.

    This is a plain callable and not a module. A method that holds one therefore does not register its parameters or save its
    weights, and train() and to() do not reach it: move the network to its device first.
    """

    def __init__(self, net: Network) -> None:
        self.net = net.eval().requires_grad_(False)

    def __call__(self, images: Tensor) -> Output:
        return self.net(images)

    @cached_property
    def digest(self) -> str:
        """A digest of all parameters and buffers, 16 hexadecimal digits."""
        return digest_weights(self.net)


def digest_weights(net: nn.Module) -> str:
    """Return a digest of all parameters and buffers, 16 hexadecimal digits."""
    sha256 = hashlib.sha256()
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)  # the same bytes for every memory format
        sha256.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        sha256.update(flat.view(torch.uint8).numpy().tobytes())
    return sha256.hexdigest()[:16]


class OutputShapes(NamedTuple):
    """The shapes of an Output without the batch dimension, from which methods build their adapters."""

    logits: tuple[int]
    embedding: tuple[int]
    maps: tuple[tuple[int, int, int], ...]


def infer_shapes(net: Network, shape: tuple[int, int, int]) -> OutputShapes:
    """Return a network's output shapes for images of (C, H, W), by a forward pass that leaves its state unchanged."""
    with eval_no_grad(net):
        logits, embedding, maps = net(net.mean.new_zeros(2, *shape))
    map_shapes = tuple((m.shape[1], m.shape[2], m.shape[3]) for m in maps)
    return OutputShapes((logits.shape[1],), (embedding.shape[1],), map_shapes)


@contextmanager
def eval_no_grad(model: nn.Module) -> Iterator[None]:
    """Use evaluation mode without gradients; on exit, restore the mode of each submodule."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def freeze_bn_stats(model: nn.Module, enabled: bool = True) -> Iterator[None]:
    """Let batch norm use batch statistics, as in training, without updating its running statistics. No effect if disabled."""
    modules = model.modules() if enabled else ()
    layers = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def parameters_up_to(net: Network, depth: int, shape: tuple[int, int, int]) -> list[nn.Parameter]:
    """Return the parameters that feature map number `depth` depends on, by following the autograd graph of a forward pass."""
    with eval_no_grad(net), torch.enable_grad():
        feature_map = next(islice(net.iter_features(net.mean.new_zeros(2, *shape)), depth, None))
    leaves, pending, visited = set(), [feature_map.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        leaves.add(id(getattr(node, "variable", None)))
        pending += [previous for previous, _ in node.next_functions]
    return [parameter for parameter in net.parameters() if id(parameter) in leaves]


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half-precision tensors to float32; float64 is kept."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def per_channel(values: Sequence[float]) -> Tensor:
    """Arrange one value per channel for broadcasting over images: (C,) -> (1, C, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
