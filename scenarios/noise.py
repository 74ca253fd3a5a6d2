"""noise: symmetric label noise.

exclusive    T[i, i] = 1 - r,          T[i, j] = r / (K - 1)    a share r of the labels is wrong (co-teaching's convention)
inclusive    T[i, i] = 1 - r + r / K,  T[i, j] = r / K          a share r is drawn anew from all K classes, r (K - 1) / K
                                                                is wrong (DivideMix's and ELR's convention)

"Knowledge Distillation Beyond Model Compression" (arXiv 2007.01922) does not say which of the two its sigma means.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robustkd.data.view import View
from robustkd.words import Share
from scenarios.base import Draws, Relabelling


@dataclass(frozen=True)
class Noise(Relabelling):
    """A share of each class is shown under other labels, all of them alike."""

    rate: Share
    convention: Literal["exclusive", "inclusive"] = "exclusive"
    draws: Draws = "exact"

    def matrix(self, view: View) -> NDArray[np.float64]:
        classes = len(view.classes)
        others = classes - 1 if self.convention == "exclusive" else classes
        matrix = np.full((classes, classes), self.rate / others)
        np.fill_diagonal(matrix, 1 - (classes - 1) * self.rate / others)
        return matrix
