"""sweep: a study for each scenario and data set, and one table of all: methods down, scenarios across.

Each is an ordinary study in OUT, found again by the same words by `robustkd run` and `robustkd compare`. So a sweep that was
stopped goes on where it was, and one with more scenarios, methods or seeds uses what is there. Within a study all methods of
a seed share their teacher. A teacher hangs on the data and the scenario it was trained under, and a sweep has each pair once:
there is none left that two studies could share.

OUT/sweep-NAME/sweep.json     the words, the studies' folders, what failed
               table.csv      a line per study and row: mean, std, seeds, difference, verdict (robustkd.study.across)
               ranks.csv      average ranks, per data set and over all studies
               table.md, table.tex, table.txt
               curves.png     accuracy and memorisation by epoch, a panel per study
"""

import json
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

import robustkd
from pipelines import planning, session, tracking
from pipelines.cli_options import SweepOptions
from pipelines.console import console
from pipelines.report import sweep_report
from pipelines.report.charts.epochs import StudyCurves, plot_sweep_curves
from pipelines.report.charts.output import save_figure
from pipelines.report.renderers.csv_files import write_csv_files
from pipelines.report.renderers.latex import render_latex
from pipelines.report.renderers.markdown import render_markdown
from pipelines.report.renderers.terminal import print_page, render_text
from pipelines.report.study_table import summarise_studies
from pipelines.report.table import Page, Table
from pipelines.stages import compare, run
from robustkd import errors
from robustkd.hashing import digest
from robustkd.study import scheduler
from robustkd.study.across import StudyTable, compare_studies
from robustkd.study.comparison import HEADLINE, Comparison, early_stopping_point
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan
from robustkd.study.results import BASELINE
from robustkd.study.run import estimate_training
from robustkd.study.run_folder import load_network

FIRST = 3  # methods that the curves show beside the baseline

Made = Mapping[Path, Comparison]  # by the study's folder, of those that have any result
Blocks = Mapping[str, Made]  # by data set


class Part(NamedTuple):
    """One study of a sweep."""

    asked: StudyOptions
    folder: Path

    @property
    def title(self) -> str:
        """What a person calls it."""
        return f"{self.asked.dataset}, {self.asked.scenario}"


def main(options: SweepOptions, *, dry_run: bool = False) -> None:
    """Check all studies, then do one after another, and set them side by side; or say what that would take.

    Raises:
        robustkd.errors.UsageError: a word, a data set or a combination of them that cannot work; nothing was trained.
        robustkd.errors.ExecutionError: some studies are not whole; the message names them, and the others are finished.
    """
    if dry_run:
        forecast(options)
        return
    parts = [Part(asked, draft.plan.folder) for asked, draft in drafts(options)]
    name = options.name or digest(text="\n".join(sorted(part.folder.name for part in parts)))[:8]
    folder = place(Path(options.out), name)
    tracker = tracking.open_tracker(options.tracker, options.experiment)
    with session.study_lock(folder):
        card = Card(options, name, parts, folder)
        tracker.start_study(
            folder.name,
            params=card.given,
            resolved={"studies": len(parts), "robustkd": robustkd.__version__},
            config=card.content,
            scenario_files=[],
            dataset={},
            tags={"stage": "sweep", "sweep": name},
        )
        whole = False
        try:
            conduct(card)
            whole = not card.failures
        finally:
            tracker.finish_study(folder if folder.exists() else None, failed=not whole)
    print_page(page(parts, card.made), console)
    console.print(f"tables, curves and the studies' folders: {folder}", markup=False)
    failed = [part for part in parts if part.folder in card.failures]
    for part in failed:
        console.print(f"not whole: {part.title}: {card.failures[part.folder]}", markup=False)
    if failed:
        titles = "; ".join(part.title for part in failed)
        raise errors.ExecutionError(
            f"{len(failed)} of {len(parts)} studies are not whole: {titles}; the same command tries again"
        )


def place(out: Path, name: str) -> Path:
    """The sweep's own folder; one that is somebody else's is refused."""
    legal = re.sub(r"[^A-Za-z0-9.+=_-]+", "-", name).strip("-") or digest(text=name)[:8]
    folder = out / f"sweep-{legal}"
    if folder.exists() and not (folder / "sweep.json").is_file():
        raise errors.UsageError(f"--name {name}: {folder} is there already and holds no sweep; another name is needed")
    return folder


