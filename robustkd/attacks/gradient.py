"""Gradient-sign attacks within an L-infinity ball, FGSM and PGD, which evaluate the robustness of trained networks."""

import torch
from torch import Generator, Tensor

from robustkd.attacks.boundary import LogitsFn


def misclassification_log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the log odds of all classes but the label, the loss that attacks maximise: (B, K), (B,) -> (B,).

    With c the cross entropy, it is log(exp(c) - 1). This increases with c, so the gradients have the same signs. But where
    the network is so confident that c and its gradient are rounded to 0, the gradient of the log odds is not.
    """
    own = labels[:, None]
    return logits.scatter(1, own, float("-inf")).logsumexp(dim=1) - logits.gather(1, own)[:, 0]


def misclassification_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the highest logit of another class minus that of the label: (B, K), (B,) -> (B,)."""
    own = labels[:, None]
    return logits.scatter(1, own, float("-inf")).amax(dim=1) - logits.gather(1, own)[:, 0]


def gradient_sign(net: LogitsFn, images: Tensor, labels: Tensor) -> Tensor:
    """Compute the sign of the gradient of the cross entropy with respect to the images: -1, 0 or 1, (B, C, H, W)."""
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(misclassification_log_odds(net(x), labels).sum(), x)
    return gradient.sign()


def fgsm(net: LogitsFn, images: Tensor, labels: Tensor, random: Generator, *, eps: float) -> Tensor:
    """Compute x + eps sign(gradient), clipped to [0, 1]: (B, C, H, W). Goodfellow et al., arXiv 1412.6572.

    It is deterministic; `random` is not used.
    """
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
    """Iterate x <- P(x + eps / 4 sign(gradient)), P the projection onto the L-infinity ball and [0, 1]: (B, C, H, W).

    Madry et al., arXiv 1706.06083. The start is uniform in the ball. Steps of eps / 4 are theirs for CIFAR-10, 2/255 at 8/255;
    TRADES is evaluated with 20 steps of 0.003 at 0.031. Of several restarts, the one with the largest margin in favour of
    another class is kept for each image: a misclassified one if there is any.
    """
    low, high = (images - eps).clamp(min=0), (images + eps).clamp(max=1)
    best = best_margin = None
    for _ in range(restarts):
        x = (images + eps * torch.empty_like(images).uniform_(-1, 1, generator=random)).clamp(low, high)
        for _ in range(steps):
            x = (x + eps / 4 * gradient_sign(net, x, labels)).clamp(low, high)
        with torch.no_grad():
            margin = misclassification_margin(net(x), labels) if restarts > 1 else None
        if best is None or best_margin is None or margin is None:
            best, best_margin = x, margin
        else:
            best = torch.where((margin > best_margin)[:, None, None, None], x, best)
            best_margin = torch.maximum(margin, best_margin)
    assert best is not None
    return best
