"""pair: each class to the next one, the last to the first."""

import numpy as np
import pytest

import scenarios
from tests.scenarios.labelled import assert_rejected, balanced_view, count_transitions


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_a_share_of_each_class_is_shown_as_the_next(classes: int) -> None:
    before = balanced_view(100, classes)
    after = scenarios.parse("pair0.45")(before)
    for i, row in enumerate(count_transitions(before, after)):
        assert row[i] == 55
        assert row[(i + 1) % classes] == 45
    assert scenarios.parse("pair0.45").corruption_rates(before).tolist() == pytest.approx([0.45] * classes)


def test_rates_one_and_zero() -> None:
    before = balanced_view(3, 4)
    assert scenarios.parse("pair1")(before).labels.tolist() == np.repeat([1, 2, 3, 0], 3).tolist()
    assert scenarios.parse("pair0")(before).labels.tolist() == before.labels.tolist()
    assert_rejected("pair1.2", before, "less than or equal to 1")
