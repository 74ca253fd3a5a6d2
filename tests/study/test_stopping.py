"""Requests to stop: by a signal, and after a time."""

import pytest

from robustkd.study import stopping
from robustkd.study.stopping import GRACE, StopRequest


def test_a_request_is_due_from_the_first_signal_and_overdue_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now)
    request = StopRequest()
    assert not request.is_due()
    request.receive(15)
    assert (request.is_due(), request.is_overdue(), request.signal) == (True, False, 15)
    now += GRACE + 0.1
    assert request.is_overdue()


def test_a_time_limit_is_never_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now)
    request = StopRequest(after=60, _started=now)
    now = 159.0
    assert not request.is_due()
    now = 1000.0
    assert request.is_due()
    assert not request.is_overdue()
