"""Compiled forward passes: the same weights, nothing compiled outside of steps, and networks that cannot be compiled."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustkd.criteria.ce import CE
from robustkd.errors import UsageError
from robustkd.method import Phase
from robustkd.methods import METHODS
from robustkd.methods.baseline import Baseline
from robustkd.models.net import StagedNetwork
from robustkd.training import compilation
from robustkd.training.compilation import CompiledForwards, allows_graphs, check_compilation, name_networks
from robustkd.training.engine import fit
from robustkd.training.recipe import Recipe
from robustkd.types import Batch, Compile
from tests.helpers import RECIPE, build_method, dataset_info, make_loader, small_view


@pytest.fixture(autouse=True)
def forget_compiled_code() -> Iterator[None]:
    yield
    torch.compiler.reset()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace networks and their gradients as for any compiler, and run the result without one."""
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")


class Tiny(StagedNetwork):
    """A network of which the code is compiled in seconds."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(1, 2, 3), [nn.Sequential(nn.BatchNorm2d(2), nn.ReLU())], nn.Linear(2, 3), mean=(0.3,)
        )


def train_tiny(compile: Compile, epochs: int = 2) -> tuple[Baseline, list[str]]:
    method = Baseline(Tiny(), lambda: CE(dataset_info(small_view())))
    recipe = replace(RECIPE, epochs=epochs)
    notes = [epoch.note for epoch in fit(method, make_loader(small_view()), recipe, compile=compile)]
    return method, notes


def test_a_compiled_network_learns_the_same() -> None:
    one, _ = train_tiny("off")
    two, notes = train_tiny("max")  # without a GPU, as `default`
    assert notes == ["", ""]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1, "something was compiled"
    assert list(one.state_dict()) == list(two.state_dict())
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.usefixtures("quick")
def test_outside_of_a_step_networks_are_as_they_were() -> None:
    made = build_method(METHODS.parse("hinton"))
    forwards = CompiledForwards(made.method, made.method.phases()[0], RECIPE, "default")
    networks = {"model": made.method.model, "teacher": made.teacher.net}
    assert {name: net for net, name in name_networks(made.method).items()} == networks
    with forwards.active():
        assert all("forward" in vars(net) for net in networks.values())
    assert not any("forward" in vars(net) for net in networks.values())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("first", "then"), [("default", "off"), ("off", "default")])
def test_a_run_is_resumed_with_the_other_setting(first: Compile, then: Compile) -> None:
    whole = build_method(METHODS.parse("hinton")).train_fully(small_view(), epochs=2)
    begun = build_method(METHODS.parse("hinton"))
    state = next(begun.train(small_view(), epochs=2, compile=first)).state()
    assert not [name for name in state["method"] if "_orig_mod" in name]
    resumed = build_method(METHODS.parse("hinton")).train_fully(small_view(), epochs=2, state=state, compile=then)
    for name, value in whole.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(resumed[name], value, msg=name)


def refuse(graph: Any, inputs: Any) -> Any:
    raise NotImplementedError("no such layer")


def test_a_network_that_cannot_be_compiled_is_trained_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = train_tiny("off")
    monkeypatch.setattr(compilation, "BACKEND", refuse)
    two, notes = train_tiny("default")
    assert notes == ["the network 'model' is not compiled (NotImplementedError: no such layer)", ""]
    for name, value in one.state_dict().items():
        assert torch.equal(two.state_dict()[name], value), name


def test_a_lack_of_memory_is_not_a_reason_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(graph: Any, inputs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(compilation, "BACKEND", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        train_tiny("default")


def test_where_nothing_can_be_compiled_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    check_compilation("off", "cpu")
    monkeypatch.setattr(compilation, "BACKEND", refuse)
    check_compilation("off", "cpu")
    with pytest.raises(UsageError, match=r"--compile max: torch cannot compile on cpu here \(NotImplementedError"):
        check_compilation("max", "cpu")


def test_a_missing_compiler_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config

    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    with pytest.raises(UsageError, match=r"--compile default: torch cannot compile on cpu here \(.*no-such-compiler"):
        check_compilation("default", "cpu")


def test_graphs_are_replayed_only_where_no_gradient_outlives_a_step() -> None:
    def step(batch: Batch) -> Iterator[Any]:
        yield None

    plain = Phase("train", step, [])
    assert allows_graphs(plain, Recipe())
    assert not allows_graphs(plain, Recipe(accumulate=2))
    assert not allows_graphs(replace(plain, update=lambda objective, optimiser: None), Recipe())
