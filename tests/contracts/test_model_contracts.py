"""What every net keeps to, asked of the examples that MODELS gives; and for each contract a net that it rejects."""

from collections.abc import Callable, Iterator

import pytest
import torch
from helpers import toy_spec
from torch import Tensor, nn

from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Network, StagedNetwork, infer_shapes, parameters_up_to
from robustkd.specs import Spec
from robustkd.types import Output

SHAPE, K = (3, 16, 16), 5


def net(word: Spec, seed: int = 0, bf16: bool = False) -> Network:
    return build_network(word, shape=SHAPE, classes=K, mean=[0.5] * 3, std=[0.25] * 3, seed=seed, bf16=bf16).eval()


def images(count: int = 2) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def it_answers_in_one_form(word: Spec) -> None:
    built = net(word)
    (classes,), (width,), maps = infer_shapes(built, SHAPE)
    assert classes == K
    assert width == built.head.in_features, f"the head reads {built.head.in_features} values, the embedding has {width}"
    assert len(maps) >= 2
    assert all(min(size) >= 1 for size in maps)
    sides = [h * w for _, h, w in maps]
    assert sides == sorted(sides, reverse=True), "maps grow on the way up"


class Two(StagedNetwork):
    """A net to be broken: two stages on three channels."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), [nn.Conv2d(4, 4, 3, 2), nn.ReLU()], nn.Linear(4, K))


class Longwinded(Two):
    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, embedding = super().classify(x)
        return logits, embedding.repeat(1, 2)


def every_image_is_answered_alone(word: Spec) -> None:
    built = net(word)
    with torch.no_grad():
        together, alone = built(images()).logits, [built(image[None]).logits[0] for image in images()]
    assert torch.allclose(together, torch.stack(alone), atol=1e-4), "an answer depends on the other images of the batch"


class Relative(Two):
    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().classify(x - x.mean(dim=0))


def walking_is_looking_at_the_maps(word: Spec) -> None:
    built = net(word)
    with torch.no_grad():
        maps, walked = built(images()).maps, list(built.iter_features(images()))
    assert len(maps) == len(walked), "a walk has other maps than an answer"
    assert all(map(torch.equal, maps, walked))


class Wandering(Two):
    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        yield from list(super().iter_features(images))[1:]


def what_lies_beneath_a_map_is_what_moves_it(word: Spec) -> None:
    built = net(word)
    below: set[int] = set()
    for depth in range(len(infer_shapes(built, SHAPE).maps)):
        parameters = parameters_up_to(built, depth, SHAPE)
        built.zero_grad(set_to_none=True)
        list(built.iter_features(images()))[depth].square().sum().backward()
        assert {id(p) for p in parameters} == {id(p) for p in built.parameters() if p.grad is not None}
        assert below < {id(p) for p in parameters}, "a stage learns nothing"
        below = {id(p) for p in parameters}
    built.zero_grad(set_to_none=True)
    assert not below & {id(p) for p in built.head.parameters()}


class Plain(Two):
    """The second stage, a ReLU, has no parameters."""


def one_seed_one_net(word: Spec) -> None:
    states = [net(word, seed).state_dict() for seed in (0, 0, 1)]
    one, again, other = (torch.cat([t.flatten().double() for t in state.values()]) for state in states)
    assert torch.equal(one, again), "one seed, two nets"
    assert not torch.equal(one, other)


class Moody(Two):
    def __init__(self) -> None:
        super().__init__()
        mood = torch.Generator()
        mood.seed()
        nn.init.normal_(self.head.weight, generator=mood)


def half_gives_float32(word: Spec) -> None:
    output = net(word, bf16=True)(images())
    dtypes = {tensor.dtype for tensor in (output.logits, output.embedding, *output.maps)}
    assert dtypes == {torch.float32}, f"it hands out {dtypes}"
    plain = net(word)(images()).logits
    assert (output.logits - plain).abs().max() < 0.1 * (1 + plain.abs().max())


class Raw(Two):
    def forward(self, images: Tensor) -> Output:
        logits, embedding, maps = super().forward(images)
        return Output(logits, embedding.bfloat16() if self.bf16 else embedding, maps)


Broken = type[Network]
CONTRACTS: dict[Callable[[Spec], None], tuple[Broken, str]] = {
    it_answers_in_one_form: (Longwinded, "the head reads 4 values, the embedding has 8"),
    every_image_is_answered_alone: (Relative, "an answer depends on the other images"),
    walking_is_looking_at_the_maps: (Wandering, "a walk has other maps than an answer"),
    what_lies_beneath_a_map_is_what_moves_it: (Plain, "a stage learns nothing"),
    one_seed_one_net: (Moody, "one seed, two nets"),
    half_gives_float32: (Raw, "it hands out .*bfloat16"),
}


@pytest.mark.parametrize("word", [word for entry in MODELS.values() for word in entry.examples])
def test_every_example_is_built_as_it_should_be(word):
    it_answers_in_one_form(MODELS.parse(word))


@pytest.mark.parametrize("template", MODELS)
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_kind_of_net_keeps_every_contract(contract, template):
    contract(MODELS.parse((MODELS[template].examples or (template,))[0]))


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_contract_rejects_who_breaks_it(contract):
    broken, said = CONTRACTS[contract]
    with pytest.raises(AssertionError, match=said):
        contract(toy_spec("net", lambda channels, classes: broken()))
