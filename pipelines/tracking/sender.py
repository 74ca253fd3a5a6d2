"""Sends the entries of an outbox in a process of its own, so that training waits for no server.

A process, because a thread would share Python's lock, random states and plots with training, and a request to a frozen database
cannot be interrupted. The processes share nothing but the outbox: what the trainer appends, this one reads. It ends with its
parent.

An entry that a store does not answer is tried again, with growing intervals, until the store is back. One that a store refuses
is reported and left out.
"""

import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from pipelines.console import console
from pipelines.tracking.outbox import Line, Outbox
from pipelines.tracking.run_logger import RunLogger
from pipelines.tracking.store import is_outage, summarise_error
from robustkd.locks import hold_lock
from robustkd.study.child_process import obey_parent, start_child

POLL = 2.0  # seconds between two looks into the outbox; each epoch that is found is sent in one request per run
BATCH = 100  # entries at a time
DELAYS = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between two attempts, the last one from then on
ATTEMPTS = 8  # of an entry that fails although the store answers other requests
CHECK_AFTER = 5.0  # seconds since the last answer after which a server is asked whether it answers before more is sent
QUIET = 3.0  # seconds of waiting before a line says so
PATIENCE = 30.0  # seconds without an answer, once nothing follows, after which the rest is left to `robustkd sync`
BUSY_PATIENCE = 300.0  # seconds for one entry, once nothing follows
MARGIN = 3.0  # seconds for the process to give up by itself
NO_ACCESS = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")

Wait = Callable[[float], bool]


class Report(Protocol):
    """Receives what happens while entries are sent."""

    def __call__(self, text: str | None, is_away: bool) -> None:
        """Receive a sentence for the user, or None after an entry was sent; and whether the store does not answer."""


class EntrySender:
    """Sends the entries of an outbox in their order.

    Args:
        wait: waits for some seconds; returns whether more entries may follow, which is not asked again once none do.
        patience: seconds without an answer after which to give up, once nothing follows.
    """

    def __init__(
        self, outbox: Outbox, logger: RunLogger, report: Report, wait: Wait, patience: float = PATIENCE
    ) -> None:
        self.outbox, self.logger, self.report, self.wait, self.patience = outbox, logger, report, wait, patience
        self.may_follow = True
        self.repeated_until = outbox.size  # what is there may have been sent by an earlier process
        self.singly_until = 0  # a batch that was refused is sent entry by entry
        self.attempts = self.attempts_while_served = 0  # of the next entry
        self.answered = time.monotonic()
        self.away_since: float | None = None
        self.refused: set[str] = set()  # runs of which that was reported

    def send_all(self) -> bool:
        """Send until nothing follows and everything is sent; return False if the store did not answer for too long."""
        while True:
            lines = self._read_batch()
            if not lines:
                if not self.may_follow:
                    return True
                self._wait(POLL)
                continue
            try:
                self._send(lines)
            except Exception as error:  # an entry that cannot be sent must not keep back those that follow
                if not self._take_failure(lines, error):
                    return False

    def _read_batch(self) -> list[Line]:
        """Return the next entry, with the epochs that follow if it is one."""
        lines = self.outbox.read(self.logger.sent.position, BATCH)
        size = next((n for n, line in enumerate(lines) if line.entry.get("do") != "log_epoch"), len(lines))
        return lines[: 1 if lines and lines[0].end <= self.singly_until else max(1, size)]

    def _send(self, lines: list[Line]) -> None:
        if self.away_since is not None or time.monotonic() - self.answered > CHECK_AFTER:
            self.logger.check_server()
        self.logger.is_repeated = lines[0].end <= self.repeated_until
        self.logger.write([line.entry for line in lines])
        self.answered = time.monotonic()
        if self.away_since is not None:
            self.away_since = None
            self.logger.recover()
            self._report("MLflow answers again, and receives what was kept")
        self._acknowledge(lines)

    def _acknowledge(self, lines: list[Line]) -> None:
        """Go on to the next entry."""
        self.logger.sent.position = lines[-1].end
        self.outbox.acknowledge(self.logger.sent)
        self.attempts = self.attempts_while_served = 0
        self._report(None)

    def _take_failure(self, lines: list[Line], error: Exception) -> bool:
        """Wait before the next attempt, or leave out what was refused; return False if it is time to give up."""
        self.attempts += 1
        self.repeated_until = max(self.repeated_until, lines[-1].end)
        if is_outage(error):
            self.attempts_while_served = self.attempts_while_served + 1 if self._is_served(error) else 0
            if self.attempts_while_served < ATTEMPTS:
                return self._wait_for_answer(error)
        self._leave_out(lines, error)
        return True

    def _wait_for_answer(self, error: Exception) -> bool:
        """Wait before the next attempt; return False if it is time to give up."""
        if self.away_since is None:
            self.away_since = time.monotonic()
            self._report(
                f"MLflow does not answer ({summarise_error(error)}); what is logged is kept in {self.outbox.path} meanwhile"
            )
        if not self.may_follow and time.monotonic() - self.away_since >= self.patience:
            return False
        self._wait(DELAYS[min(self.attempts, len(DELAYS)) - 1])
        return True

    def _is_served(self, error: Exception) -> bool:
        """Return whether the store answers other requests, so that it is this entry that fails."""
        try:
            self.logger.check_server()
            self.logger.check_store()
        except Exception:
            return False
        return getattr(error, "error_code", None) not in NO_ACCESS  # which the user can obtain

    def _leave_out(self, lines: list[Line], error: Exception) -> None:
        """Go on without an entry that was refused; of a batch, without those that are refused alone."""
        if len(lines) > 1:
            self.singly_until = lines[-1].end
            return
        name = str(lines[0].entry.get("name") or lines[0].entry.get("do") or "an entry")
        if name not in self.refused:
            self._report(f"{name} is not completely logged to MLflow ({summarise_error(error)})")
        self.refused.add(name)
        self._acknowledge(lines)

    def _report(self, text: str | None) -> None:
        self.report(text, self.away_since is not None)

    def _wait(self, seconds: float) -> None:
        """Wait, and learn whether more entries may follow."""
        if self.may_follow:
            self.may_follow = self.wait(seconds)
            if not self.may_follow and self.away_since is not None:
                self.away_since = time.monotonic()  # patience begins when nothing else is to be waited for
        else:
            time.sleep(min(seconds, POLL))  # not much longer than the patience


