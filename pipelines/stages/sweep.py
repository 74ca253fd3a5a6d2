"""sweep: a study for each scenario and data set, and one table of all: methods in rows, scenarios in columns.

Each is an ordinary study in OUT, which `robustkd run` and `robustkd compare` find by the same options. So an interrupted sweep
continues where it stopped, and one with more scenarios, methods or seeds reuses what is finished. Within a study all methods of
a seed share their teacher. Two studies cannot share one: it depends on data set and scenario, and a sweep has each pair once.

OUT/sweep-NAME/sweep.json     the options, the studies' folders, what failed
               table.csv      a line per study and row: mean, std, seeds, difference, verdict (robustkd.study.across)
               ranks.csv      average ranks over all studies, per family of scenarios and per data set
               rank_tests.csv Friedman's test and the critical difference of ranks, over all studies and per family
               table.md, table.tex, table.txt
               curves.png     accuracy and memorisation by epoch, a panel per study
"""

import json
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

import robustkd
from pipelines import planning, session, tracking
from pipelines.cli_options import SweepOptions
from pipelines.console import console, format_duration
from pipelines.folder_names import legal_folder_name
from pipelines.forecast import describe_precision, print_load, time_methods, unfinished_runs
from pipelines.report import sweep_report
from pipelines.report.charts.epochs import StudyCurves, plot_sweep_curves
from pipelines.report.charts.output import save_figure
from pipelines.report.renderers.csv_files import write_csv_files
from pipelines.report.renderers.latex import render_latex
from pipelines.report.renderers.markdown import render_markdown
from pipelines.report.renderers.terminal import print_page, render_text
from pipelines.report.study_table import compare_by_family, summarise_studies
from pipelines.report.table import Page, Table
from pipelines.stages import compare, run
from pipelines.tracking.headline import Headline, sweep_headline
from robustkd import errors
from robustkd.atomic import write_text_atomically
from robustkd.hashing import digest
from robustkd.study.across import StudyTable
from robustkd.study.comparison import Comparison, early_stopping_point
from robustkd.study.options import StudyOptions
from robustkd.study.pairing import HEADLINE
from robustkd.study.plan import Plan
from robustkd.study.results import BASELINE

MAX_CURVES = 3  # methods that the picture of curves shows next to the baseline

Comparisons = Mapping[Path, Comparison]  # by the study's folder, of the studies that have any result


class SweepStudy(NamedTuple):
    """One study of a sweep."""

    options: StudyOptions
    folder: Path

    @property
    def title(self) -> str:
        """Data set and scenario."""
        return f"{self.options.dataset}, {self.options.scenario}"


def main(options: SweepOptions, *, dry_run: bool = False) -> None:
    """Check all studies, run one after another, and compare them; or estimate what that would take.

    Raises:
        robustkd.errors.UsageError: an option, a data set or a combination of them that cannot work; nothing was trained.
        robustkd.errors.ExecutionError: some studies are incomplete; the message names them, and the others are finished.
    """
    if dry_run:
        print_sweep_forecast(options)
        return
    studies = [SweepStudy(study_options, draft.plan.folder) for study_options, draft in draft_studies(options)]
    name = options.name or digest(text="\n".join(sorted(study.folder.name for study in studies)))[:8]
    folder = find_sweep_folder(Path(options.out), name)
    tracker = tracking.open_tracker(options.tracker, options.experiment)
    with session.study_lock(folder):
        sweep, incomplete = Sweep(options, name, studies, folder), None
        try:
            run_tracked(sweep, tracker)
        except errors.ExecutionError as error:
            incomplete = error
    print_page(build_sweep_page(studies, sweep.comparisons), console)
    console.print(f"tables, curves and the studies' folders: {folder}")
    for study in sweep.failed:
        console.print(f"incomplete: {study.title}: {sweep.failures[study.folder]}")
    if incomplete is not None:
        raise incomplete


def find_sweep_folder(out: Path, name: str) -> Path:
    """Return the folder of a sweep's tables.

    Raises:
        robustkd.errors.UsageError: the folder exists and is not a sweep's.
    """
    legal = legal_folder_name(name) or digest(text=name)[:8]
    folder = out / f"sweep-{legal}"
    if folder.exists() and not (folder / "sweep.json").is_file():
        raise errors.UsageError(f"--name {name}: {folder} exists already and is not a sweep; choose another name")
    return folder


