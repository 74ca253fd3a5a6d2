"""imbalance: class sizes along a power law, the largest `ratio` times the smallest.

first     n(x) = a / (b + x^-gamma),  x = 1..K, smallest class first
second    n(x) = a / (x^gamma + b),   x = 1..K, largest class first

a and b are fixed by the two ends, so gamma only bends the curve between them; a smaller gamma leaves fewer samples in all.
"Knowledge Distillation Beyond Model Compression" (arXiv 2007.01922) gives gamma and no formula: both forms are readings
(its origin is believed to be Hendrycks, Lee and Mazeika, ICML 2019), and the end points 5000 and 250 of CIFAR-10 are the
ratio of 20. The x of the second form runs from the largest class down, as recalled of Dong et al.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robustkd.words import Positive, Ratio
from scenarios.base import Cap, Curve, Order


@dataclass(frozen=True)
class Imbalance(Curve):
    """Thins the classes along a power law."""

    gamma: Positive
    ratio: Ratio = 20.0
    form: Literal["first", "second"] = "first"
    order: Order = "id"
    cap: Cap = "smallest"

    def curve(self, most: float, classes: int) -> NDArray[np.float64]:
        least, x = most / self.ratio, np.arange(1, classes + 1)
        end = classes**-self.gamma if self.form == "first" else classes**self.gamma
        if self.form == "first":
            b = (least - most * end) / (most - least)
            sizes = least * (1 + b) / (b + x**-self.gamma)
        else:
            b = (least * end - most) / (most - least)
            sizes = most * (1 + b) / (x**self.gamma + b)
        return np.asarray(sizes, dtype=np.float64)
