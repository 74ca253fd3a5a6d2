"""Many cells, side by side where that is faster: each in a process of its own, none before its teacher."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from robustkd import errors
from robustkd.study.plan import Plan, Report, Run, finished, load_plugs, teacher_of
from robustkd.study.run import work


class Inline(Executor):
    """Does what is submitted at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def run(plan: Plan, wanted: Iterable[Run], report: Report) -> Iterator[tuple[Run, Exception | None]]:
    """Do the cells that are not finished, students after their teachers, and hand back each as it ends.

    A cell that fails takes down only what waits for it.
    """
    todo = [cell for cell in wanted if not finished(plan, cell)]
    if plan.jobs == 1 or len(todo) <= 1:
        prepare_process(plan)
        yield from _scheduled(Inline(), 1, lambda cell: (work, plan, cell, report), todo, plan)
        return
    context = multiprocessing.get_context("spawn")
    events = context.SimpleQueue()  # written without a thread between: a cell that has ended has said all it had to say

    def news() -> None:
        while not events.empty():
            report(events.get())

    with ProcessPoolExecutor(plan.jobs, context, _begin, (plan, events)) as pool:
        try:
            yield from _scheduled(pool, plan.jobs, lambda cell: (_work, plan, cell), todo, plan, news)
        except BrokenProcessPool:
            raise errors.ExecutionError(
                "a process was ended from outside, perhaps for want of memory (fewer --jobs take less);"
                " the same command goes on from the last save"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _scheduled(
    pool: Executor,
    jobs: int,
    call: Callable[[Run], tuple[Any, ...]],
    todo: list[Run],
    plan: Plan,
    news: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Run, Exception | None]]:
    """Keep `jobs` cells running, none before its teacher has ended."""
    running: dict[Future[None], Run] = {}
    failed: set[Run] = set()
    while todo or running:
        for cell in list(todo):
            before = teacher_of(plan, cell)
            if before in failed:
                todo.remove(cell)
                yield cell, errors.ExecutionError("it was not run, because its teacher failed")
            elif len(running) < jobs and before not in [*todo, *running.values()]:
                todo.remove(cell)
                running[pool.submit(*call(cell))] = cell
        done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
        news()
        for future in done:
            cell, error = running.pop(future), future.exception()
            if isinstance(error, BrokenProcessPool):  # of every run, whichever process it was
                raise error
            if isinstance(error, Exception):
                failed.add(cell)
            elif error is not None:
                raise error
            yield cell, error


_events: Any = None


def _begin(plan: Plan, events: Any) -> None:
    global _events
    _events = events
    prepare_process(plan)


def _work(plan: Plan, cell: Run) -> None:
    work(plan, cell, _events.put)


def prepare_process(plan: Plan) -> None:
    """Threads and the user's own words, in the process that will train."""
    torch.set_num_threads(plan.threads)
    torch.backends.cudnn.benchmark = True  # shapes hardly change within a run
    load_plugs(plan.options)
