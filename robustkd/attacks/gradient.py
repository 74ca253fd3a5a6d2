"""Walks along the sign of the gradient, within a ball of L-infinity: FGSM and PGD, by which finished nets are measured."""

import torch
from torch import Generator, Tensor

from robustkd.attacks.boundary import LogitsFn


def misclassification_log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """The log odds that a label is not the class: what attacks raise, (B, K), (B,) -> (B,).

    With cross entropy c, it is log(exp(c) - 1): each grows with the other, so the signs of their gradients are the same.
    But where a net is so sure that c is rounded to 0 and its slope with it, this one has its slope still.
    """
    own = labels[:, None]
    return logits.scatter(1, own, float("-inf")).logsumexp(dim=1) - logits.gather(1, own)[:, 0]


def misclassification_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """By how much another class is ahead of the label: (B, K), (B,) -> (B,)."""
    own = labels[:, None]
    return logits.scatter(1, own, float("-inf")).amax(dim=1) - logits.gather(1, own)[:, 0]


def gradient_sign(net: LogitsFn, images: Tensor, labels: Tensor) -> Tensor:
    """The sign of the cross entropy's gradient by the images: -1, 0 or 1, (B, C, H, W)."""
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(misclassification_log_odds(net(x), labels).sum(), x)
    return gradient.sign()


def fgsm(net: LogitsFn, images: Tensor, labels: Tensor, random: Generator, *, eps: float) -> Tensor:
    """x + eps sign(gradient), kept in [0, 1]: (B, C, H, W). Goodfellow et al., arXiv 1412.6572. It draws nothing."""
    return (images + eps * gradient_sign(net, images, labels)).clamp(0, 1)


def pgd(
    net: LogitsFn,
    images: Tensor,
    labels: Tensor,
    random: Generator,
    *,
    eps: float,
    steps: int,
    restarts: int = 1,
) -> Tensor:
    """x <- P(x + eps / 4 sign(gradient)), P onto the ball of L-infinity about each image and [0, 1]: (B, C, H, W).

    Madry et al., arXiv 1706.06083. It begins evenly drawn from the ball. Steps of eps / 4 are theirs for CIFAR-10, 2/255 at
    8/255; TRADES is measured with 20 of 0.003 at 0.031. Of several restarts, each image's is kept that brings another class
    the furthest ahead: one that deceives the net, if any does.
    """
    low, high = (images - eps).clamp(min=0), (images + eps).clamp(max=1)
    kept = most = None
    for _ in range(restarts):
        x = (images + eps * torch.empty_like(images).uniform_(-1, 1, generator=random)).clamp(low, high)
        for _ in range(steps):
            x = (x + eps / 4 * gradient_sign(net, x, labels)).clamp(low, high)
        with torch.no_grad():
            ahead = misclassification_margin(net(x), labels) if restarts > 1 else None
        if kept is None or most is None or ahead is None:
            kept, most = x, ahead
        else:
            kept = torch.where((ahead > most)[:, None, None, None], x, kept)
            most = torch.maximum(ahead, most)
    assert kept is not None
    return kept
