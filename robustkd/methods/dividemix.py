"""dividemix: Li, Socher and Hoi, "DivideMix: Learning with Noisy Labels as Semi-supervised Learning", ICLR 2020, arXiv
2002.07394.

    warm-up    L_k = CE(z_k, y),   k = 1, 2
    then       L_k = mean H(t, p_k) over labelled + u(e) mean 1/K ||p_k - t||^2 over unlabelled + KL(prior || mean p_k)
               t = sharpen(w y + (1 - w) q_k) where w > 0.5 (labelled), else sharpen((q_1 + q_2) / 2),   sharpen(t) ~ t^(1 / T)

Before every epoch, a mixture of two normal distributions is fitted to the losses of each network; w is the probability that
the loss of a row is a small one under the other network. q_k is network k's mean prediction for two augmentations of the
image. Both augmentations, 2 B images with their targets t, are mixed with a permutation of themselves by a weight max(l, 1 -
l), l from Beta(alpha, alpha), before p_k is computed. u rises linearly to `unsupervised` over `ramp` of the epochs after the
warm-up.

T 0.5, alpha 4, threshold 0.5 and `unsupervised` 25 are the authors'. They choose the last by the noise, from 0 to 150, and add
a confidence penalty to the warm-up for asymmetric noise; a user does not know the noise, so here nothing depends on it. The
squared error is a mean over K, and its gradient falls as 1 / K^2: 25 is for ten classes, for the hundred of CIFAR-100 the
authors use 150 under strong noise (`dividemix(unsupervised=150)`). The warm-up takes 0.3 of the epochs, theirs 10 or 30 of 300:
a class that was not learned before the first division may lose all its labels.

Differs further from the authors' code: labelled and unlabelled samples are those of one batch, not of two loaders; the losses
of rows are those of the first augmentation in the latest step, in evaluation mode, not of another pass over the training set;
the prior is the distribution of the given labels, which is uniform for balanced classes. The criterion is used in the warm-up
and for the losses of rows; H is the soft cross entropy. The first network is the model; the ensemble is evaluated too.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.functional import masked_mean
from robustkd.method import Method, Phase
from robustkd.models.net import Network, eval_no_grad
from robustkd.small_loss import small_loss_probability
from robustkd.types import Batch, Clock, Count, DatasetInfo, NonNegative, Objective, Positive, Share


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """Raise probabilities to the power of 1 / T and normalise them: (B, K) -> (B, K).

    >>> sharpen(torch.tensor([[0.75, 0.25]]), 0.5)
    tensor([[0.9000, 0.1000]])
    """
    return (probabilities.clamp(min=1e-12).log() / temperature).softmax(dim=1)


def refine_targets(clean: Tensor, labels: Tensor, own: Tensor, both: Tensor, temperature: float) -> Tensor:
    """Return the targets t: w (B,), one-hot labels, own and both networks' predictions (B, K) -> (B, K)."""
    w = clean[:, None]
    return sharpen(torch.where(w > 0.5, w * labels + (1 - w) * own, both), temperature)


