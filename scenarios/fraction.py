"""fraction: a share of every class, n_c' = max(1, rint(share n_c)): what a method makes of less data.

A class that has any sample keeps one. A larger share keeps a superset.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from robustkd.data.view import Labels, View
from scenarios.base import Subsampling


@dataclass(frozen=True)
class Fraction(Subsampling):
    """Thins all classes alike."""

    share: Annotated[float, Interval(gt=0, le=1)]

    def class_sizes(self, view: View) -> Labels:
        counts = view.counts
        return np.rint(np.round(self.share * counts, 6)).astype(np.int64).clip(np.minimum(counts, 1), counts)
