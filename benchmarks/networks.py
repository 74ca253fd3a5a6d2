"""Which methods train with which kinds of networks: each is constructed and trained for a few updates on each pair.

    python benchmarks/networks.py [--image-size 96] [--batch 4] [--methods all] [--threads 2] [--out networks.csv]
    python benchmarks/networks.py --table networks.csv

A method passes if every term of its loss is finite, is not zero in all updates and has a gradient, and if a term other than
that of the labels reaches the student in methods with a teacher. What a method refuses is recorded with its message. The
networks are untrained. The images are blocks of colour labelled by the untrained teacher, so that methods that perturb images
which both networks classify correctly have some.
"""

import argparse
import copy
import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from robustkd.method import Method
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Frozen, Network, eval_no_grad
from robustkd.study.construct import dataset_info
from robustkd.training.build import Ingredients, bind_criterion, build_method
from robustkd.training.engine import PhaseTraining
from robustkd.training.recipe import Recipe
from robustkd.types import Batch, Clock, Objective

PAIRS = {
    "CNN → CNN": ("timm:resnet50", "timm:mobilenetv3_small_100"),
    "ViT → CNN": ("timm:vit_small_patch16_224", "timm:mobilenetv3_small_100"),
    "CNN → ViT": ("timm:resnet50", "timm:vit_small_patch16_224"),
}
NAMES = ("a", "b", "c")
BATCHES = 2
PERTURBS = ("bss", "amkd")  # images that both networks classify correctly: larger batches, so that there are some
LEARNS_FROM_THE_PREVIOUS_EPOCH = ("psd",)
TOTAL_EPOCHS = 4  # that the schedules of the methods see
RECIPE = Recipe(lr=0.01)
COLUMNS = ("method", "pair", "teacher", "student", "image_size", "result")


@dataclass
class TermRecord:
    """What is known of a term of a loss after several updates."""

    phase: str
    name: str
    largest: float = 0.0  # of its absolute values
    finite: bool = True
    has_gradient: bool = False
    reaches_model: bool = False


