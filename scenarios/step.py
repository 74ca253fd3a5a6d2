"""step: step imbalance. The first half of the classes keeps n_max samples, the others floor(n_max / F).

Buda, Maki and Mazurowski, "A systematic study of the class imbalance problem", arXiv 1710.05381. The published
sizes, such as 27,500 rows for step10 on CIFAR-10, are those with `--held-out 0`: by default a tenth of every class is held out
first, and 24,750 rows are trained with.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustkd.types import Ratio
from scenarios.sizes import Cap, Order, SizeCurve


@dataclass(frozen=True)
class Step(SizeCurve):
    """Subsampling of half of the classes to one common size."""

    factor: Ratio
    order: Order = "id"
    cap: Cap = "smallest"

    def curve_sizes(self, largest: float, classes: int) -> NDArray[np.float64]:
        few = np.arange(classes) >= classes - classes // 2
        return np.where(few, np.floor(np.round(largest / self.factor, 6)), largest)
