"""Time and memory of a training step of each method, as ratios to hinton; of each criterion, as ratios to cross entropy.

    python benchmarks/methods.py [--teacher resnet20] [--student resnet8] [--device cpu] [--precision bf16]
        [--methods all] [--reference hinton] [--epoch 1] [--threads 2] [--rounds 6] [--steps 8] [--out FILE.csv]
    python benchmarks/methods.py --methods criteria --reference baseline --epoch 90

A step is a batch of 128 images of 32x32 through the engine, with data loading, views and all updates of that batch. In each
round the reference and the method are timed in turns. Each phase of a method has its own row. The row of the reference compares
it with a second one and shows the measurement noise. Memory is the peak that torch allocates within a step beyond what was
allocated before it: activations and temporary tensors, not weights, momenta or memory banks.

The images are random blocks of colour labelled by the untrained teacher, so that methods that attack images both nets classify
correctly have some. The clock is set to an epoch of a hundred: by default the second, where attacks are active; a late one
measures the criteria whose loss changes after a warm-up.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, count
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from harness import SHAPE, build_untrained, time_steps
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile, record_function

from robustkd.criteria import CRITERIA
from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from robustkd.method import Method, Phase
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.models.net import Frozen, Network, eval_no_grad
from robustkd.specs import split_at
from robustkd.study.construct import dataset_info
from robustkd.training import engine, hardware
from robustkd.training.build import Ingredients, build_method
from robustkd.training.recipe import Recipe
from robustkd.types import Clock

BATCH, WARM_UP_STEPS = 128, 3
EPOCHS, EPOCH = 100, 1  # not the first epoch, so that methods that learn from the previous epoch have one
RECIPE = Recipe(lr=0.01)  # small, so that nothing diverges
CRITERION_TEXTS = [
    "baseline",
    *(f"baseline+{word}" for word in CRITERIA),
    "baseline+gce(truncate=0.5)",
    "baseline+ldam(drw=true)",
]


@dataclass(frozen=True)
class StepCost:
    """The cost of a step in one phase of a method."""

    method: str
    phase: str
    milliseconds: float  # the median of a step
    ratio: float  # the median over rounds of the ratio to the reference in the same round
    ratio_least: float
    ratio_most: float
    megabytes: float
    memory_ratio: float

    @property
    def name(self) -> str:
        return f"{self.method}/{self.phase}"


def predict_balanced(teacher: Network, images: torch.Tensor) -> torch.Tensor:
    """Remove the bias of an untrained net's head towards single classes, and return its predictions: (B,)."""
    with eval_no_grad(teacher):
        logits = torch.cat([teacher(part).logits for part in images.split(BATCH)])
        teacher.head.bias -= logits.mean(dim=0)
    return (logits - logits.mean(dim=0)).argmax(dim=1)


