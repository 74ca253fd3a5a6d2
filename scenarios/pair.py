"""pair: each class is taken for the next one.

T[i, i] = 1 - r,  T[i, (i + 1) mod K] = r

Han et al., "Co-teaching: Robust training of deep neural networks with extremely noisy labels", arXiv 1804.06872, which takes
r = 0.45: just below one half, where the most frequent label of an image would no longer be its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustkd.data.view import View
from robustkd.types import Share
from scenarios.base import Draws, MatrixNoise


@dataclass(frozen=True)
class Pair(MatrixNoise):
    """A share of each class is shown as the class after it, the last as the first."""

    rate: Share
    draws: Draws = "exact"

    def transition_matrix(self, view: View) -> NDArray[np.float64]:
        kept = np.eye(len(view.classes))
        return (1 - self.rate) * kept + self.rate * np.roll(kept, 1, axis=1)
