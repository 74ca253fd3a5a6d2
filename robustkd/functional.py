"""Mathematics that two or more methods use: pure functions of tensors. B batch, K classes."""

import torch.nn.functional as F
from torch import Tensor


def kl(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(p_t || p_s) of softened logits, averaged over the batch: (B, K), (B, K) -> scalar.

    p = softmax(z / T). The mean is over samples only: over all elements it would be K times too small. T^2, which keeps
    the gradient's size as T grows, is the caller's to multiply with.

    >>> import torch
    >>> float(kl(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])))  # a shift of the logits changes nothing
    0.0
    """
    log_p, log_q = F.log_softmax(target / temperature, dim=1), F.log_softmax(logits / temperature, dim=1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def soft_ce(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """-sum_c p_t,c log p_s,c of softened logits, per sample: (B, K), (B, K) -> (B,).

    Its gradient is that of `kl`; its value is larger by the entropy of p_t.

    >>> import torch
    >>> round(float(soft_ce(torch.zeros(1, 2), torch.zeros(1, 2))), 4)  # log 2
    0.6931
    """
    return -(F.softmax(target / temperature, dim=1) * F.log_softmax(logits / temperature, dim=1)).sum(dim=1)
