"""tail_noise and head_noise: label noise whose rate depends on the frequency of the class.

r_c = min(most, s n_c^p),  with s such that  sum_c n_c r_c = r N
T[c, c] = 1 - r_c,  T[c, j] = r_c / (K - 1)

n_c of the N labels shown are of class c. tail_noise has p = -1/2, so that rare classes have higher rates; head_noise has
p = 1/2. In both, a fraction r of all labels is wrong, so that tail_noise, head_noise and noise can be compared at one rate.
With equal class sizes they equal noise.

The setting, with noisier labels in some classes and few samples in the rare ones, is that of Cao et al., "Heteroskedastic and
Imbalanced Deep Learning with Adaptive Regularization" (ICLR 2021, arXiv 2006.15766). The formula for the rates is our own,
and so is the cap: the excess of a class above `most` is distributed over the others. At 0.9, the highest rate in papers on
symmetric noise, every class keeps a tenth of its labels. With two classes a rate above 0.5 inverts the labels of a class, so
set a lower `most` there.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from robustkd.data.view import View
from robustkd.errors import UsageError
from robustkd.types import Share
from scenarios.base import Draws, MatrixNoise

Power = Annotated[float, Interval(ge=-4, le=4)]


@dataclass(frozen=True)
class FrequencyNoise(MatrixNoise):
    """Label noise at one overall rate, with class rates proportional to a power of the class counts."""

    rate: Share
    power: Power
    most: Share = 0.9
    draws: Draws = "exact"

    def transition_matrix(self, view: View) -> NDArray[np.float64]:
        """Return T: (K, K).

        Raises:
            UsageError: The overall rate is above the cap on class rates.
        """
        if self.rate > self.most:
            raise UsageError(
                f"{'tail' if self.power < 0 else 'head'}_noise: rate {self.rate:g} is above the highest rate of a class,"
                f" most={self.most:g}: lower the rate or raise most"
            )
        rates = capped_power_rates(view.counts, self.rate, self.power, self.most)
        matrix = np.repeat(rates[:, None] / (len(rates) - 1), len(rates), axis=1)
        np.fill_diagonal(matrix, 1 - rates)
        return matrix


def capped_power_rates(counts: NDArray[np.int64], rate: float, power: float, most: float) -> NDArray[np.float64]:
    """Return class rates proportional to a power of the counts up to a cap, `rate` on average: (K,) -> (K,).

    A class without labels has the rate 0. The rate of each class is non-decreasing in `rate`.

    >>> capped_power_rates(np.array([400, 100]), rate=0.2, power=-0.5, most=0.9).round(3)
    array([0.167, 0.333])
    >>> capped_power_rates(np.array([400, 100]), rate=0.8, power=-0.5, most=0.9).round(3)
    array([0.775, 0.9  ])
    """
    rates = np.zeros(len(counts))
    present = np.flatnonzero(counts)
    n = counts[present]
    weights = (n / n.max(initial=1)) ** power  # relative to the largest class, so that no power overflows
    order = np.argsort(-weights, kind="stable")
    n, weights = n[order], weights[order]
    # Entry i is for i capped classes: the weight of the uncapped classes, and the wrong labels left for them.
    uncapped_weight = np.cumsum((n * weights)[::-1])[::-1]
    remaining = rate * n.sum() - most * (np.cumsum(n) - n)
    scale = remaining / uncapped_weight
    capped = int(np.argmax(np.append(scale * weights <= most, True)))
    rates[present[order]] = np.where(np.arange(len(n)) < capped, most, np.append(scale, 0)[capped] * weights)
    return rates
