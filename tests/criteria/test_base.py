"""Base class of criteria: deferred re-weighting and class weights."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robustkd.criteria import CRITERIA
from robustkd.criteria.base import Criterion, effective_number_weights
from robustkd.criteria.ce import CE
from robustkd.types import Batch, Clock, Mixed
from tests.helpers import FIVE, LABELS, S, make_batch, reload_state

UNEVEN = replace(FIVE, samples=100, counts=(60, 25, 10, 0, 5))
EFFECTIVE = effective_number_weights(UNEVEN.counts, 0.9999).float()


def batch_of_epoch(epoch: int, epochs: int = 10) -> Batch:
    return replace(make_batch(), clock=Clock(epoch, epochs))


def build(word: str, batch: Batch) -> Tensor:
    """Return the losses of a new criterion, so that none remembers an earlier call."""
    spec = CRITERIA.parse(word)
    criterion: Criterion = spec.load()(UNEVEN, **spec.kwargs())
    return criterion(S.float(), batch)


@pytest.mark.parametrize("word", [word for word in CRITERIA if word != "class_balanced"])
def test_every_criterion_can_be_weighted_in_the_last_fifth_of_the_epochs(word: str) -> None:
    for epoch in (0, 7):
        assert torch.equal(build(f"{word}(drw=true)", batch_of_epoch(epoch)), build(word, batch_of_epoch(epoch)))
    for epoch in (8, 9):
        plain = build(word, batch_of_epoch(epoch))
        assert torch.allclose(build(f"{word}(drw=true)", batch_of_epoch(epoch)), EFFECTIVE[LABELS] * plain)


@pytest.mark.parametrize(("epochs", "first"), [(5, 4), (30, 24), (200, 160), (1, None), (1000, 800)])
def test_the_switch_is_a_share_of_the_epochs(epochs: int, first: int | None) -> None:
    late = [
        epoch
        for epoch in range(epochs)
        if not torch.equal(
            build("ce(drw=true)", batch_of_epoch(epoch, epochs)), build("ce", batch_of_epoch(epoch, epochs))
        )
    ]
    assert late == ([] if first is None else list(range(first, epochs)))


def test_both_labels_of_a_mixture_are_weighted() -> None:
    batch, weight = batch_of_epoch(9), torch.tensor([0.7, 0.2, 1.0, 0.0])
    other = LABELS.flip(0)
    losses = build("ce(drw=true)", replace(batch, mixed=Mixed(other, batch.index.flip(0), weight)))
    plain = [EFFECTIVE[y] * CE(UNEVEN)(S.float(), replace(batch, labels=y)) for y in (LABELS, other)]
    assert torch.allclose(losses, weight * plain[0] + (1 - weight) * plain[1])


def test_weights_are_part_of_the_state_where_there_are_any() -> None:
    assert CE(UNEVEN).state_dict() == {}
    one, other = CE(UNEVEN, drw=True), CE(FIVE, drw=True)
    other.load_state_dict(reload_state(one.state_dict()))
    assert torch.equal(other.class_weights, EFFECTIVE)


def test_weights_by_hand() -> None:
    # beta 1/2: the effective numbers of 1 and 2 samples are 1 and 3/2, so the weights are 1 and 2/3, divided by their mean over
    # the three samples, (1 + 2/3 + 2/3) / 3 = 7/9.
    assert effective_number_weights((1, 2), 0.5).tolist() == pytest.approx([9 / 7, 6 / 7])
    assert effective_number_weights((60, 25, 10, 0, 5), 0).tolist() == [1, 1, 1, 0, 1]
    assert effective_number_weights((30, 10), 1).tolist() == pytest.approx([2 / 3, 2])
    # Close to 1, it is 1 / n_c as long as classes are small: no digits are lost.
    small, limit = (effective_number_weights((60, 5), beta) for beta in (1 - 1e-12, 1.0))
    assert torch.allclose(small, limit, rtol=1e-8)
    assert effective_number_weights((10**6, 10), 0.9999).isfinite().all()


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9999, 1.0])
def test_the_mean_weight_of_the_training_samples_is_1(beta: float) -> None:
    weights = effective_number_weights(UNEVEN.counts, beta)
    assert float((weights * torch.tensor(UNEVEN.counts)).sum() / 100) == pytest.approx(1)
    assert weights[3] == 0
