"""What nets answer to a view's images, as they are, in order."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robustkd.data.loader import Loader
from robustkd.method import Method
from robustkd.models.net import Network


def predict_logits(net: Network, loader: Loader) -> NDArray[np.float32]:
    """The net's logits for a view, in order: (n, K)."""
    net.eval()
    with torch.no_grad():
        logits: NDArray[np.float32] = torch.cat([net(images).logits for images, _ in loader.iter_plain()]).cpu().numpy()
    return logits


def predict_auxiliary_logits(method: Method, loader: Loader) -> dict[str, Any]:
    """What the method would have measured beside its model, in order: (n, K) by name."""
    method.eval()
    with torch.no_grad():
        parts = [method.auxiliary_logits(images) for images, _ in loader.iter_plain()]
    return {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}


def compute_accuracy(net: Network, loader: Loader) -> float:
    """The share of a view's labels that the net gives, NaN where there are none."""
    if not len(loader.view):
        return float("nan")
    return float((predict_logits(net, loader).argmax(axis=1) == loader.view.labels).mean())
