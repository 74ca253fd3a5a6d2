"""openset: foreign images under kept labels.

A share `rate` of each class, the first by key of those that still show an image of their own, is shown with an image of
another data set instead; the label stays. Such a sample is of no class: its true label is unknown (-1), it has a column of
its own beside the transition matrix, and nobody can see through it.

source    any word that --dataset takes: digits, svhn, "folder:PATH", "npz:PATH"; its images are brought to the data set's
          channels and size. Whether two sets have a class in common is for the user to know.

Sample n shows image p(n mod M) of the M foreign ones, p a permutation that the data seed decides. So a larger rate shows the
same images for the same samples, and no image comes twice, nor in training and held-out rows both, unless the foreign set
is the smaller one.

After "Iterative Learning with Open-set Noisy Labels" (Wang et al., CVPR 2018, arXiv 1804.00092), which replaces images so.
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
    """A share of each class shows images of another data set."""

    rate: Share
    source: str
    draws: Draws = "exact"

    def corruption_rates(self, view: View) -> NDArray[np.float64]:
        return np.full(len(view.classes), self.rate)

    def apply(self, view: View) -> View:
        other = sources.foreign(self.source, view.sources[0])
        own = np.flatnonzero(~view.foreign)
        before = view.take(own)
        # A share of the whole class, though drawn among its own images only: two steps of 0.1 make 0.2.
        chosen, _ = select_corrupted(
            before, np.minimum(1, self.rate * view.counts / np.maximum(before.counts, 1)), self.draws
        )
        if not len(chosen):
            return view
        lending = [source.fingerprint for source in view.sources[1:]]
        known = other.fingerprint in lending
        number = 1 + lending.index(other.fingerprint) if known else len(view.sources)
        rows, origin = view.rows.copy(), np.zeros_like(view.rows) if view.origin is None else view.origin.copy()
        again, place = np.divmod(view.rows[own[chosen]], len(other.labels))
        rows[own[chosen]] = permuted_rows(other, view.seed)[place] + again * len(other.labels)  # see View.rows
        origin[own[chosen]] = number
        return replace(view, rows=rows, origin=origin, sources=view.sources if known else (*view.sources, other))


def permuted_rows(source: Source, seed: int) -> Labels:
    """A source's rows in an order that the data seed decides, the same for every step of a chain: (M,).

    Were it another at each step, two steps would show the same image for two samples.
    """
    drawn = seeds.row_keys(seeds.derive(seed, "foreign", source.fingerprint), np.arange(len(source.labels)))
    return np.argsort(drawn, kind="stable")
