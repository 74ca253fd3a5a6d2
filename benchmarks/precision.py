"""Speed of bf16 compared with fp32 on this machine by net and image size; `--precision auto` is based on these figures.

    python benchmarks/precision.py [--threads 1] [--rounds 5] [--steps 4] [--device cpu]

A ratio above 1 means that bf16 is faster. Both are timed in turns in one process.
"""

import argparse
import statistics
from collections.abc import Iterator

import torch
from harness import time_steps

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


def training_steps(word: str, size: int, bf16: bool, device: str, batch: int = 128) -> Iterator[None]:
    """Yield after each training step of a net on random images."""
    shape = (3, size, size)
    net = build_network(
        MODELS.parse(word), shape=shape, classes=10, mean=(0.5,) * 3, std=(0.25,) * 3, bf16=bf16, seed=0
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for word, size in CASES:
        both = [training_steps(word, size, bf16, arguments.device) for bf16 in (False, True)]
        for steps in both:  # warm-up
            time_steps(steps, 2, arguments.device)
        pairs = [
            [time_steps(steps, arguments.steps, arguments.device) for steps in both] for _ in range(arguments.rounds)
        ]
        ratios = [fp32 / bf16 for fp32, bf16 in pairs]
        milliseconds = [1000 * statistics.median(pair[which] for pair in pairs) / arguments.steps for which in (0, 1)]
        print(
            f"{word} at {size}x{size}: fp32 {milliseconds[0]:.1f} ms, bf16 {milliseconds[1]:.1f} ms per step of 128 images, "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
