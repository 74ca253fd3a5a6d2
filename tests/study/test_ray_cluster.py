"""The connection to Ray: what is refused, in one sentence, before anything is trained."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robustkd.errors import ExecutionError, UsageError
from robustkd.study import ray_cluster
from robustkd.study.ray_cluster import Capacity, check_device, connect, ray_session, read_capacity


class FakeRay(SimpleNamespace):
    """Stands in for Ray: records the calls, and raises an error for some addresses."""

    def __init__(self, errors: dict[str, Exception] | None = None, nodes: list[Any] | None = None) -> None:
        super().__init__(errors=errors or {}, calls=[], is_on=False, found=nodes or [], remote=lambda function: None)

    def is_initialized(self) -> bool:
        return bool(self.is_on)

    def init(self, address: str, **options: Any) -> None:
        self.calls.append((address, options))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if address in self.errors:
            raise self.errors[address]
        self.is_on = True

    def shutdown(self) -> None:
        self.calls.append(("shutdown", {}))
        self.is_on = False

    def nodes(self) -> list[Any]:
        if not self.is_on:
            raise ConnectionError("it is gone")
        return list(self.found)


@pytest.fixture
def use_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace Ray."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: SimpleNamespace(origin="/code/robustkd/__init__.py"))

    def replace(fake: FakeRay) -> FakeRay:
        monkeypatch.setitem(sys.modules, "ray", fake)
        return fake

    return replace


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"^--on ray: Ray is not installed: pip install -e '.\[ray\]'$"):
        connect("ray", 2)


def test_where_there_is_no_cluster_processes_are_started_here_and_ended(use_ray: Any) -> None:
    fake, handler = use_ray(FakeRay()), signal.getsignal(signal.SIGTERM)
    with ray_session():
        connect("ray", 2)
        connect("ray", 2)
        options = fake.calls[-1][1]
        assert [call for call, _ in fake.calls] == ["local"], "once"
        assert (options["num_cpus"], options["include_dashboard"], options["log_to_driver"]) == (2, False, False)
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert signal.getsignal(signal.SIGTERM) is handler
    assert fake.calls[-1][0] == "shutdown"
    calls = len(fake.calls)
    with ray_session():
        pass
    assert len(fake.calls) == calls, "a command without --on ray leaves Ray alone"


def test_a_connection_that_a_script_has_opened_remains(use_ray: Any) -> None:
    fake = use_ray(FakeRay())
    fake.is_on = True
    with ray_session():
        connect("ray", 2)
    assert fake.calls == []


@pytest.fixture
def listener() -> Iterator[str]:
    """The address of a port at which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_the_cluster_of_this_machine_is_used_and_receives_the_code(use_ray: Any, listener: str, tmp_path: Path) -> None:
    fake = use_ray(FakeRay())
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text(listener)
    with ray_session():
        connect("ray", 2)
    address, options = fake.calls[0]
    assert (address, options["runtime_env"]) == (listener, {"py_modules": ["/code/robustkd"]})
    assert "num_cpus" not in options


def test_a_cluster_that_is_gone_is_not_replaced_by_this_machine(use_ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, address = use_ray(FakeRay()), free_address()
    monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(UsageError, match=rf"^--on ray: nothing answers at {address}.*`ray stop` forgets it$"),
        ray_session(),
    ):
        connect("ray", 2)
    assert fake.calls == []


def free_address() -> str:
    """Return an address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def test_an_address_without_a_cluster_is_a_sentence(use_ray: Any) -> None:
    fake = use_ray(FakeRay())
    for where in (f"ray://{free_address()}", "ray://127.0.0.1:99999"):
        with pytest.raises(UsageError, match=rf"^--on {where}: nothing answers there .*10001"):
            connect(where, 2)
    assert fake.calls == []


def test_other_versions_are_a_sentence(use_ray: Any, listener: str) -> None:
    told = "Version mismatch: The cluster was started with:\n    Ray: 2.1\n    Python: 3.9"
    use_ray(FakeRay({f"ray://{listener}": RuntimeError(told)}))
    with pytest.raises(UsageError, match=r"Version mismatch: The cluster was started with: Ray: 2\.1 Python: 3\.9$"):
        connect(f"ray://{listener}", 2)


def test_a_machine_that_lacks_a_package_is_named_before_anything_is_executed(use_ray: Any, listener: str) -> None:
    class Task:
        def options(self, **options: Any) -> "Task":
            self.node = options["label_selector"]["ray.io/node-id"]
            return self

        def remote(self, module: str) -> str:
            return str(self.node)

    def get(reply: str, timeout: float) -> None:
        if reply == "b":
            raise RuntimeError("Traceback of a process:\n  import torch\nModuleNotFoundError: No module named 'torch'")

    nodes = [
        {"Alive": True, "NodeID": name, "NodeManagerAddress": f"10.0.0.{number}", "Resources": {"CPU": 2.0}}
        for number, name in enumerate("ab")
    ]
    fake = use_ray(FakeRay(nodes=nodes))
    fake.remote, fake.get = lambda function: Task(), get
    expected = r"^--on ray://\S+: the machine 10\.0\.0\.1 cannot execute runs \(ModuleNotFoundError: No module named 'torch'\)$"
    with pytest.raises(UsageError, match=expected), ray_session():
        connect(f"ray://{listener}", 2)
    assert [address for address, _ in fake.calls] == [f"ray://{listener}", "shutdown"]


def test_capacity_is_that_of_the_machines_that_are_left(use_ray: Any) -> None:
    machines = [(True, {"CPU": 8.0, "GPU": 2.0}), (True, {"CPU": 4.0}), (False, {"CPU": 64.0}), (True, {"GPU": 1.0})]
    fake = use_ray(FakeRay(nodes=[{"Alive": alive, "Resources": resources} for alive, resources in machines]))
    with pytest.raises(ExecutionError, match=r"--on ray: the connection to the cluster is lost \(it is gone\)"):
        read_capacity("ray")
    fake.is_on = True
    assert read_capacity("ray") == Capacity(cores=12, largest=8, gpus=2)


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        ("mps", 1, "must be cpu or cuda"),
        ("cuda:1", 1, "must be cpu or cuda"),
        ("cuda", 0, "no machine of the cluster"),
    ],
)
def test_a_device_that_the_cluster_cannot_assign_is_refused(device: str, gpus: int, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        check_device("ray", device, Capacity(4, 4, gpus))


def test_gpus_that_are_not_used_are_named() -> None:
    assert "GPUs are not used" in check_device("ray", "cpu", Capacity(4, 4, 1))
    assert check_device("ray", "cpu", Capacity(4, 4, 0)) == check_device("ray", "cuda", Capacity(4, 4, 1)) == ""
