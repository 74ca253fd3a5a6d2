"""Feature taps: the modules of a classifier whose outputs serve as its feature maps, found by a forward pass under hooks.

A map is an output (B, c, h, w), (B, h, w, c) as in Swin, or (B, p + h w, c): tokens after p class tokens, as in a ViT.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from math import sqrt
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from robustkd.errors import UsageError
from robustkd.models.net import eval_no_grad

MapSize = tuple[int, int]  # h, w
ImageShape = tuple[int, int, int]  # C, H, W
# Tried when a network rejects the images, to suggest a size it accepts.
SUGGESTED_SIDES = (16, 32, 64, 96, 128, 224, 299)
PATCHES = (14, 16, 32)  # whose multiples transformers accept
CLASS_TOKENS = (0, 1, 2)  # before the tokens of the positions; two with a token for distillation


class MapLayout(NamedTuple):
    """How an output is arranged, and the shape of the map that it holds."""

    kind: Literal["NCHW", "NHWC", "tokens"]
    channels: int
    size: MapSize
    class_tokens: int = 0

    def to_nchw(self, x: Tensor) -> Tensor:
        """Return an output of this layout as a map (B, c, h, w)."""
        if self.kind == "tokens":
            return x[:, self.class_tokens :].transpose(1, 2).reshape(-1, self.channels, *self.size)
        return x.permute(0, 3, 1, 2) if self.kind == "NHWC" else x


class FeatureTap(NamedTuple):
    """Where a map is computed: a module, which of its calls in a forward pass (a shared ReLU has many), and the layout."""

    path: str
    call_index: int
    layout: MapLayout


class ModuleCall(NamedTuple):
    """A call of a module during a forward pass, with the layouts of its input and output; None for what is no map."""

    module: nn.Module
    path: str
    call_index: int
    input_layout: MapLayout | None
    output_layout: MapLayout | None
    output: Any

    @property
    def input_size(self) -> MapSize | None:
        return self.input_layout.size if self.input_layout else None

    @property
    def output_size(self) -> MapSize | None:
        return self.output_layout.size if self.output_layout else None

    @property
    def is_pooling(self) -> bool:
        """Whether the module changes the resolution only, and has no parameters."""
        before, after = self.input_layout, self.output_layout
        if before is None or after is None or _has_parameters(self.module):
            return False
        return before.size != after.size and before.channels == after.channels

    def may_be_head(self, logits: Tensor) -> bool:
        """Return whether the module is an nn.Linear of one vector per image, or a convolution of a pooled map to the logits."""
        if isinstance(self.module, nn.Linear):
            return isinstance(self.output, Tensor) and self.output.numel() == 2 * self.module.out_features
        if not isinstance(self.module, nn.Conv2d) or self.module.kernel_size != (1, 1) or self.module.groups > 1:
            return False
        return self.input_size == (1, 1) and torch.equal(self.output.flatten(1), logits)


def find_feature_taps(model: nn.Module, calls: Sequence[ModuleCall]) -> list[FeatureTap]:
    """Find the maps of a classifier in the order of computation.

    They are the last at each resolution. In a network of one resolution, they are outputs of its blocks: of the first, and of
    the last of each quarter.

    Raises:
        UsageError: it has no maps.
    """
    taps = _select_taps(calls)
    if not taps:
        raise UsageError(f"{type(model).__name__} has no layer that returns maps (B, c, h, w)")
    return taps


def find_head(model: nn.Module, calls: Sequence[ModuleCall]) -> str:
    """Return the path of a classifier's head: its last nn.Linear, or the 1x1 convolution of a pooled map that ends it.

    Raises:
        UsageError: it has none.
    """
    heads = [call.path for call in calls if call.may_be_head(calls[-1].output)]
    if not heads:
        raise UsageError(f"{type(model).__name__} has no nn.Linear, whose input would be its embedding")
    return heads[-1]


def linearise_head(model: nn.Module, path: str) -> str:
    """Replace a head that is a 1x1 convolution by the same nn.Linear, and return the path of the nn.Linear."""
    conv = model.get_submodule(path)
    if not isinstance(conv, nn.Conv2d):
        return path
    linear = nn.Linear(conv.in_channels, conv.out_channels, bias=conv.bias is not None).to(conv.weight)
    state = {
        name: parameter.flatten(1) if name == "weight" else parameter for name, parameter in conv.named_parameters()
    }
    linear.load_state_dict(state)
    unflatten = nn.Unflatten(1, (conv.out_channels, 1, 1))
    model.set_submodule(path, nn.Sequential(nn.Flatten(1), linear, unflatten))
    return f"{path}.1"


def spread_blocks(count: int) -> list[int]:
    """Select blocks of a network of one resolution: the first, as its stem, and the last of each quarter.

    >>> spread_blocks(12), spread_blocks(3)
    ([0, 2, 5, 8, 11], [0, 1, 2])
    """
    return sorted({0, *(-(-quarter * count // 4) - 1 for quarter in (1, 2, 3, 4))})


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


def record_calls(model: nn.Module, shape: ImageShape) -> list[ModuleCall]:
    """Record the calls of all modules for two images, in the order in which they return; the last is that of the model.

    Raises:
        UsageError: the network does not accept images of this shape, or does not return logits.
    """
    calls: list[ModuleCall] = []
    counts: Counter[str] = Counter()

    def record(path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        first = inputs[0] if inputs else None
        layouts = _find_layout(first, shape), _find_layout(output, shape)
        calls.append(ModuleCall(module, path, counts[path], *layouts, output))
        counts[path] += 1

    hooks = [module.register_forward_hook(partial(record, path)) for path, module in model.named_modules()]
    try:
        output = try_forward(model, shape)
    finally:
        for hook in hooks:
            hook.remove()
    if isinstance(output, Exception):
        accepted = " and ".join(f"{side}x{side}" for side in _suggest_sides(model, shape))
        hint = f"; it accepts {accepted}" if accepted else ""
        reason = str(output).split("\n")[0]
        raise UsageError(f"{type(model).__name__} does not accept images of {shape[1]}x{shape[2]} ({reason}){hint}")
    check_logits(model, output)
    return calls


def _suggest_sides(model: nn.Module, shape: ImageShape) -> list[int]:
    """Return the sides next to that of some images, below and above, that a model accepts, as far as it accepts any."""
    own = min(shape[1:])
    multiples = {step * (own // step + count) for step in PATCHES for count in (0, 1, 2)}
    sides = sorted({*SUGGESTED_SIDES, *multiples})
    orders = [side for side in reversed(sides) if 0 < side < own], [side for side in sides if side > own]
    found = (
        next((side for side in order if isinstance(try_forward(model, (shape[0], side, side)), Tensor)), None)
        for order in orders
    )
    return [side for side in found if side is not None]


def try_forward(model: nn.Module, shape: ImageShape) -> Any:
    """Return the model's output for two images, or the exception that it raises."""
    with eval_no_grad(model):
        try:
            return model(draw_images(model, shape))
        except Exception as error:  # each library rejects an unsuitable image size with exceptions of its own
            return error


