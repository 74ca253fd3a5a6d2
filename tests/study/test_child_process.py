"""Child processes: they ignore signals from the start, and do not run the user's script."""

import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection

import pytest

from robustkd.study.child_process import blocked_signals, hidden_main_module, obey_parent, start_child
from robustkd.study.stopping import STOP_SIGNALS


def answer(connection: Connection) -> None:
    """Say that this process is alive, before and after a signal."""
    obey_parent()
    connection.send("alive")
    os.kill(os.getpid(), connection.recv())
    connection.send("still alive")


def test_a_child_ignores_signals_from_the_start(capfd: pytest.CaptureFixture[str]) -> None:
    context = multiprocessing.get_context("spawn")
    connection, remote = context.Pipe()
    process = context.Process(target=answer, args=(remote,))
    start_child(process)
    for number in STOP_SIGNALS:
        os.kill(process.pid or 0, number)  # it has imported nothing yet
    assert connection.recv() == "alive"
    connection.send(signal.SIGTERM)
    assert connection.recv() == "still alive"
    process.join()
    assert process.exitcode == 0
    assert "Traceback" not in capfd.readouterr().err


def test_a_signal_to_the_parent_is_delivered_after_the_start() -> None:
    before, events = signal.pthread_sigmask(signal.SIG_BLOCK, []), list[str]()
    handler = signal.signal(signal.SIGTERM, lambda *_: events.append("signal"))
    try:
        with blocked_signals():
            signal.raise_signal(signal.SIGTERM)
            events.append("started")
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert events == ["started", "signal"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_children_do_not_see_the_users_script() -> None:
    script = sys.modules["__main__"]
    with hidden_main_module():
        assert not hasattr(sys.modules["__main__"], "__file__")
    assert sys.modules["__main__"] is script
