"""describe: what a scenario does to a data set, before training."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.table import Table

from pipelines.console import console
from pipelines.data_summary import split_data
from pipelines.scenario_effect import ScenarioEffect, StepEffect, apply_steps, corrupted_samples, measure_scenario
from robustkd.data import manifest
from robustkd.data.paths import describe_missing_path
from robustkd.data.splits import SplitRows
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from robustkd.study.options import DataOptions
from robustkd.study.run_folder import load_source
from scenarios.base import Scenario, list_advice

MAX_MATRIX_CLASSES = 20  # of a matrix with more classes only the largest entries are printed
SAMPLES = 24  # corrupted samples in the figure
FIGURE_SUFFIXES = (".png", ".svg", ".pdf")


class DrawnScenario(NamedTuple):
    """A scenario applied to a data set.

    Attributes:
        rows: of each split.
        views: the training rows before the first step, and after each.
    """

    source: Source
    rows: SplitRows
    views: list[View]
    effect: ScenarioEffect


def main(
    text: str,
    scenario: Scenario,
    data: DataOptions,
    seed: int,
    save: Path | None = None,
    figure: Path | None = None,
) -> None:
    """Print what the scenario does to the training rows; write a manifest and draw a figure if requested.

    Raises:
        robustkd.errors.UsageError: a file exists or cannot be written, or the data set cannot be loaded.
    """
    require_new_file("--save", save, manifest.TABLE_SUFFIXES)
    require_new_file("--figure", figure, FIGURE_SUFFIXES)
    drawn = apply_to_dataset(scenario, data, seed)
    source, before, effect = drawn.source, drawn.views[0], drawn.effect
    title = f"{text} on the {len(before)} training rows of {source.name}, data seed {seed}"
    print_effect(title, effect, source.classes)
    if len(drawn.rows.held_out) and len(drawn.views[-1]) < len(before):
        console.print(
            f"class sizes are those after {len(drawn.rows.held_out):,} rows were held out; published ones are those with"
            " --held-out 0",
        )
    for advice in list_advice(scenario, before):
        console.print(f"warning: {advice}", highlight=False)
    if save is not None:
        splits = manifest.build_splits(scenario, source, drawn.rows, seed)
        manifest.save_manifest(save, splits, {"scenario": text, "split_seed": data.split_seed})
        console.print(f'written to {save}, which --scenario "manifest(file={save})" reads')
    if figure is not None:
        draw_figure(figure, effect, drawn.views[-1], title)


def apply_to_dataset(scenario: Scenario, data: DataOptions, seed: int) -> DrawnScenario:
    """Load a data set and apply a scenario to its training rows, step by step.

    Raises:
        robustkd.errors.UsageError: the data set cannot be loaded, or the scenario cannot be applied to it.
    """
    source, rows, *_ = split_data(data, load_source(data))
    views = apply_steps(scenario, View.of(source, rows.train, seed))
    return DrawnScenario(source, rows, views, measure_scenario(list(scenario), views))


def draw_figure(path: Path, effect: ScenarioEffect, view: View, title: str) -> None:
    """Draw class sizes, transition matrix and corrupted samples."""
    from pipelines.report.charts.output import save_figure
    from pipelines.report.charts.scenario_overview import plot_scenario

    samples = corrupted_samples(view, SAMPLES)
    save_figure(plot_scenario(effect.per_class, effect.transitions, samples, title), path)
    console.print(f"figure: {path}")


def require_new_file(option: str, path: Path | None, suffixes: Sequence[str]) -> None:
    """Raise a UsageError, before any work, for a file of another kind, that exists, or that cannot be written."""
    if path is None:
        return
    if path.suffix not in suffixes:
        raise UsageError(f"{option} {path}: its name should end in {', '.join(suffixes[:-1])} or {suffixes[-1]}")
    if not path.parent.is_dir():
        raise UsageError(describe_missing_path(option, path.parent))
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{option} {path}: its folder cannot be written to")
    for file in (path, path.with_suffix(".json")) if option == "--save" else (path,):
        if file.exists():
            raise UsageError(f"{option} {path}: {file} exists already and is not overwritten")


def print_effect(title: str, effect: ScenarioEffect, classes: tuple[str, ...]) -> None:
    """Print the effect of a scenario."""
    console.print(title)
    for number, step in enumerate(effect.steps, 1):
        console.print(f"{number}. {describe_step(step)}")
    if effect.known is not None:
        counts = f"the true label is known of {effect.known} of the {effect.transitions.sum()} own samples shown"
        share = f"; {100 * effect.wrong / effect.known:.2f} % of them have another label" if effect.known else ""
        console.print(counts + share)
    console.print(*effect_tables(effect), sep="\n")
    console.print(*transition_lines(effect, classes), sep="\n")
    console.print(f"digest {effect.digest}")
    for name in effect.per_class.index[(effect.per_class["shown"] == 0) & (effect.per_class["before"] > 0)]:
        console.print(f"class '{name}' has no samples left: a study would refuse this scenario")


def describe_step(step: StepEffect) -> str:
    """Describe a step in one line."""
    text = f"{step.name}: {step.before} -> {step.after} samples"
    if step.after < step.before:
        text += f" ({100 * step.after / step.before:.1f} %)"
    if step.corrupts:
        text += f"; corrupted: requested {100 * step.requested:.2f} %, realised {100 * step.realised:.2f} %"
    return text + (f"; {step.foreign} foreign images among them" if step.foreign else "")


def effect_tables(effect: ScenarioEffect) -> Iterator[Table]:
    """Yield the table of sizes, priors and corruption by class, and that of the corruption by each step."""
    counts = effect.per_class
    columns: dict[str, Iterable[str]] = {name: map(str, counts[name]) for name in ("before", "kept", "shown")}
    columns["kept %"] = percentages(counts["kept"] / max(1, counts["kept"].sum()))
    columns["shown %"] = percentages(counts["shown"] / max(1, counts["shown"].sum()))
    columns["wrong %"] = percentages(counts["corrupted"] / counts["shown"])
    if counts["foreign"].any():
        columns["foreign %"] = percentages(counts["foreign"] / counts["shown"])
    columns |= {name: counts[name] for name in ("group", "third")}
    shares = "wrong % and foreign %" if "foreign %" in columns else "wrong %"
    title = f"samples per class; kept: by published label; {shares}: of what is shown as the class"
    yield column_table(title, counts.index, columns)
    rates = {number: step.per_class for number, step in enumerate(effect.steps, 1) if step.corrupts}
    if rates:
        columns = {f"{name} {number}": percentages(step[name]) for number, step in rates.items() for name in step}
        yield column_table("corrupted by each step, per cent of the class as labelled before it", counts.index, columns)


def column_table(title: str, names: Iterable[str], columns: Mapping[str, Iterable[str]]) -> Table:
    """Return a table with a row per class; in a narrow terminal the names are wrapped."""
    table = Table(title=title, title_justify="left")
    table.add_column("class", overflow="fold")
    for column in columns:
        table.add_column(column, justify="left" if column in ("group", "third") else "right", no_wrap=True)
    for name, *values in zip(names, *columns.values(), strict=True):
        table.add_row(name, *values)
    return table


def percentages(shares: Iterable[float]) -> list[str]:
    """Format shares as percentages, a missing one as a dash."""
    return ["-" if np.isnan(share) else f"{100 * share:.1f}" for share in shares]


def transition_lines(effect: ScenarioEffect, names: tuple[str, ...]) -> list[Table | str]:
    """Return the realised transition matrix as a table, or its largest off-diagonal entries as lines."""
    return (
        [transition_table(effect, names)] if len(names) <= MAX_MATRIX_CLASSES else [*largest_transitions(effect, names)]
    )


def transition_table(effect: ScenarioEffect, names: tuple[str, ...]) -> Table:
    """Return the realised transition matrix as a table."""
    foreign = effect.per_class["foreign"] / effect.per_class["shown"]
    table = Table(
        title="realised transition matrix, per cent: row = label before, column = label shown", title_justify="left"
    )
    for column in ("", *names):
        table.add_column(column, justify="right", overflow="fold")
    if foreign.any():
        table.add_column("foreign", justify="right")
        table.caption = "foreign: share of what is shown as the row's class; all other columns are of own images"
    for name, row, foreign_share in zip(names, effect.shares, foreign, strict=True):
        table.add_row(name, *percentages([*row, foreign_share] if foreign.any() else row))
    return table


def largest_transitions(effect: ScenarioEffect, names: tuple[str, ...]) -> list[str]:
    """Return the largest off-diagonal entries of the realised transition matrix, a line each below a headline."""
    shares = effect.shares
    wrong = np.nan_to_num(np.where(np.eye(len(names), dtype=bool), 0, shares))
    largest = np.argsort(-wrong, axis=None, kind="stable")[:10]
    pairs = [np.unravel_index(flat, wrong.shape) for flat in largest]
    lines = [f"  {names[i]} shown as {names[j]}: {100 * wrong[i, j]:.1f} %" for i, j in pairs if wrong[i, j] > 0]
    kept = np.nanmean(np.diag(shares))
    headline = f"realised transition matrix: {100 * kept:.1f} % kept on average"
    return [f"{headline}; the largest confusions:", *lines] if lines else [headline]