def draft_studies(options: SweepOptions) -> Iterator[tuple[StudyOptions, planning.Draft]]:
    """Plan every study; options that result in the same folder once.

    Each scenario is drawn from its data. Which methods the networks and images allow is checked by the first study of each
    data set for all of them, since constructing thirty methods takes more than a second.

    Raises:
        robustkd.errors.UsageError: one of them cannot work.
    """
    first: Plan | None = None  # of the data set
    folders = set()
    for study in options.studies():
        checked = first is not None and first.options.dataset == study.dataset
        try:  # methods are not part of a study's identity
            draft = planning.draft_study(replace(study, methods=BASELINE) if checked else study)
        except errors.UsageError as error:
            raise errors.UsageError(f"{study.dataset}, {study.scenario}: {error}") from None
        if first is None or not checked:
            first = draft.plan
        else:
            shared = replace(study, methods=first.options.methods)
            settings = replace(draft.plan.settings, cost_ratio=first.settings.cost_ratio)
            plan = replace(draft.plan, options=shared, settings=settings, jobs=first.jobs, threads=first.threads)
            draft = replace(draft, plan=plan)
        if draft.plan.folder not in folders:
            folders.add(draft.plan.folder)
            yield study, draft


class Sweep:
    """The progress of a sweep: its comparisons and failures so far, and the files that record them.

    Attributes:
        comparisons: of the studies that have any result, by folder.
        failures: messages, by folder.
        finished: folders of the studies that this command has finished.
    """

    def __init__(self, options: SweepOptions, name: str, studies: Sequence[SweepStudy], folder: Path) -> None:
        self.options, self.name, self.studies, self.folder = options, name, studies, folder
        self.comparisons: dict[Path, Comparison] = {}
        self.failures: dict[Path, str] = {}
        self.finished: set[Path] = set()
        self.started = time.monotonic()
        for study in studies:  # results of an earlier command
            self.load_results(study)

    @property
    def parameters(self) -> dict[str, Any]:
        """The sweep's options, without those of a single study."""
        return {name: value for name, value in asdict(self.options).items() if name not in ("dataset", "scenario")}

    @property
    def content(self) -> dict[str, Any]:
        """The content of sweep.json."""
        studies = [self._describe_study(study) for study in self.studies]
        return {"name": self.name, "given": self.parameters, "studies": studies, "robustkd": robustkd.__version__}

    def _describe_study(self, study: SweepStudy) -> dict[str, str]:
        failure = {"failure": self.failures[study.folder]} if study.folder in self.failures else {}
        return {
            "dataset": study.options.dataset,
            "scenario": study.options.scenario,
            "folder": study.folder.name,
            "state": "failed" if failure else "finished" if study.folder in self.finished else "to do",
            **failure,
        }

    @property
    def failed(self) -> list[SweepStudy]:
        """The studies that failed, in order."""
        return [study for study in self.studies if study.folder in self.failures]

    @property
    def ordered_comparisons(self) -> list[Comparison]:
        """The comparisons so far, in the order of the studies."""
        return [self.comparisons[study.folder] for study in self.studies if study.folder in self.comparisons]

    def options_of(self, study: SweepStudy) -> StudyOptions:
        """Return a study's options, with what is left of the sweep's time."""
        limit = study.options.stop_after_seconds
        if limit is None:
            return study.options
        return replace(study.options, stop_after=f"{max(0.0, limit - (time.monotonic() - self.started)):.0f}s")

    def summarise(self) -> Headline:
        """Return what its tracked run shows."""
        titles = {study.title: self.failures[study.folder] for study in self.studies if study.folder in self.failures}
        return sweep_headline(self.ordered_comparisons, titles)

    def load_results(self, study: SweepStudy) -> None:
        """Load the results that a study has so far; if they cannot be read, that is a failure of this study only."""
        if not (study.folder / "study.json").is_file():
            return
        try:
            comparison = compare.load_comparison(study.folder)
        except errors.UsageError as error:
            self.failures.setdefault(study.folder, str(error))
            return
        if f"{HEADLINE}_mean" in comparison.summary:
            self.comparisons[study.folder] = comparison

    def write_record(self) -> None:
        """Write sweep.json."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.content, indent=2, default=str, ensure_ascii=False)
        write_text_atomically(self.folder / "sweep.json", text)

    def write(self) -> None:
        """Write all files of the sweep, of the results so far."""
        self.write_record()
        if not self.comparisons:
            return
        page = build_sweep_page(self.studies, self.comparisons)
        for suffix, render in (("md", render_markdown), ("tex", render_latex), ("txt", render_text)):
            write_text_atomically(self.folder / f"table.{suffix}", render(page))
        groups = group_by_dataset(self.studies, self.comparisons)
        ranks = rank_methods(groups)
        tests = compare_by_family(self.ordered_comparisons).rank_tests
        write_csv_files({"table": concat_study_tables(groups), "ranks": ranks, "rank_tests": tests}, self.folder)
        self._draw_curves([str(name) for name in ranks.index if name != BASELINE][:MAX_CURVES])
        sweep_report.write_sweep_report(self.ordered_comparisons, self.folder)

    def _draw_curves(self, methods: Sequence[str]) -> None:
        """Draw the baseline's curves and those of other methods, if any study has a history."""
        present = ((study.title, self.comparisons.get(study.folder)) for study in self.studies)
        panels = [
            StudyCurves(title, comparison.curves, early_stopping_point(comparison))
            for title, comparison in present
            if comparison is not None and len(comparison.curves)
        ]
        if panels:
            save_figure(plot_sweep_curves(panels, [BASELINE, *methods]), self.folder / "curves.png")


