"""What a bug report needs to say about an installation and its machine, and what is wrong with them.

Nothing is written or created, and secrets are removed from all texts.
"""

import importlib
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement

import robustkd
from pipelines.console import format_bytes
from pipelines.tracking.redaction import redact, redact_uri
from pipelines.tracking.store import explain_unusable_store
from robustkd.data.image_cache import default_cache_dir

PACKAGES = ("torch", "torchvision", "timm", "scikit-learn", "mlflow", "numpy", "pandas", "cyclopts")
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "ROBUSTKD_CACHE", "MLFLOW_EXPERIMENT_NAME")
PROC_MEMORY = Path("/proc/meminfo")  # of Linux
CGROUP = Path("/sys/fs/cgroup")  # of a container
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
WEIGHT_CACHES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (  # name, module, and how that names its folder
    ("torch", "torch.hub", lambda hub: hub.get_dir()),
    ("Hugging Face", "huggingface_hub.constants", lambda constants: constants.HF_HUB_CACHE),
)
LEAST_DISK, LEAST_MEMORY = 1_000_000_000, 1_000_000_000  # bytes, below which it is a problem


class Diagnosis(NamedTuple):
    """Facts about one matter by name, and problems, each a sentence with what to do."""

    title: str
    facts: dict[str, str]
    problems: list[str]


def diagnose(out: Path) -> Iterator[Diagnosis]:
    """Look at the installation and the machine.

    Args:
        out: the folder that studies are written to; it may not exist.
    """
    for section in (check_versions(), check_devices(), check_memory(), check_caches(), check_store(), check_disk(out)):
        facts = {name: redact(value) for name, value in section.facts.items()}
        yield Diagnosis(section.title, facts, [redact(problem) for problem in section.problems])


def check_versions() -> Diagnosis:
    """Compare the versions of packages with those that robustkd needs."""
    facts = {"robustkd": robustkd.__version__, "Python": platform.python_version()}
    facts |= {name: installed_version(name) or "not installed" for name in PACKAGES}
    return Diagnosis("versions", facts, list(unmet_requirements()))


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, None without one."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def unmet_requirements() -> Iterator[str]:
    """Yield a sentence for each package that is missing or has another version than robustkd needs."""
    try:
        required = metadata.requires("robustkd") or []
    except metadata.PackageNotFoundError:  # it is run from its folder, without being installed
        return
    for requirement in map(Requirement, required):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = installed_version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            present = (
                f"{requirement.name} {version} is installed" if version else f"{requirement.name} is not installed"
            )
            yield f"{present}, but robustkd needs {requirement}: `pip install '{requirement}'`"


def check_devices() -> Diagnosis:
    """Describe the system, its processor and its GPUs, and the precision that --precision auto selects on them."""
    facts = {"system": platform.platform()}
    facts |= {name: os.environ[name] for name in VARIABLES if name in os.environ}
    problems = []
    for package in ("torch", "torchvision"):
        try:
            importlib.import_module(package)
        except Exception as error:  # a broken installation raises whatever its libraries raise
            problems.append(
                f"{package} cannot be imported ({type(error).__name__}: {error}):"
                " install torch and torchvision again, in versions that belong together"
            )
    if not problems:
        facts |= device_facts()
        problems += unused_gpu()
    return Diagnosis("machine", facts, problems)


def device_facts() -> dict[str, str]:
    """Return the processor, the GPUs, and what --device auto and --precision auto select."""
    import torch

    from robustkd.training import hardware

    device = hardware.resolve_device("auto")
    bf16 = hardware.use_bf16("auto", device)
    cpu = hardware.machine_properties("cpu", bf16)
    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    named = [f"{gpu.name}, {format_bytes(gpu.total_memory)}" for gpu in gpus]
    return {
        "processor": f"{cpu['device']}, {cpu['instructions']}",
        "cores": f"{hardware.count_cores()} that this process may use, {os.cpu_count()} in all",
        "threads": f"{torch.get_num_threads()} by torch's default",
        "GPUs": "; ".join(named) or "none that torch can use",
        "CUDA": torch.version.cuda or "torch is built without it",
        "device": f"{device} (--device auto)",
        "precision": f"{explain_precision(device, bf16)} (--precision auto)",
    }


def explain_precision(device: str, bf16: bool) -> str:
    """Return the precision that is selected on a device, and why.

    >>> explain_precision("cuda", True)
    'bf16, which the GPU supports'
    """
    if device.startswith("cuda"):
        return "bf16, which the GPU supports" if bf16 else "fp32, since the GPU does not support bf16"
    if bf16:
        return "bf16, since the processor has AVX512-BF16 or AMX; fp32 for networks of other libraries and of plugins"
    return "fp32, since the processor has neither AVX512-BF16 nor AMX"


