"""What holds for every test: one thread, no network, a cache of its own, no tracking server."""

import socket
from collections.abc import Iterator

import pytest
import torch

from robustkd.criteria import CRITERIA
from robustkd.data.augmentations import AUGMENTATIONS
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.data.user_datasets import USER_DATASETS
from robustkd.methods import METHODS
from robustkd.models import MODELS
from scenarios import SCENARIOS

# Files and folders of tests that are more than a unit; the longest matching path decides. Others are unit tests, unless they
# start another process.
KINDS = {
    "tests/contracts": "integration",
    "tests/golden": "integration",
    "tests/label_audit": "integration",
    "tests/selection/test_evidence.py": "integration",
    "tests/study": "integration",
    "tests/models/test_external.py": "integration",
    "tests/models/test_feature_taps.py": "integration",
    "tests/pipelines": "integration",
    "tests/scenarios/test_digests.py": "integration",
    "tests/test_benchmarks.py": "integration",
    "tests/test_custom_loop.py": "integration",
    "tests/test_efficientnet_lite.py": "integration",
    "tests/study/test_in_memory.py": "integration",
    "tests/test_estimator.py": "integration",
    "tests/test_soak.py": "integration",
    "tests/evaluation/test_robustness.py": "integration",
    "tests/test_docs.py": "end_to_end",
    "tests/test_examples.py": "end_to_end",
    "tests/pipelines/report/test_report_browser.py": "end_to_end",
    "tests/pipelines/stages/test_sweep.py": "end_to_end",
    "tests/pipelines/test_end_to_end.py": "end_to_end",
    "tests/pipelines/test_processes.py": "end_to_end",
    "tests/pipelines/test_stages.py": "end_to_end",
    "tests/pipelines/tracking/test_serving.py": "end_to_end",
}
SERVERS = {"server", "server_process", "browser"}  # fixtures that start a server or a browser

torch.set_num_threads(1)  # on two cores, default threads make a suite of small nets ten times slower


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test as unit, integration or end_to_end by its path; those marked slow or gpu are none of them."""
    missing = [path for path in KINDS if not (config.rootpath / path).exists()]
    assert not missing, f"tests/conftest.py names tests that do not exist: {missing}"
    for item in items:
        if item.get_closest_marker("slow") is None and item.get_closest_marker("gpu") is None:
            item.add_marker(kind_of_test(item.path.relative_to(config.rootpath).as_posix(), item))


def kind_of_test(path: str, item: pytest.Item) -> str:
    """Return the mark of a test in a file."""
    if SERVERS & set(getattr(item, "fixturenames", ())):
        return "end_to_end"
    matching = [prefix for prefix in KINDS if path == prefix or path.startswith(f"{prefix}/")]
    if matching:
        return KINDS[max(matching, key=len)]
    code = getattr(getattr(item, "function", None), "__code__", None)
    return "integration" if code is not None and "subprocess" in code.co_names else "unit"


@pytest.fixture(autouse=True, scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the machine's owner is read or written, and nobody outside is asked."""
    connect = socket.socket.connect

    def local(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            assert isinstance(address, tuple)
            assert address[0] in ("127.0.0.1", "::1", "localhost"), f"a test asked the network for {address}"
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local)
        patch.setenv("ROBUSTKD_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("TRACKING_URI", "EXPERIMENT_ID", "EXPERIMENT_NAME", "RUN_ID"):
            patch.delenv(f"MLFLOW_{name}", raising=False)
        yield


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    """A word that a test plugs in is not met by the next."""
    plugged = (METHODS, CRITERIA, MODELS, SCENARIOS, PAIRED_VIEWS, AUGMENTATIONS, USER_DATASETS)
    before = [(table, dict(table._own)) for table in plugged]
    yield
    for table, entries in before:
        table._own = entries
