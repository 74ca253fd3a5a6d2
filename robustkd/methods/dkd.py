"""dkd: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, arXiv 2203.08679.

    L = CE(z_s, y) + w T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s)),   w = min(1, epoch / (warmup epochs))

b = (p_y, 1 - p_y) says how sure a net is of the label y, q = softmax of the logits without y how it ranks the others. Since
KL(p_t || p_s) = KL(b_t || b_s) + (1 - p_t,y) KL(q_t || q_s), Hinton's loss weighs the second part by the teacher's doubt,
sample by sample; here beta does. alpha 1, beta 8, T 4 and a warm-up of 20 in 240 epochs are the authors' for CIFAR-100.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.functional import kl_per_sample
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, NonNegative, Output, Positive, Share


def decoupled_kl(target: Tensor, logits: Tensor, labels: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """KL of being sure of the label, and KL of ranking the others, per sample: (B, K), (B, K), (B,) -> (B,), (B,)."""
    (t_sure, t_ranks), (s_sure, s_ranks) = (_split_label_logit(z / temperature, labels) for z in (target, logits))
    return kl_per_sample(t_sure, s_sure), kl_per_sample(t_ranks, s_ranks)


def _split_label_logit(z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The label's logit against all others', (B, 2), and the others, (B, K - 1)."""
    places = labels[:, None] + torch.arange(z.shape[1], device=z.device)
    rolled = z.gather(1, places % z.shape[1])  # the label comes first; picking by a mask would wait for the host
    own, others = rolled[:, :1], rolled[:, 1:]
    return torch.cat([own, others.logsumexp(dim=1, keepdim=True)], dim=1), others


class DKD(Distiller):
    """The student learns how sure the teacher is and how it ranks the rest, each with a weight of its own."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        *,
        alpha: NonNegative = 1.0,
        beta: NonNegative = 8.0,
        temperature: Positive = 4.0,
        warmup: Share = 1 / 12,
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.alpha, self.beta, self.temperature, self.warmup = alpha, beta, temperature, warmup

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        T, rising = self.temperature, self.warmup * batch.clock.epochs
        w = min(1.0, (batch.clock.epoch + 1) / rising) if rising else 1.0
        sure, ranks = decoupled_kl(teacher.logits, student.logits, batch.labels, T)
        return {"sure": w * self.alpha * T**2 * sure.mean(), "ranks": w * self.beta * T**2 * ranks.mean()}
