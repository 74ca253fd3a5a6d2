"""noise: label noise at one rate for all classes, with targets uniform or proportional to class frequency.

targets = uniform
exclusive    T[i, i] = 1 - r,          T[i, j] = r / (K - 1)    a fraction r of the labels is wrong (as in co-teaching)
inclusive    T[i, i] = 1 - r + r / K,  T[i, j] = r / K          a fraction r is redrawn from all K classes, r (K - 1) / K
                                                                is wrong (as in DivideMix and ELR)

targets = frequency, with n_j shown labels of class j and N in total
exclusive    T[i, i] = 1 - r,                T[i, j] = r n_j / (N - n_i)
inclusive    T[i, i] = 1 - r + r n_i / N,    T[i, j] = r n_j / N

"Knowledge Distillation Beyond Model Compression" (arXiv 2007.01922) does not specify which convention its sigma follows.
Targets by frequency are from RoLT (Wei et al., "Robust Long-Tailed Learning under Label Noise", arXiv 2108.11569), applied
after subsampling. Its third rule, which redraws from all classes with a fraction r wrong, is the inclusive convention at the
rate r / (1 - sum (n_i / N)^2).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robustkd.data.view import View
from robustkd.errors import UsageError
from robustkd.types import Share
from scenarios.base import Draws, MatrixNoise


@dataclass(frozen=True)
class Noise(MatrixNoise):
    """Label noise at one rate, with wrong labels uniform over the other classes or proportional to their counts."""

    rate: Share
    convention: Literal["exclusive", "inclusive"] = "exclusive"
    targets: Literal["uniform", "frequency"] = "uniform"
    draws: Draws = "exact"

    def transition_matrix(self, view: View) -> NDArray[np.float64]:
        """Return T: (K, K).

        Raises:
            UsageError: Targets are by frequency, and all shown labels are of one class.
        """
        classes, total = len(view.classes), len(view)
        counts = view.counts if self.targets == "frequency" and total else np.ones(classes, np.int64)
        total_counts = np.full(classes, counts.sum())
        others = total_counts - counts if self.convention == "exclusive" else total_counts
        if not others.all():
            if self.rate == 0:
                return np.eye(classes)
            raise UsageError(
                f"noise: targets=frequency draws wrong labels from the other shown classes, but only class"
                f" '{view.classes[counts.argmax()]}' is shown; targets=uniform draws from all classes"
            )
        matrix: NDArray[np.float64] = self.rate * counts / others[:, None]
        np.fill_diagonal(matrix, 1 - self.rate * (total_counts - counts) / others)
        return matrix
