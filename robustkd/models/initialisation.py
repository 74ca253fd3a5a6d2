"""First weights from a seed, although modules draw them from torch's global generator."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Threads share the global generator: without a lock, two that construct networks at once would mix their draws.
_LOCK = threading.RLock()


@contextmanager
def seeded_initialisation(seed: int) -> Iterator[None]:
    """Seed the global CPU generator for the duration of the context, and restore its state afterwards."""
    with _LOCK, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs' generators too
        yield
