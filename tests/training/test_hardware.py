"""What a machine is taken to have."""

import mmap

import pytest
import torch

from robustkd.training import hardware


def test_foreign_nets_are_not_trained_in_bf16_on_a_cpu_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert hardware.use_bf16("auto", "cpu", "wrn_10_1", "resnet20(shortcut=pad)")
    assert not hardware.use_bf16("auto", "cpu", "wrn_10_1", "torchvision:mobilenet_v3_small")
    assert hardware.use_bf16("bf16", "cpu", "torchvision:mobilenet_v3_small")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
    assert not hardware.use_bf16("auto", "cpu", "wrn_10_1")


@pytest.mark.skipif(not hardware.PROC_CLEAR_REFS.exists(), reason="only Linux tells a process its greatest size")
def test_the_peak_is_that_since_it_was_last_forgotten() -> None:
    with mmap.mmap(-1, 64 << 20) as big:  # pages of its own: what an allocator gives may have been used before
        big[:] = bytes(64 << 20)
        high = hardware.peak_memory("cpu")
    assert hardware.reset_peak_memory("cpu")
    low = hardware.peak_memory("cpu")
    with mmap.mmap(-1, 8 << 20) as again:
        again[:] = bytes(8 << 20)
        middle = hardware.peak_memory("cpu")
    assert high is not None
    assert low is not None
    assert middle is not None
    assert low + (7 << 20) < middle < high - (32 << 20)
