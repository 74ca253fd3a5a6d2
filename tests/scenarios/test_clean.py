"""clean: the identity, which advances the position like every scenario."""

from scenarios.clean import Clean
from scenarios.noise import Noise
from tests.scenarios.labelled import balanced_view


def test_rows_and_labels_are_unchanged() -> None:
    before = balanced_view(10, 3)
    after = Clean()(before)
    assert after.digest == before.digest
    assert Clean().corruption_rates(before).tolist() == [0, 0, 0]


def test_the_next_step_draws_with_the_keys_of_its_own_position() -> None:
    before = balanced_view(50, 3)
    assert (Clean() >> Noise(0.4))(before).position == 2
    assert (Clean() >> Noise(0.4))(before).digest != Noise(0.4)(before).digest
