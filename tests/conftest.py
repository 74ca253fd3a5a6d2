"""What holds for every test: one thread, no network, a cache of its own, no tracking server."""

import socket
from collections.abc import Iterator

import pytest
import torch

from robustkd.criteria import CRITERIA
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.methods import METHODS
from robustkd.models import MODELS
from scenarios import SCENARIOS

torch.set_num_threads(1)  # on two cores, default threads make a suite of small nets ten times slower


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
    before = [(table, dict(table._own)) for table in (METHODS, CRITERIA, MODELS, SCENARIOS, PAIRED_VIEWS)]
    yield
    for table, entries in before:
        table._own = entries
