"""Places where runs are executed: this process, or worker processes, each with a pipe of its own.

If a worker dies, only its run is affected.
"""

import multiprocessing
import signal
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol

from robustkd.errors import ExecutionError
from robustkd.study.child_process import obey_parent, prepare_process, start_child
from robustkd.study.memory import OutOfSharedMemory
from robustkd.study.plan import Plan, Progress, Report, Run
from robustkd.study.run_folder import execute
from robustkd.study.stopping import StopRequest


class WorkerDied(ExecutionError):
    """The process that executed a run ended before the run did."""

    attempts = 2  # of a run whose process dies, as the run itself may be the reason


class NodeLost(WorkerDied):
    """The machine that executed a run is gone."""

    attempts = 20


class EndedRun(NamedTuple):
    """A run that ended, with the exception that ended it, if any."""

    run: Run
    error: Exception | None


class Pool(Protocol):
    """Places where runs are executed.

    Attributes:
        jobs: how many runs are executed at once; it may be reduced.
    """

    jobs: int

    def has_room(self) -> bool:
        """Return whether another run can be started."""

    def start(self, run: Run) -> None:
        """Start a run.

        Raises:
            ExecutionError: no process can be started.
        """

    def running(self) -> list[Run]:
        """Return the runs that are going."""

    def wait(self, timeout: float) -> list[EndedRun]:
        """Report the epochs that ended, and return the runs that did; wait at most `timeout` seconds for one."""

    def stop(self) -> None:
        """Tell all runs to stop at the end of their epoch."""

    def close(self) -> None:
        """End all processes, and the runs that are still going."""


class InlinePool:
    """Executes each run in this process when it is started."""

    def __init__(self, plan: Plan, report: Report, request: StopRequest) -> None:
        prepare_process(plan)
        self.plan, self.report, self.request, self.jobs = replace(plan, jobs=1), report, request, 1
        self.ended: list[EndedRun] = []

    def has_room(self) -> bool:
        return not self.ended

    def start(self, run: Run) -> None:
        try:
            execute(self.plan, run, self.report, self.request.is_due)
            self.ended.append(EndedRun(run, None))
        except Exception as error:
            self.ended.append(EndedRun(run, error))

    def running(self) -> list[Run]:
        return [run for run, _ in self.ended]

    def wait(self, timeout: float) -> list[EndedRun]:
        ended, self.ended = self.ended, []
        return ended

    def stop(self) -> None:
        """Do nothing: the run has asked already."""

    def close(self) -> None:
        """Do nothing: there are no processes."""


class WorkerPool:
    """Executes runs in `jobs` processes, started when they are first needed."""

    def __init__(self, plan: Plan, jobs: int, report: Report) -> None:
        self.plan, self.jobs, self.report = plan, jobs, report
        self.context = multiprocessing.get_context("spawn")
        self.workers: list[Worker] = []

    def has_room(self) -> bool:
        return len(self.running()) < self.jobs

    def start(self, run: Run) -> None:
        worker = next((worker for worker in self.workers if worker.run is None), None)
        if worker is None:
            worker = Worker(self.plan, self.context)
            self.workers.append(worker)
        worker.start(run, self.jobs)

    def running(self) -> list[Run]:
        return [worker.run for worker in self.workers if worker.run is not None]

    def wait(self, timeout: float) -> list[EndedRun]:
        busy = {worker.connection: worker for worker in self.workers if worker.run is not None}
        ended = []
        for connection in wait(list(busy), timeout):
            worker = busy[connection]
            message = worker.receive()
            if isinstance(message, Progress):
                self.report(message)
                continue
            ended.append(message)
            # A process keeps memory that it does not use.
            if isinstance(message.error, (WorkerDied, OutOfSharedMemory)) or len(self.workers) > self.jobs:
                self.workers.remove(worker)
                worker.close()
        return ended

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()

    def close(self) -> None:
        for worker in self.workers:
            worker.close()


class Worker:
    """A process that executes one run after another.

    Raises:
        ExecutionError: the process cannot be started.
    """

    def __init__(self, plan: Plan, context: Any) -> None:
        self.connection, remote = context.Pipe()
        self.process = context.Process(target=_work, args=(plan, remote))
        self.jobs = plan.jobs
        self.run: Run | None = None
        self.is_stopping = False
        try:
            start_child(self.process)
        except (OSError, MemoryError) as error:
            raise ExecutionError(
                f"a process cannot be started ({error or type(error).__name__}); use fewer --jobs"
            ) from None
        remote.close()

    def start(self, run: Run, jobs: int) -> None:
        """Send a run to the process, and how many may be executed at once."""
        self.run = run
        with suppress(OSError):  # it has died meanwhile, which receive() reports
            self.connection.send((run, jobs))

    def stop(self) -> None:
        """Tell the process to stop its run at the end of the epoch."""
        if self.run is not None and not self.is_stopping:
            self.is_stopping = True
            with suppress(OSError):
                self.connection.send(None)

    def receive(self) -> Progress | EndedRun:
        """Return the next message about the present run; WorkerDied as the error of a run whose process is gone."""
        assert self.run is not None
        try:
            message: Progress | EndedRun = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            message = EndedRun(self.run, WorkerDied(describe_exit(self.process.exitcode, self.jobs)))
        if isinstance(message, EndedRun):
            self.run = None
        return message

    def close(self) -> None:
        """End the process: at once if it executes a run."""
        self.connection.close()
        if self.run is not None:
            self.process.kill()
        self.process.join()


def describe_exit(code: int | None, jobs: int) -> str:
    """Describe how one of several processes ended that should not have.

    >>> describe_exit(-9, jobs=2)
    'its process was ended by SIGKILL, perhaps for lack of memory (fewer --jobs need less)'
    >>> describe_exit(3, jobs=1)
    'its process ended with exit code 3'
    """
    if code is None or code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    memory = ", perhaps for lack of memory" if name == "SIGKILL" else ""
    fewer = " (fewer --jobs need less)" if memory and jobs > 1 else ""
    return f"its process was ended by {name}{memory}{fewer}"


def _work(plan: Plan, connection: Connection) -> None:
    """Execute the runs that a connection delivers, until it is closed. Whatever it delivers during a run asks to stop."""
    obey_parent()
    prepare_process(plan)
    with suppress(EOFError, ConnectionError):  # it is closed, the latter where a message was not read
        while True:
            message = connection.recv()
            if message is None:  # it asked to stop a run that had just ended
                continue
            (run, jobs), error = message, None
            try:
                execute(replace(plan, jobs=jobs), run, connection.send, connection.poll)
            except Exception as raised:
                error = raised
            connection.send(EndedRun(run, error))
