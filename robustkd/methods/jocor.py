"""jocor: Wei, Feng, Chen and An, "Combating Noisy Labels by Agreement: A Joint Training Method with Co-Regularization",
CVPR 2020, arXiv 2003.02752.

    l = CE(z_1, y) + CE(z_2, y) + agreement (KL(p_1 || p_2) + KL(p_2 || p_1))   for each sample
    L = mean l over the R(e) B samples of the batch with the smallest l
    R(e) = 1 - rate min(max(e - warmup E, 0) / (ramp E), 1),   e = 0..E-1

Two networks with different initial weights are trained by one loss: samples on which they agree with the label and with each
other are probably correct. Both receive the gradient of both divergences. The first is the model. In the paper, rate is the
true noise rate, the ramp takes 10 of 200 epochs, and there is no warm-up.

The paper weights the labels by 1 - lambda and the divergences by lambda, that is agreement = lambda / (1 - lambda), and reports
results for lambda 0.9. The authors use Adam, to which the scale of a loss does not matter. With SGD, 9 prevents networks from
learning anything in a few hundred updates, divided by 10 or not; agreement is 1 here.

The rate is estimated and the warm-up chosen as in `co_teaching`, from the mean of both cross entropies. A rate that is given is
knowledge that a user does not have, and the method is then marked as an oracle.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.functional import kl_per_sample
from robustkd.method import Method, Phase
from robustkd.models.net import Network
from robustkd.small_loss import SmallLossSelection
from robustkd.types import Batch, DatasetInfo, NonNegative, Objective, Share


def joint_loss(losses: Tensor, first: Tensor, second: Tensor, agreement: float) -> Tensor:
    """Compute the loss of each sample from the sum of both supervised ones: (B,), (B, K), (B, K) -> (B,)."""
    divergence = kl_per_sample(first, second) + kl_per_sample(second, first)
    return losses + agreement * divergence


class JoCoR(Method):
    """Two networks trained jointly on the samples on which they agree with the label and with each other."""

    oracle_parameters = ("rate",)
    supports_mixing = False  # the losses of rows are remembered

    def __init__(
        self,
        students: Callable[[int], list[Network]],
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        rate: Share | None = None,
        agreement: NonNegative = 1.0,
        warmup: Share = 0.2,
        ramp: Share = 0.1,
    ) -> None:
        super().__init__()
        self.model, self.peer = students(2)
        self.criterion, self.peer_criterion = criterion(), criterion()
        self.selection = SmallLossSelection(data.samples, rate, warmup, ramp)
        self.agreement = agreement

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("train", self.step, list(self.parameters()), begin_epoch=self.selection.begin_epoch),)

    def objective(self, batch: Batch) -> Objective:
        first, second = self.model(batch.images).logits, self.peer(batch.images).logits
        supervised = self.criterion(first, batch) + self.peer_criterion(second, batch)
        self.selection.record(batch.index, supervised / 2)
        losses = joint_loss(supervised, first, second, self.agreement)
        kept = losses[self.selection.select(losses)]
        notes = {"kept": torch.full_like(kept[0].detach(), self.selection.share), "rate": self.selection.estimate}
        return Objective({"joint": kept.mean()}, notes)
