"""dkd: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, arXiv 2203.08679.

    L = CE(z_s, y) + w T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s)),   w = min(1, epoch / (warmup epochs))

b = (p_y, 1 - p_y) is the confidence in the label y, q = softmax of the logits without y the distribution over the other
classes. Since KL(p_t || p_s) = KL(b_t || b_s) + (1 - p_t,y) KL(q_t || q_s), Hinton's loss weights the second part by the
teacher's remaining probability, sample by sample; here its weight is beta.

alpha 1, T 4 and a warm-up of 20 of 240 epochs are the authors' for CIFAR-100, where beta depends on the pair of networks.
beta 6 is theirs for two wide residual networks or two VGGs. Their others are:

| pair | word |
|---|---|
| resnet56 or resnet110 with a small resnet, CIFAR-100 | `dkd_resnet`, which is `dkd(beta=2)` |
| resnet32x4 with resnet8x4 or a ShuffleNet, CIFAR-100 | `dkd(beta=8)` |
| ResNet-34 with ResNet-18, ImageNet | `dkd_imagenet`, which is `dkd(beta=0.5, temperature=1, warmup=0.01)` |
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.functional import kl_per_sample
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, NonNegative, Output, Positive, Share


def decoupled_kl(target: Tensor, logits: Tensor, labels: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Compute KL(b_t || b_s) and KL(q_t || q_s) for each sample: (B, K), (B, K), (B,) -> (B,), (B,)."""
    (b_t, q_t), (b_s, q_s) = (_split_label_logit(z / temperature, labels) for z in (target, logits))
    return kl_per_sample(b_t, b_s), kl_per_sample(q_t, q_s)


def _split_label_logit(z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of the label against all other classes, (B, 2), and those of the others, (B, K - 1)."""
    columns = labels[:, None] + torch.arange(z.shape[1], device=z.device)
    # Rotate each row so that its label is first: a boolean mask would synchronise with the device.
    rolled = z.gather(1, columns % z.shape[1])
    own, others = rolled[:, :1], rolled[:, 1:]
    return torch.cat([own, others.logsumexp(dim=1, keepdim=True)], dim=1), others


class DKD(Distiller):
    """Separate weights for the confidence in the label and the distribution over the other classes."""

    supports_mixing = False  # it splits the distribution at the label
    version: ClassVar[int] = 2

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        *,
        alpha: NonNegative = 1.0,
        beta: NonNegative = 6.0,
        temperature: Positive = 4.0,
        warmup: Share = 1 / 12,
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.alpha, self.beta, self.temperature, self.warmup = alpha, beta, temperature, warmup

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        T, warmup = self.temperature, self.warmup * batch.clock.epochs
        w = min(1.0, (batch.clock.epoch + 1) / warmup) if warmup else 1.0
        target, non_target = decoupled_kl(teacher.logits, student.logits, batch.labels, T)
        return {"sure": w * self.alpha * T**2 * target.mean(), "ranks": w * self.beta * T**2 * non_target.mean()}
