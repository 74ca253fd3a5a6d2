"""smooth: plain training of a net that is to answer smoothly. What `--smooth-teacher` trains a teacher by.

    L = (1 - labels) CE(z, y) + labels mean_c(-log p_c(x)) + consistency mean_B || z(x + d) - z(x) ||^2

labels: label smoothing, Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, arXiv
1512.00567, where it is 0.1: cross entropy with a label that says the class by 1 - labels and all classes alike by the rest.
Another criterion takes the place of CE; p stays the net's own softmax.

consistency: a smoothness constraint of our own choice, off unless asked for; training against small perturbations as in
Zheng et al., "Improving the Robustness of Deep Neural Networks via Stability Training", CVPR 2016, is of its kind. d is
Gaussian with a standard deviation of `distance` in units of the net's normalisation, drawn anew for each batch and not
clipped to the images' range; 0.15 is what Mean Teacher's code adds to its inputs. Both answers learn. They come from one
forward of images and perturbed images together, so batch norm treats both alike and gathers the statistics of both, at
twice the cost; the criterion sees the images alone.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.method import Method
from robustkd.models.net import Network
from robustkd.types import Batch, NonNegative, Objective, Positive, Share


def uniform_ce(logits: Tensor) -> Tensor:
    """Cross entropy with all classes alike, mean_c(-log p_c), per sample: (B, K) -> (B,).

    >>> round(float(evenly(torch.zeros(1, 2))), 4)  # log 2
    0.6931
    """
    return -F.log_softmax(logits, dim=1).mean(dim=1)


def squared_distance(here: Tensor, there: Tensor) -> Tensor:
    """The squared distance of two answers, per sample: (B, K), (B, K) -> (B,)."""
    return (there - here).square().sum(dim=1)


class Smooth(Method):
    """The student alone, less sure of its labels, or less moved by noise."""

    def __init__(
        self,
        student: Network,
        criterion: Callable[[], Criterion],
        random: torch.Generator,
        *,
        labels: Share = 0.1,
        consistency: NonNegative = 0.0,
        distance: Positive = 0.15,
    ) -> None:
        super().__init__()
        self.model = student
        self.criterion = criterion()
        self.random, self.labels, self.consistency, self.distance = random, labels, consistency, distance

    def objective(self, batch: Batch) -> Objective:
        shown = [batch.images, self.nearby(batch.images)] if self.consistency else [batch.images]
        here, *there = self.model(torch.cat(shown)).logits.chunk(len(shown))
        terms = {"ce": (1 - self.labels) * self.criterion(here, batch).mean()}
        if self.labels:
            terms["labels"] = self.labels * uniform_ce(here).mean()
        if self.consistency:
            terms["consistency"] = self.consistency * squared_distance(here, *there).mean()
        return Objective(terms)

    def nearby(self, images: Tensor) -> Tensor:
        """The images under noise."""
        noise = torch.randn(images.shape, generator=self.random, device=images.device)
        return images + self.distance * self.model.std * noise
