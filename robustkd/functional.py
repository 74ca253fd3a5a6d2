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