def send_outbox(folder: Path, report: Report, wait: Wait, patience: float = PATIENCE) -> bool:
    """Send what is in a folder's outbox, and what is added while `wait` says that more may follow.

    Returns:
        Whether all was sent; then the outbox is removed, and no run is left open.
    """
    outbox = Outbox(folder)
    with hold_lock(f"outbox {folder.resolve()}"):  # a killed command's process may still be ending
        logger = RunLogger(folder, outbox.load_sent(), lambda text: report(text, False))
        if not EntrySender(outbox, logger, report, wait, patience).send_all():
            return False
        try:
            logger.close_abandoned()
        except Exception as error:
            report(f"MLflow does not close the study's run ({summarise_error(error)})", True)
            return False
        outbox.remove()
        return True


class SenderProcess:
    """The process that sends what is appended to an outbox. What it reports is printed at once.

    Raises:
        OSError, MemoryError: it cannot be started.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        context = multiprocessing.get_context("spawn")
        self.connection, remote = context.Pipe()
        self.process = context.Process(target=_run_sender, args=(outbox.folder, remote), daemon=True)
        start_child(self.process)
        remote.close()
        self.answered, self.is_away = time.monotonic(), False
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        """Print what the process reports, until it ends."""
        while True:
            try:
                text, is_away = self.connection.recv()
            except (EOFError, OSError):
                return
            self.answered, self.is_away = time.monotonic(), is_away
            if text is not None:
                console.print(text)

    def is_alive(self) -> bool:
        """Return whether the process has not ended."""
        return self.process.is_alive()

    def close(self, patience: float, busy_patience: float, limit: float = math.inf) -> None:
        """Say that nothing follows, and wait until the process has sent all.

        Args:
            patience: seconds after which to give up if the store does not answer.
            busy_patience: seconds for one entry if it does: a network is exported and uploaded.
            limit: seconds in all.
        """
        started = self.answered = time.monotonic()
        is_reported = False
        try:
            with suppress(OSError):  # it has ended
                self.connection.send(None)
            while self.process.is_alive():
                self.process.join(0.1)
                now = time.monotonic()
                allowed = patience + MARGIN if self.is_away else busy_patience
                if now - self.answered > allowed or now - started > limit:
                    break
                if not is_reported and now - started > QUIET and (count := self.outbox.count_unsent()):
                    is_reported = True
                    console.print(
                        f"sending {count} entries to MLflow; what is left is kept if it does not answer for {patience:.0f} s,"
                        f" or takes {busy_patience:.0f} s for one"
                    )
        finally:
            self.process.kill()
            self.process.join()
            self.listener.join()
            self.connection.close()


def _run_sender(folder: Path, connection: Connection) -> None:
    """Send until the connection says that nothing follows. Only the connection is written to."""
    obey_parent()
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # EntrySender tries again
    # MLflow and the libraries below it print what is reported here in a sentence.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    if hasattr(os, "nice"):
        os.nice(5)  # training goes first

    def wait(seconds: float) -> bool:
        return not connection.poll(seconds)

    def report(text: str | None, is_away: bool) -> None:
        connection.send((text, is_away))

    try:
        send_outbox(folder, report, wait)
    except Exception as error:
        connection.send((f"sending to MLflow ended ({type(error).__name__}: {summarise_error(error)})", True))