def draw_images(model: nn.Module, shape: ImageShape) -> Tensor:
    """Return two random images (2, C, H, W) on the device of a model. The outputs for black ones can be equal by chance."""
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    return images.to(next(model.parameters(), images))


def _select_taps(calls: Sequence[ModuleCall]) -> list[FeatureTap]:
    """Select the last map at each resolution, or blocks of a network of one resolution, in the order of computation."""
    # By output, because a Sequential that ends in a pooling layer returns the pooled tensor as well.
    pooled = {id(call.output) for call in calls if call.is_pooling}
    maps = [
        (i, call)
        for i, call in enumerate(calls)
        if call.path
        and call.output_size
        and id(call.output) not in pooled
        and not _is_in_branch(call, calls)
        and not _is_in_downsampling_block(call, calls)
    ]
    # A 1x1 map counts only if the trunk itself is reduced that far: not within squeeze-and-excite, nor after the last pool.
    trunk = max((i for i, call in maps if call.output_size != (1, 1)), default=-1)
    if any(call.is_pooling and call.output_size == (1, 1) for call in calls[trunk + 1 :]):
        trunk = len(calls)
    last = {call.output_size: i for i, call in maps if call.output_size != (1, 1) or i > trunk}
    chosen = sorted(last.values())
    if len(chosen) == 1:
        blocks = _find_blocks([(i, call) for i, call in maps if call.output_size == calls[chosen[0]].output_size])
        chosen = [blocks[i] for i in spread_blocks(len(blocks))]
    taps = ((calls[i].path, calls[i].call_index, calls[i].output_layout) for i in chosen)
    return [FeatureTap(path, call_index, layout) for path, call_index, layout in taps if layout]


