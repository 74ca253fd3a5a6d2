"""Signals: raised at once, or passed on to what is at work."""

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines import signals
from pipelines.signals import Terminated, defer_signals, handle_signals
from robustkd.study.stopping import StopRequest


@pytest.fixture(autouse=True)
def handlers_of_a_terminal() -> Iterator[None]:
    """Start every test as in a terminal: pytest itself may run where signals are ignored, in the background or with nohup."""
    usual: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGTERM: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    after = {number: signal.signal(number, handler) for number, handler in before.items()}
    assert after == usual, "the handlers are restored"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_command_with_its_code(number: int, code: int) -> None:
    with pytest.raises(Terminated) as raised, handle_signals():
        signal.raise_signal(number)
    assert raised.value.exit_code == code
    assert isinstance(raised.value, KeyboardInterrupt)


def test_a_signal_that_is_ignored_remains_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handle_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_first_signal_is_passed_on_and_the_second_is_raised() -> None:
    request = StopRequest()
    with handle_signals(), defer_signals(request):
        signal.raise_signal(signal.SIGTERM)
        assert request.signal == signal.SIGTERM
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGINT)


def test_work_that_does_not_stop_in_time_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PATIENCE", 0.05)
    with handle_signals(), defer_signals(StopRequest()):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Terminated):
            time.sleep(5)


def test_without_handling_nothing_is_deferred() -> None:
    request = StopRequest()
    with pytest.raises(KeyboardInterrupt), defer_signals(request):
        signal.raise_signal(signal.SIGINT)
    assert request.signal is None
