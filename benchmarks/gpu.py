"""All figures of a GPU in one call of at most eight minutes; what was measured before is not measured again.

    python benchmarks/gpu.py --cifar10 PACKED.npz [--out benchmarks/gpu] [--minutes 8]      # on a machine with a GPU
    python benchmarks/gpu.py --smoke --device cpu --out DIR                                 # every step, as small as possible
    python benchmarks/gpu.py --table benchmarks/gpu                                         # what there is, as Markdown

    tests           pytest -m "gpu and not slow"
    rates           copying and bf16 matrix products: what the device can do
    speed           images per second of the engine, a bare loop and a peer-style loop (benchmarks/engine.py), batch 128 and 512
    side-by-side    images per second of 1 to 16 processes that train at once, and the utilisation of the GPU
    methods         the step of every method relative to hinton (benchmarks/methods.py)
    compile         images per second of the engine with --compile max, batch 128, next to the same without
    study           CIFAR-10, noise0.4, twelve methods of arXiv 2007.01922: a row per run

Each step writes OUT/STEP.csv, in which rows name the device, torch and the commit. A step whose file exists is skipped, and the
study goes on with the next seed that lacks runs. With --cifar10, the images are packed JPEGs: an npz with header, data, offsets
and labels, of which the first 50,000 are for training; accuracies are a few points below those of the original files.

Needs neither MLflow nor pyarrow, timm, safetensors or the network.
"""

import argparse
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import engine
import methods
import numpy as np
import pandas as pd
import side_by_side
import torch
from harness import random_view
from PIL import Image

from robustkd.study.packing import Packing, choose_jobs
from robustkd.training import compilation, hardware

HOME = Path(__file__).parents[1]
PAIR = ("wrn_40_2", "wrn_16_2")
PUBLISHED = "baseline,hinton,bss,fitnet,fsp,at,sp,rkd_d,rkd_a,rkd_da,one,dml"
AIMS = (
    "the engine at least 10 times as fast as the peer-style loop for resnet20 -> resnet8 and 5 times for wrn_40_2 -> wrn_16_2 "
    "with processes side by side, an epoch of CIFAR-10 for the second pair under 3 s, no method above 6 times hinton's step"
)
Rows = list[dict[str, Any]]


