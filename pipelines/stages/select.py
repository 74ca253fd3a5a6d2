"""select: a race on held-out rows, then the screening of those it leaves and the confirmation of the finalists on the test set.

OUT/select-NAME/            selection.json, selection.txt and .md, report.html
OUT/NAME-race-DIGEST/       the race: an ordinary study, whose runs are paused after each rung
OUT/NAME-final-DIGEST/      screening and confirmation: an ordinary study of the finalists and plain training, with fresh seeds
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import robustkd
from pipelines import planning, tracking
from pipelines.cli_options import SelectOptions
from pipelines.console import console
from pipelines.racing import judge, measure_costs, seconds_at, time_costs, train_rung
from pipelines.report.formatting import format_count
from pipelines.report.renderers.terminal import print_page
from pipelines.report.selection_page import answer_selection, question_of, selection_page, write_selection_files
from pipelines.report.table import Page
from pipelines.selecting import RACE_SEEDS, as_command, describe_plan, draft_race, find_folder, plan_or_refuse
from pipelines.session import Group, close_tracked_run, execute_and_track, open_session, study_lock
from pipelines.stages import compare
from pipelines.tracking.headline import Headline
from robustkd.errors import ExecutionError, StudyPaused, UsageError
from robustkd.selection.budget import (
    Budget,
    Costs,
    SelectionPlan,
    replan_places,
    replan_screened,
    screening_rungs,
)
from robustkd.selection.confirm import judge_look, level_of
from robustkd.selection.evidence import difference_stopped_alike, read_correctness, read_evidence
from robustkd.selection.race import Rung, Standing, judge_rung
from robustkd.selection.record import (
    CostsRecord,
    FindingRecord,
    LookRecord,
    SelectionRecord,
    record_finding,
    record_rung,
)
from robustkd.study.comparison import Comparison
from robustkd.study.integrity import set_aside
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run, list_runs
from robustkd.study.results import BASELINE, TEACHER, read_document, read_study, run_name, write_document
from robustkd.study.verdicts import count_comparisons

RECORD = "selection.json"


def main(options: SelectOptions, *, dry_run: bool = False, spread: float | None = None) -> None:
    """Select a method, or print what that would take and find.

    Args:
        spread: of a dry run: the standard deviation over seeds of paired differences, in points.

    Raises:
        UsageError: nothing can be selected, or the budget is too small.
    """
    if spread is not None and not dry_run:
        raise UsageError(f"--spread {spread:g}: it belongs to --dry-run, and changes nothing in a selection")
    selection = prepare_selection(options, dry_run=dry_run, spread=spread)
    if dry_run:
        return
    selection.execute()
    print_page(selection.page(), console)
    console.print(f"report and files: {selection.folder}")


def prepare_selection(options: SelectOptions, *, dry_run: bool = False, spread: float | None = None) -> "Selection":
    """Plan a selection, or continue an earlier one, and print the plan. Nothing is written.

    Args:
        dry_run: whether to make a new plan for what an earlier command has begun.
        spread: the standard deviation over seeds of paired differences, in points, for which the power is printed.

    Raises:
        UsageError: nothing can be selected, or the budget is too small.
    """
    budget = Budget.parse(options.budget)
    draft, left_out = draft_race(options)
    folder = find_folder(options, draft.plan)
    earlier = None if options.fresh or dry_run else read_selection(folder)
    record = earlier or begin_selection(options, budget, draft, left_out)
    costs, jobs = record.costs.unpack(), draft.plan.jobs
    plan = plan_or_refuse(options, budget, record.budget, costs, jobs)
    for line in describe_plan(options, plan, costs, jobs, None if spread is None else spread / 100):
        console.print(line, highlight=False)
    return Selection(options, draft, plan, costs, folder, record)


def begin_selection(
    options: SelectOptions, budget: Budget, draft: planning.Draft, left_out: dict[str, str]
) -> SelectionRecord:
    """Time what a selection trains, and return its record with nothing decided yet.

    Args:
        draft: of the race.
        left_out: methods that cannot be selected, and why.
    """
    costs = time_costs(draft)
    return SelectionRecord(
        options=asdict(options),
        dataset=draft.record.dataset,
        scenario=options.scenario,
        contenders=list(costs.contenders),
        left_out=left_out,
        costs=CostsRecord(**costs._asdict()),
        budget=budget.job_seconds(costs, options.seeds, draft.plan.jobs),
        grid=costs.grid(options.seeds),
        race_study=draft.plan.folder.name,
    )


def read_selection(folder: Path) -> SelectionRecord | None:
    """Read what an earlier command has recorded; None where there is nothing, or it cannot be read.

    A damaged file is set aside: runs that are trained are not trained again, so that its decisions are made again from them.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        return read_document(path, SelectionRecord)
    except UsageError as error:
        console.print(
            f"{error}; it is kept as {set_aside(path).name}, and its decisions are made again from the runs so far"
        )
        return None


