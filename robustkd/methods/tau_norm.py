"""tau_norm: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020, arXiv 1910.09217:
tau-normalised classifier.

    L = CE(W f(x) + b, y);   at inference   z_c = w_c . f(x) / ||w_c||^tau

Plain training, after which the rows of the classifier's weight are divided by a power of their norms, and the bias is dropped:
frequent classes have larger norms. No further training, and no class sizes, are needed. The network is normalised for the
evaluation after every epoch, and continues with the weights that were trained.

The paper selects tau on validation data, between 0 and 2; here it is 1, where all classes have the same norm. At 0 only the
bias is dropped. A cosine head, which some criteria require, is normalised already and stays as it is.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.method import Method, Phase
from robustkd.models.net import Network
from robustkd.types import Batch, Clock, NonNegative, Objective


def tau_normalise(weight: Tensor, tau: float) -> Tensor:
    """Divide each row by its norm to the power of tau: (K, D) -> (K, D).

    >>> tau_normalise(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), 1.0)
    tensor([[0.6000, 0.8000],
            [0.0000, 1.0000]])
    """
    norms: Tensor = weight.norm(dim=1, keepdim=True)
    return weight / norms.clamp(min=1e-12) ** tau


class TauNorm(Method):
    """Plain training; the classifier is normalised for inference."""

    removes_prior = True
    weight: Tensor  # (K, D), of the classifier, as trained
    bias: Tensor  # (K,)

    def __init__(self, student: Network, criterion: Callable[[], Criterion], *, tau: NonNegative = 1.0) -> None:
        super().__init__()
        if not student.has_one_head:
            raise UsageError(
                "tau_norm: the student combines the logits of several heads, but tau_norm normalises a single one"
            )
        self.model = student
        self.criterion = criterion()
        self.tau = tau
        head = student.head
        self.register_buffer("weight", head.weight.detach().clone())
        self.register_buffer("bias", head.weight.new_zeros(len(head.weight)))
        self.store_weights()

    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": self.criterion(self.model(batch.images).logits, batch).mean()})

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase(
                "train",
                self.step,
                list(self.parameters()),
                begin_epoch=self.restore_weights,
                end_epoch=self.normalise_head,
            ),
        )

    @torch.no_grad()
    def store_weights(self) -> None:
        """Store the classifier as trained."""
        self.weight.copy_(self.model.head.weight)
        if self.model.head.bias is not None:
            self.bias.copy_(self.model.head.bias)

    @torch.no_grad()
    def restore_weights(self, clock: Clock) -> None:
        """Continue with the classifier as trained."""
        self.model.head.weight.copy_(self.weight)
        if self.model.head.bias is not None:
            self.model.head.bias.copy_(self.bias)

    @torch.no_grad()
    def normalise_head(self, clock: Clock) -> None:
        """Normalise the classifier for the evaluation that follows."""
        self.store_weights()
        if self.model.head.bias is not None:
            self.model.head.weight.copy_(tau_normalise(self.weight, self.tau))
            self.model.head.bias.zero_()
