"""Named random streams and draws by key."""

import numpy as np

from robustkd import seeds


def splitmix64_reference(x: int) -> int:
    """Compute SplitMix64 with Python integers."""
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def test_hash_is_splitmix64() -> None:
    inputs = [0, 1, 12345, (1 << 64) - 1]
    assert [int(h) for h in seeds.splitmix64(np.array(inputs, dtype=np.uint64))] == [
        splitmix64_reference(x) for x in inputs
    ]


def test_a_key_depends_only_on_the_seed_and_its_row() -> None:
    rows = np.arange(1000)
    keys = seeds.row_keys(7, rows)
    assert np.array_equal(keys[500:], seeds.row_keys(7, rows[500:]))
    assert len(np.unique(keys)) == 1000
    assert not np.any(keys == seeds.row_keys(8, rows))


def test_streams_are_named_and_independent() -> None:
    names = [("init",), ("order",), ("init", "student", 0), ("init", "student", 1), ("order", 3)]
    derived = {seeds.derive(seed, *name) for seed in range(3) for name in names}
    assert len(derived) == 15
    assert all(0 <= seed < 1 << 63 for seed in derived)


def test_streams_are_stable_across_versions() -> None:
    # Recorded once: a change here changes every study.
    assert seeds.derive(0, "init", "student", 0) == FROZEN[0]
    assert [int(key) for key in seeds.row_keys(1, np.array([0, 1]))] == FROZEN[1]


FROZEN = (3161119077785545573, [6791897765849424158, 16860738450190168606])
