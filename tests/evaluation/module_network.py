"""A network around any module, for tests that need a particular function of the images."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from robustkd.models.net import Network
from robustkd.types import Output


class ModuleNetwork(Network):
    """A network whose logits are those of a given module."""

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__(**options)
        self.module = module

    def forward(self, images: Tensor) -> Output:
        with self.autocast(images):
            logits = self.module(self.normalise(images))
        return Output(logits.float(), images.flatten(1), ())

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        yield from ()

    def replace_head(self, head: nn.Linear) -> None:
        raise NotImplementedError
