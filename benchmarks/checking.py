"""Speed and recall of check-data on images of CIFAR's size with planted copies.

python benchmarks/checking.py [--images 50000] [--planted 500] [--data npz:PATH]

Images are random shapes in random colours. There are --planted copies of each kind: exact, JPEG-compressed (quality 75),
resized to 0.8 and back, brighter, and shifted by a pixel. Copies are test images, originals are training images. Printed are
the time of the whole command and the number of copies it reports. With --data another data set is checked, without planted
copies.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

KINDS = ("exact", "jpeg", "resized", "brighter", "moved")
IMAGE_SIZE = 32


def smooth_noise_images(count: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return smooth colour images from noise at several scales: (count, S, S, 3)."""
    images = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for start in range(0, count, 1000):
        rows = slice(start, min(start + 1000, count))
        noise = np.zeros(images[rows].shape)
        for side, weight in ((4, 1.0), (8, 0.7), (16, 0.4), (32, 0.15)):
            coarse = random.normal(size=(noise.shape[0], side, side, 3))
            noise += weight * coarse.repeat(IMAGE_SIZE // side, 1).repeat(IMAGE_SIZE // side, 2)
        images[rows] = (128 + 45 * noise).clip(0, 255)
    return images


def modify_image(image: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """Return a slightly modified copy of an image."""
    opened = Image.fromarray(image)
    if kind == "jpeg":
        file = io.BytesIO()
        opened.save(file, "JPEG", quality=75)
        return np.asarray(Image.open(file))
    if kind == "resized":
        small = round(0.8 * IMAGE_SIZE)
        return np.asarray(
            opened.resize((small, small), Image.Resampling.BILINEAR).resize(
                (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR
            )
        )
    if kind == "brighter":
        return (1.2 * image + 10.0).clip(0, 255).astype(np.uint8)
    return np.concatenate([image[:, :1], image[:, :-1]], axis=1) if kind == "moved" else image


def write_planted(path: Path, count: int, each: int) -> None:
    """Write the images and their copies as a data set, with the copies grouped by kind."""
    random = np.random.default_rng(0)
    images = smooth_noise_images(count - len(KINDS) * each, random)
    originals = random.permutation(len(images))[: len(KINDS) * each]
    kinds = np.repeat(KINDS, each)
    copies = np.stack([modify_image(images[row], kind) for row, kind in zip(originals, kinds, strict=True)])
    labels = np.arange(len(images)) % 10
    np.savez(path, X=images, y=labels, X_test=copies, y_test=labels[originals], originals=originals)


def print_reported_copies(report: dict[str, Any], originals: NDArray[np.int64], each: int) -> None:
    """Print how many planted copies of each kind are reported with their original."""
    first = report["images"] - len(originals)
    pairs = {text for finding in report["findings"] if "leak" in finding["name"] for text in finding["examples"]}
    for number, kind in enumerate(KINDS):
        rows = range(number * each, (number + 1) * each)
        sign = "=" if kind == "exact" else "~"
        reported = sum(f"row {first + row} (test) {sign} row {originals[row]} (train)" in pairs for row in rows)
        print(f"  {kind}: {reported} of {each} planted copies named")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--planted", type=int, default=500)
    parser.add_argument("--data")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "planted.npz")
        if not arguments.data:
            write_planted(path, arguments.images, arguments.planted)
        spec = arguments.data or f"npz:{path}"
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", "check-data", spec, "--json"], capture_output=True, text=True
        )
        seconds = time.perf_counter() - start
        if not done.stdout:
            sys.exit(done.stderr)
        report = json.loads(done.stdout)
        print(f"{report['images']:,} images: {seconds:.1f} s, {report['errors']} errors, {report['warnings']} warnings")
        for finding in report["findings"]:
            print(f"  {finding['severity']:8} {finding['name']}: {finding['sentence']}")
        if not arguments.data:
            print_reported_copies(report, np.load(path)["originals"], arguments.planted)


if __name__ == "__main__":
    main()
