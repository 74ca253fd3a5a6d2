"""Child processes that are stopped by their parent only, and end when it ends.

Signals that ask a program to stop reach all processes of a terminal or a service at once. Children ignore them from the start,
and the parent tells them to stop. They also end when the parent is killed.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from types import ModuleType

import torch

from robustkd.plugins import load_plugins
from robustkd.study.plan import Plan
from robustkd.study.stopping import STOP_SIGNALS
from robustkd.training import hardware


def start_child(process: BaseProcess) -> None:
    """Start a process, to which signals that ask to stop are not delivered before it calls `obey_parent`.

    It does not run the user's script, which may call `run_study` outside `if __name__ == "__main__"`, and imports all that it
    needs by itself.

    Raises:
        OSError, MemoryError: it cannot be started.
    """
    with hidden_main_module(), blocked_signals():
        process.start()


def prepare_process(plan: Plan) -> None:
    """Set threads and kernels, and register the user's plugins, in the process that will train."""
    torch.set_num_threads(plan.threads)
    hardware.configure_kernels(plan.settings.device)
    hardware.keep_freed_memory()
    load_plugins(plan.options.plug)


def obey_parent() -> None:
    """Ignore signals that ask this process to stop, and end it as soon as its parent has ended."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Deliver signals that ask to stop after the context. Processes that are started in it inherit that they are blocked."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it, as the first child does, would unblock signals
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextmanager
def hidden_main_module() -> Iterator[None]:
    """Hide the user's script from processes that are started in the context."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
