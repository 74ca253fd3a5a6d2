"""baseline: plain training, L = CE(z, y). The reference for all methods. And controls that differ from it in one respect.

    longer          trained for `ratio` times as many epochs: by default for as long as teacher and student take together, by
                    the seconds of a few timed updates, so that it costs what distillation costs
    oracle_clean    trained with the true labels: what a perfect correction of the labels would give
    oracle_subset   trained on the rows whose label is the true one: what a perfect selection of rows would give

The oracles use labels that a user does not have; they are for scenarios on data whose true labels are known.
"""

from collections.abc import Callable
from typing import ClassVar

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.method import Method, Phase
from robustkd.models.net import Network
from robustkd.types import Batch, Objective, Positive, TrainingLabels


class Baseline(Method):
    """Plain training of the student."""

    def __init__(self, student: Network, criterion: Callable[[], Criterion]) -> None:
        super().__init__()
        self.model = student
        self.criterion = criterion()

    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": self.criterion(self.model(batch.images).logits, batch).mean()})


class Longer(Baseline):
    """Plain training for as long as distillation takes.

    Args:
        cost_ratio: measured seconds of teacher and student together, relative to plain training of the student.
        ratio: epochs relative to the baseline's; `cost_ratio` by default.
    """

    def __init__(
        self,
        student: Network,
        criterion: Callable[[], Criterion],
        cost_ratio: float | None,
        *,
        ratio: Positive | None = None,
    ) -> None:
        super().__init__(student, criterion)
        self.ratio = cost_ratio if ratio is None else ratio
        if self.ratio is None:
            raise UsageError("method 'longer': nothing was measured here, so name the ratio, as in longer(ratio=3)")

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("train", self.step, list(self.parameters()), epochs=self.ratio),)


class OracleClean(Baseline):
    """Plain training with the true labels."""

    oracle: ClassVar[bool] = True
    training_labels: ClassVar[TrainingLabels] = "true"


class OracleSubset(Baseline):
    """Plain training on the rows whose label is the true one."""

    oracle: ClassVar[bool] = True
    training_labels: ClassVar[TrainingLabels] = "untouched"
