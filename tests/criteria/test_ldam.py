"""ldam: a margin for each class on the logits of a cosine head."""

import math
from dataclasses import replace

import pytest
import torch

from robustkd.criteria.ce import CE
from robustkd.criteria.ldam import LDAM
from robustkd.models.layers import CosineLinear
from tests.helpers import FIVE, S, build_study_method, golden, make_batch, small_view

UNEVEN = replace(FIVE, samples=100, counts=(80, 5, 10, 0, 5))


def test_by_hand():
    # Counts 16 and 1: margins 30 * 0.5 / 2 = 7.5 and 15. Both logits 0: log(1 + exp(margin)).
    criterion = LDAM(replace(FIVE, samples=17, counts=(16, 1)))
    losses = criterion(torch.zeros(2, 2, dtype=torch.float64), make_batch(torch.tensor([0, 1])))
    assert losses.tolist() == pytest.approx([math.log1p(math.exp(7.5)), math.log1p(math.exp(15))])


def test_margins_by_a_loop_over_classes():
    # 0.5 n^(-1/4), scaled so that the largest is 0.5; a class without samples has the largest too.
    roots = [n**-0.25 for n in (80, 5, 10, 5)]
    expected = [0.5 * 30 * root / max(roots) for root in roots]
    assert LDAM(UNEVEN).margins[[0, 1, 2, 4]].tolist() == pytest.approx(expected)
    assert LDAM(UNEVEN).margins[3] == 15


def test_without_margin_it_is_the_cross_entropy():
    assert torch.equal(LDAM(UNEVEN, margin=0)(S, make_batch()), CE(UNEVEN)(S, make_batch()))


def test_equal_counts_have_equal_margins():
    criterion = LDAM(replace(FIVE, samples=35, counts=(7,) * 5), margin=0.2)
    assert criterion.margins.tolist() == pytest.approx([6.0] * 5)


def test_networks_have_a_cosine_head_whatever_the_method():
    for text in ("baseline+ldam", "hinton+ldam(drw=true)", "dml+ldam"):
        method = build_study_method(text, view=small_view())
        assert isinstance(method.model.head, CosineLinear)
        assert method.model(torch.rand(2, 1, 8, 8)).logits.abs().max() <= 30 + 1e-4


def test_invariance_to_a_shift_of_logits():
    shift = golden((4, 1), 2.3, 0.2, 50)
    assert torch.allclose(LDAM(UNEVEN)(S + shift, make_batch()), LDAM(UNEVEN)(S, make_batch()))
