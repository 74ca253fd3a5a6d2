"""pair: each class is mislabelled as the next one.

T[i, i] = 1 - r,  T[i, (i + 1) mod K] = r

Han et al., "Co-teaching: Robust training of deep neural networks with extremely noisy labels", arXiv 1804.06872. The
paper uses r = 0.45, just below one half, above which the true label would no longer be the most frequent one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustkd.data.view import View
from robustkd.types import Share
from scenarios.base import Draws, MatrixNoise


@dataclass(frozen=True)
class Pair(MatrixNoise):
    """Noise that relabels a fraction of each class as the next class, the last class as the first."""

    rate: Share
    draws: Draws = "exact"

    def transition_matrix(self, view: View) -> NDArray[np.float64]:
        kept = np.eye(len(view.classes))
        return (1 - self.rate) * kept + self.rate * np.roll(kept, 1, axis=1)
