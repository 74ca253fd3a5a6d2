"""Contracts of all networks, checked for the examples of MODELS; and for each contract a network that violates it."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Network, StagedNetwork, infer_shapes, parameters_up_to
from robustkd.specs import Spec
from robustkd.types import Output
from tests.helpers import toy_spec

SHAPE, K = (3, 16, 16), 5


def net(spec: Spec, seed: int = 0, bf16: bool = False) -> Network:
    return build_network(spec, shape=SHAPE, classes=K, mean=[0.5] * 3, std=[0.25] * 3, seed=seed, bf16=bf16).eval()


def images(count: int = 2) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def output_shapes_are_consistent(spec: Spec) -> None:
    built = net(spec)
    (classes,), (width,), maps = infer_shapes(built, SHAPE)
    assert classes == K
    assert width == built.head.in_features, f"the head takes {built.head.in_features} values, the embedding has {width}"
    assert len(maps) >= 2
    assert all(min(size) >= 1 for size in maps)
    sides = [h * w for _, h, w in maps]
    assert sides == sorted(sides, reverse=True), "a map is larger than the one below"


class TwoStages(StagedNetwork):
    """A network of two stages on three channels, the base class of violations."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), [nn.Conv2d(4, 4, 3, 2), nn.ReLU()], nn.Linear(4, K))


class RepeatedEmbedding(TwoStages):
    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, embedding = super().classify(x)
        return logits, embedding.repeat(1, 2)


def images_do_not_affect_each_other(spec: Spec) -> None:
    built = net(spec)
    with torch.no_grad():
        together, alone = built(images()).logits, [built(image[None]).logits[0] for image in images()]
    assert torch.allclose(together, torch.stack(alone), atol=1e-4), (
        "the output depends on the other images of the batch"
    )


class BatchCentred(TwoStages):
    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().classify(x - x.mean(dim=0))


def iter_features_yields_the_maps(spec: Spec) -> None:
    built = net(spec)
    with torch.no_grad():
        maps, features = built(images()).maps, list(built.iter_features(images()))
    assert len(maps) == len(features), "iter_features yields other maps than forward"
    assert all(map(torch.equal, maps, features))


class MissingMap(TwoStages):
    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        yield from list(super().iter_features(images))[1:]


def parameters_up_to_a_map_are_those_with_a_gradient(spec: Spec) -> None:
    built = net(spec)
    below: set[int] = set()
    for depth in range(len(infer_shapes(built, SHAPE).maps)):
        parameters = parameters_up_to(built, depth, SHAPE)
        built.zero_grad(set_to_none=True)
        list(built.iter_features(images()))[depth].square().sum().backward()
        assert {id(p) for p in parameters} == {id(p) for p in built.parameters() if p.grad is not None}
        assert below < {id(p) for p in parameters}, "a stage has no parameters"
        below = {id(p) for p in parameters}
    built.zero_grad(set_to_none=True)
    assert not below & {id(p) for p in built.head.parameters()}


class ParameterFreeStage(TwoStages):
    """The second stage, a ReLU, has no parameters."""


def the_seed_determines_the_weights(spec: Spec) -> None:
    states = [net(spec, seed).state_dict() for seed in (0, 0, 1)]
    one, again, other = (torch.cat([t.flatten().double() for t in state.values()]) for state in states)
    assert torch.equal(one, again), "the same seed gives different weights"
    assert not torch.equal(one, other)


class UnseededRandomness(TwoStages):
    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator()
        random.seed()
        nn.init.normal_(self.head.weight, generator=random)


def bf16_networks_return_float32(spec: Spec) -> None:
    output = net(spec, bf16=True)(images())
    dtypes = {tensor.dtype for tensor in (output.logits, output.embedding, *output.maps)}
    assert dtypes == {torch.float32}, f"it returns {dtypes}"
    plain = net(spec)(images()).logits
    assert (output.logits - plain).abs().max() < 0.1 * (1 + plain.abs().max())


class Bfloat16Embedding(TwoStages):
    def forward(self, images: Tensor) -> Output:
        logits, embedding, maps = super().forward(images)
        return Output(logits, embedding.bfloat16() if self.bf16 else embedding, maps)


Violation = type[Network]
CONTRACTS: dict[Callable[[Spec], None], tuple[Violation, str]] = {
    output_shapes_are_consistent: (RepeatedEmbedding, "the head takes 4 values, the embedding has 8"),
    images_do_not_affect_each_other: (BatchCentred, "the output depends on the other images"),
    iter_features_yields_the_maps: (MissingMap, "iter_features yields other maps than forward"),
    parameters_up_to_a_map_are_those_with_a_gradient: (ParameterFreeStage, "a stage has no parameters"),
    the_seed_determines_the_weights: (UnseededRandomness, "the same seed gives different weights"),
    bf16_networks_return_float32: (Bfloat16Embedding, "it returns .*bfloat16"),
}


@pytest.mark.parametrize("word", [word for entry in MODELS.values() for word in entry.examples])
def test_every_example_can_be_built(word):
    output_shapes_are_consistent(MODELS.parse(word))


@pytest.mark.parametrize("template", MODELS)
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_kind_of_network_fulfils_every_contract(contract, template):
    contract(MODELS.parse((MODELS[template].examples or (template,))[0]))


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_contract_rejects_its_violation(contract):
    violation, message = CONTRACTS[contract]
    with pytest.raises(AssertionError, match=message):
        contract(toy_spec("net", lambda channels, classes: violation()))
