"""mjkd: He et al., "Multiloss Joint Gradient Control Knowledge Distillation for Image Classification", Electronics 2024.

    v_k <- m_k v_k + g_k,   theta <- theta - lr sum_k v_k,   g_k the gradient of L_k,   m = mu - D, mu, mu + D
    L_1 = (1 - alpha) CE(z_s, y),   L_2 = feature mean (W e_s + b - e_t)^2,   L_3 = alpha T^2 KL(p_t || p_s)

mu is the momentum of the recipe, D the `spread`, e the embedding. Volume 13, 4102, DOI 10.3390/electronics13204102.

Based on the abstract and the list of contributions: the gradients of task, feature and logit loss are handled separately,
each with its own momentum, and logits receive the larger weight. Everything else is our interpretation: that it extends DOT
(Zhao et al., ICCV 2023), whose D = 0.075 is used, with a third momentum in the middle; the feature loss; and the weights,
which are Hinton's and 1. With feature=0 it is DOT, with spread=0 as well it is Hinton.

As in DOT, weight decay is applied once, with the first loss that has a gradient for a parameter, and parameters with a
gradient of only one loss use mu. Differs from DOT: Nesterov's step is used if the recipe uses it, in each momentum, so that
spread=0 is the SGD of all other methods; D is reduced where mu - D would be negative or mu + D close to 1.
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

TERMS_BY_MOMENTUM = ("ce", "feature", "logit")  # in order of increasing momentum
MAX_FRACTION = 0.9  # the spread is at most this fraction of 1 - mu


def spread_momenta(momentum: float, spread: float) -> dict[str, float]:
    """Return the momentum of each loss, in [0, 1) and evenly spaced around that of the recipe.

    >>> {name: round(m, 3) for name, m in spread_momenta(0.9, 0.075).items()}
    {'ce': 0.825, 'feature': 0.9, 'logit': 0.975}
    """
    d = min(spread, momentum, MAX_FRACTION * (1 - momentum))
    return dict(zip(TERMS_BY_MOMENTUM, (momentum - d, momentum, momentum + d), strict=True))


def step_with_momenta(objective: Objective, optimiser: Optimizer, spread: float) -> None:
    """Update the parameters once, with a separate momentum buffer for each term, kept in the state of the optimiser."""
    groups = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    momentum, nesterov = optimiser.param_groups[0]["momentum"], optimiser.param_groups[0]["nesterov"]
    parameters: list[nn.Parameter] = [p for group in optimiser.param_groups for p in group["params"] if p.requires_grad]
    last = list(objective.terms)[-1]
    gradients = {
        name: torch.autograd.grad(term, parameters, retain_graph=name != last, allow_unused=True)
        for name, term in objective.terms.items()
    }
    counts = [sum(g is not None for g in each) for each in zip(*gradients.values(), strict=True)]
    momenta = spread_momenta(momentum, spread)
    for p in parameters:
        p.grad = None
    with torch.no_grad():
        for name, gradient in gradients.items():
            rows = [(p, g, n) for p, g, n in zip(parameters, gradient, counts, strict=True) if g is not None]
            ps: list[Tensor] = [p for p, _, _ in rows]
            gs = [g for _, g, _ in rows]
            m = [momenta[name] if n > 1 else momentum for _, _, n in rows]
            decay = [groups[id(p)]["weight_decay"] if p.grad is None else 0.0 for p in ps]  # once, with the first term
            for q, g in zip(ps, gs, strict=True):
                q.grad = g if q.grad is None else q.grad + g  # the total gradient, as after backward()
            step = list(torch._foreach_add(gs, list(torch._foreach_mul(ps, decay))))
            buffers = [_momentum_buffer(optimiser, p, f"momentum/{name}") for p in ps]
            torch._foreach_mul_(buffers, m)
            torch._foreach_add_(buffers, step)
            if nesterov:
                buffers = list(torch._foreach_add(step, list(torch._foreach_mul(buffers, m))))
            for rate in {group["lr"] for group in optimiser.param_groups}:
                moved = [(p, v) for p, v in zip(ps, buffers, strict=True) if groups[id(p)]["lr"] == rate]
                if moved:
                    torch._foreach_add_([p for p, _ in moved], [v for _, v in moved], alpha=-rate)


def _momentum_buffer(optimiser: Optimizer, p: Tensor, name: str) -> Tensor:
    """Return a momentum buffer of a parameter, zero before its first update."""
    state = optimiser.state[p]
    if name not in state:
        state[name] = torch.zeros_like(p)
    buffer: Tensor = state[name]
    return buffer


class MJKD(Distiller):
    """Distillation of embeddings and logits with a separate momentum for each loss, highest for the logits."""

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
        (width_s,), (width_t,) = (
            infer_shapes(student, data.shape).embedding,
            infer_shapes(teacher.net, data.shape).embedding,
        )
        self.adapter = nn.Linear(width_s, width_t)
        self.spread, self.feature, self.alpha, self.temperature = spread, feature, alpha, temperature

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        T, terms = self.temperature, {}
        if self.feature:
            terms["feature"] = self.feature * (self.adapter(student.embedding) - teacher.embedding).square().mean()
        return {**terms, "logit": self.alpha * T**2 * kl(teacher.logits, student.logits, T)}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("train", self.step, list(self.parameters()), update=self.update),)

    def update(self, objective: Objective, optimiser: Optimizer) -> None:
        """Update the parameters once, each loss with its own momentum."""
        step_with_momenta(objective, optimiser, self.spread)
