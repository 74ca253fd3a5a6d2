"""crt: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020, arXiv 1910.09217:
classifier re-training.

    train         L = CE(z, y)                                                 all weights, with the run's sampling
    classifier    L = CE(W f(x) + b, y), f constant                            new W and b, with class-balanced sampling

The features f are those of the first phase, in evaluation mode. The second phase takes `share` of the run's epochs in addition,
with the learning-rate schedule of the run from its start. In the paper it takes 10 of 90 epochs, which on ImageNet-LT are 2,260
updates; half of the epochs are needed for as few as 20 updates per epoch. An update costs a forward pass. With another
criterion, each phase has its own instance; one that corrects for class sizes, such as `balanced`, corrects twice in the second.
"""

import math
from collections.abc import Callable, Iterator

import torch

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.method import Method, Phase
from robustkd.models.net import Network, eval_no_grad
from robustkd.types import Batch, Objective, Positive


class CRT(Method):
    """Plain training, then a new classifier of the same features, trained with class-balanced sampling."""

    version = 2
    removes_prior = True

    def __init__(
        self,
        student: Network,
        criterion: Callable[[], Criterion],
        random: torch.Generator,
        *,
        share: Positive = 0.5,
    ) -> None:
        super().__init__()
        if not student.has_one_head:
            raise UsageError("crt: the student combines the logits of several heads, but crt retrains a single one")
        self.model = student
        self.criterion, self.classifier_criterion = criterion(), criterion()
        self.random, self.share = random, share

    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": self.criterion(self.model(batch.images).logits, batch).mean()})

    def classifier_step(self, batch: Batch) -> Iterator[Objective]:
        """Yield the loss of the classifier, the step of the second phase."""
        with eval_no_grad(self.model):
            features = self.model(batch.images).embedding
        yield Objective({"ce/classifier": self.classifier_criterion(self.model.head(features), batch).mean()})

    @torch.no_grad()
    def reset_head(self) -> None:
        """Draw new weights of the classifier, from the distribution that torch uses for linear layers."""
        bound = 1 / math.sqrt(self.model.head.in_features)
        for parameter in self.model.head.parameters():
            parameter.uniform_(-bound, bound, generator=self.random)

    def phases(self) -> tuple[Phase, ...]:
        head = [*self.model.head.parameters(), *self.classifier_criterion.parameters()]
        return (
            Phase("train", self.step, [*self.model.parameters(), *self.criterion.parameters()]),
            Phase("classifier", self.classifier_step, head, self.share, self.reset_head, sampling="balanced"),
        )
