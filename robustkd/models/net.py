"""Networks: one anatomy, one forward, no flags.

A network takes images in [0, 1] and answers with an Output in float32, whatever it computed in. Normalisation is its
first layer, so every image, and every attack on one, lives in [0, 1].
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, overload

import torch
from torch import Tensor, nn

from robustkd.errors import UsageError
from robustkd.types import Output


class FeatureMaps(Sequence[Tensor]):
    """Maps in float32, each converted when it is first read: most methods read none, and all four cost 2-4 % of a step.

    Under half they are copies. The gradient of a loss flows through them into the network as always; but the logits do
    not depend on the copies, so ask for no derivative of a logit by a map.
    """

    def __init__(self, maps: Iterable[Tensor]) -> None:
        self._maps = list(maps)

    @overload
    def __getitem__(self, at: int) -> Tensor: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Tensor, ...]: ...
    def __getitem__(self, at: int | slice) -> Tensor | tuple[Tensor, ...]:
        if isinstance(at, slice):
            return tuple(self[i] for i in range(*at.indices(len(self))))
        x = self._maps[at]
        # A first reader under no_grad must not cut the graph for a second who learns.
        with torch.set_grad_enabled(x.requires_grad):
            self._maps[at] = at_least_float32(x)
        return self._maps[at]

    def __len__(self) -> int:
        return len(self._maps)


class Network(nn.Module, ABC):
    """What every method may count on, of our own networks and of foreign ones.

    With `half` the network computes in bfloat16 autocast, opened and closed inside its forward, and hands out float32:
    every loss is in float32 by construction.
    """

    mean: Tensor  # (1, C, 1, 1), or (1, 1, 1, 1) for all channels
    std: Tensor
    head: nn.Linear  # reads the embedding

    def __init__(self, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,), bf16: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", per_channel(mean))
        self.register_buffer("std", per_channel(std))
        self.bf16 = bf16

    if TYPE_CHECKING:  # nn.Module's own says Any

        def __call__(self, images: Tensor) -> Output: ...

    @abstractmethod
    def forward(self, images: Tensor) -> Output:
        """Images (B, C, H, W) in [0, 1] -> logits (B, K), embedding (B, D), maps (B, c, h, w)."""

    @abstractmethod
    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        """The maps of forward, one after another."""

    @abstractmethod
    def replace_head(self, head: nn.Linear) -> None:
        """Put another head in the place of the present one."""

    def normalise(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std

    def autocast(self, x: Tensor) -> torch.autocast:
        """What the network computes in. An autocast of the caller's is overruled in both directions."""
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16)


class StagedNetwork(Network):
    """normalise -> stem -> stages -> neck -> global average pool -> head, keeping what each stage produced.

    The neck is what stands between the last map and the pool: the last BN-ReLU of a pre-activation net.
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
        """The maps of forward as they are computed: who stops early never runs the upper part."""
        return map(at_least_float32, self._iter_stage_outputs(images))

    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From the last map to the answer: (B, c, h, w) -> logits (B, K), embedding (B, D)."""
        with self.autocast(x):
            x = self.neck(x)
        # Pool and head in float32 even under half: it costs nothing, and bfloat16 would keep 3 digits of a logit.
        with torch.autocast(x.device.type, enabled=False):
            embedding = x.mean((2, 3), dtype=torch.float32 if x.dtype is torch.bfloat16 else None)
            return self.head(embedding), embedding

    def replace_head(self, head: nn.Linear) -> None:
        self.head = head

    def _iter_stage_outputs(self, images: Tensor) -> Iterator[Tensor]:
        """The maps in the precision they were computed in; autocast is closed before each yield, or it would leak."""
        x = self.normalise(images)
        for part in (self.stem, *self.stages):
            with self.autocast(x):
                x = part(x)
            yield x


class Frozen:
    """The teacher: eval for ever, no parameter gradients, input gradients intact.

    A plain callable and not a module: a method that holds one registers nothing, so that its parameters are not found,
    its weights stay out of the method's state, and train() and to() do not reach it (put the net on its device first).
    """

    def __init__(self, net: Network) -> None:
        self.net = net.eval().requires_grad_(False)

    def __call__(self, images: Tensor) -> Output:
        return self.net(images)

    @cached_property
    def digest(self) -> str:
        """16 hex letters that stand for all parameters and buffers."""
        total = hashlib.sha256()
        for name, tensor in (*self.net.named_parameters(), *self.net.named_buffers()):
            plain = tensor.detach().cpu().contiguous().reshape(-1)  # one layout, whatever the memory format
            total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            total.update(plain.view(torch.uint8).numpy().tobytes())
        return total.hexdigest()[:16]


class OutputShapes(NamedTuple):
    """The sizes of an Output, without the batch: what adapters are built from."""

    logits: tuple[int]
    embedding: tuple[int]
    maps: tuple[tuple[int, int, int], ...]


def infer_shapes(net: Network, shape: tuple[int, int, int]) -> OutputShapes:
    """What the net answers to images of (C, H, W), found by a dry run that leaves no trace."""
    with eval_no_grad(net):
        logits, embedding, maps = net(net.mean.new_zeros(2, *shape))
    sizes = tuple((m.shape[1], m.shape[2], m.shape[3]) for m in maps)
    return OutputShapes((logits.shape[1],), (embedding.shape[1],), sizes)


def stage_widths(
    method: str, student: Network, teacher: Network, shape: tuple[int, int, int]
) -> tuple[list[int], list[int]]:
    """The channels after each stage of both nets, for a method that pairs them.

    Raises:
        UsageError: they have not as many stages.
    """
    ours, theirs = ([m[0] for m in infer_shapes(net, shape).maps[1:]] for net in (student, teacher))
    if len(ours) != len(theirs):
        raise UsageError(
            f"{method}: the student has {len(ours)} stages and the teacher {len(theirs)}: they should be as many"
        )
    return ours, theirs


@contextmanager
def eval_no_grad(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients for a while; afterwards each part is in the mode it was in."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def freeze_bn_stats(model: nn.Module, on: bool = True) -> Iterator[None]:
    """Batch norm goes by the batch, as in training, but keeps no statistics of it; off, nothing is different."""
    layers = [part for part in model.modules() if on and isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def parameters_up_to(net: Network, depth: int, shape: tuple[int, int, int]) -> list[nn.Parameter]:
    """The parameters that map number `depth` hangs on, found by following the graph of a dry run on (C, H, W)."""
    with eval_no_grad(net), torch.enable_grad():
        top = next(islice(net.iter_features(net.mean.new_zeros(2, *shape)), depth, None))
    found, waiting, seen = set(), [top.grad_fn], set()
    while waiting:
        step = waiting.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        found.add(id(getattr(step, "variable", None)))
        waiting += [before for before, _ in step.next_functions]
    return [parameter for parameter in net.parameters() if id(parameter) in found]


def at_least_float32(x: Tensor) -> Tensor:
    """The tensor in float32 if it was computed in less; float64 stays what it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def per_channel(values: Sequence[float]) -> Tensor:
    """A value per channel, (C,) -> (1, C, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
