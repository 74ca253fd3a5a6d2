"""psd: the self-distillation of CLIP-SD, Wang et al., IEEE Transactions on Multimedia 2026; its CLIP teacher is left out.

    L_i = (1 - a_i) CE(z_i, y_i) + a_i w_i T^2 H(p_i', p_i),   a_i = alpha (e + 1) / E, or 0 if row i was not seen before
    w_i = right if the highest of p_i' is y_i, else wrong,     e = 0..E-1

Read from the abstract: it says no more than that answers which were right weigh more than those which were wrong, and
the equation is ours. p_i' is the student's own softened answer to row i one epoch ago, as it stood in the training step
(on another augmentation), H the soft cross entropy. The weight that rises and gives up the label's share is that of PS-KD,
Kim et al., ICCV 2021, arXiv 2006.12000 (alpha 0.8, T 1 there): with right = wrong = 1 this is PS-KD. right 1 and wrong 0.3
are ours, untuned.

"Right" is judged by the label as given. A row that is never answered as labelled so weighs less and less, at the end
1 - alpha + 0.3 alpha of a row that is: under label noise a soft filter for small losses.
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
    """A student that agrees with its answers of the epoch before, more where they were right."""

    answers: Tensor  # (N, K), the logits of each row when it was last seen
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
        self.register_buffer("answers", torch.zeros(data.samples, data.classes))
        self.register_buffer("seen", torch.zeros(data.samples, dtype=torch.bool))

    def objective(self, batch: Batch) -> Objective:
        T = self.temperature
        logits = self.student(batch.images).logits
        before, seen = self.answers[batch.index], self.seen[batch.index]
        alpha = self.alpha * (batch.clock.epoch + 1) / batch.clock.epochs * seen
        right = before.argmax(dim=1) == batch.labels
        terms = {
            "ce": ((1 - alpha) * self.criterion(logits, batch)).mean(),
            "self": (alpha * torch.where(right, self.right, self.wrong) * T**2 * soft_ce(before, logits, T)).mean(),
        }
        self.answers[batch.index] = logits.detach()
        self.seen[batch.index] = True
        return Objective(terms, {"right": (right & seen).float().mean()})
