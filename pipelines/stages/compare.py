"""compare: the results of studies, printed as pages of tables and written to files; from their folders or from MLflow.

In a notebook:

    comparisons = compare.load_comparisons("studies")  # folders of studies or with studies in them, MLflow run ids
    compare_by_family(comparisons).table               # a line per study and method
    compare.concat_tables(comparisons, "classes")      # a line per study, class and method; likewise any other table
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from pipelines import tracking
from pipelines.cli_options import StudySelection
from pipelines.console import console
from pipelines.folder_names import SET_ASIDE
from pipelines.report.renderers.csv_files import refuse_existing, write_csv_files
from pipelines.report.renderers.latex import render_latex
from pipelines.report.renderers.markdown import render_markdown
from pipelines.report.renderers.terminal import print_page, render_text
from pipelines.report.study_table import compare_by_family, find_ranked_metric, summarise_studies
from pipelines.report.summary import summarise_study
from pipelines.report.table import Page
from robustkd.atomic import write_text_atomically
from robustkd.errors import UsageError, did_you_mean
from robustkd.method_spec import spell_method
from robustkd.study.across import study_labels
from robustkd.study.comparison import Comparison, compare_runs
from robustkd.study.conclusions import trusts_test_labels
from robustkd.study.options import StudyOptions
from robustkd.study.pairing import HEADLINE
from robustkd.study.results import read_study

COMPARISON_TABLES = {  # the fields of a comparison that are written as tables, by the names of their files
    **{name: name for name in ("summary", "verdicts", "classes", "per_class", "costs", "per_class_clean")},
    "along": "progress",
}
WITHOUT_STUDY = ("experiment", "trust_test_labels", "out", "reference")  # options that need no scenario
CONCATENATED = ("summary", "verdicts", "classes", "costs")  # tables of several studies that go into one file


class OutputPaths(NamedTuple):
    """Where the user wants tables written: a folder for CSV files, and a file each for Markdown and LaTeX."""

    csv: Path | None = None
    markdown: Path | None = None
    latex: Path | None = None


def main(
    studies: Sequence[str],
    origin: Literal["files", "mlflow"] = "files",
    selection: StudySelection | None = None,
    *,
    each: bool = False,
    metric: str = HEADLINE,
    csv: Path | None = None,
    markdown: Path | None = None,
    latex: Path | None = None,
) -> None:
    """Print one study's page, or the table across several, and write the requested files.

    Args:
        studies: folders, MLflow run ids or, from MLflow, names of studies.
        origin: where studies are read from.
        selection: the options of a study, or only an experiment.
        each: also print a page for each of several studies.
        metric: of the table across studies.
        csv, markdown, latex: where to write tables.
    """
    selection, outputs = selection or StudySelection(), OutputPaths(csv, markdown, latex)
    trust = True if selection.trust_test_labels else None
    places = select_studies(studies, origin, selection)
    comparisons = load_comparisons(*places, trust=trust, reference=selection.reference)
    if metric != HEADLINE:
        find_ranked_metric(comparisons, metric)  # also for one study, whose page has all metrics
    is_single = len(comparisons) == 1
    tables = collect_tables(comparisons[0]) if is_single else collect_tables_across(comparisons, metric)
    _check_outputs(outputs, tables)
    pages = [summarise_study(comparison) for comparison in comparisons] if each or is_single else []
    pages += [] if is_single else [summarise_studies(comparisons, metric)]
    written = _write_outputs(outputs, tables, [part for page in pages for part in page])
    for page in pages:
        print_page(page, console)
    if is_single and not selection.reference:
        _update_study_folder(comparisons[0])
    for paths in written:
        console.print(f"written: {paths}")


def _update_study_folder(comparison: Comparison) -> None:
    """Write a comparison into its study's folder, if it has one that is writable."""
    folder = comparison.folder
    if folder is None:
        return
    try:
        write_comparison_files(comparison, folder / "comparison")
    except OSError as error:  # such as another user's study, or a read-only disk
        console.print(
            f"{folder}: the comparison cannot be written there ({error.strerror or error}); --csv, --markdown and"
            " --latex write elsewhere",
        )
    else:
        console.print(f"tables, pictures and runs: {folder}")


def _write_outputs(outputs: OutputPaths, tables: Mapping[str, pd.DataFrame], page: Page) -> list[str]:
    """Write the requested files and return their names."""
    written = []
    for path, render in ((outputs.markdown, render_markdown), (outputs.latex, render_latex)):
        if path is not None:
            path.write_text(render(page), encoding="utf-8")
            written.append(str(path))
    if outputs.csv is not None:
        written.append(", ".join(map(str, write_csv_files(tables, outputs.csv))))
    return written


