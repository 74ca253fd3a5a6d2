"""Runs as Ray actors, on the machines of a cluster or in processes here.

The data and the files of a study are put into Ray's object store once. An actor executes one run after another in a folder of
its own. It sends epochs, saved states and, at the end, all files of the run to this process, which writes them into the folder
of the study. A run whose actor or machine is lost is continued from the state that was sent last.
"""

import math
import os
import queue
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayActorError, RayError

from robustkd.locks import hold_lock
from robustkd.study import ray_cluster, shipping
from robustkd.study.child_process import prepare_process
from robustkd.study.plan import Plan, Progress, Report, Run, StudyData, teacher_of
from robustkd.study.run_folder import PATIENCE, UNFINISHED, execute, repair_folder
from robustkd.study.workers import EndedRun, NodeLost, WorkerDied

CALLS = 4  # that an actor answers at once: a run, a request for messages, to stop, and to end
GOODBYE = 2.0  # seconds that actors have to remove their folders


class Saved(NamedTuple):
    """A saved state of a run, or all of its files once it has ended."""

    files: shipping.Files


Message = Progress | Saved | EndedRun


class RunActor:
    """Executes runs on a machine, one after another. Its other methods are called during a run.

    Args:
        plan: of the study, with the paths of the study's machine.
        data: of the study.
        given: the files that the options name.
    """

    def __init__(self, plan: Plan, data: StudyData, given: shipping.Files) -> None:
        self.home, self.folder = plan.folder, Path(tempfile.mkdtemp(prefix="robustkd-ray-"))
        os.chdir(self.folder)
        self.plan = shipping.unpack_plan(plan, data, given, self.folder)
        prepare_process(self.plan)
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.is_stopping, self.sent = False, -1

    def node(self) -> str:
        """Return the identifier of the machine, once the actor has started."""
        return str(ray.get_runtime_context().get_node_id())

    def execute(
        self, run: Run, jobs: int, files: shipping.Files, teacher: Run | None, teacher_files: shipping.Files
    ) -> None:
        """Execute a run from its files so far and those of its teacher.

        Args:
            jobs: how many runs may be executed at once.
        """
        folder, error = self.plan.run_folder(run), None
        try:
            shipping.write_folder(folder, files)
            if teacher is not None:
                shipping.write_folder(self.plan.run_folder(teacher), teacher_files)
            self.sent = self._time_of_save(run)
            execute(replace(self.plan, jobs=jobs), run, self._report, lambda: self.is_stopping)
        except Exception as raised:
            raised.args = tuple(self._with_home(part) for part in raised.args)
            error = raised
        self.messages.put(Saved(shipping.read_folder(folder)))
        shutil.rmtree(self.folder / "runs", ignore_errors=True)
        self.messages.put(EndedRun(run, error))

    def _report(self, progress: Progress) -> None:
        """Send an epoch, after the state that was saved with it."""
        time = self._time_of_save(progress.run)
        if time != self.sent:
            self.sent = time
            self.messages.put(Saved({UNFINISHED: (self.plan.run_folder(progress.run) / UNFINISHED).read_bytes()}))
        self.messages.put(progress)

    def _time_of_save(self, run: Run) -> int:
        path = self.plan.run_folder(run) / UNFINISHED
        return path.stat().st_mtime_ns if path.exists() else -1

    def _with_home(self, part: Any) -> Any:
        """Return a part of a message with the path of the study's folder on its own machine."""
        return part.replace(str(self.folder), str(self.home)) if isinstance(part, str) else part

    def receive(self) -> list[Message]:
        """Return the messages since the last call; wait for one."""
        messages = [self.messages.get()]
        while not self.messages.empty():
            messages.append(self.messages.get())
        return messages

    def stop(self) -> None:
        """Stop the run after its epoch. No other is started afterwards."""
        self.is_stopping = True

    def remove_folder(self) -> None:
        """Remove the actor's files."""
        shutil.rmtree(self.folder, ignore_errors=True)


