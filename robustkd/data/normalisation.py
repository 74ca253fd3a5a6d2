"""What the pixels of a view are like on the whole."""

import numpy as np

from robustkd.data.view import View


def channel_mean_std(view: View) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels per channel, in units of [0, 1]: what nets normalise by."""
    channels = view.sources[0].shape[0]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(view), 4096):  # in pieces: a mapped set stays on the disk
        piece = view.take(np.arange(start, min(start + 4096, len(view)))).images()
        counts += np.stack([np.bincount(piece[:, channel].ravel(), minlength=256) for channel in range(channels)])
    level, weight = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
    mean = weight @ level
    std = np.sqrt((weight * (level - mean[:, None]) ** 2).sum(axis=1)).clip(1 / 255)
    return tuple(mean.tolist()), tuple(std.tolist())
