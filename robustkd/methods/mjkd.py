"""mjkd: He et al., "Multiloss Joint Gradient Control Knowledge Distillation for Image Classification", Electronics 2024.

    v_k <- m_k v_k + g_k,   theta <- theta - lr sum_k v_k,   g_k the gradient of L_k,   m = mu - D, mu, mu + D
    L_1 = (1 - alpha) CE(z_s, y),   L_2 = feature mean (W e_s + b - e_t)^2,   L_3 = alpha T^2 KL(p_t || p_s)

mu is the recipe's momentum, D the `spread`, e the embedding. Volume 13, 4102, DOI 10.3390/electronics13204102.

Read from the abstract and the list of contributions: they say that the gradients of task, feature and logit loss are
treated apart, each with a momentum of its own, and that logits deserve the greater weight. All else is our reading: that
it extends DOT (Zhao et al., ICCV 2023), whose D = 0.075 is taken, here with a third momentum in the middle; which feature
loss it is; and the weights, which are Hinton's and 1. With feature=0 it is DOT, with spread=0 too it is Hinton.

As in DOT, weight decay enters once, by the first loss that reaches a parameter, and what one loss alone reaches moves by
mu. Departs from DOT: Nesterov's step is taken where the recipe has it, in each momentum, so that spread=0 is the SGD that
all others are trained with; D shrinks where mu - D would be negative or mu + D come near 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robustkd.criteria.base import Criterion
from robustkd.functional import kl
from robustkd.method import Distiller, Phase
from robustkd.models.net import Frozen, Network, infer_shapes
from robustkd.types import Batch, DatasetInfo, NonNegative, Objective, Output, Positive, Share

TERMS_BY_MOMENTUM = ("ce", "feature", "logit")  # from the least momentum to the most
MAX_FRACTION = 0.9  # how much of the way from mu to 1 the spread may go


def spread_momenta(momentum: float, spread: float) -> dict[str, float]:
    """What each loss keeps of its past: from 0 to less than 1, evenly spread about the recipe's momentum.

    >>> {name: round(m, 3) for name, m in momenta(0.9, 0.075).items()}
    {'ce': 0.825, 'feature': 0.9, 'logit': 0.975}
    """
    d = min(spread, momentum, MAX_FRACTION * (1 - momentum))
    return dict(zip(TERMS_BY_MOMENTUM, (momentum - d, momentum, momentum + d), strict=True))


def step_with_momenta(objective: Objective, optimiser: Optimizer, spread: float) -> None:
    """One update: each term's gradient goes through a momentum of its own, kept in the optimiser's state."""
    (group,) = optimiser.param_groups
    parameters: list[nn.Parameter] = [p for p in group["params"] if p.requires_grad]
    last = list(objective.terms)[-1]
    gradients = {
        name: torch.autograd.grad(term, parameters, retain_graph=name != last, allow_unused=True)
        for name, term in objective.terms.items()
    }
    losses = [sum(g is not None for g in each) for each in zip(*gradients.values(), strict=True)]
    own = spread_momenta(group["momentum"], spread)
    for p in parameters:
        p.grad = None
    with torch.no_grad():
        for name, given in gradients.items():
            rows = [(p, g, n) for p, g, n in zip(parameters, given, losses, strict=True) if g is not None]
            ps: list[Tensor] = [p for p, _, _ in rows]
            gs = [g for _, g, _ in rows]
            m = [own[name] if n > 1 else group["momentum"] for _, _, n in rows]
            decay = [group["weight_decay"] if p.grad is None else 0.0 for p in ps]  # once, by the first to come
            for q, g in zip(ps, gs, strict=True):
                q.grad = g if q.grad is None else q.grad + g  # for who looks: all that is descended, as after backward
            step = list(torch._foreach_add(gs, list(torch._foreach_mul(ps, decay))))
            buffers = [_momentum_buffer(optimiser, p, f"momentum/{name}") for p in ps]
            torch._foreach_mul_(buffers, m)
            torch._foreach_add_(buffers, step)
            if group["nesterov"]:
                buffers = list(torch._foreach_add(step, list(torch._foreach_mul(buffers, m))))
            torch._foreach_add_(ps, buffers, alpha=-group["lr"])


def _momentum_buffer(optimiser: Optimizer, p: Tensor, name: str) -> Tensor:
    state = optimiser.state[p]
    if name not in state:
        state[name] = torch.zeros_like(p)
    kept: Tensor = state[name]
    return kept


class MJKD(Distiller):
    """The student follows labels, the teacher's embeddings and its answers, the last with the longest memory."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        *,
        spread: Share = 0.075,
        feature: NonNegative = 1.0,
        alpha: Share = 0.9,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(student, teacher, criterion, ce=1 - alpha)
        (ours,), (theirs,) = (
            infer_shapes(student, data.shape).embedding,
            infer_shapes(teacher.net, data.shape).embedding,
        )
        self.adapter = nn.Linear(ours, theirs)
        self.spread, self.feature, self.alpha, self.temperature = spread, feature, alpha, temperature

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        T, terms = self.temperature, {}
        if self.feature:
            terms["feature"] = self.feature * (self.adapter(student.embedding) - teacher.embedding).square().mean()
        return {**terms, "logit": self.alpha * T**2 * kl(teacher.logits, student.logits, T)}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("train", self.step, list(self.parameters()), update=self.descend),)

    def descend(self, objective: Objective, optimiser: Optimizer) -> None:
        """One update, each loss with its own momentum."""
        step_with_momenta(objective, optimiser, self.spread)