def run_tracked(sweep: Sweep, tracker: tracking.Tracker) -> None:
    """Run the studies within the sweep's own tracked run.

    Raises:
        robustkd.errors.ExecutionError: some studies are incomplete.
        robustkd.errors.StudyPaused: the time of --stop-after is over.
    """
    sweep.write_record()  # so that a sweep that is killed continues its tracked run
    tracker.start_study(
        sweep.folder.name,
        params=sweep.parameters,
        resolved={"studies": len(sweep.studies), "robustkd": robustkd.__version__},
        config=sweep.content,
        scenario_files=[],
        dataset={},
        tags={"stage": "sweep", "sweep": sweep.name},
        folder=sweep.folder,
    )
    with session.close_tracked_run(tracker, sweep.folder, sweep.summarise):
        run_studies(sweep, session.Group("sweep", sweep.name, tracker.run_id))
        if sweep.failed:
            titles = "; ".join(study.title for study in sweep.failed)
            raise errors.ExecutionError(
                f"{len(sweep.failed)} of {len(sweep.studies)} studies are incomplete: {titles}; the same command tries again"
            )


def run_studies(sweep: Sweep, group: session.Group) -> None:
    """Run the studies that are not finished. One that fails does not stop the rest."""
    for number, study in enumerate(sweep.studies, 1):
        console.print(f"study {number} of {len(sweep.studies)}: {study.title}")
        sweep.failures.pop(study.folder, None)
        try:
            run.run_stages(planning.draft_study(sweep.options_of(study)), group)
            sweep.finished.add(study.folder)
        except errors.StudyPaused:
            raise errors.StudyPaused(
                f"stopped after {sweep.options.stop_after}, in study {number} of {len(sweep.studies)}; the same command goes on"
            ) from None
        except BrokenPipeError:  # the output is not read any more, as in `| head`
            raise
        except (errors.ExecutionError, errors.UsageError) as error:
            sweep.failures[study.folder] = str(error)
        except OSError as error:
            sweep.failures[study.folder] = f"{error.filename or 'a file'}: {error.strerror or error}"
        except Exception as error:  # of our code or of a plugged file: the other studies should not be lost
            traceback.print_exc(file=sys.stderr)
            sweep.failures[study.folder] = f"{type(error).__name__}: {error}"
        finally:
            sweep.load_results(study)
            sweep.write()
        if study.folder in sweep.failures:
            console.print(f"{study.title}: {sweep.failures[study.folder]}")


