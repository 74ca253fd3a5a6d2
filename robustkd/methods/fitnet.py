"""fitnet: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv 1412.6550.

    hint     L = 1/2 || r(v_g(x)) - u_h(x) ||^2    the student's lower stages and the regressor r; no labels
    train    L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(p_t || p_s)    the whole student, without r

u_h and v_g are the maps after stage `hint`; r is a convolution without padding whose kernel size matches the two map sizes.
The paper does not define what follows: if the numbers of stages differ, the hint is the stage with which
`robustkd.models.stage_pairs` pairs the student's, and a hint larger than the student's map is average-pooled to its size.

Differs from the paper: the square is averaged over the elements of the map, not summed, so that one learning rate suits maps
of any size; r has no nonlinearity, because raw residual sums can be negative; the second phase is Hinton's loss with a
constant weight, which decays in the paper, as the tables of arXiv 2007.01922 suggest. The epochs of the first phase are added
to those of the run, which makes 1.2 times those of plain training; the table of costs shows it. In this phase, the layers
above the hint are not run; but an external network (torchvision:NAME) cannot be stopped midway, so its running statistics
above the hint are updated too, until the second phase replaces them.
"""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.errors import UsageError
from robustkd.functional import kl
from robustkd.method import Distiller, Phase
from robustkd.models.net import Frozen, Network, parameters_up_to
from robustkd.models.stage_pairs import pair_stages
from robustkd.types import Batch, Count, DatasetInfo, Objective, Output, Positive, Share


class FitNet(Distiller):
    """Hint training of the student's lower stages, then distillation of the whole student."""

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
        pairs = pair_stages("fitnet", student, teacher.net, data.shape)
        if hint > len(pairs):
            raise UsageError(f"fitnet: hint is {hint} but should be at most {len(pairs)}, the number of stages")
        self.guided, self.hint, (c, h, w), (c_t, h_t, w_t) = pairs[hint - 1]
        self.size = min(h, h_t), min(w, w_t)
        self.regressor = nn.Conv2d(c, c_t, (h - self.size[0] + 1, w - self.size[1] + 1))
        self.first, self.alpha, self.temperature = first, alpha, temperature
        self.shape = data.shape

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        T = self.temperature
        return {"kd": self.alpha * T**2 * kl(teacher.logits, student.logits, T)}

    def hint_step(self, batch: Batch) -> Iterator[Objective]:
        """Yield the hint loss, the step of the first phase; no layer above the hint is run."""
        guided = next(islice(self.student.iter_features(batch.images), self.guided, None))
        with torch.no_grad():
            hint = next(islice(self.teacher.net.iter_features(batch.images), self.hint, None))
            hint = F.adaptive_avg_pool2d(hint, self.size) if hint.shape[2:] != self.size else hint
        yield Objective({"hint": (self.regressor(guided) - hint).square().mean() / 2})

    def phases(self) -> tuple[Phase, ...]:
        lower = [*parameters_up_to(self.student, self.guided, self.shape), *self.regressor.parameters()]
        return (
            Phase("hint", self.hint_step, lower, epochs=self.first),
            Phase("train", self.step, [*self.student.parameters(), *self.criterion.parameters()]),
        )
