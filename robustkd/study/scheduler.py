"""Execution of many runs, in parallel processes where that is faster, and none before its teacher."""

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

from robustkd.errors import ExecutionError
from robustkd.plugins import load_plugins
from robustkd.study.plan import Plan, Report, Run, teacher_of
from robustkd.study.run_folder import execute, is_finished

Notify = Callable[[], None]


class InlineExecutor(Executor):
    """Executes what is submitted immediately, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def execute_runs(plan: Plan, runs: Iterable[Run], report: Report) -> Iterator[tuple[Run, Exception | None]]:
    """Execute the runs that are not finished, students after their teachers, and yield each when it ends.

    A run that fails affects only those that need its network.

    Raises:
        ExecutionError: a process was terminated from outside.
    """
    todo = [run for run in runs if not is_finished(plan, run)]
    if plan.jobs == 1 or len(todo) <= 1:
        prepare_process(plan)
        yield from _schedule(InlineExecutor(), 1, lambda run: (execute, plan, run, report), todo, plan)
        return
    context = multiprocessing.get_context("spawn")
    events = context.SimpleQueue()  # unbuffered: when a run ends, all its events are in the queue

    def forward_events() -> None:
        while not events.empty():
            report(events.get())

    with ProcessPoolExecutor(plan.jobs, context, _start_worker, (plan, events)) as pool:
        try:
            yield from _schedule(
                pool, plan.jobs, lambda run: (_execute_in_worker, plan, run), todo, plan, forward_events
            )
        except BrokenProcessPool:
            raise ExecutionError(
                "a process was terminated from outside, perhaps for lack of memory (fewer --jobs need less);"
                " the same command continues from the last save"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _schedule(
    pool: Executor,
    jobs: int,
    call: Callable[[Run], tuple[Any, ...]],
    todo: list[Run],
    plan: Plan,
    forward_events: Notify = lambda: None,
) -> Iterator[tuple[Run, Exception | None]]:
    """Keep `jobs` runs going, none before its teacher has ended."""
    running: dict[Future[None], Run] = {}
    failed: set[Run] = set()
    while todo or running:
        for run in list(todo):
            teacher = teacher_of(plan, run)
            if teacher in failed:
                todo.remove(run)
                yield run, ExecutionError("it was not run, because its teacher failed")
            elif len(running) < jobs and teacher not in [*todo, *running.values()]:
                todo.remove(run)
                with hidden_main_module():
                    running[pool.submit(*call(run))] = run
        done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
        forward_events()
        for future in done:
            run, error = running.pop(future), future.exception()
            if isinstance(error, BrokenProcessPool):  # raised by every future, whichever process it was
                raise error
            if isinstance(error, Exception):
                failed.add(run)
            elif error is not None:
                raise error
            yield run, error


@contextmanager
def hidden_main_module() -> Iterator[None]:
    """Start worker processes that do not run the user's script: it may call `run_study` outside `if __name__ == "__main__"`.

    A worker imports all that it needs, plugins included, by itself.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


_events: Any = None  # of a worker process


def _start_worker(plan: Plan, events: Any) -> None:
    global _events
    _events = events
    prepare_process(plan)


def _execute_in_worker(plan: Plan, run: Run) -> None:
    execute(plan, run, _events.put)


def prepare_process(plan: Plan) -> None:
    """Set the threads and register the user's plugins in the process that will train."""
    torch.set_num_threads(plan.threads)
    torch.backends.cudnn.benchmark = True  # shapes hardly change within a run
    load_plugins(plan.options.plug)
