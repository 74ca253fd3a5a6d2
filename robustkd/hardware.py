"""What this machine has: a device, a precision, cores."""

import os

import torch

from robustkd import words


def device(text: str) -> str:
    """The device a study runs on."""
    if text == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:
        raise words.UsageError(f"--device {text}: torch cannot use it here ({str(error).splitlines()[0]})") from None
    return text


def half(text: str, on: str) -> bool:
    """Whether nets compute in bf16.

    auto takes it on GPUs that have it and on CPUs with AVX512-BF16 or AMX: there it was the faster for every net and image
    size that benchmarks/precision.py tries, down to 8x8.
    """
    if text != "auto":
        return text == "bf16"
    if torch.device(on).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = torch.cpu.get_capabilities()
    return torch.device(on).type == "cpu" and any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def cores() -> int:
    """The cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
