"""Memory of an audit beyond that of its imports, on a data set that is memory-mapped from disk.

    python benchmarks/auditing.py [--count 200000] [--size 64] [--net wrn_10_1] [--folds 2] [--epochs 1] [--limit 2]

Images and labels are random, so that no label issues are found, but all stages of an audit run. Two figures are printed: the
peak of anonymous memory, which the audit itself allocates, and the peak of resident memory, which includes pages of the
mapped file that the system can reclaim. Exits with 1 if the first is above the limit.
"""

import argparse
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import cleanlab.filter  # noqa: F401  # lazy imports of an audit, imported here so that they are not measured
import numpy as np
import sklearn.model_selection  # noqa: F401
from numpy.lib.format import open_memmap

from pipelines.cli_options import AuditOptions
from pipelines.stages import audit
from robustkd.data.view import Source


def anonymous_bytes() -> int:
    """Return the anonymous (not file-backed) resident memory of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise OSError("/proc/self/status has no RssAnon")


def peak_resident_bytes() -> int:
    """Return the peak resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


class PeakMonitor(threading.Thread):
    """A thread that samples the anonymous memory twenty times a second and keeps the maximum."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, anonymous_bytes())
            time.sleep(0.05)


def mapped_source(path: Path, count: int, size: int, classes: int) -> Source:
    """Write random images in chunks and return them memory-mapped."""
    random = np.random.default_rng(0)
    images = open_memmap(path, "w+", np.uint8, (count, 3, size, size))
    for start in range(0, count, 4096):
        images[start : start + 4096] = random.integers(0, 256, images[start : start + 4096].shape, np.uint8)
    images.flush()
    del images
    names = tuple(f"class {number}" for number in range(classes))
    return Source("random", np.load(path, mmap_mode="r"), random.integers(0, classes, count), names)


def main() -> int:
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
    imports, resident = anonymous_bytes(), peak_resident_bytes()
    monitor, start = PeakMonitor(), time.monotonic()
    monitor.start()
    with tempfile.TemporaryDirectory() as folder:
        source = mapped_source(Path(folder) / "images.npy", arguments.count, arguments.size, arguments.classes)
        options = {name: getattr(arguments, name) for name in ("net", "folds", "epochs", "threads")}
        audit.audit_source(AuditOptions(dataset="random", out=folder, prune=True, relabel=True, **options), source)
        pixels = source.images.nbytes
    anonymous, total = monitor.peak - imports, peak_resident_bytes() - resident
    print(
        f"{arguments.count} images of {arguments.size}x{arguments.size}, {pixels / 1e9:.2f} GB of pixels: "
        f"peak beyond imports {anonymous / 1e9:.2f} GB anonymous, {total / 1e9:.2f} GB with mapped pages; "
        f"imports {imports / 1e9:.2f} GB; {time.monotonic() - start:.0f} s"
    )
    return int(anonymous > arguments.limit * 1e9)


if __name__ == "__main__":
    sys.exit(main())
