"""The processes that train a run together: this one, and peers that it starts on the same machine.

This process alone reports, saves and evaluates. Peers read the same files, train the same method, and end with this process.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from robustkd.errors import ExecutionError, UsageError
from robustkd.study.child_process import obey_parent, prepare_process, start_child
from robustkd.study.plan import Plan, Run
from robustkd.training.data_parallel import DataParallel

HOST = "127.0.0.1"
PATIENCE = 10.0  # seconds in which a peer that ended this process's training should say why

Train = Callable[[Plan, Run, DataParallel], object]


def check_processes(size: int, device: str, batch: int) -> None:
    """Refuse to train a run by more processes than there are devices for.

    Raises:
        UsageError: there are fewer GPUs, the device cannot be shared, or batches are too small to be divided.
    """
    kind = torch.device(device)
    if size == 1:
        return
    if batch < 4 * size:  # an epoch may be divided into batches of little more than half that size
        raise UsageError(
            f"--data-parallel {size}: batches of {batch} are too small; --batch should be {4 * size} or more"
        )
    if kind.type == "cpu":
        return
    if kind.type != "cuda":
        raise UsageError(f"--data-parallel {size}: runs are divided on CPUs and CUDA GPUs only, not on {device}")
    available = torch.cuda.device_count() - (kind.index or 0)
    if size > available:
        raise UsageError(f"--data-parallel {size}: each process needs a GPU of its own, and there are {available}")


@contextmanager
def peers_of(plan: Plan, run: Run, train: Train) -> Iterator[DataParallel | None]:
    """Start the peers of a run, and end them with the block; None where the run is trained by one process.

    Args:
        train: what a peer does: a function of a module, called with the plan for its device.

    Raises:
        ExecutionError: a peer cannot be started, or ended.
    """
    size = plan.options.data_parallel
    if size == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    peers: list[Peer] = []
    try:
        for rank in range(1, size):
            peers.append(Peer(context, plan, run, rank, store.port, train))
        for peer in peers:
            peer.wait_until_ready()
        with process_group(plan.settings.device, store, 0, size):
            yield DataParallel(sync_bn=plan.options.sync_bn)
    except RuntimeError as error:  # of a collective operation, if a peer has ended
        raise next((reason for peer in peers if (reason := peer.find_error()) is not None), error) from None
    finally:
        for peer in peers:
            peer.end()


@contextmanager
def process_group(device: str, store: TCPStore, rank: int, size: int) -> Iterator[None]:
    """Initialise torch.distributed within the block."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # peers are on this machine, whose name need not resolve
    dist.init_process_group(
        "nccl" if torch.device(device).type == "cuda" else "gloo", store=store, rank=rank, world_size=size
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


class Peer:
    """A process that trains a run together with this one.

    Raises:
        ExecutionError: it cannot be started.
    """

    def __init__(self, context: Any, plan: Plan, run: Run, rank: int, port: int, train: Train) -> None:
        self.connection, remote = context.Pipe()
        device = device_of(plan.settings.device, rank)
        its_plan = replace(plan, settings=replace(plan.settings, device=device))
        self.process = context.Process(target=_take_part, args=(its_plan, rank, port, train, remote))
        try:
            start_child(self.process)
        except (OSError, MemoryError) as error:
            reason = error or type(error).__name__
            raise ExecutionError(f"a process cannot be started ({reason}); use a smaller --data-parallel") from None
        remote.close()
        with suppress(OSError):  # it has ended, which wait_until_ready reports
            self.connection.send(run)

    def wait_until_ready(self) -> None:
        """Wait until the process can join the group.

        Raises:
            Exception: that which ended it.
        """
        error = self._receive()
        if error is not None:
            raise error

    def find_error(self) -> Exception | None:
        """Return what ended the process, or None if it goes on."""
        return self._receive() if self.connection.poll(PATIENCE) else None

    def _receive(self) -> Exception | None:
        try:
            error: Exception | None = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            error = ExecutionError(f"a process of the run ended with exit code {self.process.exitcode}")
        return error

    def end(self) -> None:
        """End the process at once: whatever it computes, this one has."""
        self.connection.close()
        self.process.kill()
        self.process.join()


def device_of(device: str, rank: int) -> str:
    """Return the device of a process of a run.

    >>> device_of("cuda", 2), device_of("cuda:1", 2), device_of("cpu", 2)
    ('cuda:2', 'cuda:3', 'cpu')
    """
    kind = torch.device(device)
    return f"cuda:{(kind.index or 0) + rank}" if kind.type == "cuda" else device


def _take_part(plan: Plan, rank: int, port: int, train: Train, connection: Connection) -> None:
    """Train a run as one of its peers."""
    obey_parent()
    device, size = plan.settings.device, plan.options.data_parallel
    try:
        prepare_process(plan)  # before the run is read, whose method may be the user's own
        run = connection.recv()
        if torch.device(device).type == "cuda":
            torch.cuda.set_device(device)
        connection.send(None)
        with process_group(device, TCPStore(HOST, port, is_master=False), rank, size):
            train(plan, run, DataParallel(sync_bn=plan.options.sync_bn))
    except Exception as error:
        with suppress(OSError):  # the other end is closed once the run has ended
            connection.send(error)
