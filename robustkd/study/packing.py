"""How many runs fill a GPU: few processes train at once, then more; the fewest that are about as fast as any are chosen."""

import multiprocessing
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from queue import Empty
from threading import BrokenBarrierError
from typing import Any, NamedTuple

from robustkd.data.view import View
from robustkd.errors import is_out_of_memory
from robustkd.study.child_process import obey_parent, prepare_process, start_child
from robustkd.study.construct import check_constructible
from robustkd.study.plan import Plan, Run
from robustkd.study.run import training_loader
from robustkd.study.run_folder import load_source
from robustkd.training import engine, hardware

COUNTS = (1, 2, 4, 8)
GAIN = 0.05  # in speed, below which more processes are not worth their memory
ROOM = 0.9  # share of the memory that may be used
WARM_UP_STEPS = 5
SECONDS = 3.0  # of training, by each number of processes
PATIENCE = 600.0  # seconds in which the processes start and train


class Packing(NamedTuple):
    """A number of processes that trained at once.

    Attributes:
        jobs: how many.
        images_per_second: of all together.
        memory: bytes in use on the GPU; None on a CPU.
    """

    jobs: int
    images_per_second: float
    memory: int | None = None


def choose_jobs(measured: Sequence[Packing], capacity: int | None) -> int:
    """Return the smallest number of jobs that is about as fast as the fastest whose memory fits.

    Args:
        measured: with increasing numbers of jobs.
        capacity: bytes of memory; None if it does not matter.

    >>> choose_jobs([Packing(1, 100, 10), Packing(2, 190, 20), Packing(4, 195, 40)], capacity=100)
    2
    >>> choose_jobs([Packing(1, 100, 10), Packing(2, 190, 20), Packing(4, 300, 40)], capacity=30)
    2
    """
    fitting = [each for each in measured if _leaves_room(each.memory, capacity)]
    fastest = max((each.images_per_second for each in fitting), default=0.0)
    return next((each.jobs for each in fitting if each.images_per_second >= (1 - GAIN) * fastest), 1)


def is_worth_trying(jobs: int, measured: Sequence[Packing], capacity: int | None) -> bool:
    """Return whether more processes may be faster than those measured, and fit if each takes as much memory.

    >>> is_worth_trying(4, [Packing(1, 100, 10), Packing(2, 101, 20)], capacity=100)  # two are hardly faster than one
    False
    >>> is_worth_trying(4, [Packing(1, 100, 10), Packing(2, 190, 20)], capacity=35)
    False
    """
    if not measured:
        return True
    last = measured[-1]
    gained = len(measured) < 2 or last.images_per_second > (1 + GAIN) * measured[-2].images_per_second
    return gained and _leaves_room(None if last.memory is None else last.memory * jobs // last.jobs, capacity)


def _leaves_room(memory: int | None, capacity: int | None) -> bool:
    return memory is None or capacity is None or memory <= ROOM * capacity


def measure_packings(
    plan: Plan, run: Run, counts: Iterable[int] = COUNTS, seconds: float = SECONDS, capacity: int | None = None
) -> Iterator[Packing]:
    """Measure numbers of processes that train a run at once, until more are not worth trying or do not fit.

    Args:
        plan: of a study, whose folder need not exist.
        run: that all processes train, each on the whole data set.
        counts: in increasing order.
        seconds: of training.
        capacity: bytes of memory.
    """
    measured: list[Packing] = []
    for jobs in counts:
        packing = measure_packing(plan, run, jobs, seconds) if is_worth_trying(jobs, measured, capacity) else None
        if packing is None:
            return
        measured.append(packing)
        yield packing


def measure_packing(plan: Plan, run: Run, jobs: int, seconds: float) -> Packing | None:
    """Measure a number of processes that train a run at once; None if they do not fit into memory or fail."""
    context = multiprocessing.get_context("spawn")
    barrier, runs, answers = context.Barrier(jobs), context.Queue(), context.Queue()
    shared = replace(plan, jobs=jobs, threads=max(1, plan.threads * plan.jobs // jobs))
    work = (shared, seconds, barrier, runs, answers)
    processes = [context.Process(target=_measure, args=work, daemon=True) for _ in range(jobs)]
    try:
        for process in processes:
            runs.put(run)
            start_child(process)
        measured = _collect(answers, processes)
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()
    if len(measured) < jobs or None in measured:
        return None
    memory = [used for _, used in measured if used is not None]
    return Packing(jobs, sum(speed for speed, _ in measured), max(memory, default=None))


def _collect(answers: Any, processes: Sequence[BaseProcess]) -> list[Any]:
    """Return an answer of each process, fewer if a process dies or takes too long."""
    collected: list[Any] = []
    deadline = time.monotonic() + PATIENCE
    while len(collected) < len(processes) and time.monotonic() < deadline:
        try:
            collected.append(answers.get(timeout=1.0))
        except Empty:
            if any(process.exitcode for process in processes):
                break
    return collected


def _measure(plan: Plan, seconds: float, barrier: Barrier, runs: Any, answers: Any) -> None:
    """Train next to others, and send images per second and the GPU's memory in use, or None if that is not possible."""
    obey_parent()
    try:
        prepare_process(plan)
        # A run of a plugged method can be received only now that the method is known.
        answer = _train(plan, runs.get(timeout=PATIENCE), seconds, barrier)
    except Exception as error:  # what does not work is explained when the study is run
        barrier.abort()
        answer = None
        if not (is_out_of_memory(error) or isinstance(error, BrokenBarrierError)):
            traceback.print_exc()
    answers.put(answer)


def _train(plan: Plan, run: Run, seconds: float, barrier: Barrier) -> tuple[float, int | None]:
    """Train for some seconds, which begin and end for all processes at once."""
    view, settings = View.of(load_source(plan.options)), plan.settings
    method = check_constructible(view, run, settings)
    loader = training_loader(view, method, run, settings)
    steps = engine.iter_steps(method, method.phases()[-1], loader, settings.recipe_of(run), settings.compile)
    for _ in range(WARM_UP_STEPS):
        next(steps)
    barrier.wait(PATIENCE)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(steps)
        done += 1
    speed = done / (time.perf_counter() - start) * len(view) / len(loader)
    barrier.wait(PATIENCE)  # all processes hold their memory
    used = hardware.used_memory(settings.device)
    barrier.wait(PATIENCE)
    return speed, used
