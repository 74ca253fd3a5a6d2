"""check-data on images of the size of CIFAR's: seconds of the whole command, and how many of the planted copies it names.

python benchmarks/checking.py [--images 50000] [--planted 500] [--data npz:PATH]

Images are random shapes in random colours. Of --planted of them there is an exact copy, and of as many others one each through
JPEG (quality 75), at 0.8 of its size and back, brighter, and moved by a pixel; all copies are test images, all others train.
With --data a data set of one's own is checked instead, and nothing is planted.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

KINDS = ("exact", "jpeg", "resized", "brighter", "moved")
SIDE = 32


def pictures(count: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Smooth colours from coarse noise, with finer noise over them: (count, S, S, 3)."""
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for start in range(0, count, 1000):
        rows = slice(start, min(start + 1000, count))
        noise = np.zeros(images[rows].shape)
        for side, weight in ((4, 1.0), (8, 0.7), (16, 0.4), (32, 0.15)):
            coarse = random.normal(size=(noise.shape[0], side, side, 3))
            noise += weight * coarse.repeat(SIDE // side, 1).repeat(SIDE // side, 2)
        images[rows] = (128 + 45 * noise).clip(0, 255)
    return images


def copy(image: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """One image again, changed a little."""
    opened = Image.fromarray(image)
    if kind == "jpeg":
        file = io.BytesIO()
        opened.save(file, "JPEG", quality=75)
        return np.asarray(Image.open(file))
    if kind == "resized":
        small = round(0.8 * SIDE)
        return np.asarray(
            opened.resize((small, small), Image.Resampling.BILINEAR).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        )
    if kind == "brighter":
        return (1.2 * image + 10.0).clip(0, 255).astype(np.uint8)
    return np.concatenate([image[:, :1], image[:, :-1]], axis=1) if kind == "moved" else image


def planted(path: Path, count: int, each: int) -> None:
    """Write the images and their copies as a data set: the copies of a kind in one block after the other."""
    random = np.random.default_rng(0)
    images = pictures(count - len(KINDS) * each, random)
    models = random.permutation(len(images))[: len(KINDS) * each]
    kinds = np.repeat(KINDS, each)
    copies = np.stack([copy(images[model], kind) for model, kind in zip(models, kinds, strict=True)])
    labels = np.arange(len(images)) % 10
    np.savez(path, X=images, y=labels, X_test=copies, y_test=labels[models], models=models)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--images", type=int, default=50_000)
parser.add_argument("--planted", type=int, default=500)
parser.add_argument("--data")
arguments = parser.parse_args()
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "planted.npz")
    if not arguments.data:
        planted(path, arguments.images, arguments.planted)
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
        models = np.load(path)["models"]
        first = report["images"] - len(models)
        pairs = {text for finding in report["findings"] if "leak" in finding["name"] for text in finding["examples"]}
        for number, kind in enumerate(KINDS):
            rows = range(number * arguments.planted, (number + 1) * arguments.planted)
            sign = "=" if kind == "exact" else "~"
            named = sum(f"row {first + row} (test) {sign} row {models[row]} (train)" in pairs for row in rows)
            print(f"  {kind}: {named} of {arguments.planted} planted copies named")
