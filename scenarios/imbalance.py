"""imbalance: class sizes along a power law, the largest `ratio` times the smallest.

first     n(x) = a / (b + x^-gamma),  x = 1..K, smallest class first
second    n(x) = a / (x^gamma + b),   x = 1..K, largest class first

The end points fix a and b, so gamma only bends the curve between them; a smaller gamma leaves fewer samples in total.
"Knowledge Distillation Beyond Model Compression" (arXiv 2007.01922) reports gamma but no formula, so both forms are
interpretations (the origin is believed to be Hendrycks, Lee and Mazeika, ICML 2019). The end points 5000 and 250 on CIFAR-10
give the ratio of 20; with the default `--held-out 0.1` they are 4500 and 225. In the second form x starts at the largest class,
as recalled from Dong et al.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from robustkd.types import Ratio
from scenarios.sizes import Cap, Order, SizeCurve


@dataclass(frozen=True)
class Imbalance(SizeCurve):
    """Subsampling to class sizes along a power law."""

    gamma: Annotated[float, Interval(ge=0.01, le=50)]  # outside, the curve is degenerate and floats lose precision
    ratio: Ratio = 20.0
    form: Literal["first", "second"] = "first"
    order: Order = "id"
    cap: Cap = "smallest"

    def curve_sizes(self, largest: float, classes: int) -> NDArray[np.float64]:
        # In fractions of `largest`, so that an empty view has a curve too. Rounded to 6 places, so that no size depends on
        # the last bit of a float.
        least, x = 1 / self.ratio, np.arange(1, classes + 1, dtype=np.float64)
        if self.form == "first":
            end = classes**-self.gamma
            b = (least - end) / (1 - least)
            shares = least * (1 + b) / (b + x**-self.gamma)
        else:
            end = classes**self.gamma
            b = (least * end - 1) / (1 - least)
            shares = (1 + b) / (x**self.gamma + b)
        return np.round(largest * np.asarray(shares, dtype=np.float64), 6)