def describe_machine(device: str) -> dict[str, str]:
    """Return what every row records."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HOME, capture_output=True, text=True, check=False
    )
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
    return {"device": name, "torch": torch.__version__, "commit": commit.stdout.strip() or "unknown"}


def run_tests(arguments: argparse.Namespace) -> Rows:
    """Run the tests marked gpu, except for slow ones."""
    files = [
        str(file) for file in (HOME / "tests").rglob("test_*.py") if "mark.gpu" in file.read_text(encoding="utf-8")
    ]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu and not slow",
        "-p",
        "no:cacheprovider",
        "-W",
        "default",
    ]
    command += [*files, "--collect-only"] if arguments.smoke else files
    limit = arguments.left(240 if arguments.smoke else 90)  # without a GPU, on a machine that may be slow
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=limit, check=False)
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()
    return [{"exit": done.returncode, "summary": lines[-1] if lines else ""}]


def measure_rates(arguments: argparse.Namespace) -> Rows:
    """Measure bytes copied per second, read and written, and operations of a bf16 matrix product per second."""
    side = 256 if arguments.smoke else 8192
    a, b = (torch.randn(side, side, device=arguments.device, dtype=torch.bfloat16) for _ in range(2))
    work = {
        "copy, GB/s": (lambda: b.copy_(a), 2e-9 * a.nbytes),
        "bf16 matmul, TFLOP/s": (lambda: a @ b, 2e-12 * side**3),
    }
    return [
        {"rate": name, "value": amount / median_seconds(call, arguments.device)}
        for name, (call, amount) in work.items()
    ]


def median_seconds(call: Callable[[], object], device: str, repeats: int = 20) -> float:
    """Return the median time of a call, each synchronised with the device."""
    seconds = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[3:]))


def measure_speed(arguments: argparse.Namespace) -> Rows:
    """Measure the loops of benchmarks/engine.py."""
    rows: Rows = []
    for teacher, student in engine.PAIRS:
        for batch in (16,) if arguments.smoke else (128, 512):
            small = {"rounds": 1, "steps": 1} if arguments.smoke else {"rounds": 3, "steps": 4096 // batch}
            loops = "engine,plain,peer-style"
            options = argparse.Namespace(**{**vars(arguments), **small, "batch": batch, "loops": loops})
            speeds = engine.measure_speeds(teacher, student, random_view(8 * batch), options).median()
            rows += [
                {"teacher": teacher, "student": student, "batch": batch, "loop": loop, "images_per_second": speed}
                for loop, speed in speeds.items()
            ]
    return rows


def measure_side_by_side(arguments: argparse.Namespace) -> Rows:
    """Measure several processes at once."""
    rows: Rows = []
    for teacher, student in engine.PAIRS:
        for processes in (1, 2) if arguments.smoke else (1, 2, 4, 8, 16):
            seconds = 1.0 if arguments.smoke else 4.0
            speed, utilisation = side_by_side.measure(teacher, student, processes, seconds, arguments)
            rows.append(
                {"teacher": teacher, "student": student, "processes": processes, "images_per_second": speed}
                | {"utilisation": utilisation}
            )
    return rows


def measure_methods(arguments: argparse.Namespace) -> Rows:
    """Measure a step of every method."""
    words = ["--device", arguments.device, "--precision", arguments.precision, "--threads", str(arguments.threads)]
    words += ["--teacher", PAIR[0], "--student", PAIR[1], "--rounds", "3", "--steps", "10"]
    if arguments.smoke:
        words += ["--methods", "baseline,hinton", "--teacher", "resnet8", "--student", "resnet8", "--rounds", "1"]
        words += ["--steps", "1", "--samples", "128"]
    return [vars(cost) for cost in methods.main(words)]


def measure_compiled(arguments: argparse.Namespace) -> Rows:
    """Measure the engine with compiled networks next to itself, as far as time allows."""
    if arguments.smoke:  # whose minutes a compiler would take
        compilation.BACKEND = "aot_eager"
    rows: Rows = []
    for teacher, student in engine.PAIRS[:1] if arguments.smoke else engine.PAIRS:
        if rows and arguments.left(60) < 60:
            break
        batch = 16 if arguments.smoke else 128
        small = {"rounds": 1, "steps": 1} if arguments.smoke else {"rounds": 3, "steps": 32}
        options = argparse.Namespace(**{**vars(arguments), **small, "batch": batch, "loops": "engine,compiled"})
        speeds = engine.measure_speeds(teacher, student, random_view(8 * batch), options).median()
        rows.append({"teacher": teacher, "student": student, "batch": batch, **speeds})
    return rows


def run_study(arguments: argparse.Namespace) -> Rows:
    """Train the methods that the table of the first incomplete seed lacks, as far as time allows."""
    file = arguments.out / "study.csv"
    done = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["method", "seed"])
    seed, missing = next_runs(done, ["baseline"] if arguments.smoke else PUBLISHED.split(","))
    with TemporaryDirectory() as work:
        data = Path(work, "cifar10.npz")
        write_images(arguments, data)
        command = [sys.executable, "-m", "pipelines", "run", "--dataset", f"npz:{data}", "--scenario", "noise0.4"]
        command += ["--methods", ",".join(missing), "--seeds", "1", "--first-seed", str(seed)]
        command += ["--device", arguments.device]
        command += ["--tracker", "files", "--out", f"{work}/studies", "--jobs", str(find_jobs(arguments))]
        command += ["--stop-after", f"{max(1, int(arguments.left(480)))}s"]
        if arguments.smoke:
            command += ["--student", "resnet8", "--teacher", "resnet8", "--epochs", "1"]
        else:
            command += ["--student", PAIR[1], "--teacher", PAIR[0], "--epochs", "60", "--batch", "128"]
        process = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
        if process.returncode:
            raise RuntimeError(process.stderr.strip()[-300:])
        return [read_run(path) for path in sorted(Path(work, "studies").glob("*/runs/*/result.json"))]


def find_jobs(arguments: argparse.Namespace) -> int:
    """Return how many runs of the study fill the GPU, as `--jobs auto` would choose from what was measured side by side."""
    file = arguments.out / "side-by-side.csv"
    if arguments.smoke or not file.exists():
        return 1 if arguments.smoke else 6
    table = pd.read_csv(file)
    pair = table[(table["teacher"] == PAIR[0]) & (table["student"] == PAIR[1])].sort_values("processes")
    measured = [Packing(int(row.processes), float(row.images_per_second)) for row in pair.itertuples()]
    return choose_jobs(measured, capacity=None)


def next_runs(done: pd.DataFrame, wanted: Sequence[str]) -> tuple[int, list[str]]:
    """Return the first seed that lacks methods in a table of runs, and the methods it lacks."""
    seed = 0
    while set(wanted) <= (finished := set(done.loc[done["seed"] == seed, "method"])):
        seed += 1
    return seed, [method for method in wanted if method not in finished]


def read_run(path: Path) -> dict[str, Any]:
    """Return what the table says of a run."""
    result = json.loads(path.read_text())
    role, method = result["run"]["role"], result["run"]["method"]
    return {
        "method": method if role == "student" else role,
        "seed": result["run"]["seed"],
        "accuracy": result["last"]["metrics"]["accuracy"],
        "accuracy_early": result["early"]["metrics"]["accuracy"] if result["early"] else None,
        "seconds": result["training"]["seconds"] if result["training"] else None,
    }


def write_images(arguments: argparse.Namespace, path: Path) -> None:
    """Write the study's images as a data set of one file."""
    names = np.array([str(k) for k in range(10)])
    if arguments.cifar10 is None:  # nothing to learn: only to see that every step runs
        view = random_view(600)
        images, labels, boundary = view.images(), view.labels, 500
    else:
        packed = np.load(arguments.cifar10)
        images, labels, boundary = unpack_images(packed), packed["labels"], 50_000
        names = packed["class_names"]
    train, test = slice(0, boundary), slice(boundary, None)
    np.savez(
        path, X=images[train], y=labels[train], X_test=images[test], y_test=labels[test], classes=names, flips=True
    )


