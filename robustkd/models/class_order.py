"""The outputs of a stored network in the order of a data set's classes, which are found by name."""

from collections.abc import Sequence

import torch

from robustkd.errors import UsageError, unknown_name
from robustkd.models.net import Network, eval_no_grad

PAIR_BY_POSITION = "--teacher-classes ignore pairs them by position"


def find_class_order(context: str, stored: Sequence[str], classes: Sequence[str], by_name: bool = True) -> list[int]:
    """Return the number of the network's output for each class of a data set: (K,).

    Args:
        context: the network, which the error message starts with.
        stored: the network's K class names, in the order of its outputs.
        classes: the data set's K class names.
        by_name: whether classes are found by name; otherwise they are paired by position.

    Raises:
        UsageError: the numbers of classes differ; or names are compared and they are not the same, or one side has none.

    >>> find_class_order("model.pt", ["cat", "dog", "fox"], ["fox", "dog", "cat"])
    [2, 1, 0]
    """
    if len(stored) != len(classes):
        raise UsageError(f"{context}: this network has {len(stored)} classes, but the data set has {len(classes)}")
    if not by_name or list(stored) == list(classes):
        return list(range(len(classes)))
    if _are_numbers(stored) or _are_numbers(classes):
        nameless, other = ("this network", "the data set") if _are_numbers(stored) else ("the data set", "this network")
        raise UsageError(
            f"{context}: {nameless} has no class names but the numbers 0 to {len(stored) - 1}, so they cannot be compared"
            f" with the names of {other}; {PAIR_BY_POSITION}"
        )
    missing = [name for name in classes if name not in stored]
    if missing:
        raise UsageError(f"{context}: in this network {unknown_name('class', missing[0], stored)}; {PAIR_BY_POSITION}")
    return [list(stored).index(name) for name in classes]


def _are_numbers(classes: Sequence[str]) -> bool:
    """Return whether the classes are called 0, 1, ..., as for data without class names."""
    return list(classes) == [str(number) for number in range(len(classes))]


def is_reordered(order: Sequence[int]) -> bool:
    """Return whether an order differs from that of the network's outputs."""
    return list(order) != sorted(order)


def describe_class_order(stored: Sequence[str], classes: Sequence[str], order: Sequence[int]) -> str:
    """Describe how a network's outputs are paired with a data set's classes; empty if both are in the same order.

    >>> describe_class_order(["cat", "dog", "fox"], ["fox", "dog", "cat"], [2, 1, 0])
    'its classes are in another order than those of the data set, and are found by name'
    >>> describe_class_order(["cat", "dog"], ["Cat", "dog"], [0, 1])
    'its classes are paired with those of the data set by position: cat as Cat'
    """
    if is_reordered(order):
        return "its classes are in another order than those of the data set, and are found by name"
    pairs = [f"{one} as {other}" for one, other in zip(stored, classes, strict=True) if one != other]
    more = f" and {len(pairs) - 5} more" if len(pairs) > 5 else ""
    return f"its classes are paired with those of the data set by position: {', '.join(pairs[:5])}{more}" * bool(pairs)


def reorder_outputs(context: str, net: Network, order: Sequence[int], shape: tuple[int, int, int]) -> None:
    """Permute the rows of a network's head, so that output k is the former output `order[k]`.

    Args:
        context: the network, which the error message starts with.
        net: the network, which is modified.
        order: (K,) a permutation.
        shape: (C, H, W) of its images.

    Raises:
        UsageError: its logits are not those of its head, as may be in a network of the user's own.
    """
    if not is_reordered(order):
        return
    size = 2 * shape[0] * shape[1] * shape[2]
    probe = torch.linspace(0, 1, size, device=net.mean.device).reshape(2, *shape)
    with eval_no_grad(net):
        before = net(probe).logits
        for parameter in net.head.parameters():  # weight (K, D), and bias (K,) where there is one
            parameter.copy_(parameter[list(order)])
        after = net(probe).logits
    if not torch.allclose(after, before[:, list(order)], rtol=1e-3, atol=1e-4):
        raise UsageError(f"{context}: the outputs of this network cannot be put in the order of the data set's classes")
