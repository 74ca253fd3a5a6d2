"""Shared test helpers: an easily learned data set, small networks, and methods built from them."""

import copy
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from robustkd import seeds
from robustkd.criteria import CRITERIA
from robustkd.criteria.base import Criterion
from robustkd.criteria.ce import CE
from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.method import Method, Phase
from robustkd.method_spec import MethodSpec
from robustkd.methods.baseline import Baseline
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Frozen, Network
from robustkd.registry import Entry, Registry
from robustkd.specs import Spec
from robustkd.study.construct import construct_method
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Run, Settings
from robustkd.training import build
from robustkd.training.engine import Epoch, fit
from robustkd.training.recipe import Recipe
from robustkd.types import Batch, Clock, Compile, DatasetInfo, Output, Share

SHAPE, CLASSES = (1, 8, 8), ("left", "middle", "right")
CPU = torch.device("cpu")
# Equal map sizes, for methods that require them, but two kinds of maps: raw sums and after a ReLU.
STUDENT, TEACHER = "wrn_10_1", "resnet8"
# Small learning rates that decay to zero, so that training on the toy data converges.
RECIPE = Recipe(epochs=1, lr=0.03, schedule="cosine")
EARLY = Clock(0, 8)  # early in a run, when terms with a decaying weight are active


def make_source(per_class: int = 20, truth: bool = True) -> Source:
    """Return `per_class` images of each class: a bright stripe at a position that depends on the class, with noise."""
    labels = np.arange(per_class * len(CLASSES)) % len(CLASSES)
    images = np.random.default_rng(0).integers(0, 90, (len(labels), *SHAPE), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, :, :, 3 * label : 3 * label + 2] += 120
    return Source("stripes", images, labels, CLASSES, truth=labels.copy() if truth else None)


@cache
def large_view() -> View:
    """Return a view that is large enough to train on."""
    return View.of(make_source(20))


@cache
def small_view() -> View:
    """Return a view of two batches of six, each with all classes."""
    return View.of(make_source(4))


def dataset_info(view: View) -> DatasetInfo:
    return DatasetInfo(len(view), tuple(view.counts.tolist()), view.sources[0].shape, view.classes)


def make_loader(view: View, size: int = 6, **options: Any) -> Loader:
    return Loader(view, size, CPU, **{"augment": False, **options})


@cache
def _cached_network(word: str, seed: int, bf16: bool) -> Network:
    return build_network(MODELS.parse(word), shape=SHAPE, classes=3, mean=[0.3], std=[0.25], seed=seed, bf16=bf16)


def make_network(word: str = STUDENT, seed: int = 0, bf16: bool = False) -> Network:
    """Return a new network for the toy data."""
    return copy.deepcopy(_cached_network(word, seed, bf16))


@cache
def _trained_teacher_state() -> dict[str, Tensor]:
    net = make_network(TEACHER, seed=7)
    method = Baseline(net, lambda: CE(dataset_info(large_view())))
    list(fit(method, make_loader(large_view(), 12), replace(RECIPE, epochs=6)))
    return net.state_dict()


def make_teacher(bf16: bool = False) -> Frozen:
    """Return a teacher trained on the toy data."""
    net = make_network(TEACHER, bf16=bf16)
    net.load_state_dict(_trained_teacher_state())
    return Frozen(net)


@dataclass(frozen=True)
class BuiltMethod:
    """A method and the ingredients it was built from."""

    method: Method
    teacher: Frozen
    random: torch.Generator

    def train(
        self, view: View, *, epochs: int = 2, state: Any = None, size: int = 6, compile: Compile = "off"
    ) -> Iterator[Epoch]:
        """Train with the engine, epoch by epoch."""
        recipe = replace(RECIPE, epochs=epochs)
        loader = make_loader(view, size, views=self.method.views)
        return fit(self.method, loader, recipe, random=self.random, state=state, compile=compile)

    def train_fully(self, view: View, **options: Any) -> dict[str, Any]:
        """Train and return the final state of the method."""
        for _ in self.train(view, **options):
            pass
        return self.method.state_dict()

    def iter_batches(self, view: View, size: int = 6) -> Iterator[tuple[Phase, torch.optim.SGD, Batch]]:
        """Iterate over the batches of one epoch of each phase, for tests that perform the updates themselves."""
        self.method.train()
        for phase in self.method.phases():
            optimiser = torch.optim.SGD(phase.parameters, lr=RECIPE.lr)
            if phase.begin is not None:
                phase.begin()
            if phase.begin_epoch is not None:
                phase.begin_epoch(EARLY)
            for batch in make_loader(view, size, views=self.method.views).iter_epoch(0, EARLY, phase.sampling):
                yield phase, optimiser, batch
            if phase.end_epoch is not None:
                phase.end_epoch(EARLY)


