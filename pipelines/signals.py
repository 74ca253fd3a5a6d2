"""Signals that ask the program to stop: Ctrl-C, and what clusters, containers and closed terminals send."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from robustkd.study.stopping import GRACE, STOP_SIGNALS, StopRequest

PATIENCE = GRACE + 2.0  # seconds after which work that was asked to stop is interrupted


class Terminated(KeyboardInterrupt):
    """A signal ended the command: raised wherever the program is, and cleaned up after, as KeyboardInterrupt is."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def handle_signals() -> Iterator[None]:
    """Raise Terminated on signals that ask the program to stop. Signals that are ignored, as by nohup, remain so."""
    handled = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous: dict[Any, Any] = {number: signal.signal(number, _terminate) for number in handled}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


@contextmanager
def defer_signals(request: StopRequest) -> Iterator[None]:
    """Pass the first signal on to a request; raise Terminated on a second one, or if the block has not ended in time.

    Outside the main thread, or where nothing handles signals, as in a notebook, there is no effect.
    """
    handled = [number for number in STOP_SIGNALS if signal.getsignal(number) is _terminate]
    timers: list[threading.Timer] = []

    def take(number: int, frame: FrameType | None) -> None:
        if request.signal is not None:
            raise Terminated(number)
        request.receive(number)
        timer = threading.Timer(PATIENCE, signal.raise_signal, (number,))  # the handler then runs in the main thread
        timer.daemon = True
        timer.start()
        timers.append(timer)

    for number in handled:
        signal.signal(number, take)
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number in handled:
            signal.signal(number, _terminate)
