"""dkd: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, arXiv 2203.08679.

    L = CE(z_s, y) + w T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s)),   w = min(1, epoch / (warmup epochs))

b = (p_y, 1 - p_y) says how sure a net is of the label y, q = softmax of the logits without y how it ranks the others. Since
KL(p_t || p_s) = KL(b_t || b_s) + (1 - p_t,y) KL(q_t || q_s), Hinton's loss weighs the second part by the teacher's doubt,
sample by sample; here beta does. alpha 1, beta 8, T 4 and a warm-up of 20 in 240 epochs are the authors' for CIFAR-100.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.records import Batch, Output
from robustkd.words import NotNegative, Positive, Share


def decoupled(target: Tensor, logits: Tensor, labels: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """KL of being sure of the label, and KL of ranking the others, per sample: (B, K), (B, K), (B,) -> (B,), (B,)."""
    own = F.one_hot(labels, logits.shape[1]).bool()
    sure, ranks = zip(*(_parts(z / temperature, own) for z in (target, logits)), strict=True)
    return tuple(F.kl_div(s, t, reduction="none", log_target=True).sum(dim=1) for t, s in (sure, ranks))  # type: ignore[return-value]


def _parts(z: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """log b: (B, 2), and log q over the classes but the label's: (B, K - 1)."""
    others = z[~own].reshape(len(z), -1)
    log_b = F.log_softmax(torch.stack([z[own], others.logsumexp(dim=1)], dim=1), dim=1)
    return log_b, F.log_softmax(others, dim=1)


class DKD(Distiller):
    """The student learns how sure the teacher is and how it ranks the rest, each with a weight of its own."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        *,
        alpha: NotNegative = 1.0,
        beta: NotNegative = 8.0,
        temperature: Positive = 4.0,
        warmup: Share = 1 / 12,
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.alpha, self.beta, self.temperature, self.warmup = alpha, beta, temperature, warmup

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        T, rising = self.temperature, self.warmup * batch.clock.epochs
        w = min(1.0, (batch.clock.epoch + 1) / rising) if rising else 1.0
        sure, ranks = decoupled(teacher.logits, student.logits, batch.labels, T)
        return {"sure": w * self.alpha * T**2 * sure.mean(), "ranks": w * self.beta * T**2 * ranks.mean()}