def build_method(
    spec: Spec,
    *,
    seed: int = 0,
    bf16: bool = False,
    teacher_bf16: bool | None = None,
    view: View | None = None,
    criterion: Callable[[DatasetInfo], Criterion] = CE,
) -> BuiltMethod:
    """Build a method as a study does, from toy ingredients."""
    data = dataset_info(small_view() if view is None else view)
    frozen, random = make_teacher(bf16 if teacher_bf16 is None else teacher_bf16), torch.Generator().manual_seed(seed)
    # Initial weights of adapters, drawn in the constructor, depend on the seed too.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seeds.derive(seed, "init", "method"))
        method = build.build_method(
            MethodSpec(spec.text, spec, CRITERIA.parse("ce")),
            {
                "student": lambda: make_network(seed=seed, bf16=bf16),
                "students": lambda: lambda count: [make_network(seed=seed + n, bf16=bf16) for n in range(count)],
                "teacher": lambda: frozen,
                "data": lambda: data,
                "criterion": lambda: lambda: criterion(data),
                "random": lambda: random,
                "cost_ratio": lambda: 2.0,
            },
        )
    return BuiltMethod(method, frozen, random)


def make_settings() -> Settings:
    """Return the settings of a study with small networks."""
    options = StudyOptions(scenario="clean", student=STUDENT, teacher=TEACHER)
    settings = Settings.of(options, device="cpu", bf16=False, mean=(0.3,), std=(0.4,))
    return replace(settings, cost_ratio=2.0)


def build_study_method(method: str, seed: int = 0, view: View | None = None) -> Method:
    """Build the method of a student's run, as a study with small networks does."""
    spec = Run("student", MethodSpec.parse(method), seed)
    teacher = partial(make_network, TEACHER)
    return construct_method(
        small_view() if view is None else view, spec, make_settings(), torch.Generator(), teacher=teacher
    )


def toy_spec(kind: str, target: Callable[..., Any]) -> Spec:
    """Return a spec of a target that is in no registry."""
    return Registry(kind, "nowhere", f"nowhere.{kind}", {"toy": Entry(target)}).parse("toy")


@dataclass(frozen=True)
class Blur:
    """A target with a required, a restricted and an optional parameter."""

    amount: Share
    kind: Literal["box", "round"] = "box"
    tint: str = ""


def stacked(channels: int, *, depth: int, wide: bool = False) -> tuple[int, int, bool]:
    """Return the arguments: a target with one ingredient, `channels`."""
    return channels, depth, wide


def toy_registry() -> Registry:
    """Return a registry with a plain name, a name with a preset and a template."""
    entries = {
        "blur": Entry(Blur),
        "soft": Entry(Blur, preset={"amount": 0.1}),
        "stack{depth}": Entry(stacked, examples=("stack3",)),
    }
    return Registry("thing", "nowhere", "robustkd.tests", entries)


def states_equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two states are bit-equal."""

    def equal(a: Any, b: Any) -> bool:
        return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)

    return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)


def reload_state(state: dict[str, Any]) -> dict[str, Any]:
    """Save a state and load it again."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    content: dict[str, Any] = torch.load(file, weights_only=True)
    return content


def golden(shape: tuple[int, ...], a: float, b: float, scale: float = 1.0) -> Tensor:
    """Return the tensor that golden values are computed for: scale * sin(a k + b), k the flat index."""
    return scale * torch.sin(a * torch.arange(int(np.prod(shape)), dtype=torch.float64) + b).reshape(shape)


S, T, LABELS = golden((4, 5), 0.7, 0.3), golden((4, 5), 1.3, 0.1, 2), torch.tensor([0, 2, 4, 1])
FIVE = DatasetInfo(4, (1, 1, 1, 0, 1), (1, 2, 2))  # what a method may know about these labels


class ConstantNetwork(Network):
    """A network that returns its parameter `logits` for all images."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())
        self.calls = self.calls_with_grad = 0  # forward passes, and those with gradients enabled

    def forward(self, images: Tensor) -> Output:
        self.calls += 1
        self.calls_with_grad += torch.is_grad_enabled()
        logits = 1 * self.logits  # a copy, so that outputs do not change with the parameter
        return Output(logits, logits, ())

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        yield from ()

    def replace_head(self, head: nn.Linear) -> None:
        raise NotImplementedError


def make_batch(labels: Tensor = LABELS, images: Tensor | None = None) -> Batch:
    """Return a batch of labels, with arbitrary images by default."""
    if images is None:
        images = torch.zeros(len(labels), 1, 2, 2)
    return Batch(images, labels, torch.arange(len(labels)), Clock(0, 1))