def unused_gpu() -> Iterator[str]:
    """Yield a sentence if there is an NVIDIA GPU that torch cannot use."""
    import torch

    if torch.cuda.is_available() or not (NVIDIA_DRIVER.exists() or shutil.which("nvidia-smi")):
        return
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        yield "CUDA_VISIBLE_DEVICES hides the GPUs: unset it to train on them"
    elif torch.version.cuda is None:
        yield f"there is an NVIDIA driver, but torch {torch.__version__} is built without CUDA: install a build with it"
    else:
        yield (
            f"torch {torch.__version__} is built for CUDA {torch.version.cuda} and can use no GPU, although there is an"
            " NVIDIA driver: `nvidia-smi` shows whether the driver works and is new enough"
        )


def check_memory() -> Diagnosis:
    """Compare the available memory with what a small study takes."""
    available = available_memory()
    if available is None:
        return Diagnosis("memory", {"available": "unknown on this system"}, [])
    problem = f"only {format_bytes(available)} of memory are available: end other programs, or use --jobs 1"
    return Diagnosis("memory", {"available": format_bytes(available)}, [problem] if available < LEAST_MEMORY else [])


def available_memory() -> int | None:
    """Return the memory that new processes can use, in bytes, within the limit of a container; None if it is unknown."""
    if not PROC_MEMORY.exists():
        return None
    amounts = [1024 * count for count in read_counts(PROC_MEMORY, "MemAvailable")]
    with suppress(OSError, ValueError):  # no container, or no limit, which is "max"
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        amounts.append(limit - used + sum(read_counts(CGROUP / "memory.stat", "inactive_file")))
    return min(amounts, default=None)


def read_counts(file: Path, name: str) -> list[int]:
    """Return the numbers after a name at the start of lines."""
    return [int(count) for count in re.findall(rf"^{name}:?\s+(\d+)", file.read_text(), re.MULTILINE)]


def check_caches() -> Diagnosis:
    """Describe the folders of decoded images and of published weights."""
    images = default_cache_dir()
    facts = {"decoded images": describe_folder(images)}
    for name, module, find in WEIGHT_CACHES:
        try:
            facts[f"weights, {name}"] = describe_folder(Path(find(importlib.import_module(module))))
        except Exception as error:  # of a broken installation, which is reported as a problem of the machine
            facts[f"weights, {name}"] = f"unknown ({type(error).__name__})"
    return Diagnosis("caches", facts, list(unwritable(images, "set another folder by ROBUSTKD_CACHE")))


def check_store() -> Diagnosis:
    """Describe MLflow's store, and say if it does not answer."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    named = redact_uri(uri) if uri else "mlflow.db in this folder, MLflow's default"
    reason = explain_unusable_store(uri)
    if reason is None:
        return Diagnosis("tracking", {"store": named, "state": "can be used"}, [])
    advice = "start it or correct MLFLOW_TRACKING_URI" if uri else "work in another folder, or set MLFLOW_TRACKING_URI"
    problem = f"MLflow's store {named} cannot be used ({reason}): {advice}; `--tracker files` does without it"
    return Diagnosis("tracking", {"store": named, "state": "cannot be used"}, [problem])


def check_disk(out: Path) -> Diagnosis:
    """Describe the free space where studies are written."""
    place = existing_parent(out)
    free = shutil.disk_usage(place).free
    problems = list(unwritable(out, "use another folder, by --out"))
    if free < LEAST_DISK:
        problems.append(
            f"the disk of {out} has only {format_bytes(free)} free: `robustkd clean` lists what can be removed"
        )
    return Diagnosis("studies", {"folder": shorten_home(out.absolute()), "free disk": format_bytes(free)}, problems)


def unwritable(folder: Path, advice: str) -> Iterator[str]:
    """Yield a sentence if a folder cannot be written to, or created."""
    place = existing_parent(folder)
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        yield f"{folder} cannot be written: {advice}"


def existing_parent(folder: Path) -> Path:
    """Return the folder, or the closest one above it that exists."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def describe_folder(folder: Path) -> str:
    """Return a folder's path and the size of its files."""
    if not folder.is_dir():
        return f"{shorten_home(folder)}, does not exist"
    sizes = [path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return f"{shorten_home(folder)}, {format_bytes(sum(sizes))} in {len(sizes)} files"


def shorten_home(path: Path) -> str:
    """Write ~ for the user's home folder, whose name is often the user's own."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) and path != home else str(path)


def to_json(sections: list[Diagnosis]) -> dict[str, Any]:
    """Return sections as values of JSON."""
    problems = [problem for section in sections for problem in section.problems]
    return {**{section.title: section.facts for section in sections}, "problems": problems}
