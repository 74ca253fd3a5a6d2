"""Pixel statistics by which networks normalise their input."""

import numpy as np

from robustkd.data.view import View


def channel_mean_std(view: View) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the mean and standard deviation of the pixels per channel, in units of [0, 1]: C numbers each.

    Both are computed from histograms, so they do not depend on the order of the rows. A standard deviation is at least 1 / 255.
    """
    channels = view.sources[0].shape[0]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(view), 4096):  # in chunks, so that a memory-mapped set is not loaded whole
        images = view.take(np.arange(start, min(start + 4096, len(view)))).images()
        counts += np.stack([np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(channels)])
    level, weight = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
    mean = weight @ level
    std = np.sqrt((weight * (level - mean[:, None]) ** 2).sum(axis=1)).clip(1 / 255)
    return tuple(mean.tolist()), tuple(std.tolist())
