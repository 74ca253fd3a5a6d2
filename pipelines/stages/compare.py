"""compare: what studies came to, as pages of tables and as files, from their folders or from MLflow.

In a notebook:

    made = compare.read("studies")              # folders of studies or with studies in them, and MLflow run ids
    compare_studies(made).table               # a line per study and method
    compare.stacked(made, "classes")            # a line per study, class and method; so for any of a comparison's frames
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from pipelines import tracking
from pipelines.cli_options import StudySelection
from pipelines.console import console
from pipelines.report.renderers.csv_files import refuse_existing, write_csv_files
from pipelines.report.renderers.latex import render_latex
from pipelines.report.renderers.markdown import render_markdown
from pipelines.report.renderers.terminal import print_page, render_text
from pipelines.report.study_table import find_ranked_metric, summarise_studies
from pipelines.report.summary import summarise_study
from pipelines.report.table import Page
from robustkd.errors import UsageError, did_you_mean
from robustkd.study.across import compare_studies, study_labels
from robustkd.study.comparison import HEADLINE, Comparison, compare
from robustkd.study.conclusions import trusts_test_labels
from robustkd.study.results import load_study

CONTINUED = re.compile(r"\.\d{8}-\d{6}")  # what --fresh put aside
PICTURES = ("per_class.png", "curves.png")
FRAMES = {  # a comparison's frames by the names of their files
    **{name: name for name in ("summary", "verdicts", "classes", "per_class", "costs", "per_class_clean")},
    "along": "progress",
}
STACKED = ("summary", "verdicts", "classes", "costs")  # those that go into one file for several studies


def main(
    studies: Sequence[str],
    origin: Literal["files", "mlflow"] = "files",
    asked: StudySelection | None = None,
    *,
    each: bool = False,
    figure: str = HEADLINE,
    csv: Path | None = None,
    markdown: Path | None = None,
    latex: Path | None = None,
) -> None:
    """Show studies and write what was asked for: one study's page, or the table across several.

    Args:
        studies: folders, MLflow run ids or, from MLflow, names of studies.
        asked: the words of a study, or at least an experiment.
        each: show a page for each of several studies too.
        figure: what the table across studies shows.
    """
    found = find(studies, origin, asked or StudySelection())
    trust = True if asked is not None and asked.trust_test_labels else None
    made = read(*found, trust=trust)
    if figure != HEADLINE:
        find_ranked_metric(made, figure)  # of one study too, whose page shows them all
    frames = stack(made, figure) if len(made) > 1 else frames_of(made[0])
    _refuse_taken(frames, csv, markdown, latex)
    pages = [summarise_study(m, trust) for m in made] if each or len(made) == 1 else []
    pages += [summarise_studies(made, figure, trust)] if len(made) > 1 else []
    written = _export(frames, [part for one in pages for part in one], csv, markdown, latex)
    for one in pages:
        print_page(one, console)
    if len(made) == 1 and (folder := made[0].folder) is not None:
        try:
            _write(made[0], folder / "comparison", trust)
            console.print(f"tables, pictures and runs: {folder}", markup=False)
        except OSError as error:  # somebody else's study, on a disk that is only read
            console.print(
                f"{folder}: the comparison cannot be written there ({error.strerror or error}); --csv, --markdown and"
                " --latex write elsewhere",
                markup=False,
            )
    for paths in written:
        console.print(f"written: {paths}", markup=False)


def _export(
    frames: Mapping[str, pd.DataFrame],
    whole: Page,
    csv: Path | None,
    markdown: Path | None,
    latex: Path | None,
) -> list[str]:
    """Write what was asked for; the names of what was written."""
    written = []
    for path, text in ((markdown, render_markdown), (latex, render_latex)):
        if path is not None:
            path.write_text(text(whole), encoding="utf-8")
            written.append(str(path))
    return [*written, *([", ".join(map(str, write_csv_files(frames, csv)))] if csv is not None else [])]


def _refuse_taken(
    frames: Mapping[str, pd.DataFrame], csv: Path | None, markdown: Path | None, latex: Path | None
) -> None:
    """Refuse files that are there, and two options for one file."""
    wanted: dict[Path, str] = {}
    inside = [csv, *(csv / f"{name}.csv" for name in frames)] if csv is not None else []
    for option, path in (*(("--csv", path) for path in inside), ("--markdown", markdown), ("--latex", latex)):
        if path is not None and (other := wanted.setdefault(path.resolve(), option)) != option:
            raise UsageError(f"{option} {path}: {other} writes there too, and each needs a path of its own")
    if csv is not None:
        if csv.is_file():
            raise UsageError(f"--csv {csv}: this is a file, and it should be a folder for several")
        refuse_existing("--csv", *(csv / f"{name}.csv" for name in frames))
    for option, path in (("--markdown", markdown), ("--latex", latex)):
        if path is not None:
            refuse_existing(option, path)


def find(studies: Sequence[str], origin: Literal["files", "mlflow"], asked: StudySelection) -> list[str | Path]:
    """Which studies are meant: those named, the one with these words, all of an experiment, or the newest.

    Raises:
        robustkd.errors.UsageError: words that name no study.
    """
    bare = StudySelection(experiment=asked.experiment, trust_test_labels=asked.trust_test_labels, out=asked.out)
    if asked.scenario and studies:
        raise UsageError(f"compare {studies[0]} --scenario {asked.scenario}: a study is named by one or the other")
    if not asked.scenario and asked != bare:
        raise UsageError("compare: options of a study find it only together with --scenario")
    if origin == "files":
        if asked.experiment and not asked.scenario:
            raise UsageError(f"--experiment {asked.experiment}: experiments are MLflow's, so --from mlflow is needed")
        return [_words(asked)] if asked.scenario else [*studies] or [newest(Path(asked.out))]
    names = [_words(asked).name] if asked.scenario else [Path(study).name for study in studies]
    if names and all(tracking.is_reference(name) for name in names):
        return [*names]
    there = tracking.list_studies(asked.experiment)
    for name in names:
        if name not in there and not tracking.is_reference(name):
            raise UsageError(f"{name}: MLflow has no study of this name{did_you_mean(name, there)}")
    if names:
        return [there.get(name, name) for name in names]
    return [there[name] for name in sorted(there)] if asked.experiment else [next(iter(there.values()))]


def _words(asked: StudySelection) -> Path:
    from pipelines import planning  # it needs torch

    return planning.draft_study(asked).plan.folder


def newest(out: Path) -> Path:
    """The study that was worked on last."""
    cards = sorted(out.glob("*/study.json"), key=lambda card: card.stat().st_mtime)
    if not cards:
        raise UsageError(f"{out}: there is no study here yet; `robustkd run --scenario noise0.4` makes one")
    return cards[-1].parent


def read(*studies: str | Path, trust: bool | None = None) -> list[Comparison]:
    """The comparisons of studies: of folders, of all studies in a folder (by name), or of MLflow's parent runs by their ids.

    Args:
        trust: take test labels for clean where nobody has said so; as each study was told where not given.

    Raises:
        robustkd.errors.UsageError: there is no study where one was named.
    """
    places: dict[str, Path | str] = {}
    for study in studies:
        if tracking.is_reference(str(study)) and not Path(study).exists():
            places[str(study)] = str(study)
        else:
            for folder in _folders(Path(study)):
                places.setdefault(str(folder.resolve()), folder)
    return [_read(place, trust) for place in places.values()]


def _folders(place: Path) -> list[Path]:
    if (place / "study.json").is_file():
        return [place]
    inside = sorted(card.parent for card in place.glob("*/study.json"))
    kept = [folder for folder in inside if not CONTINUED.fullmatch(folder.suffix)]
    if not kept:
        names = [path.name for path in place.parent.glob("*/")] if place.parent.is_dir() else []
        hint = "" if place.exists() else did_you_mean(place.name, names)
        raise UsageError(
            f"{place}: there is no study here (it would hold a study.json){hint}; `robustkd run` makes one"
        )
    return kept


def _read(place: Path | str, trust: bool | None) -> Comparison:
    study = tracking.load_record(place) if isinstance(place, str) else load_study(place)
    return compare(study, trusts_test_labels(study.record, trust))


def frames_of(made: Comparison) -> dict[str, pd.DataFrame]:
    """A study's frames by the names of their files, but for those that are empty."""
    return {name: frame for name, field in FRAMES.items() if len(frame := getattr(made, field))}


