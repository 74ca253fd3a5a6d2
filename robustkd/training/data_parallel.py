"""One run in several processes: networks are computed on shares of a batch, losses on the whole of it.

Every process holds the same weights and draws the same batch. Where a network is called, each process computes its own share
of the images (`scatter`), and receives the outputs for all of them (`gather`). What follows, such as a loss that relates the
samples of a batch to one another, a memory of embeddings or a draw, is computed by every process in the same way. So each
method is trained as by one process, except for rounding and random draws inside of a network, such as dropout.

Tensors are of one of two kinds: whole, equal in all processes, or divided by rows, a share in each. With n processes, let the
gradient of a whole tensor be that of the loss L, and that of a divided one n dL/dx. Then

    gather'(g) = n scatter(g),   scatter'(g) = gather(g) / n,   total'(g) = total(g),

where total is a sum over processes, and the mean over processes of the gradients of any parameter is dL/dw, whether it was
used on shares, on whole tensors or on both. These rules are differentiable again, as attacks in the loss need it.

Batch norm uses the statistics of the whole batch; with `sync_bn=False`, each process uses those of its share.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from robustkd.method import Method
from robustkd.models.net import FeatureMaps, Network
from robustkd.types import Output


def share_sizes(rows: int, size: int) -> list[int]:
    """Return how many rows of a batch each process computes.

    >>> share_sizes(10, 4)
    [3, 3, 2, 2]
    """
    return [rows // size + (rank < rows % size) for rank in range(size)]


class _Scatter(Function):
    """Whole (B, ...) -> the share of this process (b, ...)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        shares = torch.split(x, share_sizes(len(x), dist.get_world_size()))
        return shares[dist.get_rank()].clone(memory_format=torch.preserve_format)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Gather.apply(gradient, ctx.rows) / dist.get_world_size()


class _Gather(Function):
    """The shares of all processes (b, ...) -> whole (B, ...)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int) -> Tensor:
        sizes = share_sizes(rows, dist.get_world_size())
        padded = x.new_zeros(sizes[0], *x.shape[1:])  # shares of equal size, which all backends support
        padded[: len(x)] = x
        shares = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(shares, padded)
        return torch.cat([share[:size] for share, size in zip(shares, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return dist.get_world_size() * _Scatter.apply(gradient), None


class _Total(Function):
    """A tensor of each process -> its sum over processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Total.apply(gradient)


def scatter(x: Tensor) -> Tensor:
    """Return this process's share of the rows of a tensor that is equal in all processes: (B, ...) -> (b, ...)."""
    return _Scatter.apply(x)  # type: ignore[no-any-return]


def gather(x: Tensor, rows: int) -> Tensor:
    """Return the shares of all processes as one tensor, B rows in all: (b, ...) -> (B, ...)."""
    return _Gather.apply(x, rows)  # type: ignore[no-any-return]


def total(x: Tensor) -> Tensor:
    """Return the sum of a tensor over processes."""
    return _Total.apply(x)  # type: ignore[no-any-return]


class DataParallel:
    """The processes that train a run together, as one of them sees it: torch.distributed is initialised.

    Args:
        sync_bn: whether batch norm uses the statistics of the whole batch.
    """

    def __init__(self, *, sync_bn: bool = True) -> None:
        self.sync_bn = sync_bn
        self._calls: list[int] = []  # rows of the batches whose networks are being computed, the outer ones first

    @contextmanager
    def active(self, method: Method) -> Iterator[None]:
        """Divide the calls of networks, and average the gradients of a method's parameters."""
        with ExitStack() as stack:
            for handle in (
                register_module_forward_pre_hook(self._before_call),  # type: ignore[arg-type]
                register_module_forward_hook(self._after_call),  # type: ignore[arg-type]
                *(p.register_hook(average) for p in method.parameters() if p.requires_grad),  # type: ignore[no-untyped-call]
            ):
                stack.callback(handle.remove)
            for module in method.modules() if self.sync_bn else ():
                if isinstance(module, _BatchNorm):
                    module.forward = partial(self._normalise, module)  # type: ignore[method-assign]
                    stack.callback(delattr, module, "forward")
            yield

    def _before_call(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if not isinstance(module, Network):
            return None
        self._calls.append(len(inputs[0]))
        return inputs if len(self._calls) > 1 else (scatter(inputs[0]), *inputs[1:])

    def _after_call(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Output) -> Output | None:
        if not isinstance(module, Network):
            return None
        rows = self._calls.pop()
        if self._calls:  # a network within a network
            return None
        # Maps are large and most methods use none: each is gathered on first access.
        maps = FeatureMaps(output.maps, partial(gather, rows=rows))
        return Output(gather(output.logits, rows), gather(output.embedding, rows), maps)

    def _normalise(self, norm: _BatchNorm, x: Tensor) -> Tensor:
        """Compute batch norm, with the statistics of all shares where x is a share: (b, c, ...) -> the same shape."""
        if not self._calls or not (norm.training or norm.running_mean is None):
            return type(norm).forward(norm, x)
        return batch_norm(norm, x)


def average(gradient: Tensor) -> Tensor:
    """Return the mean of a gradient over processes."""
    return total(gradient) / dist.get_world_size()


def batch_norm(norm: _BatchNorm, x: Tensor) -> Tensor:
    """Compute a batch norm in training mode with the statistics of all processes: (b, c, ...) -> the same shape."""
    values, others = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x, [0, *range(2, x.dim())]
    shape = (1, -1, *[1] * (x.dim() - 2))
    count = total(values.new_tensor(x.numel() / x.shape[1]))
    mean = total(values.sum(others)) / count
    centred = values - mean.view(shape)
    variance = total(centred.square().sum(others)) / count
    _update_statistics(norm, mean.detach(), (variance * count / (count - 1)).detach())
    y = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    return y.to(x.dtype)


def _update_statistics(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics as torch does: by `momentum`, or as means over all batches."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    factor = norm.momentum if norm.momentum is not None else 1 / norm.num_batches_tracked.float()
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), factor)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), factor)
