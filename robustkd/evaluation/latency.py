"""Latency: the time that a network takes for one image and for a batch, as an application would wait for it.

Times of a CPU are of a single thread, so that they do not depend on how many of the machine's cores are free. A time is the
median of several forward passes, after some that are not counted.
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from robustkd.evaluation.results import LATENCY_BATCH, Latency
from robustkd.models.net import Network, eval_no_grad

WARMUP, LEAST, MOST = 2, 5, 50  # forward passes: not counted, fewest and most
SECONDS = 0.2  # after which no further pass begins


def measure_latency(net: Network, shape: tuple[int, int, int], device: str) -> Latency:
    """Measure a network's latency on the CPU, and on a device that is another. It is moved to that device.

    Args:
        shape: (C, H, W) of the images.
    """
    with single_thread():
        net.cpu()
        single, batch = (_milliseconds(net, net.mean.new_zeros(count, *shape)) for count in (1, LATENCY_BATCH))
    on_cpu = Latency(cpu_image_ms=single, cpu_batch_ms=batch)
    net.to(device)
    if torch.device(device).type == "cpu":
        return on_cpu
    single, batch = (_milliseconds(net, net.mean.new_zeros(count, *shape)) for count in (1, LATENCY_BATCH))
    return on_cpu.model_copy(update={"device_image_ms": single, "device_batch_ms": batch})


def _milliseconds(net: Network, images: Tensor) -> float:
    """Return the median time of a forward pass, in milliseconds."""
    images = images.contiguous(memory_format=torch.channels_last)
    times: list[float] = []
    with eval_no_grad(net):
        for _ in range(WARMUP):
            net(images)
        _wait(images.device)
        begin = time.perf_counter()
        while len(times) < LEAST or (len(times) < MOST and time.perf_counter() - begin < SECONDS):
            start = time.perf_counter()
            net(images)
            _wait(images.device)
            times.append(1000 * (time.perf_counter() - start))
    return float(f"{statistics.median(times):.3g}")


def _wait(device: torch.device) -> None:
    """Wait until a device has computed what was started."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


@contextmanager
def single_thread() -> Iterator[None]:
    """Compute with one thread on the CPU, and with as many as before on exit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
