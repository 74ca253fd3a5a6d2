"""The device, the precision and the memory of the machine."""

import mmap
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.registry import Entry
from robustkd.study.machine import Machine
from robustkd.training import hardware


def test_the_device_is_the_gpu_if_there_is_one_and_unknown_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert hardware.resolve_device("auto") == device
    assert hardware.resolve_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="--device tpu0: torch cannot use it here"):
        hardware.resolve_device("tpu0")


def test_external_networks_use_bf16_on_a_cpu_only_if_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert hardware.use_bf16("auto", "cpu", "wrn_10_1", "resnet20(shortcut=pad)")
    assert not hardware.use_bf16("auto", "cpu", "wrn_10_1", "torchvision:mobilenet_v3_small")
    assert hardware.use_bf16("bf16", "cpu", "torchvision:mobilenet_v3_small")
    assert not hardware.use_bf16("fp32", "cpu", "wrn_10_1")
    monkeypatch.setitem(MODELS._own, "plugged", Entry(lambda channels, classes: torch.nn.Identity()))
    assert not hardware.use_bf16("auto", "cpu", "plugged")
    assert hardware.use_bf16("auto", "cpu", "wrn_10_1", "studies/toy/runs/teacher-seed0/model.pt")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
    assert not hardware.use_bf16("auto", "cpu", "wrn_10_1")


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3}, raising=False)
    assert hardware.count_cores() == 2


@pytest.mark.skipif(not hardware.PROC_CLEAR_REFS.exists(), reason="only Linux reports a process's peak memory")
def test_peak_memory_is_measured_since_the_last_reset() -> None:
    with mmap.mmap(-1, 64 << 20) as block:  # new pages: an allocator may return pages that were used before
        block[:] = bytes(64 << 20)
        high = hardware.peak_memory("cpu")
    assert hardware.reset_peak_memory("cpu")
    low = hardware.peak_memory("cpu")
    with mmap.mmap(-1, 8 << 20) as block:
        block[:] = bytes(8 << 20)
        middle = hardware.peak_memory("cpu")
    assert high is not None
    assert low is not None
    assert middle is not None
    assert low + (7 << 20) < middle < high - (32 << 20)


def test_what_results_depend_on_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_tile": True})
    found = Machine(**hardware.machine_properties("cpu", bf16=True))
    assert (found.torch, found.instructions, found.threads, found.precision) == (
        torch.__version__,
        "AVX2 AMX",
        3,
        "bf16",
    )
    assert found.flags == {"deterministic algorithms": "False"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
    assert hardware.machine_properties("cpu", bf16=False)["instructions"] == "AVX2"
    compiled = Machine(**hardware.machine_properties("cpu", bf16=True, compile="default"))
    assert "compile off and default" in found.differences(compiled)


def test_a_gpus_flags_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the GPU of {device}")
    found = Machine(**hardware.machine_properties("cuda:1", bf16=False))
    assert found.device == "the GPU of cuda:1"
    assert {"cudnn", "cudnn.benchmark", "cudnn.deterministic", "cudnn.allow_tf32"} < found.flags.keys()


def test_a_gpu_uses_tf32_and_its_fastest_convolutions_and_a_cpu_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "benchmark", False)
    monkeypatch.setattr(cudnn, "allow_tf32", False)
    precision = torch.get_float32_matmul_precision()
    try:
        hardware.configure_kernels("cpu")
        assert (cudnn.benchmark, cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (False, False, precision)
        hardware.configure_kernels("cuda:1")
        assert (cudnn.benchmark, cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, True, "high")
    finally:
        torch.set_float32_matmul_precision(precision)


def test_the_processor_is_named_as_the_system_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nmodel name\t: another\n")
    monkeypatch.setattr(hardware, "PROC_CPUINFO", tmp_path / "cpuinfo")
    assert hardware.processor_name() == "Some CPU @ 2 GHz"
    monkeypatch.setattr(hardware, "PROC_CPUINFO", tmp_path / "absent")
    assert hardware.processor_name()


def test_freed_memory_is_kept_by_glibc_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import resource, torch; from robustkd.training import hardware; torch.set_num_threads(1); used = []\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def allocate():\n"
        "    before = faults(); torch.ones(2**26, dtype=torch.uint8); return faults() - before\n"
        "def least(): return min(allocate() for _ in range(5))  # another block may take the first bytes of what was freed\n"
        "allocate(); before = least(); kept = hardware.keep_freed_memory(); allocate(); print(kept, before, least())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept, before, after = done.stdout.split()
    assert kept == str(platform.libc_ver()[0] == "glibc")
    if kept == "True":
        assert int(after) < int(before) / 10, "64 MiB are allocated without new pages"
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))  # of macOS, Windows and musl
    assert not hardware.keep_freed_memory()
