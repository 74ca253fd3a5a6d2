"""Feature taps: the modules of a classifier whose outputs serve as its feature maps, found by a forward pass under hooks."""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robustkd.errors import UsageError
from robustkd.models.net import eval_no_grad

MapSize = tuple[int, int]  # h, w
ImageShape = tuple[int, int, int]  # C, H, W
SUGGESTED_SIDES = (
    16,
    32,
    64,
    96,
    128,
    224,
    299,
)  # tried when a network rejects the images, to suggest a size it accepts


class FeatureTap(NamedTuple):
    """Where a feature map is computed: a module, and which of its calls in one forward pass (a shared ReLU has many)."""

    path: str
    call_index: int


class ModuleCall(NamedTuple):
    """A call of a module during a forward pass, with the sizes (h, w) of its input and output; None for what is no map."""

    module: nn.Module
    path: str
    call_index: int
    input_size: MapSize | None
    output_size: MapSize | None
    output: Any

    @property
    def is_pooling(self) -> bool:
        """Whether the module changes the resolution and has no parameters."""
        changes_size = None not in (self.input_size, self.output_size) and self.input_size != self.output_size
        return changes_size and not _has_parameters(self.module)


def find_feature_taps(model: nn.Module, shape: ImageShape) -> tuple[list[FeatureTap], str]:
    """Find the last map at each resolution, in order, and the path of the last nn.Linear, whose input is the embedding.

    Raises:
        UsageError: the network does not accept images of this shape, or has no feature maps or no nn.Linear.
    """
    calls = _record_calls(model, shape)
    taps, heads = _select_taps(calls), [call.path for call in calls if isinstance(call.module, nn.Linear)]
    if not heads or not taps:
        missing = "nn.Linear, whose input would be its embedding" if taps else "layer that returns maps (B, c, h, w)"
        raise UsageError(f"{type(model).__name__} has no {missing}")
    return taps, heads[-1]


def check_logits(model: nn.Module, output: Any) -> None:
    """Check that a model's output is a tensor of logits (B, K), not a tuple with auxiliary logits, a dictionary or a map.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(output, Tensor) or output.ndim != 2:
        raise UsageError(
            f"{type(model).__name__} returns a {type(output).__name__} that is not logits (B, K); it must be a classifier "
            "without auxiliary heads (aux_logits=False in torchvision)"
        )


def _record_calls(model: nn.Module, shape: ImageShape) -> list[ModuleCall]:
    """Record the calls of all modules for two black images, in the order in which they return."""
    calls: list[ModuleCall] = []

    def record(path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        call_index = sum(call.path == path for call in calls)
        input_size = _map_size(inputs[0], shape) if inputs else None
        calls.append(ModuleCall(module, path, call_index, input_size, _map_size(output, shape), output))

    hooks = [module.register_forward_hook(partial(record, path)) for path, module in model.named_modules()]
    try:
        output = _try_forward(model, shape)
    finally:
        for hook in hooks:
            hook.remove()
    if isinstance(output, Exception):
        larger = (side for side in SUGGESTED_SIDES if side > min(shape[1:]))
        accepted = (side for side in larger if isinstance(_try_forward(model, (shape[0], side, side)), Tensor))
        side = next(accepted, None)
        hint = f"; it accepts {side}x{side}" if side else ""
        reason = str(output).split("\n")[0]
        raise UsageError(f"{type(model).__name__} does not accept images of {shape[1]}x{shape[2]} ({reason}){hint}")
    check_logits(model, output)
    return calls


def _try_forward(model: nn.Module, shape: ImageShape) -> Any:
    """Return the model's output for two black images, or the exception that it raises."""
    example = next(model.parameters(), torch.empty(0))
    with eval_no_grad(model):
        try:
            return model(example.new_zeros(2, *shape))
        except Exception as error:  # each library rejects an unsuitable image size with exceptions of its own
            return error


def _select_taps(calls: list[ModuleCall]) -> list[FeatureTap]:
    """Select the last map at each resolution, in the order of computation."""
    # By output, because a Sequential that ends in a pooling layer returns the pooled tensor as well.
    pooled = {id(call.output) for call in calls if call.is_pooling}
    maps = [
        (i, call)
        for i, call in enumerate(calls)
        if call.path
        and call.output_size
        and id(call.output) not in pooled
        and not _is_in_downsampling_block(call, calls)
    ]
    # A 1x1 map counts only if the trunk itself is reduced that far: not within squeeze-and-excite, nor after the last pool.
    trunk = max((i for i, call in maps if call.output_size != (1, 1)), default=-1)
    if any(call.is_pooling and call.output_size == (1, 1) for call in calls[trunk + 1 :]):
        trunk = len(calls)
    last = {call.output_size: i for i, call in maps if call.output_size != (1, 1) or i > trunk}
    return [FeatureTap(calls[i].path, calls[i].call_index) for i in sorted(last.values())]


def _is_in_downsampling_block(call: ModuleCall, calls: list[ModuleCall]) -> bool:
    """Return whether a call precedes the downsampling within a block: it then belongs to the next stage, not to the end of one.

    An example is the expansion before the strided convolution of a bottleneck. A plain Sequential is a container, not a block.
    """
    return any(
        block.path and call.path.startswith(f"{block.path}.") and type(block.module) is not nn.Sequential
        for block in calls
        if block.input_size == call.output_size
        and block.output_size
        and _is_downsampling(call.output_size, block.output_size)
    )


def _is_downsampling(before: MapSize | None, after: MapSize) -> bool:
    """Return whether a size is reduced, by a factor of at most 2 per side."""
    return before is not None and after != before and all(2 * a >= b for a, b in zip(after, before, strict=True))


def _map_size(x: Any, image: ImageShape) -> MapSize | None:
    """Return (h, w) of a map (B, c, h, w); None if the sides are not reduced alike from the image's, as in (B, h, w, c)."""
    if not isinstance(x, Tensor) or x.ndim != 4:
        return None
    (h, w), (_, height, width) = x.shape[2:], image
    same_aspect = 1 in (h, w) or 2 / 3 <= (height * w) / (h * width) <= 3 / 2
    return (h, w) if h <= height and w <= width and same_aspect else None


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())
