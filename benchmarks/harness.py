"""Parts shared by the benchmarks: networks at CIFAR's image size and the timing of steps."""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch

from robustkd.data.view import Source, View
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Network

SHAPE, CLASSES = (3, 32, 32), 10


def build_untrained(
    word: str, arguments: argparse.Namespace, seed: int = 0, head: str = "linear", precision: str = ""
) -> Network:
    """Build an untrained network with the device of the command line, and its precision unless another is given."""
    net = build_network(
        MODELS.parse(word),
        shape=SHAPE,
        classes=CLASSES,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        head=head,
        bf16=(precision or arguments.precision) == "bf16",
        seed=seed,
    )
    return net.to(arguments.device)


def random_view(rows: int) -> View:
    """Return random images with random labels."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (rows, *SHAPE), dtype=np.uint8)
    return View.of(Source("bytes", images, random.integers(0, CLASSES, rows), tuple("0123456789"), flips=True))


def time_steps(steps: Iterator[None], count: int, device: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """Advance an iterator by `count` steps; return the seconds, with the device synchronised at the end."""
    start = clock()
    for _ in islice(steps, count):
        pass
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return clock() - start
