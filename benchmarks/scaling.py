"""Processor time and memory against the number of images, methods and classes; the slopes show whether the cost is linear.

    python benchmarks/scaling.py [--parts prepare,epoch,evaluate,compare,report] [--out benchmarks/scaling.csv]
    python benchmarks/scaling.py --largest                              # 29 methods, 1,000 classes, 5 seeds: compare, report
    python benchmarks/scaling.py --plot benchmarks/scaling.csv docs/scaling.png

    prepare    reading the data set, the split, noise0.4, writing the manifest and reading it again
    epoch      an epoch of the engine with its data path, metrics and updates, on a network that pools images to four pixels: of
               larger networks, only this part does not depend on the network
    evaluate   the predictions of that network, and all their metrics
    compare    reading a study of made-up results, and its page (robustkd compare)
    report     its files: tables, pictures and report.html

One size is changed at a time; the others are 10,000 images of 32x32, 10 classes and, of studies, 4 methods with 5 seeds. Each
measurement is in a forked process, after everything was done once at a small size, so that imports do not count. Seconds are
processor time of one thread, on which other programs have little influence; memory is the peak beyond that of the idle process.
A slope is that of log seconds by log size: 1 is linear. A fixed cost makes it smaller, so that of the last step is shown too.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from fabricated import fabricate_study

from robustkd.methods import METHODS

SIZES = {
    "images": (1000, 3000, 10_000, 30_000, 100_000),
    "methods": (2, 4, 8, 16, 29),
    "classes": (10, 100, 1000),
}
DATA_PARTS, STUDY_PARTS = ("prepare", "epoch", "evaluate"), ("compare", "report")
SEEDS = 5
LARGEST = "all"
Result = TypeVar("Result")
Measured = Callable[[], object]


class Size(NamedTuple):
    """How large a data set and a study are."""

    images: int = 10_000
    methods: int = 4
    classes: int = 10


SMALL = Size(images=500, methods=2)


def write_dataset(folder: Path, size: Size) -> str:
    """Write random images as a data set; return how it is named on the command line."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size.images, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(size.images) % size.classes
    np.savez(folder / "images.npz", X=images, y=labels, X_test=images[: size.classes], y_test=labels[: size.classes])
    return f"npz:{folder / 'images.npz'}"


def prepare_part(folder: Path, size: Size) -> Measured:
    import scenarios
    from robustkd.data import manifest, sources, splits

    dataset = write_dataset(folder, size)

    def prepare() -> None:
        source = sources.load_dataset(dataset, cache_dir=folder)
        views = manifest.build_splits(
            scenarios.parse("noise0.4"), source, splits.split_source(source, held_out=0.1, seed=0), 0
        )
        manifest.save_manifest(folder / "manifest", views, {})
        manifest.load_manifest(folder / "manifest", source)

    return prepare


def pooling_network(classes: int) -> Any:
    """Return a network that costs next to nothing: the mean colours of four quarters, and a linear head."""
    from torch import nn

    from robustkd.models.net import StagedNetwork

    stem = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Unflatten(1, (12, 1, 1)))
    return StagedNetwork(stem, [], nn.Linear(12, classes))


def random_view(size: Size) -> Any:
    from robustkd.data.view import Source, View

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size.images, 3, 32, 32), dtype=np.uint8)
    names = tuple(f"class {number}" for number in range(size.classes))
    return View.of(Source("random", images, np.arange(size.images) % size.classes, names, flips=True))


def epoch_part(folder: Path, size: Size) -> Measured:
    from robustkd.criteria import CRITERIA
    from robustkd.data.loader import Loader
    from robustkd.method_spec import MethodSpec
    from robustkd.study.construct import dataset_info
    from robustkd.training import engine
    from robustkd.training.build import build_method
    from robustkd.training.recipe import Recipe

    view = random_view(size)
    loader, data = Loader(view, 128, torch.device("cpu")), dataset_info(view)
    ingredients: Any = {
        "student": lambda: pooling_network(size.classes),
        "criterion": lambda: lambda: CRITERIA.parse("ce").load()(data),
    }
    method = build_method(MethodSpec.parse("baseline"), ingredients)
    return lambda: list(engine.fit(method, loader, Recipe(epochs=1)))


def evaluate_part(folder: Path, size: Size) -> Measured:
    from robustkd.evaluation.net_metrics import evaluate_predictions
    from robustkd.study.agreements import pack_classes
    from robustkd.study.evaluate import evaluation_loader
    from robustkd.training.inference import predict_logits

    view, net = random_view(size), pooling_network(size.classes)
    loader = evaluation_loader(view, torch.device("cpu"))

    def evaluate() -> None:
        logits = predict_logits(net, loader)
        evaluate_predictions(view.labels, logits, view.classes).model_dump_json()
        pack_classes(logits.argmax(axis=1))

    return evaluate


def compare_part(folder: Path, size: Size) -> Measured:
    from rich.console import Console

    from pipelines.stages import compare

    def show() -> None:
        comparison = compare.load_comparison(folder)
        compare.print_page(compare.summarise_study(comparison), Console(file=StringIO(), width=120))

    return show


