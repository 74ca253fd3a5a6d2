"""Sampling: which rows an epoch consists of, by the probability p_c of each class c with n_c of the N rows.

    natural, sqrt, balanced     p_c = n_c^q / sum_k n_k^q,   q = 1, 1/2, 0
    progressive                 p_c = (1 - e / E) n_c / N + (e / E) / K,   e = 0..E-1

Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020, arXiv 1910.09217. An epoch
consists of N draws in all cases. `natural` uses every row once; the others draw a class, then one of its rows, with
replacement, as in the paper.
"""

import torch
from torch import Tensor

from robustkd.types import Clock, Sampling

EXPONENTS: dict[Sampling, float] = {"natural": 1.0, "sqrt": 0.5, "balanced": 0.0}


def class_probabilities(counts: Tensor, sampling: Sampling, clock: Clock) -> Tensor:
    """Return the probability of each class; one without rows has 0: (K,) -> (K,) float64.

    >>> class_probabilities(torch.tensor([90, 10]), "sqrt", Clock(0, 1))
    tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    if sampling == "progressive":
        natural, balanced = (class_probabilities(counts, end, clock) for end in ("natural", "balanced"))
        return torch.lerp(natural, balanced, clock.epoch / clock.epochs)
    powers = torch.where(counts > 0, counts.double() ** EXPONENTS[sampling], 0.0)
    return powers / powers.sum()


def draw_rows(labels: Tensor, sampling: Sampling, clock: Clock, generator: torch.Generator) -> Tensor:
    """Draw the rows of an epoch in their order, N of them: (N,) int64 labels -> (N,) int64."""
    if sampling == "natural":
        return torch.randperm(len(labels), generator=generator)
    counts = labels.bincount()
    weights = (class_probabilities(counts, sampling, clock) / counts.clamp(min=1))[labels]
    cumulative = weights.cumsum(dim=0)
    points = torch.rand(len(labels), dtype=torch.float64, generator=generator) * cumulative[-1]
    # Not torch.multinomial, which is limited to 2^24 rows.
    return torch.searchsorted(cumulative, points, right=True).clamp(max=len(labels) - 1)
