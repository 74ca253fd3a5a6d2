"""baseline: plain training, L = CE(z, y). What every method is compared with."""

from collections.abc import Callable

from robustkd.criteria.base import Criterion
from robustkd.method import Method
from robustkd.models.net import Network
from robustkd.types import Batch, Objective


class Baseline(Method):
    """The student alone."""

    def __init__(self, student: Network, criterion: Callable[[], Criterion]) -> None:
        super().__init__()
        self.model = student
        self.criterion = criterion()

    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": self.criterion(self.model(batch.images).logits, batch).mean()})
