"""Building scenarios over a million labels: seconds of each word for 10, 100 and 1,000 classes; the aim is 1 s.

python benchmarks/building.py [--scenario imbalance0.2+noise0.4] [--labels 1000000] [--runs 3]

Without --scenario every word is built but `instance`, which goes by the images; what a word reads is written for it first.
The first run of each pays for reading that file, the median of the runs after it is what another data seed or the held-out
rows would take. Images are one pixel each, so the time `openset` takes is that of the labels alone.
With --scenario one chain is built, and the megabytes traced beyond the labels are told too.
"""

import argparse
import os
import statistics
import time
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

import scenarios
from robustkd.data import manifest
from robustkd.data.view import Source, View

CLASSES = (10, 100, 1000)
FOREIGN = 1000  # images of the set that openset borrows from
# Words that need more than their summary's number; the files are those that `written` leaves.
EXAMPLES = {
    "asym": "asym(0.4, map=T.csv)",
    "matrix": "matrix(file=T.csv)",
    "human": "human(column=mine, file=human.npz)",
    "openset": 'openset(0.2, source="npz:foreign.npz")',
    "counts": "counts(file=counts.csv)",
    "manifest": "manifest(file=manifest.csv)",
    **{"clean": "clean", "noise": "noise0.4", "pair": "pair0.45", "tail_noise": "tail_noise0.2"},
    **{"head_noise": "head_noise0.2", "imbalance": "imbalance0.2", "longtail": "longtail100", "step": "step10"},
    "fraction": "fraction0.1",
}
LEFT_OUT = ("instance",)


def blank(labels: int, classes: int) -> View:
    """So many labels, each on an image of one pixel."""
    shown = np.arange(labels) % classes
    return View.of(Source("labels", np.zeros((labels, 1, 1, 1), np.uint8), shown, tuple(map(str, range(classes)))))


def written(view: View) -> None:
    """The files of EXAMPLES, in the working folder."""
    names, size = view.classes, len(view.classes)
    matrix = np.full((size, size), 0.4 / (size - 1))
    np.fill_diagonal(matrix, 0.6)
    np.savetxt("T.csv", matrix, fmt="%.10g", delimiter=",")
    np.savez("human.npz", mine=np.roll(view.labels, 1))
    np.savez("foreign.npz", X=np.arange(FOREIGN, dtype=np.uint8).reshape(-1, 1, 1), y=np.arange(FOREIGN) % 2)
    pd.DataFrame({"class": names, "count": view.counts // 2}).to_csv("counts.csv", index=False)
    shown = scenarios.parse("noise0.4")(view)
    manifest.save_manifest(
        Path("manifest.csv"), manifest.Splits(shown, shown.take(np.arange(0)), view.take(np.arange(0))), {}
    )


def seconds(text: str, view: View, runs: int) -> tuple[float, float]:
    """Of the first run, and of the median of those after it."""
    scenario, times = scenarios.parse(text), []
    for _ in range(runs + 1):
        start = time.perf_counter()
        scenario(view)
        times.append(time.perf_counter() - start)
    return times[0], statistics.median(times[1:])


def every(labels: int, runs: int) -> None:
    """All words, a line each."""
    print(f"seconds over {labels:,} labels: first run / median of {runs} more")
    print(f"{'':42}" + "".join(f"{f'{classes:,} classes':>16}" for classes in CLASSES))
    found: dict[str, list[tuple[float, float]]] = {}
    here = Path.cwd()
    for classes in CLASSES:
        view = blank(labels, classes)
        with TemporaryDirectory() as folder:
            os.chdir(folder)
            written(view)
            for word in scenarios.SCENARIOS:
                if word not in LEFT_OUT:
                    found.setdefault(EXAMPLES[word], []).append(seconds(EXAMPLES[word], view, runs))
            os.chdir(here)
    for text, times in found.items():
        print(f"{text:42}" + "".join(f"{f'{first:.2f} / {median:.2f}':>16}" for first, median in times))
    slowest = max(found, key=lambda text: max(median for _, median in found[text]))
    print(f"slowest: {slowest}, {max(median for _, median in found[slowest]):.2f} s")


def one(text: str, labels: int, runs: int) -> None:
    """One chain, with its memory."""
    for classes in CLASSES:
        view = blank(labels, classes)
        median = seconds(text, view, runs)[1]
        tracemalloc.start()
        after = scenarios.parse(text)(view)
        megabytes = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(
            f"{text}, {labels:,} labels of {classes} classes -> {len(after):,}: "
            f"{median:.2f} s (median of {runs}), {megabytes:.0f} MB"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario")
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.scenario:
        one(arguments.scenario, arguments.labels, arguments.runs)
    else:
        every(arguments.labels, arguments.runs)