def _find_blocks(maps: list[tuple[int, ModuleCall]]) -> list[int]:
    """Return the calls of the largest group of sibling modules of one class; the last call if there is no such group."""
    groups: dict[tuple[str, type], list[int]] = {}
    for i, call in maps:
        if _has_parameters(call.module):
            groups.setdefault((call.path.rpartition(".")[0], type(call.module)), []).append(i)
    largest = max(groups.items(), key=lambda group: (len(group[1]), -group[0][0].count(".")), default=(None, []))[1]
    return largest if len(largest) > 1 else [maps[-1][0]]


def _is_in_branch(call: ModuleCall, calls: Sequence[ModuleCall]) -> bool:
    """Return whether a call has another resolution than a block around it, which keeps its own.

    Examples are the pooled map of squeeze-and-excite, the keys of an attention on fewer positions, and attention matrices.
    """
    return any(
        block.path and call.path.startswith(f"{block.path}.")
        for block in calls
        if block.output_size and block.input_size == block.output_size != call.output_size
    )


def _is_in_downsampling_block(call: ModuleCall, calls: Sequence[ModuleCall]) -> bool:
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
    """Return whether a size is reduced, by a factor of at most 2 per side, rounded down."""
    return before is not None and after != before and all(2 * a + 1 >= b for a, b in zip(after, before, strict=True))


def _find_layout(x: Any, image: ImageShape) -> MapLayout | None:
    """Return the layout of a map; None for any other value. A 1x1 map has the layout NCHW."""
    if not isinstance(x, Tensor) or x.ndim not in (3, 4) or x.shape[0] != 2:
        return None
    if x.ndim == 3:
        counts = [(x.shape[1] - extra, extra) for extra in CLASS_TOKENS]
        grids = [(_grid(count, image), extra) for count, extra in counts if count > 1]
        return next((MapLayout("tokens", x.shape[2], size, extra) for size, extra in grids if size), None)
    nchw, nhwc = (x.shape[2], x.shape[3]), (x.shape[1], x.shape[2])
    if _is_reduced(nchw, image) or (1 in nchw and _is_within(nchw, image)):
        return MapLayout("NCHW", x.shape[1], nchw)
    return MapLayout("NHWC", x.shape[3], nhwc) if 1 not in nhwc and _is_reduced(nhwc, image) else None


def _grid(count: int, image: ImageShape) -> MapSize | None:
    """Return the sides of a grid of positions with the aspect of the image, None if there is none."""
    height = max(round(sqrt(count * image[1] / image[2])), 1)
    size = height, count // height
    return size if 1 not in size and _area(size) == count and _is_reduced(size, image) else None


def _is_reduced(size: MapSize, image: ImageShape) -> bool:
    """Return whether both sides are those of the image, divided by one factor and rounded up or down."""
    factor = sqrt(image[1] * image[2] / _area(size))
    return _is_within(size, image) and all(
        abs(side - whole / factor) <= 1 for side, whole in zip(size, image[1:], strict=True)
    )


def _is_within(size: MapSize, image: ImageShape) -> bool:
    return size[0] <= image[1] and size[1] <= image[2]


def _area(size: MapSize) -> int:
    return size[0] * size[1]


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())
