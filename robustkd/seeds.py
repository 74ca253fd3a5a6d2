"""Randomness by name and by key: nothing drawn for one purpose shifts what is drawn for another.

A seed gives named, independent streams (init, order, augment, method). Scenarios draw by key instead: a sample's number
depends on its own row and on nothing else, so a larger rate takes a superset and no order of evaluation matters.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The SplitMix64 finaliser (Steele, Lea and Flood 2014), element by element: (N,) -> (N,).

    >>> [hex(int(h)) for h in splitmix64(np.array([0, 1], dtype=np.uint64))]
    ['0xe220a8397b1dcdaf', '0x910a2dec89025cc1']
    """
    with np.errstate(over="ignore"):
        x = x + _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def derive(seed: int, *names: str | int) -> int:
    """A seed for one purpose, independent of the seeds for all others.

    >>> derive(0, "init") != derive(0, "order") != derive(1, "order")
    True
    """
    state = np.array([seed], dtype=np.uint64)
    for name in names:
        word = zlib.crc32(name.encode()) if isinstance(name, str) else name
        state = splitmix64(state ^ splitmix64(np.array([word], dtype=np.uint64)))
    return int(state[0] >> np.uint64(1))  # torch's generators take 63 bits


def row_keys(seed: int, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number for each row that only the seed and the row decide: (N,) -> (N,)."""
    return splitmix64(splitmix64(np.array([seed], dtype=np.uint64)) ^ rows.astype(np.uint64))


def keys_to_uniform(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Keys as numbers in [0, 1), in the same order: (N,) -> (N,).

    >>> keys_to_uniform(np.array([0, 2**63, 2**64 - 1], dtype=np.uint64)).tolist()
    [0.0, 0.5, 0.9999999999999999]
    """
    return (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53
