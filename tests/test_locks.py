"""Locks between processes: refused, waited for, and released."""

import threading
import time
from pathlib import Path

import pytest

from robustkd.errors import UsageError
from robustkd.locks import hold_lock


def test_a_held_lock_is_refused_with_the_given_message(tmp_path: Path) -> None:
    with (
        hold_lock(tmp_path),
        pytest.raises(UsageError, match=r"^it is busy$"),
        hold_lock(tmp_path, "it is busy"),
    ):
        pass


def test_another_resource_has_another_lock(tmp_path: Path) -> None:
    with hold_lock(tmp_path / "a"), hold_lock(tmp_path / "b", "it is busy"):
        pass
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".lock"], "where all users of the folder see it"


def test_an_error_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold_lock(tmp_path):
        raise KeyError
    with hold_lock(tmp_path, "it is busy"):
        pass


def test_without_a_message_a_held_lock_is_waited_for(tmp_path: Path) -> None:
    events = []

    def wait() -> None:
        with hold_lock(tmp_path):
            events.append("second")

    with hold_lock(tmp_path):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2)
        events.append("first")
    thread.join(timeout=10)
    assert events == ["first", "second"]


def test_a_lock_that_is_released_in_time_is_not_refused(tmp_path: Path) -> None:
    with hold_lock(tmp_path), pytest.raises(UsageError, match="busy"), hold_lock(tmp_path, "busy", patience=0.1):
        pass
    held, released = threading.Event(), threading.Event()

    def hold() -> None:
        with hold_lock(tmp_path):
            held.set()
            released.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    threading.Timer(0.2, released.set).start()
    with hold_lock(tmp_path, "busy", patience=60):
        assert released.is_set()
    thread.join()
