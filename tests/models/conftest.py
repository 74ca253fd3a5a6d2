from collections.abc import Callable

import pytest
import torch

from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Network

torch.set_num_threads(1)


@pytest.fixture
def build() -> Callable[..., Network]:
    """`build_network` by name, with default values for what a test does not depend on."""

    def by_name(
        name: str, shape: tuple[int, int, int] = (3, 32, 32), *, classes: int = 10, **kwargs: object
    ) -> Network:
        defaults = {"mean": [0.5] * shape[0], "std": [0.25] * shape[0], "seed": 0}
        return build_network(MODELS.parse(name), shape=shape, classes=classes, **{**defaults, **kwargs})

    return by_name