def print_sweep_forecast(options: SweepOptions) -> None:
    """Print what a sweep would take, from a few timed updates of each method per data set, without writing anything."""
    print_load()
    paces: dict[tuple[str, str, str], float] = {}  # seconds of a run per training row, by data set, role and method
    total, run_count, study_count = 0.0, 0, 0
    for study, draft in draft_studies(options):
        plan, rows = draft.plan, len(draft.drawn[0].train)
        todo, training = unfinished_runs(plan, draft.runs)
        kinds = [(study.dataset, run.role, run.method.text) for run in training]
        untimed = [run for run, kind in zip(training, kinds, strict=True) if kind not in paces]
        for timed in time_methods(draft, untimed):
            console.print(f"{study.dataset}, {timed.describe()}")
            paces[study.dataset, timed.run.role, timed.run.method.text] = timed.estimate.seconds / rows
        seconds = sum(paces[kind] for kind in kinds) * rows / plan.jobs
        forecast = f"{len(todo)} of {len(draft.runs)} runs to do, about {format_duration(seconds)}"
        console.print(f"{SweepStudy(study, plan.folder).title}: {forecast}")
        total, run_count, study_count = total + seconds, run_count + len(todo), study_count + 1
    console.print(
        f"{study_count} studies, {run_count} runs to do, {plan.jobs} in parallel in {describe_precision(plan)}:"
        f" about {format_duration(total)} in all, not counting evaluation",
    )


def group_by_dataset(studies: Sequence[SweepStudy], comparisons: Comparisons) -> dict[str, list[Comparison]]:
    """Return the comparisons by data set, in the order of the studies."""
    groups: dict[str, list[Comparison]] = {}
    for study in studies:
        if study.folder in comparisons:
            comparison = comparisons[study.folder]
            # The study may have been made from the same data at another path.
            options = replace(comparison.record.options, dataset=study.options.dataset)
            record = comparison.record.model_copy(update={"options": options})
            groups.setdefault(study.options.dataset, []).append(comparison._replace(record=record))
    return groups


def concat_study_tables(groups: Mapping[str, Sequence[Comparison]]) -> pd.DataFrame:
    """Return the table of table.csv: a line per data set, scenario and row."""
    parts = [studies.table.assign(dataset=name) for name, studies in _compare_groups(groups).items()]
    table = pd.concat(parts, ignore_index=True).rename(columns={"study": "scenario"})
    return table[["dataset", *(name for name in table if name != "dataset")]]


def rank_methods(groups: Mapping[str, Sequence[Comparison]]) -> pd.DataFrame:
    """Return the table of ranks.csv: each method's average rank over all studies, and over how many.

    If there are several families of scenarios or data sets, its average rank on each of them follows.
    """
    ranks = compare_by_family([comparison for group in groups.values() for comparison in group]).ranks
    by_dataset = {name: studies.ranks["rank"] for name, studies in _compare_groups(groups).items()}
    return ranks.join(pd.DataFrame(by_dataset)) if len(by_dataset) > 1 else ranks


def _compare_groups(groups: Mapping[str, Sequence[Comparison]]) -> dict[str, StudyTable]:
    return {name: compare_by_family(group) for name, group in groups.items()}


def build_sweep_page(studies: Sequence[SweepStudy], comparisons: Comparisons) -> Page:
    """Return the page of a sweep: a table per data set, then what their marks mean and the rules behind the verdicts."""
    groups = group_by_dataset(studies, comparisons)
    parts: list[str | Table] = []
    datasets: dict[str, list[str]] = {}  # by sentence below the tables, those that it is about
    for dataset, group in groups.items():
        page = summarise_studies(group, count_seeds=True)
        (place,) = (place for place, part in enumerate(page) if isinstance(part, Table))
        parts += [_prefix(dataset, part) for part in page[: place + 1]]
        for sentence in page[place + 1 :]:
            datasets.setdefault(str(sentence), []).append(dataset)
    parts += [
        text if len(names) == len(groups) else _prefix(", ".join(names), text) for text, names in datasets.items()
    ]
    missing = [study.title for study in studies if study.folder not in comparisons]
    return [*parts, *([f"No run is finished yet in: {'; '.join(missing)}."] if missing else [])]


def _prefix(dataset: str, part: str | Table) -> str | Table:
    """Put the name of a data set before a sentence, or before the title of a table."""
    return f"{dataset}: {part}" if isinstance(part, str) else replace(part, title=f"{dataset}: {part.title}")
