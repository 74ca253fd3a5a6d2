"""What can happen to a command and the MLflow server that it logs to, for soak.py: signals, full disks, damage."""

import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil

HOME = Path(__file__).resolve().parents[1]
OUTAGE = 3.0  # seconds for which a disk is full, or a process frozen
PATIENCE = 60.0  # seconds in which the processes of a command that has ended must be gone, and a server must start


class Server:
    """An MLflow server that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.uri = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.folder = folder
        self.start()

    def start(self) -> None:
        """Start it, without waiting for it."""
        port, store = self.uri.rpartition(":")[2], f"sqlite:///{self.folder}/mlflow.db"
        words = ["--host", "127.0.0.1", "--port", port, "--workers", "1", "--backend-store-uri", store]
        words += ["--artifacts-destination", str(self.folder / "artifacts")]
        # Jobs would be ten processes that nothing here needs.
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words],
                cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.signal(signal.SIGKILL)
        self.process.wait()


class Command:
    """The study's command at work, in a process group of its own."""

    def __init__(self, words: Sequence[str], folder: Path, uri: str) -> None:
        self.log, self.started = folder / "command.log", time.time()
        environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp")}
        environment["PYTHONPATH"] = os.pathsep.join([str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipelines", *words],
                cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def members(self) -> list[psutil.Process]:
        """Return the living processes of the group."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getpgid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def workers(self) -> list[psutil.Process]:
        """Return the processes that execute runs."""
        return [process for process in self.members() if any("spawn_main" in word for word in _words(process))]

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def exit_code(self) -> int:
        """Return its exit code as shells show it, which is the same where a signal acts before Python's handlers are there."""
        code = int(self.process.returncode)
        return code if code >= 0 else 128 - code

    def text(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for_output(self) -> None:
        """Wait until it prints its first line, when it has imported what it needs and read the data, or ends."""
        while not self.log.stat().st_size and self.process.poll() is None:
            time.sleep(0.1)

    def end(self) -> list[str]:
        """Wait for the end; return what it left."""
        self.process.wait()
        deadline = time.monotonic() + PATIENCE
        while left := self.members():
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                return [f"{len(left)} processes were left"]
            time.sleep(0.2)
        return ["a traceback: " + self.text()[-1500:]] if "Traceback" in self.text() else []


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def wait_for_end(command: Command, seconds: float) -> bool:
    """Return whether a command ends within a time."""
    with suppress(subprocess.TimeoutExpired):
        command.process.wait(max(seconds, 0.01))
    return command.process.returncode is not None


@dataclass
class Soak:
    """What faults act on.

    Attributes:
        out: the folder of the study that is interrupted.
        has_own_disk: whether `out` is a small file system of its own.
        command: the one at work.
    """

    out: Path
    has_own_disk: bool
    server: Server
    random: random.Random
    command: Command = field(init=False)

    @property
    def study(self) -> Path | None:
        """The study's folder, once it exists."""
        return next((path.parent for path in self.out.glob("*/runs")), None)


# --- Faults: each acts on a command, and returns False where it could not -------------------------------------------


def kill_worker(soak: Soak) -> bool:
    workers = soak.command.workers()
    if workers:
        soak.random.choice(workers).kill()
    return bool(workers)


def send(*numbers: int, to_all: bool = False) -> Callable[[Soak], bool]:
    """Return a fault that sends signals to the parent, or to all processes as a terminal does."""

    def strike(soak: Soak) -> bool:
        for number in numbers:
            if to_all:
                soak.command.signal(number)
            else:
                soak.command.process.send_signal(number)
            time.sleep(0.5)
        return True

    return strike


def freeze(soak: Soak) -> bool:
    soak.command.signal(signal.SIGSTOP)
    time.sleep(OUTAGE)
    soak.command.signal(signal.SIGCONT)
    return True


def freeze_server(soak: Soak) -> bool:
    soak.server.signal(signal.SIGSTOP)
    time.sleep(OUTAGE)
    soak.server.signal(signal.SIGCONT)
    return True


def restart_server(soak: Soak) -> bool:
    soak.server.kill()
    time.sleep(OUTAGE)
    soak.server.start()
    return True


def fill_disk(soak: Soak) -> bool:
    with limited_disk(soak):
        time.sleep(OUTAGE)
    return True


@contextmanager
def limited_disk(soak: Soak) -> Iterator[None]:
    """Let every write of the command fail."""
    if soak.has_own_disk:
        ballast = soak.out / ".ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        with suppress(OSError), ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1 << 10))
        yield
        ballast.unlink()
        return
    processes = soak.command.members()
    limits = [process.rlimit(resource.RLIMIT_FSIZE) for process in processes]
    for process, (_, hard) in zip(processes, limits, strict=True):
        process.rlimit(resource.RLIMIT_FSIZE, (1, hard))
    yield
    for process, limit in zip(processes, limits, strict=True):
        with suppress(psutil.Error, OSError):
            process.rlimit(resource.RLIMIT_FSIZE, limit)


class Fault(NamedTuple):
    """What may happen to a command.

    Attributes:
        strike: lets it happen; returns False where it cannot.
        codes: exit codes that the command may end with after that, other than 0.
        weight: in the draw; those that a command survives are drawn more often, since one command meets several.
        interrupts: whether it ends runs, so that what they have not saved is lost.
    """

    strike: Callable[[Soak], bool]
    codes: frozenset[int] = frozenset()
    weight: int = 1
    interrupts: bool = True


FAULTS = {
    "SIGKILL of all processes": Fault(send(signal.SIGKILL, to_all=True), frozenset({137})),
    "SIGKILL of the parent": Fault(send(signal.SIGKILL), frozenset({137})),
    "SIGKILL of a worker": Fault(kill_worker, frozenset({1}), weight=4),
    "SIGTERM to the parent": Fault(send(signal.SIGTERM), frozenset({143})),
    "SIGTERM to all processes": Fault(send(signal.SIGTERM, to_all=True), frozenset({143})),
    "SIGHUP to all processes": Fault(send(signal.SIGHUP, to_all=True), frozenset({129})),
    "SIGINT to the parent": Fault(send(signal.SIGINT), frozenset({130})),
    "Ctrl-C twice": Fault(send(signal.SIGINT, signal.SIGINT, to_all=True), frozenset({130})),
    "processes frozen": Fault(freeze, weight=2, interrupts=False),
    "MLflow server killed, restarted": Fault(restart_server, frozenset({2}), weight=4, interrupts=False),
    "MLflow server frozen": Fault(freeze_server, frozenset({2}), weight=3, interrupts=False),
    "disk full": Fault(fill_disk, frozenset({1, 2}), weight=4),
}
DAMAGES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "bit flipped in a file": lambda random, content: _flip_bit(content, random.randrange(8 * len(content))),
    "file truncated": lambda random, content: content[: random.randrange(len(content))],
    "file empty": lambda random, content: b"",
}
DELETED = "file deleted"
DAMAGEABLE = {".csv", ".json", ".npz", ".pt"}  # the names of a study's files end so


def _flip_bit(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def damage_file(soak: Soak) -> str | None:
    """Damage one of the study's files; return how. tracked.json is left alone: it is only what links the files to MLflow."""
    study = soak.study
    found = [*study.glob("*.json"), *study.glob("manifest-*.csv"), *study.glob("runs/*/*")] if study else []
    files = [
        path for path in found if path.suffix in DAMAGEABLE and path.name != "tracked.json" and path.stat().st_size
    ]
    if not files:
        return None
    how, path = soak.random.choice([*DAMAGES, DELETED]), soak.random.choice(sorted(files))
    if how == DELETED:
        path.unlink()
    else:
        path.write_bytes(DAMAGES[how](soak.random, path.read_bytes()))
    return how
