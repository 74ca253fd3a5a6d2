"""Logit adjustment after training: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, arXiv 2007.07314.

A network trained on classes of different sizes has learned their prior. z - tau log pi removes it from the logits without
training again; pi is the class prior of the training labels. tau 1 is the paper's.

A network that was trained with `balanced`, `logit_adjust` or `class_balanced` has not learned the prior: removing it again
would favour rare classes.
"""

import numpy as np
from numpy.typing import NDArray


def adjust_logits(logits: NDArray[np.float32], counts: NDArray[np.int64], tau: float = 1.0) -> NDArray[np.float32]:
    """Return z - tau log pi: (n, K), (K,) -> (n, K). A class without training labels counts as if it had one.

    >>> adjust_logits(np.zeros((1, 2), np.float32), np.array([3, 1])).argmax(axis=1).tolist()
    [1]
    """
    n = np.maximum(counts, 1)
    adjusted: NDArray[np.float32] = (logits - tau * np.log(n / n.sum())).astype(np.float32)
    return adjusted
