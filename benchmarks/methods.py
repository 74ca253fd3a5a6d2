"""What a training step of every method costs in time and memory, as ratios to hinton's in one run.

    python benchmarks/methods.py [--teacher resnet20] [--student resnet8] [--device cpu] [--precision bf16]
        [--methods all] [--threads 2] [--rounds 6] [--steps 8] [--out FILE.csv]

A step is a batch of 128 images of 32x32 through the engine: data path, views and all updates of that batch. In each round
hinton and the method are timed in turns. Each phase of a method has a row of its own; hinton's own row is a second hinton
and shows the noise. Memory is the most that torch allocates within a step beyond what lay there before it: activations
and whatever a step makes and drops, not weights, momenta and memories.

The images are random blocks of colour under the labels that the teacher gives them before they are moved, so that methods
that attack what both nets get right find something. The clock stands at the second epoch of a hundred: attacks are on.
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
from rich.console import Console
from rich.table import Table
from timing import timed
from torch.profiler import ProfilerActivity, profile, record_function

from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from robustkd.method import Method, Phase
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Frozen, Network, eval_no_grad
from robustkd.specs import split_at
from robustkd.study.plan import facts
from robustkd.training import build, engine
from robustkd.training.recipe import Recipe, build_optimiser
from robustkd.types import Clock

BATCH, SHAPE, CLASSES, WARM = 128, (3, 32, 32), 10, 3
CLOCK = Clock(1, 100)  # not the first epoch: who learns from the last one has one to learn from
RECIPE = Recipe(lr=0.01)  # so small that nothing runs away
REFERENCE = "hinton"


@dataclass(frozen=True)
class Row:
    """One phase of a method."""

    method: str
    phase: str
    milliseconds: float  # the median of a step
    ratio: float  # the median over rounds of the time to hinton's in the same round
    ratio_least: float
    ratio_most: float
    megabytes: float
    memory_ratio: float

    @property
    def name(self) -> str:
        return f"{self.method}/{self.phase}"


def net(word: str, arguments: argparse.Namespace, seed: int = 0) -> Network:
    half = arguments.precision == "bf16"
    plain = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "bf16": half}
    return build_network(MODELS.parse(word), shape=SHAPE, classes=CLASSES, seed=seed, **plain).to(arguments.device)


def even(teacher: Network, images: torch.Tensor) -> torch.Tensor:
    """What a net says of images once its head favours no class: an untrained one says the same of all."""
    with eval_no_grad(teacher):
        logits = torch.cat([teacher(part).logits for part in images.split(BATCH)])
        teacher.head.bias -= logits.mean(dim=0)
    return (logits - logits.mean(dim=0)).argmax(dim=1)


def blocks(teacher: Network, samples: int, device: str) -> View:
    """Images that say the same when they are moved a little, under the labels that the teacher gives them."""
    colours = np.random.default_rng(0).integers(0, 256, (samples, SHAPE[0], 4, 4), dtype=np.uint8)
    images = colours.repeat(SHAPE[1] // 4, axis=2).repeat(SHAPE[2] // 4, axis=3)
    labels = even(teacher, torch.from_numpy(images).to(device).float() / 255).cpu().numpy()
    return View.of(Source("blocks", images, labels, tuple("0123456789"), flips=True))


def made(text: str, teacher: Network, view: View, arguments: argparse.Namespace) -> Method:
    """A method as a study makes it, of untrained nets."""
    method, criterion = build.read(text)
    data, chosen = facts(view), criterion.kwargs()
    random = torch.Generator(arguments.device).manual_seed(0)
    ingredients: build.Ingredients = {
        "student": lambda: net(arguments.student, arguments),
        "students": lambda: lambda many: [net(arguments.student, arguments, seed) for seed in range(many)],
        "teacher": lambda: Frozen(teacher),
        "data": lambda: data,
        "criterion": lambda: lambda: criterion.load()(data, **chosen),
        "random": lambda: random,
    }
    torch.manual_seed(0)
    return build.build(method, ingredients).to(arguments.device).train()


def walk(method: Method, phase: Phase, view: View, device: str) -> Iterator[None]:
    """A phase, one batch of the engine per step, for ever."""
    loader = Loader(view, BATCH, torch.device(device), views=method.views)
    optimiser, meter = build_optimiser(phase, RECIPE), engine.Meter()
    if phase.begin is not None:
        phase.begin()
    for number in count():
        yield from engine.iter_updates(phase, optimiser, loader, RECIPE, CLOCK, number, meter)


def peak(steps: Iterator[None], device: str) -> int:
    """Bytes that lie there at most during the next step, beyond what lay there before it."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        timed(steps, 1, device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        next(steps)  # the profiler knows the size of what is freed only if it saw it made
        with record_function("measured"):
            next(steps)
    # The raw events: of the averaged ones, those within an operator are gone. What is freed is negative.
    events = sorted(trace.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    (begun,) = (event.start_ns() for event in events if event.name() == "measured")
    changes = (event.nbytes() for event in events if event.name() == "[memory]" and event.start_ns() > begun)
    return max(accumulate(changes, initial=0))


def rows(texts: Sequence[str], view: View, teacher: Network, arguments: argparse.Namespace) -> Iterator[Row]:
    """Every phase of the methods, measured against one and the same hinton."""
    hinton = made(REFERENCE, teacher, view, arguments)
    reference = walk(hinton, *hinton.phases(), view, arguments.device)
    timed(reference, WARM, arguments.device)
    bytes_reference = peak(reference, arguments.device)
    for text in texts:
        try:
            method = made(text, teacher, view, arguments)
        except UsageError as error:  # nets that this method cannot be built of
            print(f"{text}: left out: {error}", flush=True)
            continue
        for phase in method.phases():
            steps = walk(method, phase, view, arguments.device)
            timed(steps, WARM, arguments.device)
            size = peak(steps, arguments.device)
            pairs = [
                [timed(which, arguments.steps, arguments.device) for which in (reference, steps)]
                for _ in range(arguments.rounds)
            ]
            ratios = [own / other for other, own in pairs]
            yield Row(
                text,
                phase.name,
                1000 * statistics.median(own for _, own in pairs) / arguments.steps,
                statistics.median(ratios),
                min(ratios),
                max(ratios),
                size / 1e6,
                size / bytes_reference,
            )


def table(done: Sequence[Row], title: str) -> Table:
    """The rows as a person reads them."""
    shown = Table(title=title)
    for column in ("method/phase", "ms a step", "time / hinton", "from", "to", "MB", "memory / hinton"):
        shown.add_column(column, justify="left" if "phase" in column else "right", no_wrap=True)
    for row in done:
        times = (f"{row.milliseconds:.1f}", f"{row.ratio:.2f}", f"{row.ratio_least:.2f}", f"{row.ratio_most:.2f}")
        shown.add_row(row.name, *times, f"{row.megabytes:.1f}", f"{row.memory_ratio:.2f}")
    return shown


def main(words: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="resnet20")
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--samples", type=int, default=40 * BATCH)  # crd draws 4096 negatives from as many rows
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(words)
    try:
        texts = list(METHODS) if arguments.methods == "all" else split_at(arguments.methods, ",")
        for text in texts:
            build.read(text)
    except UsageError as error:
        parser.error(str(error))
    torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.benchmark = True
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler talks to itself on stderr
    cuda = arguments.device.startswith("cuda")
    where = torch.cuda.get_device_name(arguments.device) if cuda else f"cpu, {arguments.threads} threads"
    title = (
        f"{arguments.teacher} -> {arguments.student}, {where}, {arguments.precision}, batch {BATCH}, 32x32, "
        f"medians of {arguments.rounds} rounds of {arguments.steps} steps, torch {torch.__version__}"
    )
    print(title, flush=True)
    teacher = net(arguments.teacher, arguments)
    view = blocks(teacher, arguments.samples, arguments.device)
    about = {"teacher": arguments.teacher, "student": arguments.student, "device": where}
    about |= {name: getattr(arguments, name) for name in ("precision", "rounds", "steps")}
    done: list[Row] = []
    for row in rows(texts, view, teacher, arguments):
        done.append(row)
        if arguments.out:
            pd.DataFrame([{**about, **asdict(one)} for one in done]).round(4).to_csv(arguments.out, index=False)
        print(f"{row.name}: {row.ratio:.2f} of hinton's time, {row.memory_ratio:.2f} of its memory", flush=True)
    Console(width=None if sys.stdout.isatty() else 110).print(table(done, title))
    return done


if __name__ == "__main__":
    main()
