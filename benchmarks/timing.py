"""Seconds for some steps of a walk, the device's queue emptied."""

import time
from collections.abc import Iterator
from itertools import islice

import torch


def timed(walk: Iterator[None], steps: int, device: str) -> float:
    """Take so many steps and say how long they took."""
    start = time.perf_counter()
    for _ in islice(walk, steps):
        pass
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start
