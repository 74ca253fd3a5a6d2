"""Batches of a view: uint8 images on the device, gathered and augmented as whole tensors.

A data set that fits is kept on the device. A larger one stays memory-mapped, and a thread reads the next batches during the
computation on the present one. Sampling, order, augmentation and mixing of epoch e depend on (seed, e) only: all methods see
the same images in the same order for a seed, and there is no state to save.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from robustkd import seeds
from robustkd.data.augment import crop_centre, parse_augment
from robustkd.data.augmentations import NONE, build_augmentation
from robustkd.data.mixing import NO_MIXING, mix_batch, parse_mixing
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.data.resize import Pixels
from robustkd.data.sampling import draw_rows
from robustkd.data.view import Labels, View
from robustkd.types import Batch, Clock, Sampling

BATCHES_AHEAD = 3  # read from the memory map before they are needed

BatchTransform = Callable[[Tensor, Tensor], Tensor]  # images (B, H, W, C) and which draws each uses (B,) -> images


def memory_budget(device: torch.device) -> int:
    """Return the bytes that a data set may occupy on a device: half of its free memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] // 2)
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return 4 << 30


class Loader:
    """Batches of a view, epoch by epoch.

    Args:
        view: the samples.
        batch_size: largest number of samples per batch; an epoch is divided into batches of equal size (to within one sample)
            and, with natural sampling, uses every sample.
        device: where batches are created.
        seed: determines order and augmentation.
        augment: how images are cropped and changed, as in `robustkd.data.augment`; they are mirrored only if the source says
            that this keeps the class.
        views: additional views of each image, named as in `robustkd.data.paired_views`; each is augmented by itself.
        transform: a further augmentation, named as in `robustkd.data.augmentations`, or none; of each view by itself.
        sampling: which rows an epoch consists of (see `robustkd.data.sampling`); it has N of them in all cases.
        mixing: how images are mixed, as in `robustkd.data.mixing`, or none.
        budget: bytes that the data set may occupy on the device; None: half of the free memory.
    """

    def __init__(
        self,
        view: View,
        batch_size: int,
        device: torch.device,
        *,
        seed: int = 0,
        augment: str | bool = "shift",
        views: Sequence[str] = (),
        transform: str = NONE,
        sampling: Sampling = "natural",
        mixing: str = NO_MIXING,
        budget: int | None = None,
    ) -> None:
        self.view, self.batch_size, self.device, self.seed = view, batch_size, device, seed
        self.augmenter, self.shape, self.flips = parse_augment(augment), view.sources[0].shape, view.sources[0].flips
        self.views, self.sampling, self.mixing = tuple(views), sampling, parse_mixing(mixing)
        self.transform = transform
        self.labels = torch.from_numpy(view.labels).to(device)
        size = len(view) * int(np.prod(view.sources[0].stored_shape))
        fits = size <= (memory_budget(device) if budget is None else budget)
        # Channels last from the start: a gathered batch then has the memory format that convolutions prefer.
        self.resident = torch.from_numpy(to_channels_last(view.images())).to(device) if fits else None

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-len(self.view) // self.batch_size)

    def _gather(self, rows: Tensor) -> Iterator[Tensor]:
        """Yield the uint8 images of an epoch, batch by batch, as stored: (B, H, W, C)."""
        chunks = rows.tensor_split(len(self))
        if self.resident is None:
            yield from self._stream([chunk.cpu().numpy() for chunk in chunks])
            return
        for chunk in chunks:
            yield self.resident[chunk]

    def _stream(self, chunks: Sequence[Labels]) -> Iterator[Tensor]:
        """Yield the images of rows (B,), batch by batch, while a thread reads the next ones from the memory map."""
        executor = ThreadPoolExecutor(1)
        pending: deque[Future[Tensor]] = deque()
        try:
            for chunk in chunks:
                pending.append(executor.submit(self._read, chunk))
                if len(pending) > BATCHES_AHEAD:
                    yield pending.popleft().result().to(self.device, non_blocking=True)
            while pending:
                yield pending.popleft().result().to(self.device, non_blocking=True)
        finally:
            executor.shutdown(cancel_futures=True)

    def _read(self, rows: Labels) -> Tensor:
        """Read the images of rows (B,) in the order of the disk and return them in the given order: (B, H, W, C)."""
        order = np.argsort(rows)
        images = self.view.take(rows[order]).images()
        batch = torch.from_numpy(to_channels_last(images[np.argsort(order)]))
        return batch.pin_memory() if self.device.type == "cuda" else batch

    def iter_epoch(self, number: int, clock: Clock, sampling: Sampling | None = None) -> Iterator[Batch]:
        """Yield the batches of epoch `number`, counted over all phases of a run.

        Args:
            clock: the progress within the phase.
            sampling: of this epoch, instead of the loader's.
        """
        chosen = sampling or self.sampling
        generator = torch.Generator().manual_seed(seeds.derive(self.seed, "order", number))
        rows = draw_rows(torch.from_numpy(self.view.labels), chosen, clock, generator).to(self.device)
        # A row that is drawn twice is augmented twice.
        draws = rows if chosen == "natural" else torch.arange(len(rows), device=self.device)
        first, *others = self._augment("augment", number), *(self._paired_view(v, number) for v in self.views)
        mix, parts = self._mix(number), (part.tensor_split(len(self)) for part in (rows, draws))
        for index, numbers, images in zip(*parts, self._gather(rows), strict=True):
            views = tuple(to_float_images(transform(images, numbers)) for transform in others)
            yield mix(Batch(to_float_images(first(images, numbers)), self.labels[index], index, clock, views))

    def _mix(self, number: int) -> Callable[[Batch], Batch]:
        """Draw the partners and shares of an epoch's mixtures and return their application to the next batch."""
        mixing = self.mixing
        if mixing is None:
            return lambda batch: batch
        generator = torch.Generator().manual_seed(seeds.derive(self.seed, "mixing", number))
        keys = iter(torch.rand(len(self.view), generator=generator).to(self.device).tensor_split(len(self)))
        draws = iter(torch.rand(len(self), mixing.draws, generator=generator, dtype=torch.float64).tolist())
        counts = torch.from_numpy(self.view.counts).to(self.device)
        return lambda batch: mix_batch(batch, mixing, next(keys).argsort(), next(draws), counts)

    def _augment(self, purpose: str, number: int) -> BatchTransform:
        """Draw the random numbers of an epoch's augmentation and return its application."""
        generator = torch.Generator().manual_seed(seeds.derive(self.seed, purpose, number))
        # All draws of an epoch at once, so that a step involves no randomness.
        drawn = self.augmenter.draw(len(self.view), self.shape, generator).to(self.device)
        further = build_augmentation(self.transform)
        draws = None if further is None else self._draw(further.draws, purpose, self.transform, "draws", number)

        def transform(images: Tensor, numbers: Tensor) -> Tensor:
            if further is not None and draws is not None:
                images = further(images, draws[numbers])
            return self.augmenter.apply(images, drawn[numbers], self.shape, self.flips)

        return transform

    def _draw(self, count: int, *key: str | int) -> Tensor:
        """Draw uniform random numbers for each sample of an epoch: (N, count)."""
        generator = torch.Generator().manual_seed(seeds.derive(self.seed, *key))
        return torch.rand(len(self.view), count, generator=generator).to(self.device)

    def _paired_view(self, text: str, number: int) -> BatchTransform:
        """Draw an epoch of an additional view and return its application; the augmentation follows, with its own draws."""
        spec = PAIRED_VIEWS.parse(text)
        view = spec.load()(**spec.kwargs())
        draws, augment = self._draw(view.draws, text, "draws", number), self._augment(text, number)
        return lambda images, numbers: augment(view(images, draws[numbers]), numbers)

    def iter_plain(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images in [0, 1] and labels in order and without augmentation, for evaluation: (B, C, H, W), (B,)."""
        rows = torch.arange(len(self.view), device=self.device)
        for index, images in zip(rows.tensor_split(len(self)), self._gather(rows), strict=True):
            yield to_float_images(crop_centre(images, self.shape)), self.labels[index]


def to_float_images(images: Tensor) -> Tensor:
    """Convert uint8 (B, H, W, C) to float (B, C, H, W) in [0, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def to_channels_last(images: Pixels) -> Pixels:
    """Rearrange images in memory: (N, C, H, W) -> (N, H, W, C)."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))
