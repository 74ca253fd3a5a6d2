"""forward: Patrini et al., "Making Deep Neural Networks Robust to Label Noise: A Loss Correction Approach", CVPR 2017.

arXiv 1609.03683.

    L = -log sum_i T_iy p_i,   p = softmax(z),   T_ij = P(label j | true class i)

The network predicts the true class, and T what its label looks like. T is one of three:

* `forward`: estimated, without further knowledge. The network is trained with cross entropy for the share `warmup` of the
  epochs. During the last of these, row i of T is what is predicted for images that are surely of class i (anchors):
  T_i = sum_x p_i(x)^4 p(x) / sum_x p_i(x)^4. With fewer than two epochs it remains cross entropy.
* `forward(estimate=FILE)`: estimated elsewhere, as in the transition.csv that `robustkd audit` writes for the same data.
* `forward(matrix=FILE)`: the true matrix. This is knowledge that a user would not have, and is marked as oracle.

FILE is a CSV as for the scenario `matrix`; its content is part of a run's version, so that a changed file is a new training.

Differs from the paper: there, the anchor of a class is one image, the one with the largest p_i(x), or for CIFAR-10 in the
authors' code the one at the 97th percentile, which fits ten even classes. The largest of many predictions overestimates how
often labels are right, in particular of a network that has begun to memorise. The weights p_i^4 average over many images, with
any number and size of classes; a larger exponent approaches the single image. After estimating T, the same network is trained
on instead of a new one, and anchors are seen in training mode and augmented.
"""

import math
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

from robustkd.criteria.base import Criterion
from robustkd.data.class_matrix import read_transition_matrix
from robustkd.errors import UsageError
from robustkd.types import Batch, Clock, DatasetInfo

SHARPNESS = 4  # the exponent of the weights by which images are anchors of a class
PRIOR = 1e-6  # weight of the identity in the estimate: a class that is never predicted has its row, and no label is impossible


class Forward(Criterion):
    """Cross entropy of the predicted labels: of the network's distribution passed through a transition matrix."""

    oracle_parameters = ("matrix",)
    file_parameters = ("matrix", "estimate")
    matrix: Tensor  # (K, K), T; the identity until it is estimated
    anchored: Tensor  # (K, K), the weighted sum of predictions for each class

    def __init__(
        self,
        data: DatasetInfo,
        *,
        matrix: str = "",
        estimate: str = "",
        warmup: Annotated[float, Interval(gt=0, lt=1)] = 0.25,
        drw: bool = False,
    ) -> None:
        super().__init__(data, drw=drw)
        if matrix and estimate:
            raise UsageError("forward: set matrix or estimate, not both: they are two sources of the same matrix")
        self.warmup, self.anchors = warmup, not (matrix or estimate)
        self.register_buffer(
            "matrix", torch.eye(data.classes) if self.anchors else load_matrix(matrix or estimate, data)
        )
        self.register_buffer("anchored", PRIOR * torch.eye(data.classes))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        first = estimation_epoch(batch.clock, self.warmup) + 1 if self.anchors else 0
        if batch.clock.epoch == first - 1:
            self.update_estimate(F.softmax(logits.detach(), dim=1))
        if batch.clock.epoch < first:
            return F.cross_entropy(logits, batch.labels, reduction="none")
        return forward_loss(logits, batch.labels, self.matrix)

    def update_estimate(self, p: Tensor) -> None:
        """Add the predictions for a batch, (B, K), to the estimate of the matrix."""
        self.anchored += (p**SHARPNESS).T @ p
        self.matrix.copy_(self.anchored / self.anchored.sum(dim=1, keepdim=True))


def estimation_epoch(clock: Clock, warmup: float) -> int:
    """Return the epoch, from 0, in which the matrix is estimated.

    >>> [estimation_epoch(Clock(0, epochs), 0.25) for epochs in (1, 4, 30)]
    [0, 0, 7]
    """
    return max(1, math.ceil(warmup * clock.epochs)) - 1


def forward_loss(logits: Tensor, labels: Tensor, matrix: Tensor) -> Tensor:
    """Compute -log sum_i T_iy p_i for each sample: (B, K), (B,), (K, K) -> (B,)."""
    return -torch.logsumexp(F.log_softmax(logits, dim=1) + matrix.T[labels].log(), dim=1)


def load_matrix(file: str, data: DatasetInfo) -> Tensor:
    """Read the transition matrix of a data set: (K, K).

    Raises:
        UsageError: the file is not such a matrix, or a label that occurs is impossible by it.
    """
    names = data.names or tuple(map(str, range(data.classes)))
    matrix = read_transition_matrix("forward", file, names)
    for label in np.flatnonzero((matrix.max(axis=0) == 0) & (np.array(data.counts) > 0))[:1]:
        raise UsageError(
            f"forward: {file}: column '{names[label]}' is all 0, so this label should not occur, but"
            f" {data.counts[label]} training samples have it"
        )
    return torch.from_numpy(matrix).float()
