"""tald: Nguyen-Duc et al., "Adversarial Local Distribution Regularization for Knowledge Distillation", WACV 2023.

    L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(p_t || p_s) + weight mean_i (CE(z_s(x_i), y_i) - CE(z_t(x_i), y_i))^2
    u_k <- u_k + step sign phi(u_k),   phi(u_k) = 1/n sum_l [ K(u_k, u_l) s_l + h grad_{u_l} K(u_k, u_l) ]

The x_i are the batch and, for a `share` of its images, n particles x + r u each, with the labels of their images. s_l is
the direction in which the teacher's answer at x + r u_l leaves its answer at x fastest (squared difference of
probabilities), K = exp(-d^2 / 2 h^2), h = `bandwidth` times the median distance of an image's particles: they look for
where the teacher's mind changes, and keep apart. Labels come in by the criterion, one for either net.

weight, n and ten images of 64 are the defaults of the authors' code; alpha and T are those of their command for KD, which
takes weight=0.01. The particles of that code are the preset tald_repo: a bandwidth of 1e-3 (7e-4 medians) leaves no
repulsion, one step replaces u, the teacher is asked at a distance of 10 (20000 radii), and a radius of 5e-4 in the 2-norm,
in the net's normalisation, is all but the clean image. By default the ball is 8/255 in each pixel, walked in small steps as
in the authors' code for ALD, with a kernel for each image.

Departs from both codes: s_l has length 1, so that it and the repulsion are of one size; images stay in [0, 1]; the teacher
is asked without parameter gradients; ten of 64 is a share of the batch, so that small batches work.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch

from robustkd.attacks.particles import sample_particles
from robustkd.criteria.base import Criterion
from robustkd.functional import kl
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, Count, NonNegative, Objective, Positive, Share


class TALD(Distiller):
    """The student's loss is to be the teacher's, on images and around them."""

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        random: torch.Generator,
        *,
        weight: NonNegative = 0.1,
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
        self.theirs = criterion()
        self.random, self.weight, self.share, self.particles = random, weight, share, particles
        self.steps, self.step_length, self.radius, self.probe = steps, step, radius, probe
        self.bandwidth, self.norm = bandwidth, norm
        self.alpha, self.temperature = alpha, temperature

    def objective(self, batch: Batch) -> Objective:
        T, shown = self.temperature, self.surrounded(batch)
        clean = slice(len(shown.labels) - len(batch.labels), None)
        student = self.student(shown.images).logits
        ours = self.criterion(student, shown)
        with torch.no_grad():
            teacher = self.teacher(shown.images).logits
            theirs = self.theirs(teacher, shown)
        terms = {
            "ce": self.ce * ours[clean].mean(),
            "kd": self.alpha * T**2 * kl(teacher[clean], student[clean], T),
            "gap": self.weight * (ours - theirs).square().mean(),
        }
        if not clean.start:
            return Objective(terms)
        around = teacher[: clean.start].argmax(dim=1).view(-1, self.particles)
        own = teacher[clean][: len(around)].argmax(dim=1, keepdim=True)
        return Objective(terms, {"flipped": (around != own).float().mean()})

    def surrounded(self, batch: Batch) -> Batch:
        """The batch with particles of its first images put before it."""
        chosen = slice(math.ceil(self.share * len(batch.labels)))
        if not chosen.stop:
            return batch
        moved = sample_particles(
            lambda images: self.teacher(images).logits,
            batch.images[chosen],
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
        labels, index = (x[chosen].repeat_interleave(self.particles) for x in (batch.labels, batch.index))
        return replace(
            batch,
            images=torch.cat([moved, batch.images]),
            labels=torch.cat([labels, batch.labels]),
            index=torch.cat([index, batch.index]),
            views=(),
        )
