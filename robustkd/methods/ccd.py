"""ccd: Li et al., "What Role Does Data Augmentation Play in Knowledge Distillation?", ACCV 2022: cosine confidence.

    L = 2 ((1 - b) CE + b T^2 soft),   soft = (mean_i KL(x_i) + mean_i c_i KL(x'_i)) / 2,   c_i = 1 + cos(z_t(x_i), z_t(x'_i))

x' is x after joint data augmentation with `probability` p, CE is the mean over both views, and KL(x) = KL(p_t(x) || p_s(x))
of softmax(z / T). c is a constant from 0 to 2: views that change the teacher's prediction count less. Balance b 0.5 (so that
L = CE + 16 soft) and T 4 are the authors'.

By default, x' is made by the operations, strengths and probability of the authors' code for CIFAR-10
(robustkd.data.jda_policy). Theirs for CIFAR-100 are `ccd(view=cifar100, probability=0.3)`, those for ImageNet
`ccd(view=imagenet, probability=0.2)`. `view=random` is ours: strengths are drawn for each image (robustkd.data.jda).

The student processes both views in one batch of twice the size, as in their code. Differs from it: pairs are formed row by
row from the two halves of that batch, not from neighbouring rows; and each view has its own criterion, because one that
keeps state per row would otherwise see a row twice in one call, with an undefined order of the two updates.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.functional import kl, kl_per_sample
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, Objective, Positive, Share


def cosine_confidence(target: Tensor, augmented: Tensor) -> Tensor:
    """Compute 1 + the cosine of the teacher's logits for two views, detached: (B, K), (B, K) -> (B,)."""
    return 1 + F.cosine_similarity(target.detach(), augmented.detach(), dim=1)


class CCD(Distiller):
    """Distillation of two views per image; the augmented one is weighted by the teacher's agreement on both."""

    version: ClassVar[int] = 2

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        *,
        probability: Share = 0.5,
        view: Literal["cifar10", "cifar100", "imagenet", "random"] = "cifar10",
        balance: Share = 0.5,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.augmented_criterion = criterion()
        policy = f"jda_policy(policy={view}, probability={probability})"
        self.views = (f"jda{probability}" if view == "random" else policy,)
        self.balance, self.temperature = balance, temperature

    def objective(self, batch: Batch) -> Objective:
        T, (augmented,) = self.temperature, batch.views
        both = torch.cat([batch.images, augmented])
        student, student_augmented = self.student(both).logits.chunk(2)
        with torch.no_grad():
            teacher, teacher_augmented = self.teacher(both).logits.chunk(2)
        c = cosine_confidence(teacher, teacher_augmented)
        ce = (
            self.criterion(student, batch)
            + self.augmented_criterion(student_augmented, replace(batch, images=augmented))
        ).mean() / 2
        soft = (kl(teacher, student, T) + (c * kl_per_sample(teacher_augmented, student_augmented, T)).mean()) / 2
        terms = {"ce": 2 * (1 - self.balance) * ce, "kd": 2 * self.balance * T**2 * soft}
        return Objective(terms, {"confidence": c.mean()})
