"""Random numbers by name and by key, so that draws for one purpose do not affect those for another.

A seed gives named, independent streams (init, order, augment, method). Scenarios draw by key instead: the number of a sample
depends only on the seed and its row, so that a larger rate selects a superset and the order of evaluation does not matter.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the SplitMix64 hash (Steele, Lea and Flood 2014) element-wise: (N,) -> (N,).

    >>> [hex(int(h)) for h in splitmix64(np.array([0, 1], dtype=np.uint64))]
    ['0xe220a8397b1dcdaf', '0x910a2dec89025cc1']
    """
    with np.errstate(over="ignore"):
        x = x + _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def derive(seed: int, *names: str | int) -> int:
    """Derive a seed for one purpose, independent of the seeds for other purposes.

    >>> derive(0, "init") != derive(0, "order") != derive(1, "order")
    True
    """
    state = np.array([seed], dtype=np.uint64)
    for name in names:
        word = zlib.crc32(name.encode()) if isinstance(name, str) else name
        state = splitmix64(state ^ splitmix64(np.array([word], dtype=np.uint64)))
    return int(state[0] >> np.uint64(1))  # torch generators accept 63 bits


def row_keys(seed: int, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a pseudo-random number per row that depends only on the seed and the row: (N,) -> (N,)."""
    return splitmix64(splitmix64(np.array([seed], dtype=np.uint64)) ^ rows.astype(np.uint64))


def keys_to_uniform(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Convert keys to numbers in [0, 1), preserving their order: (N,) -> (N,).

    >>> keys_to_uniform(np.array([0, 2**63, 2**64 - 1], dtype=np.uint64)).tolist()
    [0.0, 0.5, 0.9999999999999999]
    """
    return (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53
