"""tail_noise and head_noise: a rate for each class, by how many labels of it are shown.

r_c = min(most, s n_c^p),  with s such that  sum_c n_c r_c = r N
T[c, c] = 1 - r_c,  T[c, j] = r_c / (K - 1)

n_c of the N labels shown are of class c. tail_noise is p = -1/2, the rare classes have more of their labels wrong; head_noise
is p = 1/2. A share r of all labels is wrong either way, so that the two, and noise, compare at one rate; where all
classes are alike they are noise.

That some classes have noisier labels than others, and the rare ones little to learn from as it is, is what Cao et al.,
"Heteroskedastic and Imbalanced Deep Learning with Adaptive Regularization" (ICLR 2021, arXiv 2006.15766), set out from. The
law of rates is ours. So is the cap: what a class at `most` cannot take, the others share. At 0.9, the highest rate that
papers on symmetric noise use, every class keeps a tenth of its own labels; of two classes the labels of one above 0.5 say the
opposite, for which a lower `most` is to be given.
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
    """A share of all labels is shown as other classes, more of the rare classes or more of the frequent ones."""

    rate: Share
    power: Power
    most: Share = 0.9
    draws: Draws = "exact"

    def transition_matrix(self, view: View) -> NDArray[np.float64]:
        """T: (K, K).

        Raises:
            UsageError: the rate is above the most that any class may have.
        """
        if self.rate > self.most:
            raise UsageError(
                f"{'tail' if self.power < 0 else 'head'}_noise: a rate of {self.rate:g} cannot be had where no class may"
                f" have more than most={self.most:g}: lower the rate, or give a higher most"
            )
        rates = capped_power_rates(view.counts, self.rate, self.power, self.most)
        matrix = np.repeat(rates[:, None] / (len(rates) - 1), len(rates), axis=1)
        np.fill_diagonal(matrix, 1 - rates)
        return matrix


def capped_power_rates(counts: NDArray[np.int64], rate: float, power: float, most: float) -> NDArray[np.float64]:
    """Rates that go with a power of the counts up to a cap, and are `rate` over all labels: (K,) -> (K,).

    A class without labels has the rate 0. A larger rate lowers no class's.

    >>> capped_power_rates(np.array([400, 100]), rate=0.2, power=-0.5, most=0.9).round(3)
    array([0.167, 0.333])
    >>> capped_power_rates(np.array([400, 100]), rate=0.8, power=-0.5, most=0.9).round(3)
    array([0.775, 0.9  ])
    """
    rates = np.zeros(len(counts))
    present = np.flatnonzero(counts)
    n = counts[present]
    weights = (n / n.max(initial=1)) ** power  # in units of the largest class, so that no power overflows
    order = np.argsort(-weights, kind="stable")
    n, weights = n[order], weights[order]
    # Whoever goes with the power still has these left: first all classes, then without those the cap holds.
    shared = np.cumsum((n * weights)[::-1])[::-1]
    left = rate * n.sum() - most * (np.cumsum(n) - n)
    scale = left / shared
    capped = int(np.argmax(np.append(scale * weights <= most, True)))
    rates[present[order]] = np.where(np.arange(len(n)) < capped, most, np.append(scale, 0)[capped] * weights)
    return rates
