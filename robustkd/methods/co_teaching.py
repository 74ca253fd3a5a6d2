"""co_teaching: Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels", NeurIPS 2018,
arXiv 1804.06872.

    L_1 = mean CE(z_1, y) over the R(e) B samples of the batch with the smallest CE(z_2, y), and L_2 likewise
    R(e) = 1 - rate min(max(e - warmup E, 0) / (ramp E), 1),   e = 0..E-1

Two networks with different initial weights select samples for each other. The first is the model. In the paper, rate is the
true noise rate, the ramp takes 10 of 200 epochs, and there is no warm-up: `co_teaching(rate=0.4, warmup=0, ramp=0.05)`.

`rate` is estimated by default: after the warm-up, a mixture of two normal distributions is fitted to the mean of both networks'
latest losses of all rows, and the weight of the component of large losses is the rate (`robustkd.small_loss`). A rate that is
given is knowledge that a user does not have, and the method is then marked as an oracle. The warm-up of a fifth of the epochs
is ours: the losses of right and wrong labels are separated after a few hundred updates.

Differs from the authors' code: their loss, already a mean over the selected samples, is divided by their number again; they
use Adam with a momentum that falls from 0.9 to 0.1. Rows that are not selected pass through the networks as well, as there.
"""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from robustkd.criteria.base import Criterion
from robustkd.method import Method, Phase
from robustkd.models.net import Network
from robustkd.small_loss import SmallLossSelection
from robustkd.types import Batch, DatasetInfo, Objective, Share


class CoTeaching(Method):
    """Two networks, each trained on the samples that have the smallest losses under the other."""

    oracle_parameters = ("rate",)
    supports_mixing = False  # the losses of rows are remembered

    def __init__(
        self,
        students: Callable[[int], list[Network]],
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        rate: Share | None = None,
        warmup: Share = 0.2,
        ramp: Share = 0.1,
    ) -> None:
        super().__init__()
        self.students = nn.ModuleList(students(2))
        self.criteria = nn.ModuleList(criterion() for _ in self.students)
        self.model = self.students[0]  # type: ignore[assignment]  # ModuleList does not keep the element type
        self.selection = SmallLossSelection(data.samples, rate, warmup, ramp)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("train", self.step, list(self.parameters()), begin_epoch=self.selection.begin_epoch),)

    def step(self, batch: Batch) -> Iterator[Objective]:
        losses = [
            criterion(student(batch.images).logits, batch)
            for student, criterion in zip(self.students, self.criteria, strict=True)
        ]
        self.selection.record(batch.index, torch.stack(losses).mean(dim=0))
        first, second = (self.selection.select(loss) for loss in losses)
        notes = {"kept": losses[0].new_full((), self.selection.share), "rate": self.selection.estimate}
        yield Objective({"ce/1": losses[0][second].mean()}, notes)
        yield Objective({"ce/2": losses[1][first].mean()})
