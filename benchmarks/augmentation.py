"""Speed of the augmentation of photographs, compared with other libraries and a DataLoader.

    python benchmarks/augmentation.py [--side 224] [--batch 64] [--threads 1] [--workers 2] [--rounds 5] [--device cpu]

All make the same kind of images: random resized crops of 35 to 100 % of the area, flips, colour jitter of 0.4, TrivialAugment,
and random erasing with probability 0.25, drawn for each image.

    photo            `--augment photo`: a batch of stored bytes on the device
    kornia           the same batch with kornia's augmentations, if it is installed
    v2, one by one   the same batch with torchvision.transforms.v2, which draws once per call
    loader, arrays   a DataLoader with worker processes, which augments stored images with torchvision and Pillow
    loader, files    the same from JPEG files of twice the side, which each epoch decodes again

Images per second of processor time, summed over threads and worker processes, do not depend on what else the machine does;
images per second do. All are measured in turns.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from robustkd.data.augment import parse_augment
from robustkd.data.resize import add_margin

IMAGES = 256
# Augments some images; returns their number and the processor time that worker processes took, in seconds.
Measure = Callable[[], tuple[int, float]]


class Photographs(Dataset[Tensor]):
    """Images augmented one by one, from arrays (H, W, C) or from the files that these are stored in."""

    def __init__(self, images: np.ndarray, folder: Path | None, transform: Callable[[Any], Tensor]) -> None:
        self.images, self.folder, self.transform = images, folder, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        if self.folder is None:
            return self.transform(Image.fromarray(self.images[row]))
        return self.transform(Image.open(self.folder / f"{row}.jpg").convert("RGB"))


def torchvision_transform(side: int, image: bool) -> Callable[[Any], Tensor]:
    """Return torchvision's augmentation, of a Pillow image or a uint8 tensor (C, H, W)."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(side, (0.35, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.4, 0.4, 0.4),
            v2.TrivialAugmentWide(),
            *([v2.ToImage()] if image else []),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomErasing(0.25),
        ]
    )


def kornia_transform(side: int) -> Callable[[Tensor], Tensor]:
    """Return kornia's augmentation of a float batch."""
    from kornia import augmentation
    from kornia.augmentation.auto import TrivialAugment

    return augmentation.AugmentationSequential(
        augmentation.RandomResizedCrop((side, side), (0.35, 1.0)),
        augmentation.RandomHorizontalFlip(),
        augmentation.ColorJiggle(0.4, 0.4, 0.4),
        TrivialAugment(),
        augmentation.RandomErasing(p=0.25),
        data_keys=["input"],
    )


def smooth_images(count: int, side: int) -> np.ndarray:
    """Return random images that are as smooth as photographs: (count, side, side, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, side // 16, side // 16, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in coarse]
    )


def collate(images: list[Tensor]) -> tuple[Tensor, int, float]:
    """Return a batch, the worker process and the processor time that it has taken so far."""
    return torch.stack(images), os.getpid(), time.process_time()


def loader_measure(dataset: Photographs, arguments: argparse.Namespace) -> Measure:
    """Return the measurement of an epoch of a DataLoader, whose workers run on."""
    loader = DataLoader(
        dataset,
        arguments.batch,
        shuffle=True,
        num_workers=arguments.workers,
        persistent_workers=True,
        collate_fn=collate,
        worker_init_fn=lambda _: torch.set_num_threads(1),
    )
    taken: dict[int, float] = {}

    def measure() -> tuple[int, float]:
        before, count = sum(taken.values()), 0
        for images, worker, seconds in loader:
            count += len(images.to(arguments.device))
            taken[worker] = seconds
        return count, sum(taken.values()) - before

    return measure


def measurements(arguments: argparse.Namespace, folder: Path) -> dict[str, Measure]:
    """Return what is measured, by name."""
    side, batch, device = arguments.side, arguments.batch, torch.device(arguments.device)
    stored = add_margin(side, 0.875)
    images = smooth_images(IMAGES, stored)
    for row, image in enumerate(smooth_images(IMAGES, 2 * side)):
        Image.fromarray(image).save(folder / f"{row}.jpg", quality=90)
    resident, generator = torch.from_numpy(images).to(device), torch.Generator()
    photo, shape = parse_augment("photo"), (3, side, side)

    def ours() -> tuple[int, float]:
        drawn = photo.draw(IMAGES, shape, generator).to(device)
        for rows in torch.arange(IMAGES, device=device).split(batch):
            photo.apply(resident[rows], drawn[rows], shape, True).permute(0, 3, 1, 2).float().div_(255)
        return IMAGES, 0.0

    def one_by_one() -> tuple[int, float]:
        transform = torchvision_transform(side, image=False)
        for image in resident[:batch].permute(0, 3, 1, 2):
            transform(image)
        return batch, 0.0

    def with_kornia() -> tuple[int, float]:
        transform = kornia_transform(side)
        transform(resident[:batch].permute(0, 3, 1, 2).float().div_(255))
        return batch, 0.0

    transform = torchvision_transform(side, image=True)
    return {
        "photo": ours,
        **({"kornia": with_kornia} if find_spec("kornia") else {}),
        "v2, one by one": one_by_one,
        "loader, arrays": loader_measure(Photographs(images, None, transform), arguments),
        "loader, files": loader_measure(Photographs(images, folder, transform), arguments),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        measured = measurements(arguments, Path(folder))
        wall: dict[str, list[float]] = {name: [] for name in measured}
        processor: dict[str, list[float]] = {name: [] for name in measured}
        for number in range(arguments.rounds + 1):
            for name, measure in measured.items():
                start, cpu = time.perf_counter(), time.process_time()
                count, of_workers = measure()
                if arguments.device.startswith("cuda"):
                    torch.cuda.synchronize()
                if number:  # the first round starts workers and fills caches
                    wall[name].append(count / (time.perf_counter() - start))
                    processor[name].append(count / (time.process_time() - cpu + of_workers))
    print(
        f"{arguments.side} pixels, {arguments.rounds} rounds: images per second of processor time, and per second (medians)"
    )
    for name in measured:
        print(f"{name:16s} {statistics.median(processor[name]):8.0f} {statistics.median(wall[name]):8.0f}")


if __name__ == "__main__":
    main()
