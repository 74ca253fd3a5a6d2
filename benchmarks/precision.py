"""bf16 against fp32 on this machine, net by net and image size by image size: what `--precision auto` goes by.

    python benchmarks/precision.py [--threads 1] [--rounds 5] [--steps 4] [--device cpu]

A ratio above 1 means that bf16 is the faster. Both are timed in turns in one run.
"""

import argparse
import statistics
from collections.abc import Iterator

import torch
from timing import timed

from robustkd.models import MODELS
from robustkd.models.build import build_network

CASES = (
    ("resnet8", 8),
    ("wrn_10_2", 8),
    ("wrn_16_2", 8),
    ("resnet8", 28),
    ("resnet8", 32),
    ("resnet20", 32),
    ("wrn_16_2", 32),
)


def steps(word: str, size: int, half: bool, device: str, batch: int = 128) -> Iterator[None]:
    """Training steps of one net on random images."""
    shape = (3, size, size)
    net = build_network(
        MODELS.parse(word), shape=shape, classes=10, mean=(0.5,) * 3, std=(0.25,) * 3, bf16=half, seed=0
    )
    net = net.to(device).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, fused=True)
    images = torch.rand(batch, *shape, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,), device=device)
    while True:
        optimiser.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(images).logits, labels).backward()
        optimiser.step()
        yield


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--steps", type=int, default=4)
parser.add_argument("--device", default="cpu")
arguments = parser.parse_args()
torch.set_num_threads(arguments.threads)
for word, size in CASES:
    walks = [steps(word, size, half, arguments.device) for half in (False, True)]
    for walk in walks:
        timed(walk, 2, arguments.device)
    pairs = [[timed(walk, arguments.steps, arguments.device) for walk in walks] for _ in range(arguments.rounds)]
    ratios = [full / half for full, half in pairs]
    each = [1000 * statistics.median(pair[which] for pair in pairs) / arguments.steps for which in (0, 1)]
    print(
        f"{word} at {size}x{size}: fp32 {each[0]:.1f} ms, bf16 {each[1]:.1f} ms a step of 128, "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )
