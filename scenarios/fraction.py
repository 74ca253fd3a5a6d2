"""fraction: a fraction of every class, n_c' = max(1, rint(share n_c)), for the study of small data sets.

A non-empty class keeps at least one sample. A larger share keeps a superset.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from robustkd.data.view import Labels, View
from scenarios.sizes import Subsampling


@dataclass(frozen=True)
class Fraction(Subsampling):
    """Subsampling of all classes to the same fraction."""

    share: Annotated[float, Interval(gt=0, le=1)]

    def class_sizes(self, view: View) -> Labels:
        counts = view.counts
        return np.rint(np.round(self.share * counts, 6)).astype(np.int64).clip(np.minimum(counts, 1), counts)
