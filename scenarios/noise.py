"""noise: label noise at one rate for all classes; symmetric, or drawn to where the labels are.

targets = uniform
exclusive    T[i, i] = 1 - r,          T[i, j] = r / (K - 1)    a share r of the labels is wrong (co-teaching's convention)
inclusive    T[i, i] = 1 - r + r / K,  T[i, j] = r / K          a share r is drawn anew from all K classes, r (K - 1) / K
                                                                is wrong (DivideMix's and ELR's convention)

targets = frequency, with n_j labels shown of class j and N in all
exclusive    T[i, i] = 1 - r,                T[i, j] = r n_j / (N - n_i)
inclusive    T[i, i] = 1 - r + r n_i / N,    T[i, j] = r n_j / N

"Knowledge Distillation Beyond Model Compression" (arXiv 2007.01922) does not say which of the two its sigma means. Targets by
frequency are RoLT's (Wei et al., "Robust Long-Tailed Learning under Label Noise", arXiv 2108.11569), applied after thinning.
Its third rule, which redraws from all classes and still has a share r wrong, is the inclusive one at the rate
r / (1 - sum (n_i / N)^2).
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
    """A share of each class is shown under other labels: all of them alike, or in proportion to their counts."""

    rate: Share
    convention: Literal["exclusive", "inclusive"] = "exclusive"
    targets: Literal["uniform", "frequency"] = "uniform"
    draws: Draws = "exact"

    def transition_matrix(self, view: View) -> NDArray[np.float64]:
        """T: (K, K).

        Raises:
            UsageError: wrong labels are wanted in proportion to counts, and all labels shown are of one class.
        """
        classes, total = len(view.classes), len(view)
        counts = view.counts if self.targets == "frequency" and total else np.ones(classes, np.int64)
        every = np.full(classes, counts.sum())
        others = every - counts if self.convention == "exclusive" else every
        if not others.all():
            if self.rate == 0:
                return np.eye(classes)
            raise UsageError(
                f"noise: targets=frequency takes wrong labels from the other classes shown, but only"
                f" '{view.classes[counts.argmax()]}' is; targets=uniform takes any"
            )
        matrix: NDArray[np.float64] = self.rate * counts / others[:, None]
        np.fill_diagonal(matrix, 1 - self.rate * (every - counts) / others)
        return matrix
