"""psd: the self-distillation of CLIP-SD without its CLIP teacher, Wang et al., IEEE Transactions on Multimedia 2026.

    L_i = (1 - a_i) CE(z_i, y_i) + a_i w_i T^2 H(p_i', p_i),   a_i = alpha (e + 1) / E, or 0 if row i was not seen before
    w_i = right if argmax p_i' is y_i, else wrong,     e = 0..E-1

Based on the abstract: it only states that correct predictions are weighted more than incorrect ones; the equation is ours.
p_i' is the student's own softened prediction for row i one epoch earlier, computed in the training step (on another
augmentation), H the soft cross entropy. The schedule, in which the weight rises at the expense of the label's, is that of
PS-KD, Kim et al., ICCV 2021, arXiv 2006.12000 (alpha 0.8, T 1 there): with right = wrong = 1 this is PS-KD. right 1 and wrong
0.3 are ours, untuned.

Correctness is with respect to the given label. The weight of a row that is never predicted as labelled decreases, at the end
to 1 - alpha + 0.3 alpha of that of a row that is: under label noise this acts as a soft small-loss filter.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.functional import soft_ce
from robustkd.method import Method
from robustkd.models.net import Network
from robustkd.types import Batch, DatasetInfo, NonNegative, Objective, Positive, Share


class PSD(Method):
    """Self-distillation from the student's predictions of the previous epoch, weighted by their correctness."""

    supports_mixing = False  # predictions of each row

    previous_logits: Tensor  # (N, K), of each row when it was last seen
    seen: Tensor  # (N,) bool

    def __init__(
        self,
        student: Network,
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        alpha: Share = 0.8,
        right: NonNegative = 1.0,
        wrong: NonNegative = 0.3,
        temperature: Positive = 1.0,
    ) -> None:
        super().__init__()
        if wrong > right:
            raise UsageError(f"psd: wrong is {wrong:g} but should be at most right, which is {right:g}")
        self.model = self.student = student
        self.criterion = criterion()
        self.alpha, self.right, self.wrong, self.temperature = alpha, right, wrong, temperature
        self.register_buffer("previous_logits", torch.zeros(data.samples, data.classes))
        self.register_buffer("seen", torch.zeros(data.samples, dtype=torch.bool))

    def objective(self, batch: Batch) -> Objective:
        T = self.temperature
        logits = self.student(batch.images).logits
        previous, seen = self.previous_logits[batch.index], self.seen[batch.index]
        alpha = self.alpha * (batch.clock.epoch + 1) / batch.clock.epochs * seen
        right = previous.argmax(dim=1) == batch.labels
        terms = {
            "ce": ((1 - alpha) * self.criterion(logits, batch)).mean(),
            "self": (alpha * torch.where(right, self.right, self.wrong) * T**2 * soft_ce(previous, logits, T)).mean(),
        }
        self.previous_logits[batch.index] = logits.detach()
        self.seen[batch.index] = True
        return Objective(terms, {"right": (right & seen).float().mean()})
