"""Requests to stop a study: after the present epoch of every run that is going, whose state is then saved."""

import math
import signal
import time
from dataclasses import dataclass, field

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
GRACE = 5.0  # seconds that runs have to finish their epoch and save, after a signal; `docker stop` waits for 10


class RunStopped(Exception):
    """A run was stopped on request; its state is saved."""


class RunPaused(Exception):
    """A run is trained for the share of its epochs that it was asked for; its state is saved."""


def epochs_of_share(share: float, epochs: int) -> int:
    """Return the epochs that a share of a run has, at least one.

    >>> epochs_of_share(0.25, 30), epochs_of_share(0.25, 2), epochs_of_share(1.0, 30)
    (8, 1, 30)
    """
    return max(1, math.ceil(share * epochs - 1e-9))


@dataclass
class StopRequest:
    """Whether a study should stop, and how soon.

    Attributes:
        after: seconds after which it stops; None: it does not.
        signal: the number of a signal that asks it to stop, once one was received.
    """

    after: float | None = None
    signal: int | None = None
    _started: float = field(default_factory=time.monotonic)
    _received: float = 0.0

    def receive(self, number: int) -> None:
        """Take a signal. It may be called from a signal's handler."""
        self._received = time.monotonic()
        self.signal = number

    def is_due(self) -> bool:
        """Return whether runs should stop at the end of their epoch."""
        return self.signal is not None or (self.after is not None and time.monotonic() - self._started >= self.after)

    def is_overdue(self) -> bool:
        """Return whether a signal was received so long ago that runs should not finish their epoch."""
        return self.signal is not None and time.monotonic() - self._received > GRACE
