"""Every method learns the same with compiled networks, and with CUDA graphs, which overwrite what a step has computed."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from robustkd.criteria import CRITERIA
from robustkd.data.loader import Loader
from robustkd.method import Method
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.methods.baseline import Baseline
from robustkd.study.construct import construct_method
from robustkd.study.plan import Run
from robustkd.training import compilation, engine
from robustkd.training.compilation import allows_graphs, name_networks
from robustkd.training.engine import fit
from robustkd.training.recipe import Recipe
from robustkd.types import Compile, Output
from tests.helpers import TEACHER, large_view, make_network, make_settings

RECIPE = Recipe(epochs=2, lr=0.01)
TEXTS = [*METHODS, *(f"baseline+{name}" for name in CRITERIA if name != "ce")]


@pytest.fixture(autouse=True)
def forget_compiled_code() -> Iterator[None]:
    yield
    torch.compiler.reset()


def train(text: str, compile: Compile = "off", device: str = "cpu") -> dict[str, Tensor]:
    """Train a method for two epochs of each phase and return its parameters."""
    view, run, random = large_view(), Run("student", MethodSpec.parse(text), 0), torch.Generator(device).manual_seed(3)
    teacher = make_network(TEACHER).to(device)
    method = construct_method(view, run, make_settings(), random, teacher=lambda: teacher).to(device)
    loader = Loader(view, 16, torch.device(device), views=method.views)
    for epoch in fit(method, loader, RECIPE, random=random, compile=compile):
        assert epoch.note == ""
    return {name: parameter.detach() for name, parameter in method.named_parameters()}


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor], tolerance: float) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_every_method_learns_the_same_with_compiled_networks(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks and gradients are traced as for any compiler; the code itself runs without one."""
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    assert_same(train(text), train(text, "default"), 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["hinton", "bss", "mjkd", "dml", "mean_teacher", "fitnet"])
def test_methods_learn_the_same_with_compiled_code(text: str) -> None:
    assert_same(train(text), train(text, "default"), 1e-3)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_every_method_learns_the_same_with_cuda_graphs(text: str) -> None:
    assert_same(train(text, device="cuda"), train(text, "max", device="cuda"), 1e-2)


class OverwritingForwards:
    """Does what CUDA graphs do: once a step begins, the outputs and gradients of the one before hold something else."""

    def __init__(self, method: Method, phase: Any, recipe: Recipe, compile: Compile) -> None:
        self.method, self.networks, self.outputs = method, name_networks(method), list[Tensor]()
        self.overwrites = allows_graphs(phase, recipe)

    def take_note(self) -> str:
        return ""

    @contextmanager
    def active(self) -> Iterator[None]:
        if self.overwrites:
            gradients = [parameter.grad for parameter in self.method.parameters() if parameter.grad is not None]
            for tensor in (*self.outputs, *gradients):
                tensor.detach().fill_(torch.nan)
        self.outputs.clear()
        for net in self.networks:
            net.forward = partial(self._record, net.forward)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for net in self.networks:
                del net.forward

    def _record(self, forward: Any, images: Tensor) -> Output:
        output: Output = forward(images)
        self.outputs += [output.logits, output.embedding, *output.maps]
        return output


@pytest.mark.parametrize("text", TEXTS)
def test_no_method_uses_what_an_earlier_step_has_computed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train(text)
    monkeypatch.setattr(engine, "CompiledForwards", OverwritingForwards)
    assert_same(expected, train(text), 0.0)


def test_a_method_that_keeps_an_output_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = Baseline.objective

    def with_memory(self: Any, batch: Any) -> Any:
        result, earlier = objective(self, batch), getattr(self, "kept", None)
        self.kept = self.model(batch.images).embedding.detach()
        if earlier is not None:
            result.terms["memory"] = earlier.mean() * self.model.head.bias.sum()
        return result

    monkeypatch.setattr(Baseline, "objective", with_memory)
    train("baseline")
    monkeypatch.setattr(engine, "CompiledForwards", OverwritingForwards)
    with pytest.raises(engine.DivergedError, match=r"the term .* is nan"):
        train("baseline")
