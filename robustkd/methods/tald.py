"""tald: Nguyen-Duc et al., "Adversarial Local Distribution Regularization for Knowledge Distillation", WACV 2023.

    L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(p_t || p_s) + weight mean_i (CE(z_s(x_i), y_i) - CE(z_t(x_i), y_i))^2
    u_k <- u_k + step sign phi(u_k),   phi(u_k) = 1/n sum_l [ K(u_k, u_l) s_l + h grad_{u_l} K(u_k, u_l) ]

The x_i are the batch and, for a `share` of its images, n particles x + r u each, with the labels of their images. s_l is
the direction in which the teacher's probabilities at x + r u_l move away from those at x fastest (squared difference), K =
exp(-d^2 / 2 h^2), h = `bandwidth` times the median distance between the particles of an image. The particles thus search for
places where the teacher's prediction changes, and repel each other. Labels are used through the criterion, a separate
instance for each network.

alpha 0.9, T 4 and weight 0.01 are those of the authors' command for KD (resnet32x4 with resnet8x4, CIFAR-100). n and ten
images of 64 are the defaults of their code; so is a weight of 0.1, which belongs to a loss without alpha 0.9, where the
cross entropy keeps its full weight (`tald(weight=0.1, alpha=0)`).

The particles of that code are the preset tald_repo: a bandwidth of 1e-3 (7e-4 medians) leaves no repulsion, one step replaces
u, the teacher is evaluated at a distance of 10 (20000 radii), and a radius of 5e-4 in the 2-norm, in the network's
normalisation, gives almost the clean image. By default the ball is 8/255 in each pixel, explored in small steps as in the
authors' code for ALD, with a kernel for each image.

Differs from both codes: s_l has length 1, so that it has the same magnitude as the repulsion; images stay in [0, 1]; no
parameter gradients of the teacher are computed; ten of 64 is a share of the batch, so that small batches work.
"""

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch

from robustkd.attacks.particles import sample_particles
from robustkd.criteria.base import Criterion
from robustkd.functional import kl
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, Count, NonNegative, Objective, Positive, Share


class TALD(Distiller):
    """Distillation that also matches the teacher's loss on images and on adversarial particles around them."""

    version: ClassVar[int] = 2

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        random: torch.Generator,
        *,
        weight: NonNegative = 0.01,
        share: Share = 10 / 64,
        particles: Count = 4,
        steps: Count = 5,
        step: Positive = 0.25,
        radius: Positive = 8 / 255,
        probe: Positive = 1.0,
        bandwidth: Positive = 1.0,
        norm: Literal["linf", "l2"] = "linf",
        alpha: Share = 0.9,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(student, teacher, criterion, ce=1 - alpha)
        self.teacher_criterion = criterion()
        self.random, self.weight, self.share, self.particles = random, weight, share, particles
        self.steps, self.step_length, self.radius, self.probe = steps, step, radius, probe
        self.bandwidth, self.norm = bandwidth, norm
        self.alpha, self.temperature = alpha, temperature

    def objective(self, batch: Batch) -> Objective:
        T, extended = self.temperature, self.add_particles(batch)
        clean = slice(len(extended.labels) - len(batch.labels), None)
        student = self.student(extended.images).logits
        student_loss = self.criterion(student, extended)
        with torch.no_grad():
            teacher = self.teacher(extended.images).logits
            teacher_loss = self.teacher_criterion(teacher, extended)
        terms = {
            "ce": self.ce * student_loss[clean].mean(),
            "kd": self.alpha * T**2 * kl(teacher[clean], student[clean], T),
            "gap": self.weight * (student_loss - teacher_loss).square().mean(),
        }
        if not clean.start:
            return Objective(terms)
        perturbed = teacher[: clean.start].argmax(dim=1).view(-1, self.particles)
        original = teacher[clean][: len(perturbed)].argmax(dim=1, keepdim=True)
        return Objective(terms, {"flipped": (perturbed != original).float().mean()})

    def add_particles(self, batch: Batch) -> Batch:
        """Return the batch preceded by particles of its first images."""
        first = slice(math.ceil(self.share * len(batch.labels)))
        if not first.stop:
            return batch
        particles = sample_particles(
            lambda images: self.teacher(images).logits,
            batch.images[first],
            self.random,
            count=self.particles,
            steps=self.steps,
            step=self.step_length,
            radius=self.radius,
            probe=self.probe,
            bandwidth=self.bandwidth,
            norm=self.norm,
            unit=self.teacher.net.std if self.norm == "l2" else 1.0,
        )
        rows = torch.arange(len(batch.labels), device=batch.labels.device)
        extended = torch.cat([rows[first].repeat_interleave(self.particles), rows])
        return batch.select(extended, torch.cat([particles, batch.images]))
