"""What this machine has: a device, a precision, cores."""

import os
import re
from pathlib import Path

import torch

from robustkd import errors

# Where Linux tells a process its greatest size, and takes the wish to forget it.
PROC_STATUS, PROC_CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resolve_device(text: str) -> str:
    """The device a study runs on."""
    if text == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:
        raise errors.UsageError(f"--device {text}: torch cannot use it here ({str(error).splitlines()[0]})") from None
    return text


def use_bf16(text: str, on: str, *nets: str) -> bool:
    """Whether nets compute in bf16.

    auto takes it on GPUs that have it and on CPUs with AVX512-BF16 or AMX: there it was the faster for every net and image
    size that benchmarks/precision.py tries, down to 8x8. Not for foreign nets on a CPU: 4 of 12 trainings of
    torchvision:mobilenet_v3_small left weights of up to 1e34 in depthwise convolutions of 5x5 (torch 2.15), none in fp32.

    Args:
        text: auto, bf16 or fp32.
        on: the device.
        nets: the words of the nets that will be trained.
    """
    if text != "auto":
        return text == "bf16"
    if torch.device(on).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if any(":" in net for net in nets):
        return False
    has = torch.cpu.get_capabilities()
    return torch.device(on).type == "cpu" and any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def count_cores() -> int:
    """The cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def reset_peak_memory(on: str) -> bool:
    """Begin to measure anew how much memory is taken at most; whether the system could."""
    if torch.device(on).type == "cuda":
        torch.cuda.reset_peak_memory_stats(on)
        return True
    try:
        PROC_CLEAR_REFS.write_text("5")
    except OSError:  # no Linux, or one that keeps this to itself
        return False
    return PROC_STATUS.exists()


def peak_memory(on: str) -> int | None:
    """Bytes taken at most since then: of a GPU by tensors, else by the whole process; None where the system does not say."""
    if torch.device(on).type == "cuda":
        return int(torch.cuda.max_memory_allocated(on))
    found = re.search(r"VmHWM:\s+(\d+) kB", PROC_STATUS.read_text()) if PROC_STATUS.exists() else None
    return 1024 * int(found[1]) if found else None
