"""The order in which runs are executed: none before its teacher, and as many side by side as there are jobs."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from robustkd.errors import ExecutionError
from robustkd.study.memory import OutOfSharedMemory
from robustkd.study.plan import Plan, Report, Run, teacher_of
from robustkd.study.progress import is_done
from robustkd.study.stopping import RunStopped, StopRequest
from robustkd.study.workers import InlinePool, Pool, WorkerDied, WorkerPool

POLL = 0.2  # seconds between two looks at a request to stop

Ended = Iterator[tuple[Run, Exception | None]]


def execute_runs(
    plan: Plan,
    runs: Iterable[Run],
    report: Report,
    request: StopRequest | None = None,
    on_retry: Callable[[Run, str], None] = lambda run, reason: None,
) -> Ended:
    """Execute the runs that are not finished, students after their teachers, and yield each when it ends.

    A run that fails affects only those that need its network. A run whose process dies is continued once from its last save;
    one whose machine is lost, more often.
    One that runs out of memory next to others is continued when fewer are going, and the number of jobs stays reduced.
    With one job, runs are executed in this process, which saves the time and memory of another; but not if they call the
    user's own code, which may crash it or end it.
    After a request to stop, no run is started, those that are going are saved, and they are not yielded.

    Args:
        report: called after every epoch.
        request: to stop.
        on_retry: called with a run that is continued, and why.
    """
    request = request or StopRequest()
    todo = [run for run in runs if not is_done(plan, run)]
    pool = _open_pool(plan, todo, report, request)
    try:
        yield from _schedule(pool, todo, plan, request, on_retry)
    finally:
        pool.close()


def _open_pool(plan: Plan, todo: list[Run], report: Report, request: StopRequest) -> Pool:
    """Return the place where runs are executed."""
    if plan.options.on and todo:
        from robustkd.study.ray_pool import RayPool  # Ray may not be installed

        return RayPool(plan, todo, report)
    apart = bool(plan.options.plug) or (plan.jobs > 1 and len(todo) > 1)
    return WorkerPool(plan, plan.jobs, report) if apart else InlinePool(plan, report, request)


def _schedule(
    pool: Pool, todo: list[Run], plan: Plan, request: StopRequest, on_retry: Callable[[Run, str], None]
) -> Ended:
    """Keep the pool full, with no run before its teacher has ended."""
    failed: set[Run] = set()
    retries = Retries(pool)
    while pool.running() or (todo and not request.is_due()):
        if request.is_overdue():
            return
        if request.is_due():
            pool.stop()
        else:
            yield from _start_runs(pool, todo, failed, plan)
        for run, error in pool.wait(POLL):
            if isinstance(error, RunStopped):
                continue
            if (reason := retries.find_reason(run, error)) is not None:
                on_retry(run, reason)
                todo.insert(0, run)
                continue
            if error is not None:
                failed.add(run)
            yield run, error


class Retries:
    """Decides which of the runs that failed are continued: those that failed because of what was around them."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.jobs = pool, pool.jobs
        self.counts: Counter[tuple[Run, type]] = Counter()

    def find_reason(self, run: Run, error: Exception | None) -> str | None:
        """Return why a run is continued, or None if it is not. The number of jobs is reduced if they lack memory."""
        self.counts[run, type(error)] += 1
        count = self.counts[run, type(error)]
        if isinstance(error, WorkerDied) and count < error.attempts:
            return str(error)
        if isinstance(error, OutOfSharedMemory) and count < self.jobs:
            others = len(self.pool.running())
            self.pool.jobs = max(1, min(self.pool.jobs, others))
            return f"{error}; {self.pool.jobs} from now on"
        return None


def _start_runs(pool: Pool, todo: list[Run], failed: set[Run], plan: Plan) -> Ended:
    """Start runs whose teachers have ended while there is room, and yield those whose teachers failed."""
    for run in list(todo):
        teacher = teacher_of(plan, run)
        if teacher in failed:
            todo.remove(run)
            yield run, ExecutionError("it was not run, because its teacher failed")
        elif pool.has_room() and teacher not in [*todo, *pool.running()]:
            todo.remove(run)
            pool.start(run)
