"""prune: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021, arXiv
1911.00068: training without the rows whose label is probably wrong.

    folds    L_k = mean CE(z_k, y) over the samples of the batch that are not in fold k,   k = 1..folds
    train    L = mean CE(z, y) over the samples of the batch that are kept

Each training row is in one fold, whose network predicts it without having been trained on it. Rows whose label is an issue
by these predictions (`robustkd.label_audit.confident_learning`) are left out of the second phase. The networks of the folds
have the student's architecture and are trained for `share` of the run's epochs each: with 5 folds, as in the authors' code, a
run trains six networks.

Differs from the audit of a data set (`robustkd audit`): predictions are those of the latest training step that contained the
row, and thus of an augmented image; folds ignore classes and groups; and rows that are left out still pass through the
networks, so that batch norm uses them, without their labels. The loss is a mean over the samples that remain of a batch.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.functional import masked_mean
from robustkd.label_audit.confident_learning import find_label_issues
from robustkd.method import Method, Phase
from robustkd.models.net import Network
from robustkd.types import AtLeastTwo, Batch, DatasetInfo, Objective, Positive


class Prune(Method):
    """Training on the rows that out-of-fold predictions and confident learning do not doubt."""

    supports_mixing = False  # predictions of each row
    fold: Tensor  # (N,) int64
    probabilities: Tensor  # (N, K), out of fold; 0 where a row was not seen
    labels: Tensor  # (N,) int64, as given
    kept: Tensor  # (N,) bool

    def __init__(
        self,
        students: Callable[[int], list[Network]],
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        random: torch.Generator,
        *,
        folds: AtLeastTwo = 5,
        share: Positive = 1.0,
    ) -> None:
        super().__init__()
        self.model, *others = students(1 + folds)
        self.networks = nn.ModuleList(others)
        self.criterion, self.criteria = criterion(), nn.ModuleList(criterion() for _ in others)
        self.share = share
        order = torch.randperm(data.samples, generator=random, device=random.device)
        self.register_buffer("fold", order % folds)
        self.register_buffer("probabilities", torch.zeros(data.samples, data.classes))
        self.register_buffer("labels", torch.zeros(data.samples, dtype=torch.int64))
        self.register_buffer("kept", torch.ones(data.samples, dtype=torch.bool))

    def fold_step(self, batch: Batch) -> Iterator[Objective]:
        """Yield the loss of each fold's network, the step of the first phase."""
        fold, predictions = self.fold[batch.index], []
        for k, (network, criterion) in enumerate(zip(self.networks, self.criteria, strict=True)):
            logits = network(batch.images).logits
            predictions.append(logits.detach().softmax(dim=1))
            yield Objective({f"ce/fold {k + 1}": masked_mean(criterion(logits, batch), fold != k)})
        rows = torch.arange(len(fold), device=fold.device)
        self.probabilities[batch.index] = torch.stack(predictions)[fold, rows].to(self.probabilities.dtype)
        self.labels[batch.index] = batch.labels

    def prune_rows(self) -> None:
        """Leave out the rows whose label is probably wrong."""
        labels, probabilities = self.labels.cpu().numpy(), self.probabilities.double().cpu().numpy()
        seen = probabilities.sum(axis=1) > 0
        issues = find_label_issues(labels, probabilities, seen)
        self.kept.copy_(torch.from_numpy(np.logical_not(issues.is_issue)))

    def objective(self, batch: Batch) -> Objective:
        losses, kept = self.criterion(self.model(batch.images).logits, batch), self.kept[batch.index]
        return Objective({"ce": masked_mean(losses, kept)}, {"kept": kept.float().mean()})

    def phases(self) -> tuple[Phase, ...]:
        first = [*self.networks.parameters(), *self.criteria.parameters()]
        second = [*self.model.parameters(), *self.criterion.parameters()]
        return (
            Phase("folds", self.fold_step, first, epochs=self.share),
            Phase("train", self.step, second, begin=self.prune_rows),
        )