def unpack_images(packed: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decode JPEGs that share a header: (N, 3, 32, 32)."""
    header, data, offsets = packed["header"].tobytes(), packed["data"].tobytes(), packed["offsets"]

    def decode(start: int, end: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.asarray(Image.open(io.BytesIO(header + data[start:end]))).transpose(2, 0, 1)

    with ThreadPoolExecutor() as executor:
        return np.stack(list(executor.map(decode, offsets[:-1], offsets[1:], chunksize=500)))


STEPS: dict[str, Callable[[argparse.Namespace], Rows]] = {
    "tests": run_tests,
    "rates": measure_rates,
    "speed": measure_speed,
    "side-by-side": measure_side_by_side,
    "methods": measure_methods,
    "compile": measure_compiled,
    "study": run_study,
}


def write_rows(name: str, rows: Rows, arguments: argparse.Namespace) -> None:
    """Append rows to the table of a step."""
    file, new = arguments.out / f"{name}.csv", pd.DataFrame(rows).assign(**describe_machine(arguments.device))
    earlier = [pd.read_csv(file)] if file.exists() else []
    pd.concat([*earlier, new]).to_csv(file, index=False, float_format="%.5g")


def format_tables(folder: Path) -> str:
    """Return the tables as Markdown; steps without one are marked."""
    parts = []
    for name in STEPS:
        file = folder / f"{name}.csv"
        parts.append(f"### {name}\n\n{to_markdown(pd.read_csv(file)) if file.exists() else 'not measured'}")
    return "\n\n".join([*parts, f"Aims: {AIMS}."])


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown."""
    cells = [[str(name) for name in table], ["---"] * len(table.columns)]
    cells += [["" if pd.isna(value) else str(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HOME / "benchmarks" / "gpu")
    parser.add_argument("--cifar10", type=Path, help="packed CIFAR-10; without it, there is no study")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=8, help="processes of the peer-style loop's DataLoader")
    parser.add_argument("--smoke", action="store_true", help="run every step as small as possible")
    parser.add_argument("--table", type=Path, metavar="DIR", help="print the tables of a folder, and measure nothing")
    arguments = parser.parse_args()
    if arguments.table is not None:
        print(format_tables(arguments.table))
        return 0
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch finds no GPU; --smoke --device cpu runs every step as small as possible")
    if arguments.cifar10 is not None and not arguments.cifar10.exists():
        parser.error(f"--cifar10 {arguments.cifar10}: there is no such file")
    end = time.monotonic() + 60 * arguments.minutes
    arguments.left = lambda most: min(most, end - time.monotonic())
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    hardware.configure_kernels(arguments.device)
    succeeded = [execute(name, partial(step, arguments), arguments) for name, step in STEPS.items()]
    return int(not all(succeeded))


def execute(name: str, step: Callable[[], Rows], arguments: argparse.Namespace) -> bool:
    """Run a step that is still to do and write its rows; return whether nothing failed. A failure does not stop the others."""
    measured = (arguments.out / f"{name}.csv").exists() and name != "study"
    if measured or (name == "study" and arguments.cifar10 is None and not arguments.smoke) or arguments.left(1) <= 0:
        print(f"{name}: skipped", flush=True)
        return True
    start = time.perf_counter()
    try:
        write_rows(name, step(), arguments)
    except Exception as error:  # whatever a new machine may bring: the other steps are worth their minutes
        print(f"{name}: failed after {time.perf_counter() - start:.0f} s: {type(error).__name__}: {error}", flush=True)
        return False
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
