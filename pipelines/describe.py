"""describe: what a scenario really does to a data set, before anything is trained on it."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from pipelines.screen import console
from robustkd.data import sources
from robustkd.data.splits import split
from robustkd.data.view import View
from robustkd.options import Data
from scenarios.base import Scenario

WIDEST = 20  # a matrix with more classes is told by its largest entries


def main(text: str, scenario: Scenario, data: Data, seed: int) -> None:
    """Print rates asked and realised, the realised matrix, class sizes before and after, and the digest."""
    source = sources.read(
        data.dataset,
        data_dir=data.data_dir,
        download=data.download,
        image_size=data.image_size,
        skip_bad_images=data.skip_bad_images,
    )
    rows = split(source, held_out=data.held_out, seed=data.split_seed).train
    before = View.of(source, rows, seed)
    console.print(f"{text} on the {len(before)} training rows of {source.name}, data seed {seed}", markup=False)
    after = before
    for step in scenario:
        after = told(step, after)
    console.print(sizes(before, after))
    matrix = transitions(before, after)
    console.print(*shown(matrix, source.classes), sep="\n")
    console.print(f"digest {after.digest}")


def told(step: Scenario, view: View) -> View:
    """Apply a step and say what it asked for and what came of it."""
    after = step(view)
    kept = np.isin(view.rows, after.rows)
    asked = float(step.asked(view) @ view.counts) / max(1, len(view))
    changed = float((view.labels[kept] != after.labels).mean()) if len(after) else 0.0
    console.print(
        f"{step}: {len(view)} -> {len(after)} samples; labels to change: asked {100 * asked:.2f} %, "
        f"changed {100 * changed:.2f} %",
        markup=False,
    )
    return after


def transitions(before: View, after: View) -> NDArray[np.float64]:
    """The share of each class, as labelled before, that is shown as each class: (K, K), NaN for a class that is gone."""
    source, classes = before.sources[0], len(before.classes)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (source.labels[after.rows], after.labels), 1)
    total = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    return shares


def sizes(before: View, after: View) -> Table:
    """Samples per class: before, those kept by the label they came with, and by the label shown."""
    kept = np.bincount(before.sources[0].labels[after.rows], minlength=len(before.classes))
    table = Table(title="samples per class")
    for column in ("class", "before", "kept", "shown"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, *counts in zip(before.classes, before.counts, kept, after.counts, strict=True):
        table.add_row(name, *map(str, counts))
    return table


def shown(matrix: NDArray[np.float64], names: tuple[str, ...]) -> Iterable[Table | str]:
    """The matrix in full, or its largest entries off the diagonal."""
    if len(names) <= WIDEST:
        table = Table(title="realised transition matrix, per cent: row = label before, column = label shown")
        for column in ("", *names):
            table.add_column(column, justify="right")
        for name, row in zip(names, matrix, strict=True):
            table.add_row(name, *(f"{100 * value:.1f}" for value in row))
        return [table]
    off = np.nan_to_num(np.where(np.eye(len(names), dtype=bool), 0, matrix))
    largest = np.argsort(off, axis=None, kind="stable")[::-1][:10]
    pairs = [np.unravel_index(flat, off.shape) for flat in largest]
    lines = [f"  {names[i]} shown as {names[j]}: {100 * off[i, j]:.1f} %" for i, j in pairs if off[i, j] > 0]
    kept = np.nanmean(np.diag(matrix))
    return [f"realised transition matrix: {100 * kept:.1f} % kept on average; the largest confusions:", *lines]
