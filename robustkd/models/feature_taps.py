"""Where a foreign classifier can be read: a dry run under hooks finds out."""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robustkd.errors import UsageError
from robustkd.models.net import eval_no_grad

Size = tuple[int, int]  # h, w
Shape = tuple[int, int, int]  # C, H, W
SUGGESTED_SIDES = (16, 32, 64, 96, 128, 224, 299)  # tried when a net refuses the images, to say what it would take


class FeatureTap(NamedTuple):
    """Where a map is read: a module, and which of its calls in one forward (a shared ReLU has many)."""

    path: str
    turn: int


class ModuleCall(NamedTuple):
    """A call of a module in a dry run, and the resolutions (h, w) it read and gave; None where that is no map."""

    module: nn.Module
    path: str
    turn: int
    before: Size | None
    after: Size | None
    output: Any

    @property
    def pools(self) -> bool:
        """It learns nothing and changes the resolution."""
        return None not in (self.before, self.after) and self.before != self.after and not _learns(self.module)


def find_feature_taps(model: nn.Module, shape: Shape) -> tuple[list[FeatureTap], str]:
    """The last map at each resolution, in order, and the path of the last nn.Linear, which reads the embedding.

    Raises:
        UsageError: the network cannot take images of this shape, or has no maps, or no nn.Linear.
    """
    calls = _dry_run(model, shape)
    taps, heads = _taps(calls), [call.path for call in calls if isinstance(call.module, nn.Linear)]
    if not heads or not taps:
        missing = "nn.Linear, whose input would be its embedding" if taps else "layer that gives maps (B, c, h, w)"
        raise UsageError(f"{type(model).__name__} has no {missing}")
    return taps, heads[-1]


def _dry_run(model: nn.Module, shape: Shape) -> list[ModuleCall]:
    """Every call of every module on two black images, in the order in which they end."""
    calls: list[ModuleCall] = []

    def note(path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        turn = sum(call.path == path for call in calls)
        before = _resolution(inputs[0], shape) if inputs else None
        calls.append(ModuleCall(module, path, turn, before, _resolution(output, shape), output))

    hooks = [part.register_forward_hook(partial(note, path)) for path, part in model.named_modules()]
    try:
        answer = _attempt(model, shape)
    finally:
        for hook in hooks:
            hook.remove()
    if isinstance(answer, Exception):
        larger = (side for side in SUGGESTED_SIDES if side > min(shape[1:]))
        fits = next((side for side in larger if isinstance(_attempt(model, (shape[0], side, side)), Tensor)), None)
        hint = f"; it takes {fits}x{fits}" if fits else ""
        reason = str(answer).split("\n")[0]
        raise UsageError(f"{type(model).__name__} cannot take images of {shape[1]}x{shape[2]} ({reason}){hint}")
    check_logits(model, answer)
    return calls


def _attempt(model: nn.Module, shape: Shape) -> Any:
    """The answer to two black images, or the exception in its stead."""
    example = next(model.parameters(), torch.empty(0))
    with eval_no_grad(model):
        try:
            return model(example.new_zeros(2, *shape))
        except Exception as error:  # foreign code refuses a size in its own ways
            return error


def check_logits(model: nn.Module, answer: Any) -> None:
    """Refuse what is not logits (B, K): a tuple with auxiliary heads, a dictionary, a segmentation."""
    if not isinstance(answer, Tensor) or answer.ndim != 2:
        raise UsageError(
            f"{type(model).__name__} answers with a {type(answer).__name__} that is not logits (B, K): it must be a "
            "classifier, without auxiliary heads (aux_logits=False in torchvision)"
        )


def _taps(calls: list[ModuleCall]) -> list[FeatureTap]:
    """The last map at each resolution, in the order in which they are computed."""
    pooled = {id(call.output) for call in calls if call.pools}  # given by a Sequential that ends in a pool, too
    maps = [
        (i, call)
        for i, call in enumerate(calls)
        if call.path and call.after and id(call.output) not in pooled and not _leaving(call, calls)
    ]
    # 1x1 is a map only where the trunk itself shrinks so far: not inside squeeze-and-excite, nor after the last pool.
    trunk = max((i for i, call in maps if call.after != (1, 1)), default=-1)
    if any(call.pools and call.after == (1, 1) for call in calls[trunk + 1 :]):
        trunk = len(calls)
    ends = {call.after: i for i, call in maps if call.after != (1, 1) or i > trunk}
    return [FeatureTap(calls[i].path, calls[i].turn) for i in sorted(ends.values())]


def _leaving(call: ModuleCall, calls: list[ModuleCall]) -> bool:
    """Whether it is a step of a block that halves the resolution: the next stage's work, and not the end of this one.

    Such as the expansion before the strided convolution of a bottleneck. Plain Sequentials are folders, not blocks.
    """
    return any(
        block.path and call.path.startswith(f"{block.path}.") and type(block.module) is not nn.Sequential
        for block in calls
        if block.before == call.after and block.after and _halves(call.after, block.after)
    )


def _halves(before: Size | None, after: Size) -> bool:
    return before is not None and after != before and all(2 * a >= b for a, b in zip(after, before, strict=True))


def _resolution(x: Any, image: Shape) -> Size | None:
    """(h, w) of a map (B, c, h, w), if it is the image's, reduced alike on both sides: not (B, h, w, c)."""
    if not isinstance(x, Tensor) or x.ndim != 4:
        return None
    (h, w), (_, height, width) = x.shape[2:], image
    alike = 1 in (h, w) or 2 / 3 <= (height * w) / (h * width) <= 3 / 2
    return (h, w) if h <= height and w <= width and alike else None


def _learns(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())
