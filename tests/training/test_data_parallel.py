"""Several processes train every method as one process does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import FileStore  # type: ignore[attr-defined]

from robustkd.data import loader
from robustkd.methods import METHODS
from robustkd.training.data_parallel import DataParallel, batch_norm, gather, scatter, share_sizes, total
from tests.helpers import SHAPE, make_network
from tests.training.divided_training import RECIPES, Weights, to_float64_images, train, train_together

TEXTS = [*METHODS, *RECIPES]
Answers = list[dict[str, Weights | str]]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What each of two processes has after training every method with the other."""
    return train_together(TEXTS, tmp_path_factory.mktemp("store"))


def largest_difference(one: Any, other: Any) -> float:
    assert not isinstance(one, str), one
    assert not isinstance(other, str), other
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one if one[name].size)


@pytest.mark.parametrize("text", TEXTS)
def test_two_processes_train_as_one(text: str, together: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "to_float_images", to_float64_images)
    alone = train(text)
    start = make_network().state_dict()
    moved = [name for name in start if f"model.{name}" in alone and name.endswith("weight")]
    assert any(np.abs(alone[f"model.{name}"] - start[name].double().numpy()).max() > 1e-4 for name in moved)
    assert largest_difference(alone, together[0][text]) < 1e-12
    assert largest_difference(together[0][text], together[1][text]) == 0


def test_without_synchronisation_only_the_batch_norms_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "to_float_images", to_float64_images)
    first, second = train_together(["hinton"], tmp_path, sync_bn=False)
    weights, alone = first["hinton"], train("hinton")
    assert not isinstance(weights, str), weights
    assert 1e-6 < largest_difference(alone, weights) < 1.0
    other = second["hinton"]
    assert not isinstance(other, str), other
    # Weights follow the mean gradient; running statistics are those of each process's own rows.
    differing = {name for name in weights if not np.array_equal(weights[name], other[name])}
    assert differing
    assert all("running" in name for name in differing)


@pytest.fixture
def group(tmp_path: Path) -> Any:
    """A group of this process alone."""
    dist.init_process_group("gloo", store=FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group")
class TestAlone:
    def test_the_rules_can_be_differentiated_twice(self) -> None:
        def divided(x: torch.Tensor) -> torch.Tensor:
            y = gather(scatter(x).tanh(), len(x))
            return y.pow(3) * total(y.sum(0))

        x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
        assert torch.autograd.gradcheck(divided, x)
        assert torch.autograd.gradgradcheck(divided, x)

    @pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}])
    def test_batch_norm_is_that_of_torch(self, options: dict[str, Any]) -> None:
        ours, torchs = nn.BatchNorm2d(3, **options).double(), nn.BatchNorm2d(3, **options).double()
        for seed in range(3):
            x = torch.randn(4, 3, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 3 + 1
            torch.testing.assert_close(batch_norm(ours, x), torchs(x))
        torch.testing.assert_close(ours.state_dict(), torchs.state_dict())

    def test_nothing_remains_after_the_block(self) -> None:
        net = make_network()
        images = torch.rand(4, *SHAPE)
        method = nn.Module()
        method.net = net
        before = net.eval()(images).logits
        with DataParallel().active(method):  # type: ignore[arg-type]
            assert "forward" in vars(next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d)))
        assert not [m for m in net.modules() if "forward" in vars(m)]
        assert not [p for p in net.parameters() if p._backward_hooks]
        torch.testing.assert_close(net(images).logits, before)


def test_shares_are_as_equal_as_they_can_be() -> None:
    for rows in range(20):
        for size in range(1, 7):
            sizes = share_sizes(rows, size)
            assert (sum(sizes), len(sizes)) == (rows, size)
            assert max(sizes) - min(sizes) <= 1
