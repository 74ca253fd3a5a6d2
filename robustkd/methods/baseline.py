"""baseline: plain training, L = CE(z, y). The reference for all methods."""

from collections.abc import Callable

from robustkd.criteria.base import Criterion
from robustkd.method import Method
from robustkd.models.net import Network
from robustkd.types import Batch, Objective


class Baseline(Method):
    """Plain training of the student."""

    def __init__(self, student: Network, criterion: Callable[[], Criterion]) -> None:
        super().__init__()
        self.model = student
        self.criterion = criterion()

    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": self.criterion(self.model(batch.images).logits, batch).mean()})
