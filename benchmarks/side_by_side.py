"""Training speed of several processes on one device at once, and how busy the GPU is.

    python benchmarks/side_by_side.py [--processes 1,2,4] [--device cpu]

Each process trains the same pair of nets with `hinton` through the engine. All start together after their first steps.
"""

import argparse
import multiprocessing
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from statistics import mean
from typing import Any

import engine
import torch
from harness import random_view, time_steps

from robustkd.training import hardware


def measure(
    teacher: str, student: str, processes: int, seconds: float, arguments: argparse.Namespace
) -> tuple[float, float | None]:
    """Return images per second of all processes together, and the mean utilisation of the GPU in per cent, None on a CPU."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(processes + 1), context.Queue()
    options = {name: getattr(arguments, name) for name in ("device", "precision", "threads")}
    work = (teacher, student, seconds, options, barrier, queue)
    workers = [context.Process(target=train, args=work, daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    barrier.wait(timeout=180)
    with sample_utilisation(arguments.device) as samples:
        speeds = [queue.get(timeout=60 + 10 * seconds) for _ in workers]
    for worker in workers:
        worker.join()
    return sum(speeds), mean(samples) if samples else None


def train(teacher: str, student: str, seconds: float, options: dict[str, Any], barrier: Barrier, queue: Any) -> None:
    """Train for some seconds in a process of its own and report images per second."""
    arguments = argparse.Namespace(**options, batch=engine.BATCH)
    torch.set_num_threads(arguments.threads)
    hardware.configure_kernels(arguments.device)
    steps = engine.engine_steps(teacher, student, random_view(8 * arguments.batch), arguments)
    time_steps(steps, engine.WARM_UP_STEPS, arguments.device)
    barrier.wait(timeout=180)
    count = 5 if arguments.device.startswith("cuda") else 1  # time_steps synchronises with the device
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        time_steps(steps, count, arguments.device)
        done += count
    queue.put(done * arguments.batch / (time.perf_counter() - start))


@contextmanager
def sample_utilisation(device: str) -> Iterator[list[float]]:
    """Collect the GPU's utilisation five times a second, where nvidia-smi reports it."""
    samples: list[float] = []
    if not device.startswith("cuda") or shutil.which("nvidia-smi") is None:
        yield samples
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield samples
        process.terminate()
        samples += [float(line) for line in (process.stdout or ()) if line.strip().isdigit()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="1,2,4")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    for teacher, student in engine.PAIRS:
        for processes in map(int, arguments.processes.split(",")):
            speed, busy = measure(teacher, student, processes, arguments.seconds, arguments)
            utilisation = "" if busy is None else f", GPU {busy:.0f} % busy"
            print(f"{teacher} -> {student}, {processes} at once: {speed:.0f} images/s{utilisation}", flush=True)


if __name__ == "__main__":
    main()
