"""The connection to Ray: to a cluster, or to processes on this machine that are started for the command.

Ray is imported when a study asks for it. It reports nothing to anyone and starts no dashboard.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from robustkd.errors import ExecutionError, UsageError, as_one_line

PATIENCE = 5.0  # seconds until an address counts as unreachable
IMPORT_PATIENCE = 120.0  # seconds that a machine has to import the packages that runs need
RUNS = "robustkd.study.shipping"  # a module that imports them
QUIET = {"logging_level": logging.ERROR, "log_to_driver": False}


class Capacity(NamedTuple):
    """What the machines that execute runs have.

    Attributes:
        cores: of all.
        largest: the cores of the machine with the most.
        gpus: of all.
    """

    cores: int
    largest: int
    gpus: int


class _Connection:
    """Whether this module has connected, and must disconnect."""

    is_own = False


@contextmanager
def ray_session() -> Iterator[None]:
    """Disconnect from Ray at the end of the block, if it connected, and end the processes that it started."""
    try:
        yield
    finally:
        if _Connection.is_own:
            import ray

            _Connection.is_own = False
            ray.shutdown()


def connect(on: str, cores: int) -> None:
    """Connect to Ray, unless this process is connected.

    Args:
        on: ray, or ray://HOST:PORT.
        cores: of this machine, which Ray's processes share if they are started here.

    Raises:
        UsageError: Ray is not installed, the address cannot be reached, or the cluster has other versions.
    """
    if find_spec("ray") is None:
        raise UsageError(f"--on {on}: Ray is not installed: pip install -e '.[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    address = _address_of_machine() if on == "ray" else on
    if address is not None:
        _use_token()
    import ray

    if ray.is_initialized():
        return
    with _same_signal_handlers():
        try:
            _open_connection(ray, on, address, cores)
        except UsageError:
            raise
        except Exception as error:  # what is raised depends on the version of Ray
            hint = "; is its token in RAY_AUTH_TOKEN?" if "timeout" in str(error) else ""
            raise UsageError(f"--on {on}: {as_one_line(str(error))}{hint}") from None
    _Connection.is_own = True


def _use_token() -> None:
    """Let Ray send the user's token, if there is one: `ray start` then requires it, and does not answer others."""
    place = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    if "RAY_AUTH_TOKEN" in os.environ or place.is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _open_connection(ray: Any, on: str, address: str | None, cores: int) -> None:
    """Connect to the cluster at an address, or to processes that are started here if there is none."""
    if address is None:
        ray.init("local", num_cpus=cores, include_dashboard=False, **QUIET)
        return
    _require_listener(on, address)
    ray.init(address, runtime_env=own_code(), **QUIET)
    try:
        _check_machines(ray, on)
    except UsageError:
        ray.shutdown()
        raise


def _address_of_machine() -> str | None:
    """Return the address of the cluster that this machine is part of, as `ray.init` finds it; None where there is none.

    It is that of RAY_ADDRESS, or of `ray start`, but never that of another program's own processes.
    """
    if address := os.environ.get("RAY_ADDRESS"):
        return None if address == "local" else address
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    file = Path(folder, "ray", "ray_current_cluster")
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None


def _check_machines(ray: Any, on: str) -> None:
    """Refuse a cluster in which a machine lacks a package that runs need.

    Raises:
        UsageError: as said.
    """
    places = {node["NodeID"]: node["NodeManagerAddress"] for node in list_nodes(ray)}
    task = ray.remote(import_module)
    replies = {
        place: task.options(num_cpus=0, max_retries=0, label_selector={"ray.io/node-id": node}).remote(RUNS)
        for node, place in places.items()
    }
    for place, reply in replies.items():
        try:
            ray.get(reply, timeout=IMPORT_PATIENCE)
        except Exception as error:
            raise UsageError(f"--on {on}: the machine {place} cannot execute runs ({last_line(error)})") from None


def list_nodes(ray: Any) -> list[Any]:
    """Return Ray's descriptions of the machines that execute runs: those that are there and have a CPU for them."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


def last_line(error: Exception) -> str:
    """Return the last line of an error, which in those of Ray comes after the traceback of another process.

    >>> last_line(ValueError("Traceback:\\n  line 1\\nModuleNotFoundError: No module named 'torch'\\n"))
    "ModuleNotFoundError: No module named 'torch'"
    """
    return as_one_line(str(error).strip().rpartition("\n")[2] or type(error).__name__)


def own_code() -> dict[str, Any]:
    """Return Ray's description of this package, which is sent to the machines of a cluster."""
    package = find_spec("robustkd")
    assert package is not None
    assert package.origin is not None
    return {"py_modules": [str(Path(package.origin).parent)]}


def _require_listener(on: str, address: str) -> None:
    """Refuse an address at which nothing listens, for which Ray itself waits half a minute or longer."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError, ValueError) as error:
        if on == "ray":
            raise UsageError(
                f"--on ray: nothing answers at {address}, the cluster of this machine ({error}); `ray stop` forgets it"
            ) from None
        raise UsageError(
            f"--on {on}: nothing answers there ({error}); the port of a head node is 10001 unless it was started with"
            " `ray start --head --ray-client-server-port`"
        ) from None


@contextmanager
def _same_signal_handlers() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray replaces by its own."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def read_capacity(on: str) -> Capacity:
    """Return what the machines of the cluster have now.

    Raises:
        ExecutionError: the connection is lost.
    """
    import ray

    try:
        machines = [node["Resources"] for node in list_nodes(ray)]
    except Exception as error:
        raise ExecutionError(f"--on {on}: the connection to the cluster is lost ({as_one_line(str(error))})") from None
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    return Capacity(max(1, sum(cores)), max(1, *cores), sum(int(machine.get("GPU", 0)) for machine in machines))


def check_device(on: str, device: str, capacity: Capacity) -> str:
    """Return a sentence for the user about GPUs that are not used; an empty text where there is none.

    Args:
        device: of the study, as torch names it.

    Raises:
        UsageError: the cluster does not have the device, or Ray cannot assign it.
    """
    if device not in ("cpu", "cuda"):
        raise UsageError(
            f"--device {device}: with --on {on} it must be cpu or cuda, of which Ray assigns the GPU to each run"
        )
    if device == "cuda" and not capacity.gpus:
        raise UsageError(f"--on {on}: no machine of the cluster has a GPU; use --device cpu")
    if device == "cpu" and capacity.gpus:
        return f"--on {on}: the cluster's GPUs are not used, as the device of this machine is cpu"
    return ""
