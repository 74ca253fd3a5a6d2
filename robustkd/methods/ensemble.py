"""ensemble: two networks trained independently for half of the cost of distillation each; their average is a row of its own.

A control: the simplest use of a second network. Averages of probabilities are those of Lakshminarayanan et al., "Simple and
Scalable Predictive Uncertainty Estimation using Deep Ensembles", NeurIPS 2017, arXiv 1612.01474. The row `ensemble` is one of
the networks, `ensemble, average` is the mean of both distributions.

Each network is trained for `ratio` / 2 times the baseline's epochs, one after the other, with its own initial weights and order
of batches. Until the second phase the second network is untrained, and it is the one that is evaluated.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.method import Method, Phase
from robustkd.models.net import Network
from robustkd.types import Batch, Objective, Positive


def mean_log_probabilities(first: Tensor, second: Tensor) -> Tensor:
    """Return the logarithm of the mean of two distributions, which serves as logits: (B, K), (B, K) -> (B, K).

    >>> mean_log_probabilities(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, math.log(3)]])).exp()  # (1/2 + 1/4) / 2
    tensor([[0.3750, 0.6250]])
    """
    return torch.logaddexp(first.log_softmax(dim=1), second.log_softmax(dim=1)) - math.log(2)


class Ensemble(Method):
    """Two networks trained independently.

    Args:
        cost_ratio: measured seconds of teacher and student together, relative to plain training of the student.
        ratio: epochs of both networks together, relative to the baseline's; `cost_ratio` by default.
    """

    def __init__(
        self,
        students: Callable[[int], list[Network]],
        criterion: Callable[[], Criterion],
        cost_ratio: float | None,
        *,
        ratio: Positive | None = None,
    ) -> None:
        super().__init__()
        self.model, self.other = students(2)
        self.criterion, self.other_criterion = criterion(), criterion()
        self.ratio = cost_ratio if ratio is None else ratio
        if self.ratio is None:
            raise UsageError("method 'ensemble': nothing was measured here, so name the ratio, as in ensemble(ratio=3)")

    def other_step(self, batch: Batch) -> Iterator[Objective]:
        """Yield the loss of the network that is trained first."""
        yield Objective({"ce/other": self.other_criterion(self.other(batch.images).logits, batch).mean()})

    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": self.criterion(self.model(batch.images).logits, batch).mean()})

    def phases(self) -> tuple[Phase, ...]:
        first = [*self.other.parameters(), *self.other_criterion.parameters()]
        second = [*self.model.parameters(), *self.criterion.parameters()]
        half = (self.ratio or 2.0) / 2
        return Phase("other", self.other_step, first, epochs=half), Phase("train", self.step, second, epochs=half)

    def auxiliary_logits(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"average": mean_log_probabilities(self.model(images).logits, self.other(images).logits)}