class DivideMix(Method):
    """Two networks that treat labels with large losses under the other as missing, and train semi-supervised."""

    views = ("again",)
    supports_mixing = False  # it mixes images itself, and remembers the losses of rows
    losses: Tensor  # (2, N), latest of each network, infinite where a row was not seen
    clean: Tensor  # (2, N), w of each network
    prior: Tensor  # (K,)

    def __init__(
        self,
        students: Callable[[int], list[Network]],
        data: DatasetInfo,
        criterion: Callable[[], Criterion],
        random: torch.Generator,
        *,
        warmup: Share = 0.3,
        unsupervised: NonNegative = 25.0,
        ramp: Share = 0.1,
        temperature: Positive = 0.5,
        alpha: Count = 4,
    ) -> None:
        super().__init__()
        self.students = nn.ModuleList(students(2))
        self.criteria = nn.ModuleList(criterion() for _ in self.students)
        self.model = self.students[0]  # type: ignore[assignment]  # ModuleList does not keep the element type
        self.random, self.warmup, self.unsupervised, self.ramp = random, warmup, unsupervised, ramp
        self.temperature, self.alpha = temperature, alpha
        self.register_buffer("losses", torch.full((2, data.samples), math.inf))
        self.register_buffer("clean", torch.ones(2, data.samples))
        self.register_buffer("prior", torch.tensor(data.counts) / max(1, sum(data.counts)))

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("train", self.step, list(self.parameters()), begin_epoch=self.divide),)

    def is_warmup(self, clock: Clock) -> bool:
        """Return whether an epoch belongs to the warm-up, of at least one epoch."""
        return clock.epoch < max(1, math.ceil(self.warmup * clock.epochs))

    def divide(self, clock: Clock) -> None:
        """Set w of each network by the losses of the other."""
        if not self.is_warmup(clock):
            self.clean.copy_(torch.stack([small_loss_probability(losses) for losses in self.losses.flip(0)]))

    def step(self, batch: Batch) -> Iterator[Objective]:
        if self.is_warmup(batch.clock):
            for k, (student, criterion) in enumerate(zip(self.students, self.criteria, strict=True)):
                losses = criterion(student(batch.images).logits, batch)
                self.losses[k, batch.index] = losses.detach()
                yield Objective({f"ce/{k + 1}": losses.mean()})
            return
        images = torch.cat([batch.images, *batch.views])
        with eval_no_grad(self.students):
            logits = [student(images).logits for student in self.students]
            for k, criterion in enumerate(self.criteria):
                self.losses[k, batch.index] = criterion(logits[k][: len(batch.labels)], batch)
        guesses = [z.softmax(dim=1).view(2, len(batch.labels), -1).mean(dim=0) for z in logits]
        for k in range(2):
            yield self.network_objective(k, images, guesses, batch)

    def network_objective(self, k: int, images: Tensor, guesses: list[Tensor], batch: Batch) -> Objective:
        """Return the semi-supervised loss of network k, given both augmentations and both networks' predictions."""
        clean = self.clean[k, batch.index]
        labels = F.one_hot(batch.labels, guesses[k].shape[1])
        targets = refine_targets(clean, labels, guesses[k], (guesses[0] + guesses[1]) / 2, self.temperature)
        images, targets = self.mix(images, targets.repeat(2, 1))
        logits, labelled = self.students[k](images).logits, (clean > 0.5).repeat(2)
        log_p = F.log_softmax(logits, dim=1)
        squares = (log_p.exp() - targets).square().mean(dim=1)
        mean = log_p.exp().mean(dim=0).clamp(min=1e-8).log()
        terms = {
            f"labelled/{k + 1}": masked_mean(-(targets * log_p).sum(dim=1), labelled),
            f"unlabelled/{k + 1}": self.unlabelled_weight(batch.clock) * masked_mean(squares, ~labelled),
            f"prior/{k + 1}": F.kl_div(mean, self.prior, reduction="sum"),
        }
        return Objective(terms, {"labelled": labelled.float().mean()})

    def unlabelled_weight(self, clock: Clock) -> float:
        """Return u, which rises linearly after the warm-up."""
        elapsed, length = clock.epoch - math.ceil(self.warmup * clock.epochs), self.ramp * clock.epochs
        return self.unsupervised * (min(elapsed / length, 1.0) if length else 1.0)

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mix images and targets with a permutation of themselves: (B, C, H, W), (B, K) -> the same shapes."""
        partners = torch.randperm(len(images), generator=self.random, device=images.device)
        # The middle one of 2 alpha - 1 uniform numbers has the distribution Beta(alpha, alpha).
        share = torch.rand(2 * self.alpha - 1, generator=self.random, device=images.device).median()
        share = torch.maximum(share, 1 - share)
        return images[partners].lerp(images, share), targets[partners].lerp(targets, share)

    def auxiliary_logits(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"ensemble": torch.stack([student(images).logits for student in self.students]).mean(dim=0)}
