"""Training steps with and without keeping freed memory in the process (robustkd.training.hardware.keep_freed_memory).

    python benchmarks/allocation.py [--net timm:tf_efficientnet_lite0] [--image-size 96] [--rounds 5]

Processes with and without it take turns, since a process cannot undo it. Each trains the network on random images of batch
128 with one thread, in fp32, and reports the milliseconds of a step and its peak memory. The ratio is the median over rounds.
"""

import argparse
import json
import subprocess
import sys
import time

import pandas as pd
import torch

from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.training import hardware

BATCH, STEPS = 128, 3


def train_steps(net: str, side: int, keep: bool) -> dict[str, float]:
    """Train a network for a few steps in this process; return the milliseconds of each, and the peak memory in GB."""
    torch.set_num_threads(1)
    if keep and not hardware.keep_freed_memory():
        sys.exit("benchmarks/allocation.py: the C library of this system is not glibc; there is nothing to compare")
    spec = MODELS.parse(net)
    model = build_network(spec, shape=(3, side, side), classes=10, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0).train()
    images = torch.rand(BATCH, 3, side, side).contiguous(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for step in range(STEPS + 1):
        if step == 1:  # the first one allocates in any case
            started = time.perf_counter()
        optimiser.zero_grad()
        model(images).logits.square().mean().backward()
        optimiser.step()
    seconds = time.perf_counter() - started
    return {"ms": 1000 * seconds / STEPS, "GB": (hardware.peak_memory("cpu") or 0) / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="timm:tf_efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=int, choices=(0, 1), help="one process, as this program starts them")
    arguments = parser.parse_args()
    if arguments.keep is not None:
        print(json.dumps(train_steps(arguments.net, arguments.image_size, bool(arguments.keep))))
        return
    rows = []
    for number in range(arguments.rounds):
        for keep in (0, 1)[:: 1 if number % 2 else -1]:
            done = subprocess.run([sys.executable, *sys.argv, "--keep", str(keep)], check=True, capture_output=True)
            rows.append({"round": number, "keep": keep, **json.loads(done.stdout.splitlines()[-1])})
    table = pd.DataFrame(rows).pivot(index="round", columns="keep", values=["ms", "GB"])
    ratio = table["ms", 1] / table["ms", 0]
    print(table.round(2).to_string())
    print(
        f"freed memory kept, relative to without: {ratio.median():.2f} of the time ({ratio.min():.2f} to {ratio.max():.2f})"
    )


if __name__ == "__main__":
    main()