def block_view(teacher: Network, samples: int, device: str) -> View:
    """Return images of colour blocks, robust to small shifts, under the teacher's predictions as labels."""
    colours = np.random.default_rng(0).integers(0, 256, (samples, SHAPE[0], 4, 4), dtype=np.uint8)
    images = colours.repeat(SHAPE[1] // 4, axis=2).repeat(SHAPE[2] // 4, axis=3)
    labels = predict_balanced(teacher, torch.from_numpy(images).to(device).float() / 255).cpu().numpy()
    return View.of(Source("blocks", images, labels, tuple("0123456789"), flips=True))


def build_untrained_method(text: str, teacher: Network, view: View, arguments: argparse.Namespace) -> Method:
    """Build a method as a study does, with untrained nets."""
    spec = MethodSpec.parse(text)
    data, criterion, kwargs = dataset_info(view), spec.criterion.load(), spec.criterion.kwargs()
    head = criterion.head
    random = torch.Generator(arguments.device).manual_seed(0)
    ingredients: Ingredients = {
        "student": lambda: build_untrained(arguments.student, arguments, head=head),
        "students": lambda: (
            lambda size: [build_untrained(arguments.student, arguments, seed, head) for seed in range(size)]
        ),
        "teacher": lambda: Frozen(teacher),
        "data": lambda: data,
        "criterion": lambda: lambda: criterion(data, **kwargs),
        "random": lambda: random,
    }
    torch.manual_seed(0)
    return build_method(spec, ingredients).to(arguments.device).train()


def phase_steps(method: Method, phase: Phase, view: View, arguments: argparse.Namespace) -> Iterator[None]:
    """Yield after each batch of a phase, indefinitely."""
    loader = Loader(view, BATCH, torch.device(arguments.device), views=method.views)
    training, meter = engine.PhaseTraining(method, phase, loader, RECIPE), engine.Meter()
    if phase.begin is not None:
        phase.begin()
    for number in count():
        yield from training.iter_updates(Clock(arguments.epoch, EPOCHS), number, meter)


def peak_bytes(steps: Iterator[None], device: str) -> int:
    """Return the peak of the bytes allocated during the next step, beyond those allocated before it."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        time_steps(steps, 1, device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        next(steps)  # the profiler knows the size of a freed tensor only if it saw the allocation
        with record_function("measured"):
            next(steps)
    # Raw events, because averaged ones omit events within an operator. Freed bytes are negative.
    events = sorted(trace.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    (start,) = (event.start_ns() for event in events if event.name() == "measured")
    changes = (event.nbytes() for event in events if event.name() == "[memory]" and event.start_ns() > start)
    return max(accumulate(changes, initial=0))


def measure_methods(
    texts: Sequence[str], view: View, teacher: Network, arguments: argparse.Namespace
) -> Iterator[StepCost]:
    """Measure each phase of the methods relative to one common reference, which has a single phase."""
    method = build_untrained_method(arguments.reference, teacher, view, arguments)
    reference = phase_steps(method, *method.phases(), view, arguments)
    time_steps(reference, WARM_UP_STEPS, arguments.device)
    bytes_reference = peak_bytes(reference, arguments.device)
    for text in texts:
        try:
            method = build_untrained_method(text, teacher, view, arguments)
        except UsageError as error:  # the method does not support these nets
            print(f"{text}: skipped: {error}", flush=True)
            continue
        for phase in method.phases():
            steps = phase_steps(method, phase, view, arguments)
            time_steps(steps, WARM_UP_STEPS, arguments.device)
            size = peak_bytes(steps, arguments.device)
            pairs = [
                [time_steps(which, arguments.steps, arguments.device) for which in (reference, steps)]
                for _ in range(arguments.rounds)
            ]
            ratios = [own / other for other, own in pairs]
            yield StepCost(
                text,
                phase.name,
                1000 * statistics.median(own for _, own in pairs) / arguments.steps,
                statistics.median(ratios),
                min(ratios),
                max(ratios),
                size / 1e6,
                size / bytes_reference,
            )


def format_costs(costs: Sequence[StepCost], title: str, reference: str) -> Table:
    """Format the costs as a table."""
    table = Table(title=title)
    for column in ("method/phase", "ms a step", f"time / {reference}", "from", "to", "MB", f"memory / {reference}"):
        table.add_column(column, justify="left" if "phase" in column else "right", no_wrap=True)
    for cost in costs:
        times = (f"{cost.milliseconds:.1f}", f"{cost.ratio:.2f}", f"{cost.ratio_least:.2f}", f"{cost.ratio_most:.2f}")
        table.add_row(cost.name, *times, f"{cost.megabytes:.1f}", f"{cost.memory_ratio:.2f}")
    return table


def parse_command_line(words: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Parse the command line; return the arguments and the method specs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="resnet20")
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--reference", default="hinton")
    parser.add_argument("--epoch", type=int, default=EPOCH)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--samples", type=int, default=40 * BATCH)  # crd draws 4096 negatives from as many rows
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(words)
    try:
        groups = {"all": list(METHODS), "criteria": CRITERION_TEXTS}
        texts = groups.get(arguments.methods) or split_at(arguments.methods, ",")
        for text in (*texts, arguments.reference):
            MethodSpec.parse(text)
    except UsageError as error:
        parser.error(str(error))
    return arguments, texts


def main(words: Sequence[str] | None = None) -> list[StepCost]:
    arguments, texts = parse_command_line(words)
    torch.set_num_threads(arguments.threads)
    hardware.configure_kernels(arguments.device)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # silences the profiler on stderr
    cuda = arguments.device.startswith("cuda")
    device_name = torch.cuda.get_device_name(arguments.device) if cuda else f"cpu, {arguments.threads} threads"
    title = (
        f"{arguments.teacher} -> {arguments.student}, {device_name}, {arguments.precision}, batch {BATCH}, 32x32, "
        f"medians of {arguments.rounds} rounds of {arguments.steps} steps, torch {torch.__version__}"
    )
    print(title, flush=True)
    teacher = build_untrained(arguments.teacher, arguments)
    view = block_view(teacher, arguments.samples, arguments.device)
    settings = {"teacher": arguments.teacher, "student": arguments.student, "device": device_name}
    settings |= {name: getattr(arguments, name) for name in ("precision", "rounds", "steps")}
    costs: list[StepCost] = []
    for cost in measure_methods(texts, view, teacher, arguments):
        costs.append(cost)
        if arguments.out:
            pd.DataFrame([{**settings, **asdict(row)} for row in costs]).round(4).to_csv(arguments.out, index=False)
        print(
            f"{cost.name}: {cost.ratio:.2f} of the reference's time, {cost.memory_ratio:.2f} of its memory", flush=True
        )
    Console(width=None if sys.stdout.isatty() else 110).print(format_costs(costs, title, arguments.reference))
    return costs


if __name__ == "__main__":
    main()
