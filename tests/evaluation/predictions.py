"""Logits and labels for tests of metrics."""

import numpy as np


def one_hot_logits(predicted: list[int] | np.ndarray, classes: int) -> np.ndarray:
    """Return logits that predict these classes."""
    return 4.0 * np.eye(classes, dtype=np.float32)[np.asarray(predicted)]


def random_predictions(n: int, classes: int, seed: int = 0, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return random labels, and logits that favour them."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    logits = scale * (random.normal(size=(n, classes)) + np.eye(classes)[labels])
    return labels, logits.astype(np.float32)