def _check_outputs(outputs: OutputPaths, tables: Mapping[str, pd.DataFrame]) -> None:
    """Refuse files that exist, and two options that write the same file.

    Raises:
        robustkd.errors.UsageError: naming the option.
    """
    csv_files = [] if outputs.csv is None else [outputs.csv / f"{name}.csv" for name in tables]
    csv_paths = [] if outputs.csv is None else [outputs.csv, *csv_files]
    page_paths = (("--markdown", outputs.markdown), ("--latex", outputs.latex))
    options: dict[Path, str] = {}
    for option, path in (*(("--csv", path) for path in csv_paths), *page_paths):
        if path is not None and (other := options.setdefault(path.resolve(), option)) != option:
            raise UsageError(f"{option} {path}: {other} writes there too, and each needs a path of its own")
    if outputs.csv is not None and outputs.csv.is_file():
        raise UsageError(f"--csv {outputs.csv}: this is a file, and it should be a folder for several")
    refuse_existing("--csv", *csv_files)
    for option, path in page_paths:
        if path is not None:
            refuse_existing(option, path)


def select_studies(
    studies: Sequence[str], origin: Literal["files", "mlflow"], selection: StudySelection
) -> list[str | Path]:
    """Return the studies that are named, the one with the selected options, all of an experiment, or the newest.

    Raises:
        robustkd.errors.UsageError: the arguments select no study, or contradict each other.
    """
    without_study = StudySelection(**{name: getattr(selection, name) for name in WITHOUT_STUDY})
    if selection.scenario and studies:
        raise UsageError(f"compare {studies[0]} --scenario {selection.scenario}: a study is named by one or the other")
    if not selection.scenario and selection != without_study:
        raise UsageError("compare: options of a study find it only together with --scenario")
    if origin == "mlflow":
        return _select_tracked_studies(studies, selection)
    if selection.experiment and not selection.scenario:
        raise UsageError(f"--experiment {selection.experiment}: experiments are MLflow's, so --from mlflow is needed")
    if selection.scenario:
        return [_planned_folder(selection)]
    return [*studies] or [find_newest_study(Path(selection.out))]


def _select_tracked_studies(studies: Sequence[str], selection: StudySelection) -> list[str | Path]:
    """Return the MLflow run ids of the selected studies."""
    names = [_planned_folder(selection).name] if selection.scenario else [Path(study).name for study in studies]
    if names and all(tracking.is_reference(name) for name in names):
        return [*names]
    tracked = tracking.list_studies(selection.experiment)
    for name in names:
        if name not in tracked and not tracking.is_reference(name):
            raise UsageError(f"{name}: MLflow has no study of this name{did_you_mean(name, tracked)}")
    if names:
        return [tracked.get(name, name) for name in names]
    return [tracked[name] for name in sorted(tracked)] if selection.experiment else [next(iter(tracked.values()))]


def _planned_folder(selection: StudySelection) -> Path:
    """Return the folder of the study with the selected options."""
    from pipelines import planning  # imports torch

    options = {field.name: getattr(selection, field.name) for field in fields(StudyOptions)}
    return planning.draft_study(StudyOptions(**options)).plan.folder


def find_newest_study(out: Path) -> Path:
    """Return the folder of the study that was changed last.

    Raises:
        robustkd.errors.UsageError: there is no study.
    """
    records = sorted(out.glob("*/study.json"), key=lambda path: path.stat().st_mtime)
    if not records:
        raise UsageError(f"{out}: there is no study here yet; `robustkd run --scenario noise0.4` makes one")
    return records[-1].parent


def load_comparisons(*studies: str | Path, trust: bool | None = None, reference: str = "") -> list[Comparison]:
    """Load and compare studies: folders, all studies in a folder (by name), or MLflow's parent runs by their ids.

    Args:
        trust: treat test labels as clean even if that is not known; None as each study was asked to.
        reference: a method that all others are compared with; by default, each with its baseline.

    Raises:
        robustkd.errors.UsageError: a folder or run is not a study, or cannot be read, or has no such method.
    """
    places: dict[str, Path | str] = {}
    for study in studies:
        if tracking.is_reference(str(study)) and not Path(study).exists():
            places[str(study)] = str(study)
        else:
            for folder in find_study_folders(Path(study)):
                places.setdefault(str(folder.resolve()), folder)
    return [load_comparison(place, trust, reference) for place in places.values()]


