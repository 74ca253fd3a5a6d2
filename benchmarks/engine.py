"""Speed of the engine compared with two hand-written training loops, in images per second.

    python benchmarks/engine.py [--threads 2] [--workers 2] [--rounds 6] [--steps 8] [--device cpu] [--precision bf16]
        [--loops engine,plain,peer-style,compiled] [--clock cpu] [--student resnet8]

All train the same nets with Hinton's loss, in turns in one process. The engine gathers, transfers, flips and scales its batches
from bytes, and records metrics.

    compiled    the engine with --compile max
    plain       on prepared float batches, in the engine's precision and memory format: what the engine's work costs
    peer-style  as in the code of many papers, which goes back to RepDistiller: PIL images that torchvision crops, flips and
                normalises in the worker processes of a DataLoader; fp32, NCHW; loss and accuracy are read in every step
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from harness import build_untrained, random_view, time_steps
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from robustkd.criteria import CRITERIA
from robustkd.data.loader import Loader
from robustkd.data.view import View
from robustkd.method_spec import MethodSpec
from robustkd.models.net import Frozen, Network
from robustkd.study.construct import dataset_info
from robustkd.training import engine, hardware
from robustkd.training.build import build_method
from robustkd.training.recipe import Recipe
from robustkd.types import Clock, Compile

PAIRS = (("resnet20", "resnet8"), ("wrn_40_2", "wrn_16_2"))
BATCH, WARM_UP_STEPS = 128, 3
Loop = Callable[[str, str, View, argparse.Namespace], Iterator[None]]


def engine_steps(
    teacher: str, student: str, view: View, arguments: argparse.Namespace, compile: Compile = "off"
) -> Iterator[None]:
    """Yield after each update of the engine, including data loading and metrics."""
    device, data = torch.device(arguments.device), dataset_info(view)
    loader = Loader(view, arguments.batch, device)
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
    training = engine.PhaseTraining(method, phase, loader, recipe, compile=compile)
    method.train()
    for number in cycle(range(1000)):
        for _ in training.iter_updates(Clock(0, 1), number, meter):
            yield


def hinton_loss(z: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of student logits (B, K), teacher logits (B, K) and labels (B,), with the defaults of `hinton`."""
    log_p, log_q = F.log_softmax(t / 4, 1), F.log_softmax(z / 4, 1)
    return 0.1 * F.cross_entropy(z, labels) + 0.9 * 16 * F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")


def plain_loop_steps(teacher: str, student: str, view: View, arguments: argparse.Namespace) -> Iterator[None]:
    """Yield after each update of a hand-written loop on prepared batches."""
    student_net = build_untrained(student, arguments).train()
    teacher_net = build_untrained(teacher, arguments).eval()
    optimiser = torch.optim.SGD(
        student_net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
    )
    batches = list(Loader(view, arguments.batch, torch.device(arguments.device), augment=False).iter_plain())
    for images, labels in cycle(batches):
        z = student_net(images).logits
        with torch.no_grad():
            t = teacher_net(images).logits
        loss = hinton_loss(z, t, labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        yield


class PILImages(Dataset[tuple[Tensor, int]]):
    """The images of a view as torchvision's CIFAR10 gives them: PIL images, transformed one by one."""

    def __init__(self, view: View) -> None:
        self.images, self.labels = np.ascontiguousarray(view.images().transpose(0, 2, 3, 1)), view.labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.25,) * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[row])), int(self.labels[row])


def peer_style_steps(teacher: str, student: str, view: View, arguments: argparse.Namespace) -> Iterator[None]:
    """Yield after each update of a loop as many repositories have it."""
    student_net = peer_style_network(student, arguments).train()
    teacher_net = peer_style_network(teacher, arguments).eval()
    optimiser = torch.optim.SGD(student_net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    loader = DataLoader(
        PILImages(view),
        arguments.batch,
        shuffle=True,
        num_workers=arguments.workers,
        pin_memory=arguments.device.startswith("cuda"),
        persistent_workers=arguments.workers > 0,
    )
    losses, correct = 0.0, 0.0
    while True:
        for images, labels in loader:
            images, labels = images.to(arguments.device), labels.to(arguments.device)
            z = student_net(images).logits
            with torch.no_grad():
                t = teacher_net(images).logits
            loss = hinton_loss(z, t, labels)
            losses += loss.item() * len(labels)
            correct += (z.argmax(1) == labels).float().sum().item()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            yield


def peer_style_network(word: str, arguments: argparse.Namespace) -> Network:
    """Build a network in fp32 and NCHW for images that are normalised already."""
    net = build_untrained(word, arguments, precision="fp32").to(memory_format=torch.contiguous_format)
    net.mean.zero_()
    net.std.fill_(1)
    return net


LOOPS: dict[str, Loop] = {
    "engine": engine_steps,
    "plain": plain_loop_steps,
    "peer-style": peer_style_steps,
    "compiled": partial(engine_steps, compile="max"),
}


def measure_speeds(
    teacher: str,
    student: str,
    view: View,
    arguments: argparse.Namespace,
    clock: Callable[[], float] = time.perf_counter,
) -> pd.DataFrame:
    """Measure loops in turns: images per second, a row per round and a column per loop."""
    loops = {name: LOOPS[name](teacher, student, view, arguments) for name in arguments.loops.split(",")}
    for steps in loops.values():
        time_steps(steps, WARM_UP_STEPS, arguments.device)
    images = arguments.steps * arguments.batch
    return pd.DataFrame(
        {name: images / time_steps(steps, arguments.steps, arguments.device, clock) for name, steps in loops.items()}
        for _ in range(arguments.rounds)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="processes of the peer-style loop's DataLoader")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: the CPU time of this process, where the machine does other work; with --threads 1 --workers 0",
    )
    parser.add_argument("--loops", default="engine,plain,peer-style", help="of which engine is one")
    parser.add_argument("--student", help="of the pair that is measured; by default, both are")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    hardware.configure_kernels(arguments.device)
    view = random_view(8 * arguments.batch)
    print(f"{arguments.device}, {arguments.threads} threads, {arguments.precision}, batch {arguments.batch}, 32x32")
    for teacher, student in PAIRS:
        if arguments.student not in (None, student):
            continue
        clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
        speeds = measure_speeds(teacher, student, view, arguments, clock)
        medians = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.median().items())
        print(f"{teacher} -> {student}, images per second: {medians}", flush=True)
        for name in speeds.columns.drop("engine"):
            ratios = speeds["engine"] / speeds[name]
            print(
                f"    engine / {name}: {ratios.median():.3f} (median of {len(ratios)} rounds, {ratios.min():.3f} to"
                f" {ratios.max():.3f})"
            )


if __name__ == "__main__":
    main()