def stacked(made: Sequence[Comparison], frame: str) -> pd.DataFrame:
    """One of the studies' frames in one, with the column `study` in front.

    Args:
        frame: a field of `Comparison` that is a frame, such as summary, classes or curves.
    """
    parts = {}
    for label, each in zip(study_labels([m.record for m in made]), made, strict=True):
        part: pd.DataFrame = getattr(each, frame)
        parts[label] = part.reset_index() if part.index.name else part
    kept = [part.assign(study=label) for label, part in parts.items() if len(part)]
    if not kept:
        return pd.DataFrame()
    table = pd.concat(kept, ignore_index=True)
    return table[["study", *(name for name in table if name != "study")]]


def stack(made: Sequence[Comparison], figure: str = HEADLINE) -> dict[str, pd.DataFrame]:
    """The frames of several studies by the names of their files."""
    side_by_side = compare_studies(made, find_ranked_metric(made, figure))
    frames = {
        "across": side_by_side.table,
        "ranks": side_by_side.ranks,
        **{name: stacked(made, FRAMES[name]) for name in STACKED},
    }
    return {name: frame for name, frame in frames.items() if len(frame)}


def write_comparison(folder: Path, trust: bool | None = None) -> None:
    """FOLDER/comparison: the frames as CSV; the page as comparison.txt, .md and .tex; and pictures."""
    _write(_read(folder, trust), folder / "comparison", trust)


def _write(made: Comparison, out: Path, trust: bool | None) -> None:
    from pipelines.report import study_report
    from pipelines.report.charts.differences import plot_class_difference_grid
    from pipelines.report.charts.epochs import plot_accuracy_curves
    from pipelines.report.charts.output import save_figure

    out.mkdir(exist_ok=True)
    for name in FRAMES:
        (out / f"{name}.csv").unlink(missing_ok=True)  # what no longer applies goes
    write_csv_files(frames_of(made), out)
    whole = summarise_study(made, trust)
    for suffix, text in (("txt", render_text), ("md", render_markdown), ("tex", render_latex)):
        (out / f"comparison.{suffix}").write_text(text(whole), encoding="utf-8")
    if len(made.per_class):
        save_figure(plot_class_difference_grid(made.per_class), out / PICTURES[0])
    if len(made.curves):
        save_figure(plot_accuracy_curves(made.curves), out / PICTURES[1])
    study_report.write_study_report(made, out, trusts_test_labels(made.record, trust))


def show_study(folder: Path, trust: bool | None = None) -> None:
    """Print a study's comparison."""
    print_page(summarise_study(_read(folder, trust), trust), console)
    console.print(f"tables, pictures and runs: {folder}", markup=False)