def find_study_folders(folder: Path) -> list[Path]:
    """Return the folder itself if it is a study, or else the studies in it, without those that --fresh replaced.

    Raises:
        robustkd.errors.UsageError: there are none.
    """
    if (folder / "study.json").is_file():
        return [folder]
    inside = sorted(record.parent for record in folder.glob("*/study.json"))
    current = [study for study in inside if not SET_ASIDE.fullmatch(study.suffix)]
    if not current:
        names = [path.name for path in folder.parent.glob("*/")] if folder.parent.is_dir() else []
        hint = "" if folder.exists() else did_you_mean(folder.name, names)
        raise UsageError(f"{folder}: there is no study here (no study.json){hint}; `robustkd run` makes one")
    return current


def load_comparison(study: Path | str, trust: bool | None = None, reference: str = "") -> Comparison:
    """Load and compare one study, from its folder or by its MLflow run id, as `load_comparisons` does."""
    loaded = tracking.load_record(study) if isinstance(study, str) else read_study(study)
    reference, methods = spell_method(reference), loaded.record.methods
    if reference and reference not in methods:
        raise UsageError(
            f"--reference {reference}: {study} has no such method{did_you_mean(reference, methods)}; it has:"
            f" {', '.join(methods)}"
        )
    return compare_runs(loaded, trusts_test_labels(loaded.record, trust), reference)


def collect_tables(comparison: Comparison) -> dict[str, pd.DataFrame]:
    """Return a study's tables by the names of their files, without those that are empty."""
    return {name: table for name, field in COMPARISON_TABLES.items() if len(table := getattr(comparison, field))}


def collect_tables_across(comparisons: Sequence[Comparison], metric: str = HEADLINE) -> dict[str, pd.DataFrame]:
    """Return the tables of several studies by the names of their files, without those that are empty."""
    studies = compare_by_family(comparisons, find_ranked_metric(comparisons, metric))
    concatenated = {name: concat_tables(comparisons, COMPARISON_TABLES[name]) for name in CONCATENATED}
    tables = {"across": studies.table, "ranks": studies.ranks, "rank_tests": studies.rank_tests, **concatenated}
    return {name: table for name, table in tables.items() if len(table)}


def concat_tables(comparisons: Sequence[Comparison], field: str) -> pd.DataFrame:
    """Concatenate a table of several studies, with the study in the first column.

    Args:
        field: of `Comparison` that is a table, such as summary, classes or curves.
    """
    labels = study_labels([comparison.record for comparison in comparisons])
    parts = []
    for label, comparison in zip(labels, comparisons, strict=True):
        part: pd.DataFrame = getattr(comparison, field)
        if len(part):
            parts.append((part.reset_index() if part.index.name else part).assign(study=label))
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    return table[["study", *(name for name in table if name != "study")]]


def write_comparison(folder: Path, trust: bool | None = None) -> None:
    """Compare a study and write the result into its folder."""
    write_comparison_files(load_comparison(folder, trust), folder / "comparison")


def write_comparison_files(comparison: Comparison, folder: Path) -> None:
    """Write tables as CSV, the page as comparison.txt, .md and .tex, pictures and the report."""
    from pipelines.report import study_report
    from pipelines.report.charts.differences import plot_class_difference_grid
    from pipelines.report.charts.epochs import plot_accuracy_curves
    from pipelines.report.charts.output import save_figure

    folder.mkdir(exist_ok=True)
    for name in COMPARISON_TABLES:
        (folder / f"{name}.csv").unlink(missing_ok=True)  # of tables that are empty now
    write_csv_files(collect_tables(comparison), folder)
    page = summarise_study(comparison)
    for suffix, render in (("txt", render_text), ("md", render_markdown), ("tex", render_latex)):
        write_text_atomically(folder / f"comparison.{suffix}", render(page))
    if len(comparison.per_class):
        save_figure(plot_class_difference_grid(comparison.per_class), folder / "per_class.png")
    if len(comparison.curves):
        save_figure(plot_accuracy_curves(comparison.curves), folder / "curves.png")
    study_report.write_study_report(comparison, folder)


def show_study(folder: Path, trust: bool | None = None) -> None:
    """Print a study's page."""
    print_page(summarise_study(load_comparison(folder, trust)), console)
    console.print(f"tables, pictures and runs: {folder}")
