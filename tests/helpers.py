"""Toys that tests share: a data set that anyone can learn, small nets, and methods made of them."""

import copy
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustkd import seeds
from robustkd.criteria.base import Criterion
from robustkd.criteria.ce import CE
from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.method import Method, Phase
from robustkd.methods.baseline import Baseline
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Frozen, Network
from robustkd.registry import Entry, Registry
from robustkd.specs import Spec
from robustkd.study import plan as study
from robustkd.study.options import StudyOptions
from robustkd.training import build
from robustkd.training.engine import Epoch, fit
from robustkd.training.recipe import Recipe
from robustkd.types import Batch, Clock, DatasetInfo, Output

SHAPE, CLASSES = (1, 8, 8), ("left", "middle", "right")
CPU = torch.device("cpu")
# One family of sizes, so that methods that need maps alike can be built; two kinds of maps, raw sums and after a ReLU.
STUDENT, TEACHER = "wrn_10_1", "resnet8"
# Small steps that end softly: what is learned of the toy data then stays learned.
RECIPE = Recipe(epochs=1, lr=0.03, schedule="cosine")
EARLY = Clock(0, 8)  # early in a run, when what is only done for a part of it is done


def make_source(each: int = 20, truth: bool = True) -> Source:
    """`each` images of each class: a bright stripe at the class's place, under noise."""
    labels = np.arange(each * len(CLASSES)) % len(CLASSES)
    images = np.random.default_rng(0).integers(0, 90, (len(labels), *SHAPE), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, :, :, 3 * label : 3 * label + 2] += 120
    return Source("stripes", images, labels, CLASSES, truth=labels.copy() if truth else None)


@cache
def large_view() -> View:
    """Enough to learn from."""
    return View.of(make_source(20))


@cache
def small_view() -> View:
    """Two batches of six, every class in both."""
    return View.of(make_source(4))


def dataset_info(view: View) -> DatasetInfo:
    return DatasetInfo(len(view), tuple(view.counts.tolist()), view.sources[0].shape)


def make_loader(view: View, size: int = 6, **options: Any) -> Loader:
    return Loader(view, size, CPU, **{"augment": False, **options})


@cache
def _cached_network(word: str, seed: int, half: bool) -> Network:
    return build_network(MODELS.parse(word), shape=SHAPE, classes=3, mean=[0.3], std=[0.25], seed=seed, bf16=half)


def make_network(word: str = STUDENT, seed: int = 0, half: bool = False) -> Network:
    """A net for the toy data, of its own weights."""
    return copy.deepcopy(_cached_network(word, seed, half))


@cache
def _trained_teacher_state() -> dict[str, Tensor]:
    net = make_network(TEACHER, seed=7)
    method = Baseline(net, lambda: CE(dataset_info(large_view())))
    list(fit(method, make_loader(large_view(), 12), replace(RECIPE, epochs=6)))
    return net.state_dict()


def make_teacher(half: bool = False) -> Frozen:
    """A teacher that knows the toy data."""
    net = make_network(TEACHER, half=half)
    net.load_state_dict(_trained_teacher_state())
    return Frozen(net)


@dataclass(frozen=True)
class BuiltMethod:
    """A method and what it was made of."""

    method: Method
    teacher: Frozen
    random: torch.Generator

    def train(self, view: View, *, epochs: int = 2, state: Any = None, size: int = 6) -> Iterator[Epoch]:
        """Through the engine, epoch by epoch."""
        recipe = replace(RECIPE, epochs=epochs)
        loader = make_loader(view, size, views=self.method.views)
        return fit(self.method, loader, recipe, random=self.random, state=state)

    def trained(self, view: View, **options: Any) -> dict[str, Any]:
        """All that the method has become after training."""
        for _ in self.train(view, **options):
            pass
        return self.method.state_dict()

    def walk(self, view: View, size: int = 6) -> Iterator[tuple[Phase, torch.optim.SGD, Batch]]:
        """Every batch of an epoch of every phase, for a test that wants to take the steps itself."""
        self.method.train()
        for phase in self.method.phases():
            optimiser = torch.optim.SGD(phase.parameters, lr=RECIPE.lr)
            if phase.begin is not None:
                phase.begin()
            for batch in make_loader(view, size, views=self.method.views).iter_epoch(0, EARLY):
                yield phase, optimiser, batch


def build_method(
    word: Spec,
    *,
    seed: int = 0,
    half: bool = False,
    view: View | None = None,
    criterion: Callable[[DatasetInfo], Criterion] = CE,
) -> BuiltMethod:
    """A method as a study makes it, of toys."""
    data = dataset_info(small_view() if view is None else view)
    frozen, random = make_teacher(half), torch.Generator().manual_seed(seed)
    # What a constructor itself draws (an adapter's first weights) hangs on the seed too.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seeds.derive(seed, "init", "method"))
        method = build.build(
            word,
            {
                "student": lambda: make_network(seed=seed, half=half),
                "students": lambda: lambda count: [make_network(seed=seed + n, half=half) for n in range(count)],
                "teacher": lambda: frozen,
                "data": lambda: data,
                "criterion": lambda: lambda: criterion(data),
                "random": lambda: random,
            },
        )
    return BuiltMethod(method, frozen, random)


def make_plan(folder: Path) -> study.Plan:
    """A study of the embedded data with small nets, nothing of it written yet."""
    options = StudyOptions(scenario="clean", student=STUDENT, teacher=TEACHER)
    return study.Plan(
        options, folder, device="cpu", half=False, mean=(0.3,), std=(0.4,), teacher=None, init=None, jobs=1, threads=1
    )


def toy_spec(kind: str, target: Callable[..., Any]) -> Spec:
    """A word for a thing that is in no table."""
    return Registry(kind, "nowhere", f"nowhere.{kind}", {"toy": Entry(target)}).parse("toy")


def states_equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two states are equal bit for bit."""

    def alike(a: Any, b: Any) -> bool:
        return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)

    return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)


def reload_state(state: dict[str, Any]) -> dict[str, Any]:
    """A state as it comes back from a file."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    content: dict[str, Any] = torch.load(file, weights_only=True)
    return content


def golden(shape: tuple[int, ...], a: float, b: float, scale: float = 1.0) -> Tensor:
    """The deterministic tensors that methods.md gives its values for: scale * sin(a k + b), k the flat index."""
    return scale * torch.sin(a * torch.arange(int(np.prod(shape)), dtype=torch.float64) + b).reshape(shape)


S, T, LABELS = golden((4, 5), 0.7, 0.3), golden((4, 5), 1.3, 0.1, 2), torch.tensor([0, 2, 4, 1])
FIVE = DatasetInfo(4, (1, 1, 1, 0, 1), (1, 2, 2))  # what a method may know of those labels


class ConstantNetwork(Network):
    """Answers with logits of its own, whatever it is shown; they are what it learns."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())
        self.asked = self.learning = 0  # how often it was asked, and how often with a gradient in view

    def forward(self, images: Tensor) -> Output:
        self.asked += 1
        self.learning += torch.is_grad_enabled()
        logits = 1 * self.logits  # an answer stays what it was when the parameter moves
        return Output(logits, logits, ())

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        yield from ()

    def replace_head(self, head: nn.Linear) -> None:
        raise NotImplementedError


def make_batch(labels: Tensor = LABELS, images: Tensor | None = None) -> Batch:
    """Labels with images that do not matter."""
    shown = torch.zeros(len(labels), 1, 2, 2) if images is None else images
    return Batch(shown, labels, torch.arange(len(labels)), Clock(0, 1))
