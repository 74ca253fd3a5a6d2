"""The machine's device, precision, CPU cores and memory use."""

import ctypes
import gc
import os
import platform
import re
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.types import Compile

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
PROC_CPUINFO = Path("/proc/cpuinfo")  # of Linux
# Linux reports a process's peak memory in the first and resets it when 5 is written to the second.
PROC_STATUS, PROC_CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resolve_device(name: str) -> str:
    """Return the device to use: for 'auto' the GPU if there is one, else the CPU.

    Raises:
        UsageError: torch cannot use the named device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: torch cannot use it here ({str(error).splitlines()[0]})") from None
    return name


def use_bf16(precision: str, device: str, *nets: str) -> bool:
    """Return whether networks compute in bf16.

    With 'auto' they do on GPUs that support it, and on CPUs with AVX512-BF16 or AMX, where it was the faster for every network
    and image size in benchmarks/precision.py, down to 8x8. On a CPU, networks of other libraries and of plugs do not: 4 of 12
    trainings of torchvision:mobilenet_v3_small resulted in weights of up to 1e34 in 5x5 depthwise convolutions (torch 2.15);
    none in fp32.

    Args:
        precision: 'auto', 'bf16' or 'fp32'.
        device: where the networks are trained.
        nets: the names of the networks.
    """
    if precision != "auto":
        return precision == "bf16"
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not all(is_own_net(net) for net in nets):
        return False
    capabilities = torch.cpu.get_capabilities()
    supported = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return torch.device(device).type == "cpu" and supported


def is_own_net(net: str) -> bool:
    """Return whether a network is defined in this package, not in another library or a user's file, or is a trained one."""
    try:
        spec = MODELS.parse(net)
    except UsageError:
        return ":" not in net
    return isinstance(spec.target, str) and ":" not in spec.name


def configure_kernels(device: str) -> None:
    """Let a GPU choose its fastest convolutions, and use TF32 where networks compute in fp32. No effect on other devices."""
    if torch.device(device).type == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes hardly change within a run
        torch.backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("high")


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next allocation; return whether it does, as only glibc of Linux can.

    By default glibc returns large blocks to the system, which clears their pages when the next step allocates its activations:
    a quarter of a training step of EfficientNet-Lite0 at 96 px (benchmarks/allocation.py).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(parameter, 2**31 - 1) == 1 for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))


def count_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_properties(device: str, bf16: bool, compile: Compile = "off") -> dict[str, Any]:
    """Return what results depend on in addition to options and data, as `robustkd.study.machine.Machine` records it."""
    on_gpu = torch.device(device).type == "cuda"
    amx = " AMX" if torch.cpu.get_capabilities().get("amx_tile", False) else ""
    flags: dict[str, Any] = {"deterministic algorithms": torch.are_deterministic_algorithms_enabled()}
    if on_gpu:
        cudnn: Any = torch.backends.cudnn
        flags["cudnn"] = cudnn.version()
        flags |= {f"cudnn.{name}": getattr(cudnn, name) for name in ("benchmark", "deterministic", "allow_tf32")}
        flags["matmul precision"] = torch.get_float32_matmul_precision()
    if dist.is_available() and dist.is_initialized():
        flags["processes"] = dist.get_world_size()
    if compile != "off":
        flags["compile"] = compile
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if on_gpu else processor_name(),
        "instructions": torch.backends.cpu.get_cpu_capability() + amx,
        "threads": torch.get_num_threads(),
        "precision": "bf16" if bf16 else "fp32",
        "flags": {name: str(value) for name, value in flags.items()},
    }


def processor_name() -> str:
    """Return the model of the processor, or its architecture where the system does not name it."""
    match = re.search(r"^model name\s*:\s*(.+)$", PROC_CPUINFO.read_text(), re.M) if PROC_CPUINFO.exists() else None
    return match[1].strip() if match else platform.processor() or platform.machine()


def free_memory() -> None:
    """Free what is no longer used, so that it can be allocated again."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def used_memory(device: str) -> int | None:
    """Return the bytes in use on a GPU, by all programs; None on other devices."""
    if torch.device(device).type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return int(total - free)


def total_memory(device: str) -> int | None:
    """Return the bytes of memory of a GPU; None for other devices."""
    return int(torch.cuda.mem_get_info(device)[1]) if torch.device(device).type == "cuda" else None


def reset_peak_memory(device: str) -> bool:
    """Reset the peak-memory counter; return whether this is supported."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        PROC_CLEAR_REFS.write_text("5")
    except OSError:  # not Linux, or not permitted
        return False
    return PROC_STATUS.exists()


def peak_memory(device: str) -> int | None:
    """Return the peak memory since the last reset, in bytes: of tensors on a GPU, else of the process; None if unknown."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    match = re.search(r"VmHWM:\s+(\d+) kB", PROC_STATUS.read_text()) if PROC_STATUS.exists() else None
    return 1024 * int(match[1]) if match else None
