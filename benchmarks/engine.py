"""The engine against a bare loop: images per second, as a ratio in one run.

    python benchmarks/engine.py [--threads 2] [--rounds 6] [--steps 8] [--device cpu] [--precision bf16]

Both train the same nets by Hinton's loss in the same precision and memory format, in turns. The bare loop is handed
ready batches of floats; the engine gathers, moves, mirrors and scales its own from bytes, and keeps its meter.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from itertools import cycle

import numpy as np
import torch
import torch.nn.functional as F
from timing import timed

from robustkd.criteria import CRITERIA
from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Frozen, Network
from robustkd.study.plan import facts
from robustkd.training import build, engine
from robustkd.training.recipe import Recipe, build_optimiser
from robustkd.types import Clock

PAIRS = (("resnet20", "resnet8"), ("wrn_40_2", "wrn_16_2"))
BATCH = 128


def net(word: str, arguments: argparse.Namespace) -> Network:
    made = build_network(
        MODELS.parse(word),
        shape=(3, 32, 32),
        classes=10,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        bf16=arguments.precision == "bf16",
        seed=0,
    )
    return made.to(arguments.device)


def through_engine(teacher: str, student: str, view: View, arguments: argparse.Namespace) -> Iterator[None]:
    """One update of the engine per step, data path and meter included."""
    device, data = torch.device(arguments.device), facts(view)
    loader = Loader(view, BATCH, device)
    method = build.build(
        build.read("hinton")[0],
        {
            "student": lambda: net(student, arguments),
            "teacher": lambda: Frozen(net(teacher, arguments)),
            "criterion": lambda: lambda: CRITERIA.parse("ce").load()(data),
        },
    ).to(device)
    (phase,) = method.phases()
    recipe, meter = Recipe(), engine.Meter()
    optimiser = build_optimiser(phase, recipe)
    method.train()
    for number in cycle(range(1000)):
        for _ in engine.iter_updates(phase, optimiser, loader, recipe, Clock(0, 1), number, meter):
            yield


def bare(teacher: str, student: str, view: View, arguments: argparse.Namespace) -> Iterator[None]:
    """What one writes by hand, on batches that are ready."""
    pupil, master = net(student, arguments).train(), net(teacher, arguments).eval()
    optimiser = torch.optim.SGD(pupil.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
    batches = list(Loader(view, BATCH, torch.device(arguments.device), augment=False).iter_plain())
    for images, labels in cycle(batches):
        z = pupil(images).logits
        with torch.no_grad():
            t = master(images).logits
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
    makers: tuple[Callable[..., Iterator[None]], ...] = (through_engine, bare)
    print(f"{arguments.device}, {arguments.threads} threads, {arguments.precision}, batch {BATCH}, 32x32")
    for teacher, student in PAIRS:
        ours, theirs = (maker(teacher, student, view, arguments) for maker in makers)
        for walk in (ours, theirs):
            timed(walk, 3, arguments.device)
        pairs = [
            [timed(walk, arguments.steps, arguments.device) for walk in (ours, theirs)] for _ in range(arguments.rounds)
        ]
        ratio = statistics.median(b / a for a, b in pairs)
        speed = [statistics.median(arguments.steps * BATCH / pair[which] for pair in pairs) for which in (0, 1)]
        print(
            f"{teacher} -> {student}: engine {speed[0]:.0f} images/s, bare loop {speed[1]:.0f} images/s, "
            f"ratio {ratio:.3f} (median of {arguments.rounds} pairs, {min(b / a for a, b in pairs):.3f} to "
            f"{max(b / a for a, b in pairs):.3f})"
        )


if __name__ == "__main__":
    main()
