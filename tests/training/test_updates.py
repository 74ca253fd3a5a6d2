"""Updates: clipped gradients, and gradients that are accumulated over several batches."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from robustkd.method import Method, Phase
from robustkd.models.net import Network
from robustkd.training.engine import fit
from robustkd.training.optimisers import build_optimiser
from robustkd.training.recipe import Recipe
from robustkd.training.updates import Updates, update_shares
from robustkd.types import Batch, Objective, Output
from tests.helpers import make_loader, small_view


class Linear(Network):
    """A network without batch norm: a layer of eight features and a head."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.body, self.head = nn.Linear(64, 8), nn.Linear(8, 3)
        for parameter in self.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)

    def forward(self, images: Tensor) -> Output:
        embedding = self.body(images.flatten(1)).tanh()
        return Output(self.head(embedding), embedding, ())

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        yield from ()

    def replace_head(self, head: nn.Linear) -> None:
        self.head = head


class Peers(Method):
    """Two networks, each with an update of its own for each batch, or with a common one."""

    def __init__(self, separate: bool) -> None:
        super().__init__()
        self.model, self.other, self.separate = Linear(0), Linear(1), separate

    def step(self, batch: Batch) -> Iterator[Objective]:
        losses = [
            nn.functional.cross_entropy(net(batch.images).logits, batch.labels) for net in (self.model, self.other)
        ]
        if self.separate:
            yield from (Objective({f"ce/{k}": loss}) for k, loss in enumerate(losses))
        else:
            yield Objective({"ce": losses[0] + losses[1]})


def train(method: Method, size: int, recipe: Recipe) -> list[Tensor]:
    list(fit(method, make_loader(small_view(), size), recipe))
    return [parameter.detach() for parameter in method.parameters()]


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize(("size", "accumulate"), [(6, 2), (3, 4), (5, 3)])  # of twelve images; the last are of 4 each
def test_accumulated_batches_are_one_large_batch_without_batch_norm(separate, optimiser, size, accumulate):
    recipe = Recipe(3, 0.05, "cosine", optimiser=optimiser, clip_grad=0.5, weight_decay=0.01)
    large = train(Peers(separate), 12, recipe)
    small = train(Peers(separate), size, Recipe(**{**vars(recipe), "accumulate": accumulate}))
    assert max(float((a - b).abs().max()) for a, b in zip(large, small, strict=True)) < 2e-6
    start = [parameter.detach() for parameter in Peers(separate).parameters()]
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in zip(large, start, strict=True))


@pytest.mark.parametrize(
    ("samples", "batches", "accumulate", "sizes"),
    [(12, 3, 1, [[4], [4], [4]]), (10, 3, 2, [[4, 3], [3]]), (9, 4, 8, [[3, 2, 2, 2]])],
)
def test_shares_are_those_of_the_samples_of_an_update(samples, batches, accumulate, sizes):
    expected = [(size / sum(group), place + 1 == len(group)) for group in sizes for place, size in enumerate(group)]
    assert update_shares(samples, batches, accumulate) == expected
    assert sum(last for _, last in expected) == Recipe(accumulate=accumulate).count_updates(batches)


class TwoNorms(Method):
    """Two networks and a parameter outside them, with gradients of norm 4, 0.5 and 10."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.other, self.scale = Linear(0), Linear(1), nn.Parameter(torch.zeros(()))

    def objective(self, batch: Batch) -> Objective:
        weights = [net.head.weight for net in (self.model, self.other)]
        return Objective({"sum": 4 * weights[0][0, 0] + 0.5 * weights[1][0, 0] + 10 * self.scale})


def test_the_gradient_of_each_network_is_clipped_by_itself():
    method = TwoNorms()
    before = [net.head.weight[0, 0].item() for net in (method.model, method.other)]
    list(
        fit(method, make_loader(small_view(), 12), Recipe(1, 1.0, "constant", momentum=0, weight_decay=0, clip_grad=1))
    )
    after = [net.head.weight[0, 0].item() for net in (method.model, method.other)]
    assert [b - a for a, b in zip(after, before, strict=True)] == pytest.approx([1, 0.5], abs=1e-5)
    assert method.scale.item() == pytest.approx(-1, abs=1e-5)


def test_without_clipping_and_accumulation_the_update_is_the_phases():
    seen, method = [], TwoNorms()
    phase = Phase("any", method.step, list(method.parameters()), update=lambda *arguments: seen.append(arguments))
    optimiser, objective = build_optimiser(method, phase, Recipe()), Objective({"x": torch.ones(())})
    Updates(phase, optimiser, Recipe(), []).apply(0, objective)
    assert seen == [(objective, optimiser)]
