"""Speed of training on a data set that is streamed from its memory map, relative to one that is kept on the device.

    python benchmarks/streaming.py [--side 96] [--images 2000] [--net resnet8] [--augment photo] [--rounds 5] [--device cpu]

The set has twice the bytes of the budget that the streaming loader is given. Both train the same network on the same batches,
in turns in one process, a few steps at a time. Images are generated and written to a temporary memory map; --cold drops it from
the system's cache before each turn, so that all of it is read from the disk.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.format import open_memmap

from robustkd.data.loader import Loader
from robustkd.data.resize import add_margin
from robustkd.data.view import Source, View
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.types import Clock

BATCH, CLASSES, STEPS = 64, 10, 4


def mapped_source(file: Path, count: int, side: int) -> Source:
    """Return random images with a margin, memory-mapped."""
    stored, random = add_margin(side, 0.875), np.random.default_rng(0)
    images = open_memmap(file, "w+", np.uint8, (count, 3, stored, stored))
    for start in range(0, count, 256):
        part = images[start : start + 256]
        part[:] = random.integers(0, 256, part.shape, dtype=np.uint8)
    images.flush()
    labels = random.integers(0, CLASSES, count)
    return Source(
        "generated", np.load(file, mmap_mode="r"), labels, tuple("abcdefghij"), crop=side, fingerprint="generated"
    )


def training_steps(loader: Loader, arguments: argparse.Namespace) -> Iterator[None]:
    """Yield after each update."""
    device = torch.device(arguments.device)
    net = build_network(
        MODELS.parse(arguments.net),
        shape=loader.shape,
        classes=CLASSES,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        seed=0,
    ).to(device)
    optimiser = torch.optim.SGD(net.train().parameters(), lr=0.01, fused=True)
    for epoch in range(1000):
        for batch in loader.iter_epoch(epoch, Clock(0, 1)):
            loss = F.cross_entropy(net(batch.images).logits, batch.labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            yield


def drop_from_cache(file: Path) -> None:
    """Ask the system to forget a file's content."""
    descriptor = os.open(file, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--net", default="resnet8")
    parser.add_argument("--augment", default="photo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cold", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "images.npy")
        view, device = View.of(mapped_source(file, arguments.images, arguments.side)), torch.device(arguments.device)
        size = arguments.images * int(np.prod(view.sources[0].stored_shape))
        steps = {
            name: training_steps(Loader(view, BATCH, device, augment=arguments.augment, budget=budget), arguments)
            for name, budget in (("resident", size), ("streamed", size // 2))
        }
        wall: dict[str, list[float]] = {name: [] for name in steps}
        processor: dict[str, list[float]] = {name: [] for name in steps}
        for number in range(arguments.rounds + 1):
            for name, updates in steps.items():
                if arguments.cold:
                    drop_from_cache(file)
                start, cpu = time.perf_counter(), time.process_time()
                for _ in range(STEPS):
                    next(updates)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if number:
                    wall[name].append(STEPS * BATCH / (time.perf_counter() - start))
                    processor[name].append(STEPS * BATCH / (time.process_time() - cpu))
    print(f"{size / 1e6:.0f} MB of {arguments.side} pixels, {arguments.net}, batches of {BATCH}, {arguments.augment}")
    print("images per second, and per second of processor time (medians)")
    for name in steps:
        print(f"{name:10s} {statistics.median(wall[name]):8.0f} {statistics.median(processor[name]):8.0f}")
    ratios = [
        statistics.median(found["streamed"]) / statistics.median(found["resident"]) for found in (wall, processor)
    ]
    print(f"streamed / resident: {ratios[0]:.2f} by the clock, {ratios[1]:.2f} by processor time")


if __name__ == "__main__":
    main()
