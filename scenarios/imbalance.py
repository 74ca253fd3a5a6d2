"""imbalance: class sizes along a power law, the largest `ratio` times the smallest.

first     n(x) = a / (b + x^-gamma),  x = 1..K, smallest class first
second    n(x) = a / (x^gamma + b),   x = 1..K, largest class first

a and b are fixed by the two ends, so gamma only bends the curve between them; a smaller gamma leaves fewer samples in all.
"Knowledge Distillation Beyond Model Compression" (arXiv 2007.01922) gives gamma and no formula: both forms are readings
(its origin is believed to be Hendrycks, Lee and Mazeika, ICML 2019), and the end points 5000 and 250 of CIFAR-10 are the
ratio of 20. The x of the second form runs from the largest class down, as recalled of Dong et al.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from robustkd.types import Ratio
from scenarios.base import Cap, Order, SizeCurve


@dataclass(frozen=True)
class Imbalance(SizeCurve):
    """Thins the classes along a power law."""

    gamma: Annotated[float, Interval(ge=0.01, le=50)]  # beyond, the curve is straight or a corner and floats give out
    ratio: Ratio = 20.0
    form: Literal["first", "second"] = "first"
    order: Order = "id"
    cap: Cap = "smallest"

    def curve_sizes(self, most: float, classes: int) -> NDArray[np.float64]:
        # By shares of `most`, so that a set without a sample has a curve too; to 6 places, so that no size hangs on a last bit.
        least, x = 1 / self.ratio, np.arange(1, classes + 1, dtype=np.float64)
        if self.form == "first":
            end = classes**-self.gamma
            b = (least - end) / (1 - least)
            shares = least * (1 + b) / (b + x**-self.gamma)
        else:
            end = classes**self.gamma
            b = (least * end - 1) / (1 - least)
            shares = (1 + b) / (x**self.gamma + b)
        return np.round(most * np.asarray(shares, dtype=np.float64), 6)
