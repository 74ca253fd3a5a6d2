"""Entries reach a store that fails for a while in their order and once, and a store that refuses one receives the others."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED

from pipelines.tracking import sender
from pipelines.tracking.outbox import Entry, Outbox, Sent
from pipelines.tracking.sender import ATTEMPTS, EntrySender

AWAY = ConnectionError("refused")
BROKEN = MlflowException("internal error")
WRONG = MlflowException("not a number", error_code=INVALID_PARAMETER_VALUE)
DENIED = MlflowException("not you", error_code=PERMISSION_DENIED)


class FakeStore:
    """Takes entries as a RunLogger does.

    Args:
        failures: what the attempts to write raise, one after another; None: nothing.
        bad: numbers of entries that are refused.
        serves: whether it answers other requests than to write.
    """

    def __init__(self, outbox: Outbox, failures: Sequence[Exception | None] = (), bad: Sequence[int] = ()) -> None:
        self.sent, self.failures, self.bad = outbox.load_sent(), list(failures), set(bad)
        self.serves = True
        self.is_repeated = False
        self.written: list[int] = []
        self.repeated: list[int] = []  # those that were written with the warning that they may have been before
        self.attempts = self.recoveries = 0

    def write(self, entries: Sequence[Entry]) -> None:
        self.attempts += 1
        numbers = [entry["number"] for entry in entries]
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        if self.bad & set(numbers):
            raise WRONG
        self.written += numbers
        self.repeated += numbers if self.is_repeated else []

    def check_server(self) -> None:
        pass

    def check_store(self) -> None:
        if not self.serves:
            raise AWAY

    def recover(self) -> None:
        self.recoveries += 1


@pytest.fixture
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    """Two runs of three epochs each: a start, epochs and an end; eight entries in three batches and more."""
    monkeypatch.setattr(sender, "DELAYS", (0.0,))
    box = Outbox(tmp_path)
    for number in range(8):
        kind = ("start_run", "log_epoch", "log_epoch", "finish_run")[number % 4]
        box.append({"do": kind, "name": f"run{number // 4}", "number": number})
    return box


def send(
    outbox: Outbox, store: FakeStore, wait: Callable[[float], bool] = lambda _: False, patience: float = 1e9
) -> tuple[bool, list[str]]:
    """Send; return whether all was sent, and what was reported."""
    texts: list[str] = []

    def report(text: str | None, is_away: bool) -> None:
        texts.extend([text] if text else [])

    store.sent = outbox.load_sent()
    done = EntrySender(outbox, store, report, wait, patience).send_all()  # type: ignore[arg-type]
    return done, texts


def test_entries_are_sent_in_order_and_epochs_together(outbox: Outbox) -> None:
    store = FakeStore(outbox)
    assert send(outbox, store) == (True, [])
    assert store.written == list(range(8))
    assert store.attempts == 6
    assert outbox.count_unsent() == 0


@pytest.mark.parametrize("error", [AWAY, BROKEN, TimeoutError("timed out")])
def test_after_an_outage_everything_is_sent_and_it_is_reported_once_each_way(outbox: Outbox, error: Exception) -> None:
    store = FakeStore(outbox, [None, None, *[error] * 20, None])
    store.serves = False  # as long as it is away; once an attempt succeeds, nobody asks
    done, texts = send(outbox, store)
    assert done
    assert store.written == list(range(8))
    away, back = texts
    assert away == f"MLflow does not answer ({error}); what is logged is kept in {outbox.path} meanwhile"
    assert back == "MLflow answers again, and receives what was kept"
    assert store.recoveries == 1


def test_an_entry_whose_confirmation_was_lost_is_repeated_as_such(outbox: Outbox) -> None:
    sender_ = FakeStore(outbox)
    for _ in range(2):  # the second process finds nothing unsent
        send(outbox, sender_)
    outbox.append({"do": "fail_run", "name": "run1", "number": 8})
    store = FakeStore(outbox, [AWAY])
    done, _ = send(outbox, store)
    assert done
    assert store.written == store.repeated == [8]


def test_only_what_lay_there_when_the_process_started_may_have_been_sent(outbox: Outbox) -> None:
    store = FakeStore(outbox)
    more = iter([8, 9])

    def wait(seconds: float) -> bool:
        if (number := next(more, None)) is None:
            return False
        outbox.append({"do": "start_run", "name": "late", "number": number})
        return True

    assert send(outbox, store, wait) == (True, [])
    assert store.written == list(range(10))
    assert store.repeated == list(range(8))


def test_another_process_continues_after_what_was_acknowledged(outbox: Outbox) -> None:
    first = FakeStore(outbox, [None, None, AWAY, AWAY])
    first.serves = False
    done, texts = send(outbox, first, patience=0)
    assert (done, len(texts)) == (False, 1)
    assert first.written == [0, 1, 2]
    assert outbox.count_unsent() == 5
    second = FakeStore(outbox)
    assert send(outbox, second) == (True, [])
    assert second.written == [3, 4, 5, 6, 7]


def test_while_more_may_follow_it_is_never_too_long(outbox: Outbox) -> None:
    store = FakeStore(outbox, [AWAY] * 50)
    store.serves = False
    waits = iter(range(40))
    done, texts = send(outbox, store, lambda _: next(waits, None) is not None, patience=0)
    assert (done, len(texts)) == (False, 1)
    assert store.attempts == 42  # after 41 of them it was learnt that nothing follows


def test_what_is_refused_is_left_out_and_the_rest_is_sent(outbox: Outbox) -> None:
    store = FakeStore(outbox, bad=[2, 3, 4])
    done, texts = send(outbox, store)
    assert done
    assert store.written == [0, 1, 5, 6, 7]
    assert texts == [f"run{n} is not completely logged to MLflow (not a number)" for n in (0, 1)]


def test_an_entry_that_fails_although_the_store_answers_is_left_out_after_some_attempts(outbox: Outbox) -> None:
    store = FakeStore(outbox, [*[BROKEN] * ATTEMPTS, None])
    done, texts = send(outbox, store)
    assert done
    assert store.written == list(range(1, 8))
    assert [text.partition(" (")[0] for text in texts] == [
        "MLflow does not answer",
        "run0 is not completely logged to MLflow",
        "MLflow answers again, and receives what was kept",
    ]


def test_an_entry_is_not_left_out_because_access_is_denied(outbox: Outbox) -> None:
    store = FakeStore(outbox, [*[DENIED] * 3 * ATTEMPTS, None])
    assert send(outbox, store)[0]
    assert store.written == list(range(8))


def test_a_server_that_has_not_been_heard_of_for_a_while_is_asked_before_more_is_sent(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "CHECK_AFTER", -1.0)
    store = FakeStore(outbox)
    answers = iter([TimeoutError("timed out")] * 3)

    def check() -> None:
        if error := next(answers, None):
            raise error

    monkeypatch.setattr(store, "check_server", check)
    done, texts = send(outbox, store)
    assert (done, len(texts)) == (True, 2)
    assert store.written == list(range(8))
    assert store.attempts == 6, "a request to a frozen server would take much longer"


def test_a_damaged_entry_is_reported_and_does_not_stop_the_others(outbox: Outbox) -> None:
    lines = outbox.path.read_bytes().splitlines(keepends=True)
    lines[0] = b"\x00" + lines[0][1:]
    outbox.path.write_bytes(b"".join(lines))
    store = FakeStore(outbox)
    done, texts = send(outbox, store)
    assert done
    assert store.written == list(range(1, 8))
    assert texts == ["an entry is not completely logged to MLflow ('number')"]


def test_without_a_record_of_what_was_sent_all_is_repeated(outbox: Outbox) -> None:
    send(outbox, FakeStore(outbox))
    outbox.sent_path.write_text("{")
    store = FakeStore(outbox)
    send(outbox, store)
    assert store.written == store.repeated == list(range(8))
    assert outbox.load_sent() == Sent(outbox.size)
