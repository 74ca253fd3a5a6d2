"""bootstrap_soft and bootstrap_hard: labels mixed with the network's own prediction."""

import math

import pytest
import torch
from torch.distributions import Categorical

from robustkd.criteria import CRITERIA
from robustkd.criteria.bootstrap import Bootstrap
from robustkd.criteria.ce import CE
from tests.helpers import FIVE, S, golden, make_batch

NEAR, FAR = math.log(4 / 3), math.log(4)  # the costs of labels 0 and 1 where p = (3/4, 1/4)
Z = torch.tensor([[math.log(3), 0.0]] * 2)


def test_soft_by_hand():
    losses = Bootstrap(FIVE, beta=0.9)(Z, make_batch(torch.tensor([0, 1])))
    entropy = 0.75 * NEAR + 0.25 * FAR
    assert losses.tolist() == pytest.approx([0.9 * NEAR + 0.1 * entropy, 0.9 * FAR + 0.1 * entropy], abs=1e-6)


def test_hard_by_hand():
    losses = Bootstrap(FIVE, beta=0.6, prediction="hard")(Z, make_batch(torch.tensor([0, 1])))
    assert losses.tolist() == pytest.approx([NEAR, 0.6 * FAR + 0.4 * NEAR], abs=1e-6)


@pytest.mark.parametrize("prediction", ["soft", "hard"])
def test_at_beta_1_it_is_the_cross_entropy(prediction):
    assert torch.allclose(Bootstrap(FIVE, beta=1, prediction=prediction)(S, make_batch()), CE(FIVE)(S, make_batch()))


def test_at_beta_0_labels_are_not_used():
    soft, hard = (Bootstrap(FIVE, beta=0, prediction=kind)(S, make_batch()) for kind in ("soft", "hard"))
    assert torch.allclose(soft, Categorical(logits=S).entropy())
    assert torch.allclose(hard, CE(FIVE)(S, make_batch(S.argmax(dim=1))))


def test_the_words_have_the_betas_of_the_paper():
    kwargs = [CRITERIA.parse(word).kwargs() for word in ("bootstrap_soft", "bootstrap_hard", "bootstrap_hard0.7")]
    built = [Bootstrap(FIVE, **each) for each in kwargs]
    assert [(criterion.hard, criterion.beta) for criterion in built] == [(False, 0.95), (True, 0.8), (True, 0.7)]


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    for kind in ("soft", "hard"):
        criterion = Bootstrap(FIVE, prediction=kind)
        assert torch.allclose(criterion(S + shift, make_batch()), criterion(S, make_batch()))
