"""smooth: plain training with label smoothing and a consistency loss, used for teachers by `--smooth-teacher`.

    L = (1 - labels) CE(z, y) + labels mean_c(-log p_c(x)) + consistency mean_B || z(x + d) - z(x) ||^2

labels: label smoothing, Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, arXiv
1512.00567, where it is 0.1: cross entropy with a target of 1 - labels for the class, and the rest spread uniformly over all
classes. Another criterion replaces CE; p remains the softmax of the network.

consistency: a smoothness constraint of our own, off by default; it is similar to training against small perturbations as in
Zheng et al., "Improving the Robustness of Deep Neural Networks via Stability Training", CVPR 2016. d is Gaussian noise with a
standard deviation of `distance` in units of the network's normalisation, sampled for each batch and not clipped to the range
of the images; 0.15 is what the code of Mean Teacher adds to its inputs. The gradient flows through both outputs. They are
computed in one forward of images and perturbed images, so batch norm collects the statistics of both, at twice the cost; the
criterion is applied to the clean images only.
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
    """Compute the cross entropy with the uniform distribution, mean_c(-log p_c), per sample: (B, K) -> (B,).

    >>> round(float(uniform_ce(torch.zeros(1, 2))), 4)  # log 2
    0.6931
    """
    return -F.log_softmax(logits, dim=1).mean(dim=1)


def squared_distance(logits: Tensor, perturbed: Tensor) -> Tensor:
    """Compute the squared distance of two outputs, per sample: (B, K), (B, K) -> (B,)."""
    return (perturbed - logits).square().sum(dim=1)


class Smooth(Method):
    """Plain training of the student with label smoothing or consistency under noise."""

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
        inputs = [batch.images, self.add_noise(batch.images)] if self.consistency else [batch.images]
        logits, *perturbed = self.model(torch.cat(inputs)).logits.chunk(len(inputs))
        terms = {"ce": (1 - self.labels) * self.criterion(logits, batch).mean()}
        if self.labels:
            terms["labels"] = self.labels * uniform_ce(logits).mean()
        if self.consistency:
            terms["consistency"] = self.consistency * squared_distance(logits, *perturbed).mean()
        return Objective(terms)

    def add_noise(self, images: Tensor) -> Tensor:
        """Add Gaussian noise to images: (B, C, H, W) -> (B, C, H, W)."""
        noise = torch.randn(images.shape, generator=self.random, device=images.device)
        return images + self.distance * self.model.std * noise
