"""Latency: positive times of one image and of a batch, and a network that is left as it was."""

import pytest
import torch
from torch import Tensor

from robustkd.evaluation import latency
from robustkd.evaluation.results import LATENCY_BATCH
from robustkd.types import Output
from tests.helpers import make_network


def test_times_are_positive_and_only_those_of_the_cpu_without_another_device() -> None:
    measured = latency.measure_latency(make_network("wrn_10_1"), (1, 8, 8), "cpu")
    assert measured.cpu_image_ms is not None
    assert measured.cpu_batch_ms is not None
    assert min(measured.cpu_image_ms, measured.cpu_batch_ms) > 0
    assert (measured.device_image_ms, measured.device_batch_ms) == (None, None)


def test_network_runs_on_one_image_and_on_a_batch_in_evaluation_mode_on_one_thread() -> None:
    net, seen = make_network("wrn_10_1").train(), set()

    def record(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Output) -> None:
        seen.add((tuple(inputs[0].shape), module.training, torch.is_grad_enabled(), torch.get_num_threads()))

    net.register_forward_hook(record)
    torch.set_num_threads(2)
    try:
        latency.measure_latency(net, (1, 8, 8), "cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert seen == {((count, 1, 8, 8), False, False, 1) for count in (1, LATENCY_BATCH)}
    assert net.training


def test_time_is_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is read at the beginning, then before each condition and around each pass."""
    durations = [3.0, 1.0, 100.0, 2.0, 4.0]
    now = 0.0

    def perf_counter() -> float:
        return now

    net, calls = make_network("wrn_10_1"), []

    def advance(*_: object) -> None:
        nonlocal now
        calls.append(1)
        if len(calls) > latency.WARMUP:
            now += durations[len(calls) - latency.WARMUP - 1] / 1000

    net.register_forward_hook(advance)
    monkeypatch.setattr(latency.time, "perf_counter", perf_counter)
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    assert latency._milliseconds(net, torch.zeros(1, 1, 8, 8)) == 3.0
    assert len(calls) == latency.WARMUP + latency.LEAST
