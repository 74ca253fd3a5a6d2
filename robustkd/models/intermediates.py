"""Feature maps that a classifier returns itself, by the interface of timm's classifiers.

`forward_intermediates(x, indices)` returns the last features and the selected maps as (B, c, h, w); `forward_head` computes
the logits from the features.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robustkd.models.feature_taps import ImageShape, draw_images, spread_blocks
from robustkd.models.net import eval_no_grad

MAX_STAGES = 6  # of a network with several resolutions; of more maps, the last at each resolution is taken


def run_with_intermediates(model: nn.Module, x: Tensor, indices: Sequence[int] | None) -> tuple[Tensor, list[Tensor]]:
    """Compute logits and the selected maps, all if None: (B, C, H, W) -> (B, K), (B, c, h, w) each."""
    timm_model: Any = model
    features, maps = timm_model.forward_intermediates(x, indices=indices)
    logits: Tensor = timm_model.forward_head(features)
    return logits, list(maps)


def find_intermediates(model: nn.Module, shape: ImageShape) -> list[int]:
    """Select the intermediates that serve as feature maps; none if the classifier lacks the interface or deviates from it.

    In a network of one resolution, such as a ViT, these are the first block and the last of each quarter.
    """
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "forward_head"):
        return []
    x = draw_images(model, shape)
    with eval_no_grad(model):
        expected = model(x)
        try:
            logits, maps = run_with_intermediates(model, x, None)
        except Exception:  # the classifier is used without this interface; each raises errors of its own
            return []
    if not torch.allclose(logits, expected, atol=1e-4) or any(m.ndim != 4 for m in maps):
        return []
    return select_maps([(m.shape[2], m.shape[3]) for m in maps])


def select_maps(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Select maps by their sizes (h, w).

    >>> select_maps([(14, 14)] * 12), select_maps([(28, 28), (14, 14), (7, 7)])
    ([0, 2, 5, 8, 11], [0, 1, 2])
    """
    if len(set(sizes)) == 1:
        return spread_blocks(len(sizes))
    if len(sizes) <= MAX_STAGES:
        return list(range(len(sizes)))
    return sorted({size: i for i, size in enumerate(sizes)}.values())
