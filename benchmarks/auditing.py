"""How much memory an audit takes beyond what importing it does, on a set that is mapped from the disk.

    python benchmarks/auditing.py [--count 200000] [--size 64] [--net wrn_10_1] [--folds 2] [--epochs 1] [--limit 2]

The images are random, and so are their labels: nothing is found, but everything is read, trained on, asked about, ranked and
written. Two figures: the peak of anonymous memory, which is what the audit itself holds; and the peak of resident memory,
which counts pages of the mapped file too, though the system drops these when anybody wants the room. Exit 1 above the limit.
"""

import argparse
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import cleanlab.filter  # noqa: F401  # what an audit imports when it needs it, imported now so as not to be counted
import numpy as np
import sklearn.model_selection  # noqa: F401
from numpy.lib.format import open_memmap

from pipelines.cli_options import AuditOptions
from pipelines.stages import audit
from robustkd.data.view import Source


def anonymous() -> int:
    """Bytes that this process holds and that are of no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise OSError("/proc/self/status does not tell RssAnon")


class Peak(threading.Thread):
    """Looks twenty times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0

    def run(self) -> None:
        while True:
            self.most = max(self.most, anonymous())
            time.sleep(0.05)


def mapped(path: Path, count: int, size: int, classes: int) -> Source:
    """A set of random pixels, written in pieces and mapped."""
    random = np.random.default_rng(0)
    images = open_memmap(path, "w+", np.uint8, (count, 3, size, size))
    for start in range(0, count, 4096):
        images[start : start + 4096] = random.integers(0, 256, images[start : start + 4096].shape, np.uint8)
    images.flush()
    del images
    names = tuple(f"class {number}" for number in range(classes))
    return Source("random", np.load(path, mmap_mode="r"), random.integers(0, classes, count), names)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--count", type=int, default=200_000)
parser.add_argument("--size", type=int, default=64)
parser.add_argument("--classes", type=int, default=100)
parser.add_argument("--net", default="wrn_10_1")
parser.add_argument("--folds", type=int, default=2)
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--threads", type=int, default=None)
parser.add_argument("--limit", type=float, default=2.0, help="GB beyond imports")
arguments = parser.parse_args()

before, resident = anonymous(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
peak, began = Peak(), time.monotonic()
peak.start()
with tempfile.TemporaryDirectory() as folder:
    source = mapped(Path(folder) / "images.npy", arguments.count, arguments.size, arguments.classes)
    words = {name: getattr(arguments, name) for name in ("net", "folds", "epochs", "threads")}
    audit.conduct(AuditOptions(dataset="random", out=folder, prune=True, relabel=True, **words), source)
    pixels = source.images.nbytes
taken, all_ = peak.most - before, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - resident
print(
    f"{arguments.count} images of {arguments.size}x{arguments.size}, {pixels / 1e9:.2f} GB of pixels: "
    f"peak beyond imports {taken / 1e9:.2f} GB of its own, {all_ / 1e9:.2f} GB with mapped pages; "
    f"imports {before / 1e9:.2f} GB; {time.monotonic() - began:.0f} s"
)
sys.exit(taken > arguments.limit * 1e9)