def drafts(options: SweepOptions) -> Iterator[tuple[StudyOptions, planning.Draft]]:
    """Every study, as asked for and thought through; those that come to the same folder once.

    Each scenario is drawn from its data. What the nets and images allow is found out by the first study of each data set for
    all of them, since building thirty methods takes more than a second.

    Raises:
        robustkd.errors.UsageError: one of them cannot work.
    """
    first: Plan | None = None
    seen = set()
    for asked in options.studies():
        again = first is not None and first.options.dataset == asked.dataset
        try:  # methods are no part of a study's identity
            draft = planning.draft_study(replace(asked, methods=BASELINE) if again else asked)
        except errors.UsageError as error:
            raise errors.UsageError(f"{asked.dataset}, {asked.scenario}: {error}") from None
        if first is None or not again:
            first = draft.plan
        else:
            shared = replace(asked, methods=first.options.methods)
            draft = replace(draft, plan=replace(draft.plan, options=shared, jobs=first.jobs, threads=first.threads))
        if draft.plan.folder not in seen:
            seen.add(draft.plan.folder)
            yield asked, draft


class Card:
    """How far a sweep is: its comparisons and its failures, and the files that say so."""

    def __init__(self, options: SweepOptions, name: str, parts: Sequence[Part], folder: Path) -> None:
        self.options, self.name, self.parts, self.folder = options, name, parts, folder
        self.made: dict[Path, Comparison] = {}
        self.failures: dict[Path, str] = {}
        self.done: set[Path] = set()
        for part in parts:  # of an earlier command
            self.read(part)

    @property
    def given(self) -> dict[str, Any]:
        """The words as typed, or by default."""
        return {name: value for name, value in asdict(self.options).items() if name not in ("dataset", "scenario")}

    @property
    def content(self) -> dict[str, Any]:
        """sweep.json."""
        studies = []
        for part in self.parts:
            state = "failed" if part.folder in self.failures else "finished" if part.folder in self.done else "to do"
            told = {"dataset": part.asked.dataset, "scenario": part.asked.scenario, "folder": part.folder.name}
            failure = {"failure": self.failures[part.folder]} if part.folder in self.failures else {}
            studies.append({**told, "state": state, **failure})
        return {"name": self.name, "given": self.given, "studies": studies, "robustkd": robustkd.__version__}

    def read(self, part: Part) -> None:
        """Take in what a study has by now; files of it that cannot be read are its own failure."""
        if not (part.folder / "study.json").is_file():
            return
        try:
            (made,) = compare.load_comparisons(part.folder)
        except errors.UsageError as error:
            self.failures.setdefault(part.folder, str(error))
            return
        if f"{HEADLINE}_mean" in made.summary:
            self.made[part.folder] = made

    def write(self) -> None:
        """All files of the sweep, of what there is by now."""
        self.folder.mkdir(exist_ok=True)
        text = json.dumps(self.content, indent=2, default=str, ensure_ascii=False)
        (self.folder / "sweep.json").write_text(text, encoding="utf-8")
        if not self.made:
            return
        shown, blocks = page(self.parts, self.made), by_dataset(self.parts, self.made)
        for ending, written in (("md", render_markdown), ("tex", render_latex), ("txt", render_text)):
            (self.folder / f"table.{ending}").write_text(written(shown), encoding="utf-8")
        order = ranks(blocks)
        write_csv_files({"table": long(blocks), "ranks": order}, self.folder)
        best = [str(name) for name in order.index if name != BASELINE][:FIRST]
        every = [(part.title, self.made[part.folder]) for part in self.parts if part.folder in self.made]
        panels = [
            StudyCurves(title, made.curves, early_stopping_point(made)) for title, made in every if len(made.curves)
        ]
        if panels:
            save_figure(plot_sweep_curves(panels, [BASELINE, *best]), self.folder / "curves.png")
        sweep_report.write_sweep_report([made for _, made in every], self.folder)


def conduct(card: Card) -> None:
    """Do the studies that are not finished; one that fails does not stop the rest."""
    for number, part in enumerate(card.parts, 1):
        console.print(f"study {number} of {len(card.parts)}: {part.title}", markup=False)
        card.failures.pop(part.folder, None)
        try:
            run.run_study(planning.draft_study(part.asked), card.name)
            card.done.add(part.folder)
        except BrokenPipeError:  # nobody reads along any more, as in `| head`
            raise
        except (errors.ExecutionError, errors.UsageError) as error:
            card.failures[part.folder] = str(error)
        except OSError as error:
            card.failures[part.folder] = f"{error.filename or 'a file'}: {error.strerror or error}"
        except (
            Exception
        ) as error:  # a fault of ours or of a plugged file: whoever comes back in the morning wants the rest
            traceback.print_exc(file=sys.stderr)
            card.failures[part.folder] = f"{type(error).__name__}: {error}"
        finally:
            card.read(part)
            card.write()
        if part.folder in card.failures:
            console.print(f"{part.title}: {card.failures[part.folder]}", markup=False)