def make_view(teacher: Network, shape: tuple[int, int, int], samples: int) -> View:
    """Return images of colour blocks with the teacher's predictions as labels.

    Its head is scaled first so that the logits of all classes have the same distribution, and every class is predicted.
    """
    colours = np.random.default_rng(0).integers(0, 256, (samples, shape[0], 4, 4), dtype=np.uint8)
    images = colours.repeat(-(-shape[1] // 4), axis=2).repeat(-(-shape[2] // 4), axis=3)[:, :, : shape[1], : shape[2]]
    with eval_no_grad(teacher):
        parts = torch.from_numpy(images).split(samples // BATCHES)
        logits = torch.cat([teacher(part.float() / 255).logits for part in parts])
        mean, std = logits.mean(dim=0), logits.std(dim=0)
        teacher.head.weight /= std[:, None]
        teacher.head.bias.copy_((teacher.head.bias - mean) / std)
    labels = ((logits - mean) / std).argmax(dim=1)
    return View.of(Source("blocks", images, labels.numpy(), NAMES))


def construct(text: str, view: View, teacher: Network, student: Callable[[int], Network]) -> Method:
    """Construct a method from networks, as a study does.

    Raises:
        UsageError: it refuses them.
    """
    spec, data, random = MethodSpec.parse(text), dataset_info(view), torch.Generator().manual_seed(0)
    criterion = bind_criterion(spec.criterion, data)
    ingredients: Ingredients = {
        "student": lambda: student(0),
        "students": lambda: lambda count: [student(number) for number in range(count)],
        "teacher": lambda: Frozen(teacher),
        "data": lambda: data,
        "criterion": lambda: criterion,
        "random": lambda: random,
        "cost_ratio": lambda: 2.0,
    }
    torch.manual_seed(0)
    return build_method(spec, ingredients)


def train_briefly(method: Method, view: View, epochs: int) -> list[TermRecord]:
    """Train all phases of a method for a few updates, and return what is known of each term of each phase."""
    records: dict[tuple[str, str], TermRecord] = {}
    loader = Loader(view, len(view) // BATCHES, torch.device("cpu"), augment="none", views=method.views)
    for phase in method.phases():
        watched = replace(phase, step=partial(watch_terms, method, phase.parameters, phase.step, phase.name, records))
        training = PhaseTraining(method, watched, loader, RECIPE)
        if phase.begin is not None:
            phase.begin()
        for epoch in range(epochs):
            training.train_epoch(Clock(epoch, TOTAL_EPOCHS), epoch + 1)
    return list(records.values())


def watch_terms(
    method: Method,
    parameters: Sequence[Tensor],
    step: Callable[[Batch], Iterator[Objective]],
    phase: str,
    records: dict[tuple[str, str], TermRecord],
    batch: Batch,
) -> Iterator[Objective]:
    """Yield the objectives of a step, and record the terms and their gradients."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    model = {id(parameter) for parameter in method.model.parameters()}
    for objective in step(batch):
        for name, term in objective.terms.items():
            record = records.setdefault((phase, name), TermRecord(phase, name))
            record.largest = max(record.largest, float(term.detach().abs()))
            record.finite &= bool(term.isfinite())
            if not term.requires_grad:
                continue
            gradients = torch.autograd.grad(term, trained, retain_graph=True, allow_unused=True)
            pairs = zip(trained, gradients, strict=True)
            reached = {id(parameter) for parameter, gradient in pairs if gradient is not None and bool(gradient.any())}
            record.has_gradient |= bool(reached)
            record.reaches_model |= bool(reached & model)
        yield objective


def find_faults(method: Method, records: Sequence[TermRecord]) -> list[str]:
    """Return what is wrong with a method's terms: not finite, always zero, or without effect on what is trained."""
    faults = []
    for record in records:
        name = f"{record.phase}: {record.name}"
        if not record.finite:
            faults.append(f"{name} is not finite")
        elif record.largest == 0:
            faults.append(f"{name} is 0")
        elif not record.has_gradient:
            faults.append(f"{name} has no gradient")
    transfer = [record for record in records if not record.name.startswith(("ce", "head"))]
    if hasattr(method, "teacher") and not any(record.reaches_model for record in transfer):
        faults.append("no term but that of the labels reaches the student")
    return faults


def try_method(text: str, teacher: Network, student: Callable[[int], Network], view: View) -> str:
    """Construct and train a method; return 'yes', what it refuses, or what is wrong.

    Args:
        student: returns the student of a number, for methods that train several.
    """
    try:
        method = construct(text, view, teacher, student)
    except UsageError as error:
        return f"refused: {error}"
    epochs = 2 if text.startswith(LEARNS_FROM_THE_PREVIOUS_EPOCH) else 1
    faults = find_faults(method, train_briefly(method, view, epochs))
    return "fault: " + "; ".join(faults) if faults else "yes"


def count_samples(text: str, batch: int) -> int:
    """Return how many images a method is trained on."""
    return BATCHES * batch * (4 if text.startswith(PERTURBS) else 1)


@cache
def cached_network(word: str, shape: tuple[int, int, int], image_size: int | None, seed: int) -> Network:
    return build_network(
        MODELS.parse(word),
        shape=shape,
        image_size=image_size,
        classes=len(NAMES),
        mean=[0.5] * 3,
        std=[0.25] * 3,
        seed=seed,
    )


def build_untrained(word: str, shape: tuple[int, int, int], seed: int, image_size: int | None = None) -> Network:
    """Return a new untrained network for images of (C, H, W), which resizes them to a side if it is given one."""
    return copy.deepcopy(cached_network(word, shape, image_size, seed))


def format_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Format results as a table in Markdown: methods with the same results share a row."""
    results: dict[str, dict[str, str]] = {}
    for row in rows:
        results.setdefault(row["method"], {})[row["pair"]] = row["result"].partition(":")[0]
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, by_pair in results.items():
        groups.setdefault(tuple(by_pair[pair] for pair in PAIRS), []).append(f"`{name}`")
    lines = [f"| method | {' | '.join(PAIRS)} |", f"|---{'|---' * len(PAIRS)}|"]
    return "\n".join([*lines, *(f"| {', '.join(names)} | {' | '.join(group)} |" for group, names in groups.items())])


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--methods", default="all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="print the table of a file written by --out")
    arguments = parser.parse_args(words)
    if arguments.table:
        with arguments.table.open(encoding="utf-8", newline="") as file:
            print(format_table(list(csv.DictReader(file))))
        return
    torch.set_num_threads(arguments.threads)
    shape = (3, arguments.image_size, arguments.image_size)
    methods = list(METHODS) if arguments.methods == "all" else arguments.methods.split(",")
    rows = []
    for pair, (teacher, student) in PAIRS.items():
        for text in methods:
            net = build_untrained(teacher, shape, seed=0)
            view = make_view(net, shape, count_samples(text, arguments.batch))
            result = try_method(text, net, partial(build_untrained, student, shape), view)
            print(f"{pair}  {text:18} {result}", flush=True)
            rows.append(dict(zip(COLUMNS, (text, pair, teacher, student, arguments.image_size, result), strict=True)))
    if arguments.out:
        with arguments.out.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    sys.exit(any(row["result"].startswith("fault") for row in rows))


if __name__ == "__main__":
    main()
