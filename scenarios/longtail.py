"""longtail: class sizes that decay exponentially, n_c = floor(n_max F^(-c / (K - 1))), the first class the largest.

Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", arXiv 1906.07413; F is the ratio of
the largest to the smallest class. The floor is taken after the power, which reproduces the published totals where all training
rows are trained with: 12,406 rows for longtail100 on CIFAR-10 with `--held-out 0`. By default, a tenth of every class is held
out first, so that n_max is 4500 and 11,165 rows are trained with.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustkd.types import Ratio
from scenarios.sizes import Cap, Order, SizeCurve


@dataclass(frozen=True)
class LongTail(SizeCurve):
    """Subsampling to exponentially decaying class sizes."""

    factor: Ratio
    order: Order = "id"
    cap: Cap = "smallest"

    def curve_sizes(self, largest: float, classes: int) -> NDArray[np.float64]:
        shares = self.factor ** (-np.arange(classes) / max(1, classes - 1))
        return np.floor(np.round(largest * shares, 6))  # 5000 / 100 is 50 on every machine, not 49.999...
