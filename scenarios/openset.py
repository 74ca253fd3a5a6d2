"""openset: open-set noise, foreign images under unchanged labels.

A fraction `rate` of each class is shown with an image of another data set instead, under the same label: the first samples by
key among those that still show their own image. Such a sample belongs to no class. Its true label is unknown (-1), it has a
separate column next to the transition matrix, and it never counts as recovered.

source    any value of --dataset: digits, svhn, "folder:PATH", "npz:PATH". Its images are converted to the data set's
          channels and size. The user has to make sure that the two data sets have no class in common.

Sample n shows image p(n mod M) of the M foreign ones, where p is a permutation drawn by the data seed. So a larger rate shows
the same images for the same samples. No image is repeated or shared by training and held-out rows, unless the foreign data
set is the smaller one.

From "Iterative Learning with Open-set Noisy Labels" (Wang et al., CVPR 2018, arXiv 1804.00092).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustkd import seeds
from robustkd.data import sources
from robustkd.data.view import Labels, Source, View
from robustkd.types import Share
from scenarios.base import Draws, Scenario, select_corrupted


@dataclass(frozen=True)
class OpenSet(Scenario):
    """Open-set noise: a fraction of each class shows images of another data set."""

    family = "label noise"
    rate: Share
    source: str
    draws: Draws = "exact"

    def corruption_rates(self, view: View) -> NDArray[np.float64]:
        return np.full(len(view.classes), self.rate)

    def apply(self, view: View) -> View:
        other = sources.load_foreign_dataset(self.source, view.sources[0])
        own = np.flatnonzero(~view.foreign)
        candidates = view.take(own)
        # The fraction is of the whole class, drawn from its own images only, so that two steps of 0.1 add up to 0.2.
        rates = np.minimum(1, self.rate * view.counts / np.maximum(candidates.counts, 1))
        chosen, _ = select_corrupted(candidates, rates, self.draws)
        if not len(chosen):
            return view
        fingerprints = [source.fingerprint for source in view.sources[1:]]
        known = other.fingerprint in fingerprints
        number = 1 + fingerprints.index(other.fingerprint) if known else len(view.sources)
        rows, origin = view.rows.copy(), np.zeros_like(view.rows) if view.origin is None else view.origin.copy()
        repetition, index = np.divmod(view.rows[own[chosen]], len(other.labels))
        rows[own[chosen]] = permuted_rows(other, view.seed)[index] + repetition * len(other.labels)  # see View.rows
        origin[own[chosen]] = number
        return replace(view, rows=rows, origin=origin, sources=view.sources if known else (*view.sources, other))


def permuted_rows(source: Source, seed: int) -> Labels:
    """Return a source's rows in an order drawn by the data seed, the same for every step of a chain: (M,).

    With a different order at each step, two steps could show the same image for two samples.
    """
    drawn = seeds.row_keys(seeds.derive(seed, "foreign", source.fingerprint), np.arange(len(source.labels)))
    return np.argsort(drawn, kind="stable")
