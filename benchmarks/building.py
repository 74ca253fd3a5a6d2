"""Building a scenario over a million labels: seconds, and megabytes traced beyond the labels.

python benchmarks/building.py [--scenario imbalance0.2+noise0.4] [--labels 1000000] [--runs 5]
"""

import argparse
import statistics
import time
import tracemalloc

import numpy as np

import scenarios
from robustkd.data.view import Source, View

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--scenario", default="imbalance0.2+noise0.4")
parser.add_argument("--labels", type=int, default=1_000_000)
parser.add_argument("--runs", type=int, default=5)
arguments = parser.parse_args()
scenario = scenarios.parse(arguments.scenario)
for classes in (10, 100, 1000):
    labels = np.arange(arguments.labels) % classes
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    view = View.of(Source("labels", images, labels, tuple(map(str, range(classes)))))
    times = []
    for _ in range(arguments.runs):
        start = time.perf_counter()
        scenario(view)
        times.append(time.perf_counter() - start)
    tracemalloc.start()
    after = scenario(view)
    megabytes = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    print(
        f"{arguments.scenario}, {len(labels):,} labels of {classes} classes -> {len(after):,}: "
        f"{statistics.median(times):.2f} s (median of {arguments.runs}), {megabytes:.0f} MB"
    )
