"""What stepping the methods of one seed together could save at most: the teacher's pass and the data path, done once.

    python benchmarks/shared_work.py [--teacher wrn_40_2] [--student wrn_16_2] [--precision bf16 fp32]
        [--methods LIST] [--rounds 5] [--steps 1] [--out FILE.csv]

Measures, per batch of 128 images of 32x32 and in turns, the parts that methods of one seed have in common, and whole steps:

    data      the loader: gathering, shifting and flipping, conversion to float
    teacher   its forward pass on the batch, without gradients
    METHOD    a step through the engine, with the data path and all updates; phases weighted by their epochs

How often a step passes the batch itself through the teacher, without gradients, is counted: such a pass can be shared. Those of
other images (the boundary samples of bss) and all that the student computes cannot. Stepped together, each part that is shared
is computed once:

    bound = (steps - repeated teacher passes - repeated data paths) / steps, each summed over the methods

An implementation can only be slower: the bound neglects storage, the larger working set and idle cores. Seconds are processor
time of one thread, on which other programs have little influence; so there is no --device.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from unittest.mock import patch

import methods
import pandas as pd
import torch
from harness import build_untrained
from torch import Tensor

from robustkd.data.loader import Loader
from robustkd.data.view import View
from robustkd.method import Method, Phase
from robustkd.models.net import Frozen, Network
from robustkd.specs import split_at
from robustkd.types import Batch, Clock

PUBLISHED = "baseline,hinton,bss,fitnet,fsp,at,sp,rkd_d,rkd_a,rkd_da,one,dml"  # of arXiv 2007.01922
DATA, TEACHER = "data", "teacher"
CLOCK = Clock(methods.EPOCH, methods.EPOCHS)


@dataclass(frozen=True)
class Part:
    """What is measured: a part in common, or a phase of a method."""

    name: str
    phase: str
    epochs: float  # of the phase, as a share of the run's
    passes: int  # of the batch through the teacher, in each step
    steps: Iterator[object]


def batches(view: View, views: Sequence[str] = ()) -> Iterator[Batch]:
    """Yield the batches of the loader, indefinitely."""
    loader = Loader(view, methods.BATCH, torch.device("cpu"), views=views)
    return chain.from_iterable(loader.iter_epoch(number, CLOCK) for number in count())


def teacher_passes(teacher: Network, view: View) -> Iterator[None]:
    """Yield after each forward pass of the teacher on a batch, indefinitely."""
    frozen, images = Frozen(teacher), next(batches(view)).images
    while True:
        with torch.no_grad():
            frozen(images)
        yield


def count_passes(method: Method, phase: Phase, teacher: Network, view: View) -> int:
    """Count how often a step passes the batch as it is through the teacher, wholly or in part, without gradients."""
    passes, batch, prepare = 0, next(batches(view, method.views)), teacher.prepare

    def counting(images: Tensor) -> Tensor:
        nonlocal passes
        passes += images is batch.images and not torch.is_grad_enabled()
        return prepare(images)

    if phase.begin is not None:
        phase.begin()
    if phase.begin_epoch is not None:
        phase.begin_epoch(CLOCK)
    with patch.object(teacher, "prepare", counting):
        for _ in phase.step(batch):
            pass
    return passes


def build_parts(texts: Sequence[str], arguments: argparse.Namespace) -> list[Part]:
    """Build everything that is measured, with untrained networks."""
    teacher = build_untrained(arguments.teacher, arguments)
    view = methods.block_view(teacher, arguments.samples, "cpu")
    parts = [
        Part(DATA, "", 1, 0, batches(view)),
        Part(TEACHER, "", 1, 1, teacher_passes(teacher, view)),
    ]
    for text in texts:
        method = methods.build_untrained_method(text, teacher, view, arguments)
        for phase in method.phases():
            epochs = methods.RECIPE.phase_epochs(phase) / methods.RECIPE.epochs
            passes = count_passes(method, phase, teacher, view)
            parts.append(Part(text, phase.name, epochs, passes, methods.phase_steps(method, phase, view, arguments)))
    return parts


def measure(parts: Sequence[Part], rounds: int, steps: int) -> pd.DataFrame:
    """Measure the parts in turns; a row for each with the median of its milliseconds a step."""
    seconds: list[list[float]] = [[] for _ in parts]
    for _ in range(rounds + 1):
        for part, times in zip(parts, seconds, strict=True):
            start = time.process_time()
            for _ in islice(part.steps, steps):
                pass
            times.append((time.process_time() - start) / steps)
    rows = [{key: value for key, value in vars(part).items() if key != "steps"} for part in parts]
    return pd.DataFrame(rows).assign(milliseconds=[1000 * statistics.median(times[1:]) for times in seconds])


def cost_together(table: pd.DataFrame) -> tuple[float, float]:
    """Return the milliseconds of a batch of all methods, apart and, at best, together.

    In the phases in which a method uses the teacher, one pass of those that all methods need is not repeated.
    """
    common = table[table["name"].isin([DATA, TEACHER])].set_index("name")["milliseconds"]
    steps = table[~table["name"].isin([DATA, TEACHER])]
    apart = float((steps["epochs"] * steps["milliseconds"]).sum())
    batches_apart = float(steps["epochs"].sum())
    passes_apart = float((steps["epochs"] * steps["passes"]).sum())
    return apart, apart - common[DATA] * (batches_apart - 1) - common[TEACHER] * max(0.0, passes_apart - 1)


def measure_bound(arguments: argparse.Namespace) -> pd.DataFrame:
    """Measure in one precision and print; return the table with the bound."""
    table = measure(build_parts(split_at(arguments.methods, ","), arguments), arguments.rounds, arguments.steps)
    apart, together = cost_together(table)
    print(table.round({"epochs": 3, "milliseconds": 1}).to_string(index=False))
    print(
        f"{arguments.teacher} -> {arguments.student}, {arguments.precision}, batch {methods.BATCH}: apart {apart:.0f} ms,"
        f" together at best {together:.0f} ms, ratio {together / apart:.3f}",
        flush=True,
    )
    settings = {name: getattr(arguments, name) for name in ("teacher", "student", "precision", "rounds", "steps")}
    return table.assign(**settings, bound=together / apart)


def main(words: Sequence[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="wrn_40_2")
    parser.add_argument("--student", default="wrn_16_2")
    parser.add_argument("--precision", choices=("bf16", "fp32"), nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--methods", default=PUBLISHED)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--samples", type=int, default=8 * methods.BATCH)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    fixed = {"device": "cpu", "epoch": methods.EPOCH}
    tables = [
        measure_bound(argparse.Namespace(**{**vars(arguments), **fixed, "precision": precision}))
        for precision in arguments.precision
    ]
    table = pd.concat(tables, ignore_index=True)
    if arguments.out:
        table.round(4).to_csv(arguments.out, index=False)
    return table


if __name__ == "__main__":
    main()