class RayWorker:
    """An actor as its study's machine sees it. It may wait for a machine with room."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.started, self.node = actor.node.remote(), ""
        self.run: Run | None = None
        self.references: list[Any] = []  # to its next messages, and to the end of its run

    def start(self, run: Run, *arguments: Any) -> None:
        """Send a run to the actor, with what it is executed with."""
        self.run = run
        self.references = [self.actor.receive.remote(), self.actor.execute.remote(run, *arguments)]

    def has_started(self) -> bool:
        """Return whether the actor has a machine."""
        if not self.node and ray.wait([self.started], timeout=0)[0]:
            with suppress(RayError):
                self.node = ray.get(self.started)
        return bool(self.node)

    def receive(self, reference: Any) -> list[Message]:
        """Return the messages of a reference that is ready; WorkerDied as the error of a run whose actor is gone."""
        assert self.run is not None
        self.has_started()
        self.references.remove(reference)
        try:
            messages: list[Message] | None = ray.get(reference)
        except RayError as error:
            messages = [EndedRun(self.run, self._describe_death(error))]
        if messages is None:  # the end of the run, which is among its messages
            return []
        if isinstance(messages[-1], EndedRun):
            self.run = None
        else:
            self.references.append(self.actor.receive.remote())
        return messages

    def _describe_death(self, error: RayError) -> WorkerDied:
        node = next((node for node in ray.nodes() if node["NodeID"] == self.node), None)
        place = "" if node is None else f" on {node['NodeManagerAddress']}"
        if not isinstance(error, RayActorError) or error.actor_init_failed:
            return WorkerDied(f"its process{place} could not execute it ({ray_cluster.last_line(error)})")
        if node is None or not node["Alive"]:
            return NodeLost(f"the machine{place} was lost")
        memory = ", for lack of memory (fewer --jobs need less)" if "memory" in str(error) else ""
        return WorkerDied(f"its process{place} ended{memory}")

    def close(self) -> None:
        """End the actor."""
        with suppress(RayError):
            ray.kill(self.actor)


class RayPool:
    """Executes runs in at most `jobs` actors, each with the plan's threads and, on GPUs, an equal share of one.

    Args:
        runs: those that may be started.
    """

    def __init__(self, plan: Plan, runs: Iterable[Run], report: Report) -> None:
        runs = list(runs)
        self.plan, self.jobs, self.report = plan, plan.jobs, report
        self.workers: list[RayWorker] = []
        self.data = ray.put(shipping.collect_data(plan, runs))
        self.given = ray.put(shipping.collect_given_files(plan, runs))
        self.teachers: dict[Run, Any] = {}  # their files
        self.actor = ray.remote(RunActor).options(
            num_cpus=plan.threads, num_gpus=gpu_share(plan), max_concurrency=CALLS, max_restarts=0
        )

    def has_room(self) -> bool:
        return len(self.running()) < self.jobs

    def start(self, run: Run) -> None:
        folder = self.plan.run_folder(run)
        with hold_lock(folder, f"{folder}: another process is still at work on this run", PATIENCE):
            repair_folder(folder)
            files = shipping.read_folder(folder)
        worker = next((worker for worker in self.workers if worker.run is None), None)
        if worker is None:
            worker = RayWorker(self.actor.remote(self.plan, self.data, self.given))
            self.workers.append(worker)
        worker.start(run, self.jobs, files, *self._teacher_of(run))

    def _teacher_of(self, run: Run) -> tuple[Run | None, Any]:
        """Return the teacher of a run, and its files in the object store."""
        teacher = teacher_of(self.plan, run)
        if teacher is None:
            return None, {}
        if teacher not in self.teachers:
            self.teachers[teacher] = ray.put(shipping.read_folder(self.plan.run_folder(teacher)))
        return teacher, self.teachers[teacher]

    def running(self) -> list[Run]:
        return [worker.run for worker in self.workers if worker.run is not None]

    def wait(self, timeout: float) -> list[EndedRun]:
        busy = {
            reference: worker for worker in self.workers if worker.run is not None for reference in worker.references
        }
        ready, _ = ray.wait(list(busy), timeout=timeout) if busy else ([], [])
        return [ended for reference in ready for ended in self._receive(busy[reference], reference)]

    def _receive(self, worker: RayWorker, reference: Any) -> list[EndedRun]:
        """Take the messages of a worker, and return the run that ended with them, if any."""
        run, ended = worker.run, []
        for message in worker.receive(reference):
            if isinstance(message, Progress):
                self.report(message)
            elif isinstance(message, Saved):
                assert run is not None
                shipping.write_folder(self.plan.run_folder(run), message.files)
            else:
                ended.append(message)
                self._reuse(worker, message)
        return ended

    def _reuse(self, worker: RayWorker, message: EndedRun) -> None:
        """Give a worker whose run has ended the run of one that still waits for a machine, which it may occupy."""
        if isinstance(message.error, WorkerDied):
            self.workers.remove(worker)
            worker.close()
            return
        waiting = next((other for other in self.workers if other.run is not None and not other.has_started()), None)
        if waiting is not None and waiting.run is not None:
            self.workers.remove(waiting)
            waiting.close()
            self.start(waiting.run)

    def stop(self) -> None:
        for worker in self.workers:
            if worker.run is not None:
                worker.actor.stop.remote()

    def close(self) -> None:
        started = [worker for worker in self.workers if worker.has_started()]
        with suppress(RayError):
            goodbyes = [worker.actor.remove_folder.remote() for worker in started]
            ray.wait(goodbyes, num_returns=len(goodbyes), timeout=GOODBYE) if goodbyes else None
        for worker in self.workers:
            worker.close()


def gpu_share(plan: Plan) -> float:
    """Return the part of a GPU that each run has: equal parts, if there are more runs than GPUs."""
    if plan.settings.device == "cpu":
        return 0.0
    gpus = max(1, ray_cluster.read_capacity(str(plan.options.on)).gpus)
    return math.floor(1e4 / math.ceil(plan.jobs / gpus)) / 1e4