def report_part(folder: Path, size: Size) -> Measured:
    from pipelines.stages import compare

    comparison = compare.load_comparison(folder)
    return lambda: compare.write_comparison_files(comparison, folder / "comparison")


PARTS: dict[str, Callable[[Path, Size], Measured]] = {
    "prepare": prepare_part,
    "epoch": epoch_part,
    "evaluate": evaluate_part,
    "compare": compare_part,
    "report": report_part,
}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def in_process(function: Callable[..., Result], *values: object) -> Result:
    """Call a function in a forked process."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as executor:
        return executor.submit(function, *values).result()


def measure_part(part: str, folder: Path, size: Size) -> dict[str, float]:
    """Measure a part in this process."""
    work = PARTS[part](folder, size)
    before, start = peak_bytes(), time.process_time()
    work()
    return {"seconds": time.process_time() - start, "megabytes": (peak_bytes() - before) / 1e6}


def fabricate(folder: Path, size: Size) -> None:
    fabricate_study(folder, list(METHODS)[: size.methods], SEEDS, size.classes, size.images)


def warm_up(parts: Iterable[str]) -> None:
    """Do everything at a small size: lazy imports and caches of fonts are no part of what is measured."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        fabricate(Path(folder), SMALL)
        for part in parts:
            PARTS[part](Path(folder), SMALL)()


def measure(parts: Sequence[str], size: Size) -> list[dict[str, Any]]:
    """Measure parts on the same data or study."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {*parts} & {*STUDY_PARTS}:
            in_process(fabricate, folder, size)
        for part in parts:
            rows.append({"part": part, **size._asdict(), **in_process(measure_part, part, folder, size)})
            print(rows[-1], flush=True)
    return rows


def measure_all(parts: Sequence[str]) -> list[dict[str, Any]]:
    """Measure each part at each size; of data, the number of methods has no influence."""
    rows: list[dict[str, Any]] = []
    for varied, values in SIZES.items():
        wanted = [part for part in parts if part in STUDY_PARTS or varied != "methods"]
        for value in values:
            for kind in (DATA_PARTS, STUDY_PARTS):
                if chosen := [part for part in wanted if part in kind]:
                    rows += [{"varied": varied, **row} for row in measure(chosen, Size()._replace(**{varied: value}))]
    return rows


def slopes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the slope of log seconds by log size of each part and size: over all sizes, and of the last step."""
    rows = []
    for (varied, part), group in table.groupby(["varied", "part"], sort=False):
        x, y = np.log(group[str(varied)].to_numpy(dtype=float)), np.log(group["seconds"].to_numpy(dtype=float))
        last = (y[-1] - y[-2]) / (x[-1] - x[-2])
        rows.append({"varied": varied, "part": part, "slope": np.polyfit(x, y, 1)[0], "last": last})
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame, path: Path) -> None:
    """Plot seconds by size, a panel for each size that was varied, with a line of slope 1."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    from pipelines.report.charts.output import save_figure
    from pipelines.report.charts.style import COLOURS, FAINT, FIGURE_STYLE

    with rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(8.4, 2.9))
        panels = figure.subplots(1, len(SIZES), sharey=True)
        for axes, varied in zip(panels, SIZES, strict=True):
            lines = table[table["varied"] == varied]
            ends = np.array([lines[varied].min(), lines[varied].max()], dtype=float)
            axes.loglog(ends, 0.3 * ends / ends[-1] * lines["seconds"].max(), ":", color=FAINT, label="slope 1")
            for part, colour in zip(PARTS, COLOURS, strict=False):
                line = lines[lines["part"] == part]
                axes.loglog(line[varied], line["seconds"], "o-", ms=3, color=colour, label=part)
            axes.set_xlabel(varied)
            axes.xaxis.set_major_locator(FixedLocator(list(SIZES[varied])))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
                axis.set_minor_formatter(NullFormatter())
            axes.tick_params(axis="x", labelsize=7)
        panels[0].set_ylabel("seconds of processor time")
        panels[0].legend(fontsize=7)
        save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--largest", action="store_true", help="measure the largest study, and nothing else")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path, nargs=2, metavar=("CSV", "PNG"), help="plot a table, and measure nothing")
    arguments = parser.parse_args()
    if arguments.plot:
        table = pd.read_csv(arguments.plot[0])
        print(slopes(table[table["varied"] != LARGEST]).round(2).to_string(index=False))
        plot(table, arguments.plot[1])
        return
    warm_up(PARTS)
    largest = Size(methods=29, classes=1000)
    rows = [{"varied": LARGEST, **row} for row in measure(STUDY_PARTS, largest)] if arguments.largest else None
    table = pd.DataFrame(rows or measure_all(arguments.parts.split(",")))
    if arguments.out:
        table.round(4).to_csv(arguments.out, index=False)
    if not arguments.largest:
        print(slopes(table).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