class Selection:
    """Runs a selection. What is decided is written after every rung and look, so that the same command continues from there.

    Args:
        draft: of the race.
        plan: what the budget pays for.
        costs: as they were timed before the race.
        folder: of its record.
        record: what is decided so far.
    """

    def __init__(
        self,
        options: SelectOptions,
        draft: planning.Draft,
        plan: SelectionPlan,
        costs: Costs,
        folder: Path,
        record: SelectionRecord,
    ) -> None:
        self.options, self.draft, self.plan, self.costs = options, draft, plan, costs
        self.folder, self.record = folder, record
        self.started = time.monotonic()
        self.group = Group("selection", folder.name, "")

    def execute(self) -> None:
        """Race, confirm and conclude, within a tracked run of its own.

        Raises:
            ExecutionError: a run that is needed failed.
            StudyPaused: the time of --stop-after is over.
        """
        tracker = tracking.open_tracker(self.options.tracker, self.options.experiment)
        with study_lock(self.folder, fresh=self.options.fresh), self.tracked(tracker):
            self.race()
            self.screen()
            self.confirm()

    @contextmanager
    def tracked(self, tracker: tracking.Tracker) -> Iterator[None]:
        """Open and close the selection's own tracked run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write()
        tracker.start_study(
            self.folder.name,
            params=asdict(self.options),
            resolved={"contenders": len(self.record.contenders), "robustkd": robustkd.__version__},
            config=self.record.model_dump(mode="json"),
            scenario_files=[],
            dataset={},
            tags={"stage": "select", "selection": self.folder.name},
            folder=self.folder,
        )
        self.group = self.group._replace(tracked_run=tracker.run_id)
        with close_tracked_run(tracker, self.folder, self.summarise):
            yield

    def summarise(self) -> Headline:
        """Return what its tracked run shows."""
        record = self.record
        metrics = {"contenders": float(len(record.contenders)), "share_of_grid": record.seconds / record.grid}
        metrics |= {f"gain/{finding.finalist}": finding.gain for finding in record.last_findings}
        return Headline(metrics, f"**{question_of(record)}**\n\n{answer_selection(record)}", record.winner or "")

    def update(self, **changes: object) -> None:
        """Change the record and write it."""
        self.record = self.record.model_copy(update=changes)
        self.write()

    def write(self) -> None:
        """Write all files, of what is decided so far."""
        write_document(self.folder / RECORD, self.record)
        write_selection_files(self.record, self.comparison(), self.folder)

    def comparison(self) -> Comparison | None:
        """Return the comparison of the confirmation so far."""
        final = None if self.record.final_study is None else self.folder.parent / self.record.final_study
        return compare.load_comparison(final) if final is not None and self.record.looks else None

    def page(self) -> Page:
        """Return its page."""
        return selection_page(self.record, self.comparison())

    def limited(self, plan: Plan) -> Plan:
        """Return a plan with what is left of --stop-after."""
        limit = plan.options.stop_after_seconds
        if limit is None:
            return plan
        left = max(0.0, limit - (time.monotonic() - self.started))
        return replace(plan, options=replace(plan.options, stop_after=f"{left:.0f}s"))

    def race(self) -> None:
        """Run the rungs that are not decided yet."""
        if len(self.record.rungs) >= len(self.plan.rungs) or self._is_decided():
            return
        with open_session(self.draft, "race", self.group) as (plan, tracker):
            while len(self.record.rungs) < len(self.plan.rungs) and not self._is_decided():
                self._run_rung(plan, tracker)

    def _is_decided(self) -> bool:
        return bool(self.record.rungs) and len(self.record.entrants) <= self.plan.screened

    def _run_rung(self, plan: Plan, tracker: tracking.Tracker) -> None:
        number, record = len(self.record.rungs), self.record
        planned, running = self.plan.rungs[number], record.entrants
        following = self.plan.rungs[number + 1 :]
        seeds = format_count(planned.seeds, "seed")
        console.print(f"rung {number + 1}: {len(running)} methods, {planned.share:.0%} of their epochs, {seeds}")
        runs = train_rung(self.limited(plan), running, planned, tracker)
        spent = seconds_at(plan, runs, planned.share) - self._spent_before(plan, runs)
        costs = measure_costs(plan, running, planned, self.costs)
        before = sum(rung.seconds for rung in record.rungs)
        left = self.plan.race - before - spent
        leaving = replan_screened(self.plan, costs, self.options.finalists, record.budget, before + spent)
        rung = planned._replace(places=replan_places([planned, *following], costs, leaving, left))
        standings = judge(plan, running, rung)
        for standing in standings:
            console.print(f"  {standing.describe()}", highlight=False)
        self.update(rungs=[*record.rungs, record_rung(rung, standings, max(spent, 0.0))])

    def _spent_before(self, plan: Plan, runs: Sequence[Run]) -> float:
        """Return the seconds that the runs of a rung had taken in the rung before."""
        if not self.record.rungs:
            return 0.0
        last = self.record.rungs[-1]
        seeds = range(plan.options.first_seed, plan.options.first_seed + last.seeds)
        return seconds_at(plan, [run for run in runs if run.seed in seeds], last.share)

    def screen(self) -> None:
        """Run the rungs of the screening that are not decided yet."""
        if not self.plan.screening:
            return
        for rung in screening_rungs(len(self.record.entrants), self.options.finalists)[len(self.record.screening) :]:
            if len(self.record.finalists) > rung.places:
                self._run_screening(rung)

    def _run_screening(self, rung: Rung) -> None:
        running, seeds = self.record.finalists, format_count(rung.seeds, "fresh seed")
        console.print(f"screening: {len(running)} methods on the test set, {seeds}")
        try:
            plan = self._train_final(rung.seeds, running)
        except StudyPaused:
            raise
        except ExecutionError as error:
            plan = planning.draft_study(self.final_options(rung.seeds, running)).plan
            console.print(f"{error}; the selection continues without what failed")
        study, numbers = read_study(plan.folder), plan.options.seed_numbers
        correct = {name: [read_correctness(study, name, seed) for seed in numbers] for name in running}
        known = {name: [each for each in rows if each is not None] for name, rows in correct.items()}
        whole = {name: rows for name, rows in known.items() if len(rows) == rung.seeds}
        if not whole:
            raise ExecutionError("none of the contenders that are screened could be trained")
        standings = judge_rung(whole, rung.places, is_partial=True)  # with so few seeds, only places decide
        standings += [Standing(name, None, 0.0, 0.0, False, "failed") for name in running if name not in whole]
        for standing in standings:
            console.print(f"  {standing.describe()}", highlight=False)
        done = record_rung(rung, standings, self._seconds_of_final(plan))
        self.update(screening=[*self.record.screening, done], final_study=plan.folder.name)

    def confirm(self) -> None:
        """Run the looks that are not decided yet, and conclude."""
        looks = tuple(self.record.planned_looks) or self._affordable_looks()
        self.update(planned_looks=list(looks))
        for look in looks[len(self.record.looks) :]:
            if not self._open_finalists():
                break
            self._run_look(looks, look)
        self.conclude()

    def _affordable_looks(self) -> tuple[int, ...]:
        """Return the looks that what is left of the budget pays for, at the costs that the race measured."""
        finalists, left = self.record.finalists, self.record.budget - self.record.seconds
        costs, trained = self._measured_costs(finalists), len(self.record.screening)  # seeds
        paid = [look for look in self.plan.looks if costs.confirmation(len(finalists), look - trained) <= 1.1 * left]
        return tuple(paid or self.plan.looks[:1])

    def _measured_costs(self, finalists: Sequence[str]) -> Costs:
        """Return the costs of finalists as the last rung measured them, or as they were timed where there is no race."""
        if self.record.rungs:
            last = self.record.rungs[-1]
            return measure_costs(self.draft.plan, finalists, Rung(last.share, last.seeds, last.places), self.costs)
        return self.costs._replace(contenders={name: self.costs.contenders[name] for name in finalists})

    def _open_finalists(self) -> list[str]:
        decided = {finding.finalist for finding in self.record.last_findings if finding.state != "open"}
        return [name for name in self.record.finalists if name not in decided]

    def final_options(self, seeds: int, methods: Sequence[str]) -> StudyOptions:
        """Return the options of the confirmation's study, up to a number of seeds."""
        first = self.options.first_seed + RACE_SEEDS
        return self.options.study([BASELINE, *methods], seeds=seeds, first_seed=first, part="final")

    def _train_final(self, seeds: int, methods: Sequence[str]) -> Plan:
        """Train the confirmation's study up to a number of seeds: plain training and these methods, of all that it compares.

        Raises:
            ExecutionError: a run failed.
        """
        compared = self.record.finalists
        is_new = not self.record.screening and not self.record.looks
        options = replace(self.final_options(seeds, compared), fresh=self.options.fresh and is_new)
        with quiet_console():
            draft = planning.draft_study(options)
        with open_session(draft, "run", self.group) as (plan, tracker):
            runs = [run for run in draft.runs if run.role == TEACHER or run.method.text in (BASELINE, *methods)]
            execute_and_track(self.limited(plan), runs, tracker)
            compare.write_comparison(plan.folder)
        return plan

    def _seconds_of_final(self, plan: Plan) -> float:
        """Return the seconds of training that the confirmation's study took so far, the screening included."""
        every = replace(plan.options, methods=",".join([BASELINE, *self.record.entrants]))
        return seconds_at(plan, list_runs(every, plan.teacher is not None), 1.0)

    def _run_look(self, looks: tuple[int, ...], look: int) -> None:
        going = self._open_finalists()
        console.print(f"look at {look} seeds: {', '.join(going)}")
        plan = self._train_final(look, going)
        study, seeds = read_study(plan.folder), [*plan.options.seed_numbers]
        among = max(len(self.record.entrants), count_comparisons(study.record, study.results))
        level, findings = level_of(looks, look, among), list[FindingRecord]()
        for name in going:
            finding = judge_look(name, look, level, read_evidence(study, name, seeds, level), look == looks[-1])
            findings.append(record_finding(finding, difference_stopped_alike(study, name, seeds)))
        record = LookRecord(seeds=look, seconds=self._seconds_of_final(plan), findings=findings)
        self.update(looks=[*self.record.looks, record], final_study=plan.folder.name)

    def conclude(self) -> None:
        """Write down the answer."""
        last = self.record.last_findings
        better = [finding for finding in last if finding.state == "better"]
        winner = max(better, key=lambda finding: finding.gain, default=None)
        gains = [min(each.high for each in finding.evidence.values()) for finding in last]
        method = BASELINE if winner is None else winner.finalist
        run = run_name("student", method, self.options.first_seed + RACE_SEEDS)
        student = self.folder.parent / (self.record.final_study or "") / "runs" / run / "model.pt"
        seeds = max(finding.seeds for finding in last)
        self.record = self.record.model_copy(
            update={
                "winner": None if winner is None else winner.finalist,
                "largest_gain": max(0.0, *gains),
                "student": str(student),
                "command": as_command(self.final_options(seeds, self.record.finalists)),
            }
        )
        self.update(answer=answer_selection(self.record))


@contextmanager
def quiet_console() -> Iterator[None]:
    """Print nothing for the duration of the context: the race has said the same of the data."""
    quiet, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = quiet
