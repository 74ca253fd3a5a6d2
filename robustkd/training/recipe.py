"""The training recipe: learning-rate schedule, optimiser and number of epochs."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from robustkd.method import Phase


@dataclass(frozen=True)
class Recipe:
    """How each phase is trained: SGD with momentum, and a learning-rate schedule over the fraction of the phase completed."""

    epochs: int = 30
    lr: float = 0.1
    schedule: Literal["step", "cosine", "constant"] = "step"
    milestones: tuple[float, ...] = (0.3, 0.6, 0.8)  # where "step" multiplies the rate by `factor`
    factor: float = 0.2
    warmup: float = 0.0  # fraction of the phase over which the rate increases linearly from 0
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4

    def learning_rate(self, progress: float) -> float:
        """Return the learning rate after a fraction of the phase.

        >>> Recipe(lr=1.0, factor=0.5).learning_rate(0.7)
        0.25
        """
        if progress < self.warmup:
            return self.lr * progress / self.warmup
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))
        passed = sum(progress >= milestone for milestone in self.milestones) if self.schedule == "step" else 0
        return self.lr * self.factor**passed

    def phase_epochs(self, phase: Phase) -> int:
        """Return the number of epochs of a phase: those of the run, or the phase's own fraction of them, at least one."""
        return self.epochs if phase.epochs is None else max(1, round(phase.epochs * self.epochs))


def build_optimiser(phase: Phase, recipe: Recipe) -> torch.optim.SGD:
    """Build the optimiser of a phase, over the parameters that the phase trains."""
    return torch.optim.SGD(
        phase.parameters,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
