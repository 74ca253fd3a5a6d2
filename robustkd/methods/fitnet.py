"""fitnet: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv 1412.6550.

    hint     L = 1/2 || r(v_g(x)) - u_h(x) ||^2    the student's lower stages and the regressor r; no labels
    train    L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(p_t || p_s)    the whole student, r put aside

u_h and v_g are the maps after stage `hint`; r is a convolution without padding whose kernel makes the sizes meet.

Departs from the paper: the square is averaged over the map's elements, not summed, so that one learning rate serves maps
of any size; r has no nonlinearity, because raw residual sums are negative too; the second phase is Hinton's loss with a
constant weight where the paper lets it fall, as the tables of arXiv 2007.01922 suggest. The first phase comes on top
of the run's epochs. In it nothing above the hint is run; but a foreign net (torchvision:NAME) cannot be stopped midway, so
the running statistics above its hint move too, until the second phase makes them anew.
"""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.functional import kl
from robustkd.method import Distiller, Phase
from robustkd.models.net import Frozen, Network, infer_shapes, parameters_up_to
from robustkd.types import Batch, Count, DatasetInfo, Objective, Output, Positive, Share


class FitNet(Distiller):
    """The student's lower half first learns to foretell the teacher's, then all of it distils."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        hint: Count = 2,
        first: Share = 0.2,
        alpha: Share = 0.9,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(student, teacher, criterion, ce=1 - alpha)
        ours, theirs = infer_shapes(student, data.shape).maps, infer_shapes(teacher.net, data.shape).maps
        if hint >= min(len(ours), len(theirs)):
            raise UsageError(f"fitnet: hint is {hint}, but the nets have {min(len(ours), len(theirs)) - 1} stages")
        (c, h, w), (c_t, h_t, w_t) = ours[hint], theirs[hint]
        if h_t > h or w_t > w:
            raise UsageError(
                f"fitnet: after stage {hint} the teacher's map is {h_t}x{w_t} and the student's only {h}x{w}; "
                "choose another hint or nets of one family"
            )
        self.regressor = nn.Conv2d(c, c_t, (h - h_t + 1, w - w_t + 1))
        self.hint, self.first, self.alpha, self.temperature = hint, first, alpha, temperature
        self.shape = data.shape

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        T = self.temperature
        return {"kd": self.alpha * T**2 * kl(teacher.logits, student.logits, T)}

    def foretell(self, batch: Batch) -> Iterator[Objective]:
        """The first phase's step; the walk ends at the hint."""
        guided = next(islice(self.student.iter_features(batch.images), self.hint, None))
        with torch.no_grad():
            hint = next(islice(self.teacher.net.iter_features(batch.images), self.hint, None))
        yield Objective({"hint": (self.regressor(guided) - hint).square().mean() / 2})

    def phases(self) -> tuple[Phase, ...]:
        lower = [*parameters_up_to(self.student, self.hint, self.shape), *self.regressor.parameters()]
        return (
            Phase("hint", self.foretell, lower, epochs=self.first),
            Phase("train", self.step, [*self.student.parameters(), *self.criterion.parameters()]),
        )
