"""Batches of a view: images on the device as uint8, gathered, moved and mirrored as whole tensors.

A set that fits lives on the device; a larger one stays where it is mapped, and one thread gathers the next batch while the
present one is computed with. The order and the augmentation of epoch e hang on (seed, e) alone: all methods of a seed
see the same images in the same order, and there is no state to save.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from robustkd import seeds
from robustkd.data.augment import max_shift, mirror, shift
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.data.view import View
from robustkd.types import Batch, Clock

BatchTransform = Callable[[Tensor, Tensor], Tensor]


def memory_budget(device: torch.device) -> int:
    """Bytes that a set may take on a device: half of what is free."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] // 2)
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return 4 << 30


class Loader:
    """A view's batches, epoch by epoch.

    Args:
        view: what is shown.
        batch: samples per batch; an epoch is cut into equal batches of at most this many, and none is left out.
        device: where batches are wanted.
        seed: what order and augmentation hang on.
        augment: whether images are moved, and mirrored where the source says that keeps the class.
        views: further augmentations of each image, words of `robustkd.data.paired_views`; each is moved and mirrored anew.
        budget: bytes the set may take on the device; None: half of what is free.
    """

    def __init__(
        self,
        view: View,
        batch: int,
        device: torch.device,
        *,
        seed: int = 0,
        augment: bool = True,
        views: Sequence[str] = (),
        budget: int | None = None,
    ) -> None:
        self.view, self.batch, self.device, self.seed = view, batch, device, seed
        self.augment, self.flips = augment, augment and view.sources[0].flips
        self.views = tuple(views)
        self.labels = torch.from_numpy(view.labels).to(device)
        size = len(view) * int(np.prod(view.sources[0].shape))
        self.resident = (
            self._stored(view.images()) if size <= (memory_budget(device) if budget is None else budget) else None
        )

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.view) // self.batch)

    def _stored(self, images: np.ndarray) -> Tensor:
        # Channels last from the start: a gathered batch then has the memory format that convolutions want.
        return torch.from_numpy(images).to(self.device, non_blocking=True).permute(0, 2, 3, 1).contiguous()

    def _gathered(self, rows: Tensor) -> Iterator[Tensor]:
        """The uint8 images of an epoch, batch by batch: (B, H, W, C)."""
        chunks = rows.tensor_split(len(self))
        if self.resident is not None:
            for chunk in chunks:
                yield self.resident[chunk]
            return
        fetch = [np.sort(chunk.cpu().numpy()) for chunk in chunks]
        with ThreadPoolExecutor(1) as ahead:
            waiting = ahead.submit(self.view.take(fetch[0]).images)
            for number in range(len(chunks)):
                images = waiting.result()
                if number + 1 < len(chunks):
                    waiting = ahead.submit(self.view.take(fetch[number + 1]).images)
                # Read in the order of the disk, handed out in the order of the epoch.
                place = torch.from_numpy(np.searchsorted(fetch[number], chunks[number].cpu().numpy()))
                yield self._stored(images)[place.to(self.device)]

    def iter_epoch(self, number: int, clock: Clock) -> Iterator[Batch]:
        """The batches of epoch `number`, counted over all phases of a run."""
        random = torch.Generator().manual_seed(seeds.derive(self.seed, "order", number))
        rows = torch.randperm(len(self.view), generator=random).to(self.device)
        moved, *others = self._moves("augment", number), *(self._paired(view, number) for view in self.views)
        for index, images in zip(rows.tensor_split(len(self)), self._gathered(rows), strict=True):
            views = tuple(to_float_images(other(images, index)) for other in others)
            yield Batch(to_float_images(moved(images, index)), self.labels[index], index, clock, views)

    def _moves(self, name: str, number: int) -> BatchTransform:
        """An epoch's moving and mirroring: images (B, H, W, C) and their rows -> images."""
        n, side = len(self.view), min(self.view.sources[0].shape[1:])
        random = torch.Generator().manual_seed(seeds.derive(self.seed, name, number))
        pad = max_shift(side)
        # One draw per epoch, indexed by row: nothing random is left to do inside a step.
        offsets = torch.randint(0, 2 * pad + 1, (n, 2), generator=random).to(self.device)
        flipped = (torch.rand(n, generator=random) < 0.5).to(self.device)

        def change(images: Tensor, index: Tensor) -> Tensor:
            images = shift(images, offsets[index], pad) if self.augment else images
            return mirror(images, flipped[index]) if self.flips else images

        return change

    def _paired(self, text: str, number: int) -> BatchTransform:
        """An epoch of another view: changed as the word says, then moved and mirrored by draws of its own."""
        word = PAIRED_VIEWS.parse(text)
        view = word.load()(**word.kwargs())
        random = torch.Generator().manual_seed(seeds.derive(self.seed, text, "draws", number))
        draws = torch.rand(len(self.view), view.draws, generator=random).to(self.device)
        moved = self._moves(text, number)
        return lambda images, index: moved(view(images, draws[index]), index)

    def iter_plain(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images in [0, 1] and labels as they stand, in order, for evaluation: (B, C, H, W), (B,)."""
        rows = torch.arange(len(self.view), device=self.device)
        for index, images in zip(rows.tensor_split(len(self)), self._gathered(rows), strict=True):
            yield to_float_images(images), self.labels[index]


def to_float_images(images: Tensor) -> Tensor:
    """uint8 (B, H, W, C) to float (B, C, H, W) in [0, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255)