def forecast(options: SweepOptions) -> None:
    """Say what a sweep would take, from a few timed updates of each method on each data set, and leave nothing behind."""
    pace: dict[tuple[str, str, str], float] = {}  # seconds of a run, per training row
    whole, every, count = 0.0, 0, 0
    for asked, draft in drafts(options):
        plan, view = draft.plan, draft.drawn[0].train
        scheduler.prepare_process(plan)
        given = load_network(plan, plan.teacher) if plan.teacher is not None else None
        todo, timed = run.unfinished_runs(plan, draft.runs)
        seconds = 0.0
        for each in timed:
            kind = (asked.dataset, each.role, each.method.text)
            if kind not in pace:
                pace[kind] = estimate_training(view, each, plan.settings, teacher=given)[1] / len(view)
            seconds += pace[kind] * len(view) / plan.jobs
        told = f"{len(todo)} of {len(draft.runs)} runs to do, about {hours(seconds)}"
        console.print(f"{Part(asked, plan.folder).title}: {told}", markup=False)
        whole, every, count = whole + seconds, every + len(todo), count + 1
    console.print(
        f"{count} studies, {every} runs to do, {plan.jobs} side by side in {'bf16' if plan.settings.bf16 else 'fp32'} on "
        f"{plan.settings.device}: about {hours(whole)} in all, not counting evaluation",
        markup=False,
    )


def hours(seconds: float) -> str:
    """A time in the unit that a person would take.

    >>> hours(40), hours(600), hours(9000)
    ('40 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def by_dataset(parts: Sequence[Part], made: Made) -> dict[str, dict[Path, Comparison]]:
    """The studies that have results, data set by data set."""
    blocks: dict[str, dict[Path, Comparison]] = {}
    for part in parts:
        if part.folder in made:
            one = made[part.folder]  # its card may name the same data by another path
            options = replace(one.record.options, dataset=part.asked.dataset)
            record = one.record.model_copy(update={"options": options})
            blocks.setdefault(part.asked.dataset, {})[part.folder] = one._replace(record=record)
    return blocks


def long(blocks: Blocks) -> pd.DataFrame:
    """table.csv: a line per study and row of the table."""
    every = [each.table.assign(dataset=name) for name, each in _across(blocks).items()]
    table = pd.concat(every, ignore_index=True).rename(columns={"study": "scenario"})
    return table[["dataset", *(name for name in table if name != "dataset")]]


def ranks(blocks: Blocks) -> pd.DataFrame:
    """ranks.csv: each method's average rank over all studies, and over how many; on each data set, where there are several."""
    every = compare_studies([made for block in blocks.values() for made in block.values()], HEADLINE).ranks
    own = {name: each.ranks["rank"] for name, each in _across(blocks).items()}
    return every.join(pd.DataFrame(own)) if len(own) > 1 else every


def _across(blocks: Blocks) -> dict[str, StudyTable]:
    return {name: compare_studies([*block.values()], HEADLINE) for name, block in blocks.items()}


def page(parts: Sequence[Part], made: Made) -> Page:
    """The sweep's table, a block per data set, and beneath it what its marks mean and by what rule verdicts were given."""
    above: list[str | Table] = []
    beneath: dict[str, list[str]] = {}  # each sentence, and the data sets of which it is true
    blocks = by_dataset(parts, made)
    for dataset, block in blocks.items():
        shown = summarise_studies(list(block.values()), count_seeds=True)
        (at,) = (place for place, each in enumerate(shown) if isinstance(each, Table))
        table = shown[at]
        assert isinstance(table, Table)
        above += [f"{dataset}: {sentence}" for sentence in shown[:at]]
        above.append(replace(table, title=f"{dataset}: {table.title}"))
        for sentence in shown[at + 1 :]:
            beneath.setdefault(str(sentence), []).append(dataset)
    told = [text if len(of) == len(blocks) else f"{', '.join(of)}: {text}" for text, of in beneath.items()]
    missing = [part.title for part in parts if part.folder not in made]
    return [*above, *told, *([f"Nothing is finished yet of: {'; '.join(missing)}."] if missing else [])]
