"""Reproducible draws from torch's global generators, which modules use for first weights and dropout."""

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


@contextmanager
def seeded_generators(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the global generators of the CPU and of a device, and restore their states afterwards.

    For networks that draw while they compute, as by dropout. Threads share these generators: such networks are reproducible
    only in processes of their own.
    """
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    with _LOCK:  # not while another thread draws first weights
        states = [generator.get_state() for generator in generators]
        for generator in generators:
            generator.manual_seed(seed)
    try:
        yield
    finally:
        with _LOCK:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
