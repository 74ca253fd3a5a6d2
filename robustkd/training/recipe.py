"""The training recipe: number of epochs, learning-rate schedule, and what the optimiser and its updates are."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from robustkd.method import Phase


@dataclass(frozen=True)
class Recipe:
    """How each phase is trained. The defaults are those for networks with random weights."""

    epochs: int = 30
    lr: float = 0.1
    schedule: Literal["step", "cosine", "constant"] = "step"
    milestones: tuple[float, ...] = (0.3, 0.6, 0.8)  # where "step" multiplies the rate by `factor`
    factor: float = 0.2
    warmup: float = 0.0  # fraction of the phase over which the rate increases linearly from 0
    momentum: float = 0.9  # of SGD; of AdamW, the decay of the mean gradient (beta1)
    nesterov: bool = True
    weight_decay: float = 5e-4
    optimiser: Literal["sgd", "adamw"] = "sgd"
    decay_all: bool = True  # whether norms and biases are decayed too
    backbone_lr: float = 1.0  # factor of the rate of a network's parameters below its head
    layer_decay: float = 1.0  # further factor of the rate for each layer below the head
    head_first: int = 0  # epochs of a phase that train new heads only
    freeze_bn: bool = False  # whether batch norm keeps the running statistics that a network starts with
    clip_grad: float = 0.0  # largest norm of the gradient of each network, 0 for none
    accumulate: int = 1  # batches per update
    ema: float | None = None  # decay of a moving average of the weights that is evaluated as well

    def identity(self) -> dict[str, Any]:
        """Return what decides the weights; of the fields from `optimiser` on, which came later, those that are not default."""
        later = [field.name for field in fields(self)][9:]
        return {n: v for n, v in asdict(self).items() if n not in later or v != getattr(Recipe, n)}

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
        """Return the number of epochs of a phase: those of the run, or a fraction of them, at least one unless it is 0."""
        if phase.epochs is None:
            return self.epochs
        return max(1, round(phase.epochs * self.epochs)) if phase.epochs else 0

    def count_updates(self, batches: int) -> int:
        """Return the number of updates of an epoch of so many batches."""
        return -(-batches // self.accumulate)
