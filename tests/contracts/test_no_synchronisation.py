"""No step waits for the device: nothing in it needs a value on the host, or a shape that depends on values.

On a GPU, such a step would leave the device idle. The operations that synchronise are the same on a CPU, where they are found
by their names; `test_no_step_synchronises_with_a_gpu` lets CUDA find them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from robustkd.criteria import CRITERIA
from robustkd.data.loader import Loader
from robustkd.method import Phase
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.methods.baseline import Baseline
from robustkd.study.construct import construct_method
from robustkd.study.plan import Run
from robustkd.training.engine import Meter, PhaseTraining
from robustkd.training.recipe import Recipe
from robustkd.types import Batch, Clock, Objective, OnNonfinite
from tests.helpers import TEACHER, large_view, make_network, make_settings

aten = torch.ops.aten
# Each needs a value on the host, or returns a tensor whose shape depends on values.
SYNCHRONISING = {
    *(aten._local_scalar_dense, aten.is_nonzero, aten.equal, aten.nonzero, aten.masked_select, aten.bincount),
    *(aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave, aten.histc),
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
TEXTS = [*METHODS, *(f"baseline+{name}" for name in CRITERIA if name != "ce")]
TO_HOST = ("cpu", "numpy", "tolist", "item", "__array__", "__bool__", "__int__", "__float__", "__index__")


class RefuseSynchronisation(TorchDispatchMode):
    """Raises in operations that would synchronise with a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operation = func.overloadpacket
        masked = operation in INDEXING and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        if operation in SYNCHRONISING or masked:
            raise AssertionError(f"{func} synchronises with the device")
        return func(*args, **(kwargs or {}))


@contextmanager
def refuse_synchronisation(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Raise in whatever would synchronise with a GPU, also where a CPU's tensors are read without an operation."""

    def refusing(name: str) -> Callable[..., None]:
        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError(f"Tensor.{name} synchronises with the device")

        return refuse

    with monkeypatch.context() as patch, RefuseSynchronisation():
        for name in TO_HOST:
            patch.setattr(Tensor, name, refusing(name))
        yield


def trainings(
    text: str, device: str = "cpu", recipe: Recipe | None = None, on_nonfinite: OnNonfinite = "stop"
) -> Iterator[Iterator[None]]:
    """Yield the updates of each phase of a method, of which the first is done."""
    view = large_view()
    run = Run("student", MethodSpec.parse(text), 0)
    teacher = partial(make_network, TEACHER)
    method = construct_method(view, run, make_settings(), torch.Generator(device), teacher=teacher).to(device)
    for phase in method.phases():
        method.train()
        loader = Loader(view, 32, torch.device(device), views=method.views)
        training = PhaseTraining(method, phase, loader, recipe or Recipe(), on_nonfinite=on_nonfinite)
        yield _start(training, phase)


def _start(training: PhaseTraining, phase: Phase) -> Iterator[None]:
    if phase.begin is not None:
        phase.begin()
    updates = training.iter_updates(Clock(1, 4), 1, Meter())
    next(updates)  # what is drawn for a whole epoch, and what is made at the first step, may take its time
    return updates


@pytest.mark.parametrize("text", TEXTS)
def test_no_step_synchronises(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for updates in trainings(text):
        with refuse_synchronisation(monkeypatch):
            next(updates)


RECIPES = [
    Recipe(optimiser="adamw", clip_grad=1.0, freeze_bn=True),
    Recipe(accumulate=2, layer_decay=0.5, backbone_lr=0.1),
]
AVERAGING = Recipe(ema=0.9)  # whose counter is on the CPU on purpose


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_recipe_synchronises(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    (updates,) = trainings("hinton", recipe=recipe)
    with refuse_synchronisation(monkeypatch):
        next(updates)


@pytest.mark.parametrize("recipe", [Recipe(), *RECIPES])
def test_dropping_updates_does_not_synchronise(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    (updates,) = trainings("hinton", recipe=recipe, on_nonfinite="skip")
    with refuse_synchronisation(monkeypatch):
        next(updates)


@pytest.mark.gpu
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("recipe", [Recipe(), *RECIPES, AVERAGING])
def test_no_step_synchronises_with_a_gpu(text: str, recipe: Recipe) -> None:
    for updates in trainings(text, "cuda", recipe):
        torch.cuda.set_sync_debug_mode("error")
        try:
            next(updates)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def count_on_the_host(z: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(z, labels) * int((z.argmax(1) == labels).sum().item() >= 0)


def select_rows(z: Tensor, labels: Tensor) -> Tensor:
    correct = z.argmax(1) >= 0
    return F.cross_entropy(z[correct], labels[correct])


def branch_on_a_value(z: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(z, labels) if z.sum() < torch.inf else z.sum()


def read_as_an_array(z: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(z, labels) + float(z.detach().numpy().sum() > torch.inf)


@pytest.mark.parametrize("loss", [count_on_the_host, select_rows, branch_on_a_value, read_as_an_array])
def test_a_method_that_synchronises_is_found(
    loss: Callable[[Tensor, Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: Baseline, batch: Batch) -> Iterator[Objective]:
        yield Objective({"ce": loss(self.model(batch.images).logits, batch.labels)})

    monkeypatch.setattr(Baseline, "step", step)
    (updates,) = trainings("baseline")
    with pytest.raises(AssertionError, match="synchronises"), refuse_synchronisation(monkeypatch):
        next(updates)
