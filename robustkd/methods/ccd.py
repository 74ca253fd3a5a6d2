"""ccd: Li et al., "What Role Does Data Augmentation Play in Knowledge Distillation?", ACCV 2022: cosine confidence.

    L = 2 ((1 - b) CE + b T^2 soft),   soft = (mean_i KL(x_i) + mean_i c_i KL(x'_i)) / 2,   c_i = 1 + cos(z_t(x_i), z_t(x'_i))

x' is x after joint data augmentation (robustkd.data.jda) with `probability` p, CE is the mean over both looks, and KL(x) =
KL(p_t(x) || p_s(x)) of softmax(z / T). c, a constant, goes from 0 to 2: a look that changes the teacher's mind counts less.
Balance b 0.5 (so that L = CE + 16 soft), T 4, and p 0.5 for CIFAR-10 (0.3 for CIFAR-100, 0.2 for ImageNet) are the authors'.

The student meets both looks in one batch of twice the size, as in their code. Departs from it: the two halves of that batch
make the pairs, row by row, not neighbours in it; and each look has a criterion of its own, because one that remembers by
row would otherwise meet a row twice at once, and which of the two it kept would be left to chance.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.functional import kl, kl_per_sample
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, Objective, Positive, Share


def cosine_confidence(target: Tensor, augmented: Tensor) -> Tensor:
    """1 + the cosine of a teacher's logits for two looks, a constant: (B, K), (B, K) -> (B,)."""
    return 1 + F.cosine_similarity(target.detach(), augmented.detach(), dim=1)


class CCD(Distiller):
    """The student learns from each image twice, the second time as far as the teacher stays of one mind."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        *,
        probability: Share = 0.5,
        balance: Share = 0.5,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.second = criterion()
        self.views = (f"jda{probability}",)
        self.balance, self.temperature = balance, temperature

    def objective(self, batch: Batch) -> Objective:
        T, (augmented,) = self.temperature, batch.views
        both = torch.cat([batch.images, augmented])
        ours, ours_augmented = self.student(both).logits.chunk(2)
        with torch.no_grad():
            theirs, theirs_augmented = self.teacher(both).logits.chunk(2)
        c = cosine_confidence(theirs, theirs_augmented)
        ce = (self.criterion(ours, batch) + self.second(ours_augmented, replace(batch, images=augmented))).mean() / 2
        soft = (kl(theirs, ours, T) + (c * kl_per_sample(theirs_augmented, ours_augmented, T)).mean()) / 2
        terms = {"ce": 2 * (1 - self.balance) * ce, "kd": 2 * self.balance * T**2 * soft}
        return Objective(terms, {"confidence": c.mean()})
