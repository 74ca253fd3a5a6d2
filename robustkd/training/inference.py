"""Inference on a view: its images in order, without augmentation."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robustkd.data.loader import Loader
from robustkd.method import Method
from robustkd.models.net import Network


def predict_logits(net: Network, loader: Loader) -> NDArray[np.float32]:
    """Compute a network's logits for a view: (n, K)."""
    net.eval()
    with torch.no_grad():
        logits: NDArray[np.float32] = torch.cat([net(images).logits for images, _ in loader.iter_plain()]).cpu().numpy()
    return logits


def predict_auxiliary_logits(method: Method, loader: Loader) -> dict[str, Any]:
    """Compute the logits of a method's auxiliary classifiers for a view: (n, K) by name."""
    method.eval()
    with torch.no_grad():
        batches = [method.auxiliary_logits(images) for images, _ in loader.iter_plain()]
    return {name: torch.cat([batch[name] for batch in batches]).cpu().numpy() for name in batches[0]}


def compute_accuracy(net: Network, loader: Loader) -> float:
    """Compute the fraction of a view's labels that a network predicts; NaN for an empty view."""
    if not len(loader.view):
        return float("nan")
    return float((predict_logits(net, loader).argmax(axis=1) == loader.view.labels).mean())
