"""Time to apply each scenario to a million labels of 10, 100 and 1,000 classes; the target is 1 s.

python benchmarks/building.py [--scenario imbalance0.2+noise0.4] [--labels 1000000] [--runs 3]

Without --scenario all scenarios are measured except `instance`, whose cost depends on the images. Their input files are
written first. The first run includes reading the file; the median of the later runs is the time for another data seed or for
the held-out rows. Images are one pixel each, so that the time of `openset` is that of the labels only. With --scenario one
chain is measured, and the peak of traced memory is reported too.
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
FOREIGN = 1000  # images of the foreign data set of openset
# The files are those of `write_input_files`.
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
EXCLUDED = ("instance",)


def blank_view(labels: int, classes: int) -> View:
    """Return labels on images of one pixel."""
    shown = np.arange(labels) % classes
    return View.of(Source("labels", np.zeros((labels, 1, 1, 1), np.uint8), shown, tuple(map(str, range(classes)))))


def write_input_files(view: View) -> None:
    """Write the files of EXAMPLES to the working folder."""
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


def time_scenario(text: str, view: View, runs: int) -> tuple[float, float]:
    """Return the seconds of the first run and the median of the later runs."""
    scenario, times = scenarios.parse(text), []
    for _ in range(runs + 1):
        start = time.perf_counter()
        scenario(view)
        times.append(time.perf_counter() - start)
    return times[0], statistics.median(times[1:])


def measure_all(labels: int, runs: int) -> None:
    """Measure all scenarios and print a line each."""
    print(f"seconds over {labels:,} labels: first run / median of {runs} more")
    print(f"{'':42}" + "".join(f"{f'{classes:,} classes':>16}" for classes in CLASSES))
    results: dict[str, list[tuple[float, float]]] = {}
    previous = Path.cwd()
    for classes in CLASSES:
        view = blank_view(labels, classes)
        with TemporaryDirectory() as folder:
            os.chdir(folder)
            write_input_files(view)
            for word in scenarios.SCENARIOS:
                if word not in EXCLUDED:
                    results.setdefault(EXAMPLES[word], []).append(time_scenario(EXAMPLES[word], view, runs))
            os.chdir(previous)
    for text, times in results.items():
        print(f"{text:42}" + "".join(f"{f'{first:.2f} / {median:.2f}':>16}" for first, median in times))
    slowest = max(results, key=lambda text: max(median for _, median in results[text]))
    print(f"slowest: {slowest}, {max(median for _, median in results[slowest]):.2f} s")


def measure_one(text: str, labels: int, runs: int) -> None:
    """Measure the time and memory of one chain."""
    for classes in CLASSES:
        view = blank_view(labels, classes)
        median = time_scenario(text, view, runs)[1]
        tracemalloc.start()
        after = scenarios.parse(text)(view)
        megabytes = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(
            f"{text}, {labels:,} labels of {classes} classes -> {len(after):,}: "
            f"{median:.2f} s (median of {runs}), {megabytes:.0f} MB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario")
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.scenario:
        measure_one(arguments.scenario, arguments.labels, arguments.runs)
    else:
        measure_all(arguments.labels, arguments.runs)


if __name__ == "__main__":
    main()
