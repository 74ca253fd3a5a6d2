"""Speed of the engine compared with a hand-written training loop, in images per second.

    python benchmarks/engine.py [--threads 2] [--rounds 6] [--steps 8] [--device cpu] [--precision bf16]

Both train the same nets with Hinton's loss in the same precision and memory format, in turns in one process. The loop gets
prepared float batches; the engine gathers, transfers, flips and scales its batches from bytes, and records metrics.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from itertools import cycle

import numpy as np
import torch
import torch.nn.functional as F
from harness import build_untrained, time_steps

from robustkd.criteria import CRITERIA
from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.method_spec import MethodSpec
from robustkd.models.net import Frozen
from robustkd.study.construct import dataset_info
from robustkd.training import engine
from robustkd.training.build import build_method
from robustkd.training.recipe import Recipe
from robustkd.types import Clock

PAIRS = (("resnet20", "resnet8"), ("wrn_40_2", "wrn_16_2"))
BATCH = 128


def engine_steps(teacher: str, student: str, view: View, arguments: argparse.Namespace) -> Iterator[None]:
    """Yield after each update of the engine, including data loading and metrics."""
    device, data = torch.device(arguments.device), dataset_info(view)
    loader = Loader(view, BATCH, device)
    method = build_method(
        MethodSpec.parse("hinton"),
        {
            "student": lambda: build_untrained(student, arguments),
            "teacher": lambda: Frozen(build_untrained(teacher, arguments)),
            "criterion": lambda: lambda: CRITERIA.parse("ce").load()(data),
        },
    ).to(device)
    (phase,) = method.phases()
    recipe, meter = Recipe(), engine.Meter()
    training = engine.PhaseTraining(method, phase, loader, recipe)
    method.train()
    for number in cycle(range(1000)):
        for _ in training.iter_updates(Clock(0, 1), number, meter):
            yield


def plain_loop_steps(teacher: str, student: str, view: View, arguments: argparse.Namespace) -> Iterator[None]:
    """Yield after each update of a hand-written loop on prepared batches."""
    student_net = build_untrained(student, arguments).train()
    teacher_net = build_untrained(teacher, arguments).eval()
    optimiser = torch.optim.SGD(
        student_net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
    )
    batches = list(Loader(view, BATCH, torch.device(arguments.device), augment=False).iter_plain())
    for images, labels in cycle(batches):
        z = student_net(images).logits
        with torch.no_grad():
            t = teacher_net(images).logits
        log_p, log_q = F.log_softmax(t / 4, 1), F.log_softmax(z / 4, 1)
        kd = F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")
        loss = 0.1 * F.cross_entropy(z, labels) + 0.9 * 16 * kd
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (8 * BATCH, 3, 32, 32), dtype=np.uint8)
    view = View.of(Source("bytes", images, random.integers(0, 10, len(images)), tuple("0123456789"), flips=True))
    loops: tuple[Callable[..., Iterator[None]], ...] = (engine_steps, plain_loop_steps)
    print(f"{arguments.device}, {arguments.threads} threads, {arguments.precision}, batch {BATCH}, 32x32")
    for teacher, student in PAIRS:
        both = [loop(teacher, student, view, arguments) for loop in loops]
        for steps in both:  # warm-up
            time_steps(steps, 3, arguments.device)
        pairs = [
            [time_steps(steps, arguments.steps, arguments.device) for steps in both] for _ in range(arguments.rounds)
        ]
        ratio = statistics.median(b / a for a, b in pairs)
        speed = [statistics.median(arguments.steps * BATCH / pair[which] for pair in pairs) for which in (0, 1)]
        print(
            f"{teacher} -> {student}: engine {speed[0]:.0f} images/s, plain loop {speed[1]:.0f} images/s, "
            f"ratio {ratio:.3f} (median of {arguments.rounds} pairs, {min(b / a for a, b in pairs):.3f} to "
            f"{max(b / a for a, b in pairs):.3f})"
        )


if __name__ == "__main__":
    main()
