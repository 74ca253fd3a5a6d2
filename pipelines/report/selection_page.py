"""The page of a selection: the race, the confirmation and the answer, for the terminal, as files and as an HTML report."""

from collections.abc import Iterable
from pathlib import Path

from pipelines.report.class_tables import class_difference_tables
from pipelines.report.formatting import format_count, format_points, format_value, to_sentence, typeset
from pipelines.report.renderers.html import fill_report
from pipelines.report.renderers.markdown import render_markdown
from pipelines.report.renderers.terminal import render_text
from pipelines.report.section import Section
from pipelines.report.study_report import write_report_files
from pipelines.report.table import Cell, Column, Page, Row, Table, number_cell
from robustkd.evaluation.significance import ALPHA
from robustkd.selection.evidence import PLAIN, STOPPED
from robustkd.selection.race import NOISE
from robustkd.selection.record import EvidenceRecord, FindingRecord, RungRecord, SelectionRecord
from robustkd.study.comparison import Comparison
from robustkd.study.conclusions import test_set_caveats

STATES = {"better": "better", "behind": "dropped: not ahead", "not shown": "no gain shown", "open": "continues"}
REASONS = {
    "": "continues",
    "noise": f"dropped: more than {NOISE:g} standard errors behind",
    "places": "dropped: no place is left",
    "unjudged": "continues, not judged in its first phase",
    "failed": "dropped: its training failed",
}
MISSING = "-"


def question_of(record: SelectionRecord) -> str:
    """Return the question that a selection answers."""
    methods = format_count(len(record.contenders), "method")
    return f"Which of {methods} beats plain training on {record.dataset} under {record.scenario}?"


def answer_selection(record: SelectionRecord) -> str:
    """Return the answer in sentences; what is known so far before the end."""
    if not record.looks:
        return "No method is confirmed yet." if record.rungs or record.screening else "Nothing is finished yet."
    looked = max(finding.seeds for finding in record.last_findings)
    if record.winner is not None:
        won = next(finding for finding in record.last_findings if finding.finalist == record.winner)
        low = min(each.low for each in won.evidence.values())
        versus = ", ".join(
            f"{format_points(each.difference)} points over {name}" for name, each in won.evidence.items()
        )
        first = (
            f"{record.winner}: {versus} (balanced accuracy on the test set, {won.seeds} fresh seeds; at least"
            f" {format_points(max(low, 0.0))} points over both)."
        )
    else:
        gain = 100 * (record.largest_gain or 0.0)
        first = (
            f"No method is shown to be better than plain training, last epoch and stopped early: none of"
            f" {format_count(len(record.finalists), 'finalist')} gains more than {gain:.1f} points over both"
            f" ({looked} fresh seeds and the test set)."
        )
    return f"{first} {describe_cost(record)}"


def describe_cost(record: SelectionRecord) -> str:
    """Describe what a selection cost."""
    share = record.seconds / record.grid if record.grid else 0.0
    grid = f"the grid of all contenders with {record.options['seeds']} seeds"
    return f"It took {share:.0%} of {grid}, {_minutes(record.seconds)} of training."


def _minutes(seconds: float) -> str:
    """Return a time in minutes, or in seconds if it is short."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def rung_tables(record: SelectionRecord) -> list[Table]:
    """Return a table for each rung of the race and of the screening, the best contender first."""
    last = [*record.rungs, *record.screening][-1:] if record.planned_looks else []  # which left the finalists
    return [
        _rung_table(f"rung {number}: {rung.share:.0%} of the epochs", "held-out rows", rung, rung in last)
        for number, rung in enumerate(record.rungs, 1)
    ] + [_rung_table("screening", "test set", rung, rung in last) for rung in record.screening]


def _rung_table(name: str, rows_of: str, rung: RungRecord, leaves_finalists: bool) -> Table:
    rows = [
        Row(
            [
                Cell(standing.contender),
                number_cell(MISSING if standing.score is None else format_value(standing.score), standing.score),
                number_cell(
                    format_points(-standing.behind) if standing.score is not None else MISSING, -standing.behind
                ),
                number_cell(format_points(standing.noise, signed=False), standing.noise),
                Cell("finalist" if leaves_finalists and standing.kept else REASONS[standing.reason]),
            ],
            muted=not standing.kept,
        )
        for standing in rung.standings
    ]
    seeds = format_count(rung.seeds, "seed")
    return Table(f"{name}, {seeds}, {rows_of}, per cent ({_minutes(rung.seconds)})", RUNG_COLUMNS, rows)


RUNG_COLUMNS = [
    Column("contender", "method", "text"),
    Column("score", "balanced accuracy"),
    Column("behind", "from the leader"),
    Column("noise", "standard error"),
    Column("decision", "decision", "text"),
]


def confirmation_table(findings: Iterable[FindingRecord]) -> Table:
    """Return the table of the finalists, each at its last look."""
    rows = []
    for finding in findings:
        cells = [Cell(finding.finalist), number_cell(str(finding.seeds), finding.seeds)]
        for name in (PLAIN, STOPPED):
            cells += _evidence_cells(finding.evidence[name])
        alike = finding.stopped_alike
        cells.append(number_cell(MISSING if alike is None else format_points(alike), alike))
        cells += [Cell(f"{finding.level:.2g}"), Cell(STATES[finding.state])]
        rows.append(Row(cells))
    return Table(
        "finalists on fresh seeds and the test set: differences in balanced accuracy, points", FINAL_COLUMNS, rows
    )


def _evidence_cells(evidence: EvidenceRecord) -> list[Cell]:
    """Return difference, interval and p from a reference."""
    interval = f"[{format_points(evidence.low)}, {format_points(evidence.high)}]"
    difference = number_cell(format_points(evidence.difference), evidence.difference)
    return [difference, Cell(interval), Cell(f"{evidence.p:.2g}")]


FINAL_COLUMNS = [
    *(Column("finalist", "method", "text"), Column("seeds", "seeds")),
    *(Column("plain", "from plain"), Column("plain_interval", "interval", "text"), Column("plain_p", "p", "text")),
    *(Column("stopped", "from plain stopped"), Column("stopped_interval", "interval", "text")),
    *(Column("stopped_p", "p", "text"), Column("alike", "both stopped"), Column("level", "level of p", "text")),
    Column("state", "verdict", "text"),
]


def confirmation_notes(record: SelectionRecord) -> list[str]:
    """Return how the table of the finalists is read."""
    looks, entered = ", ".join(map(str, record.planned_looks)), len(record.entrants)
    over = f"the {entered} that were screened" if record.screening else format_count(entered, "finalist")
    notes = [
        "A finalist is better if p reaches the level of its look against both references. The levels spend an error of"
        f" {ALPHA:g} over {over} and the looks at {looks} seeds; intervals hold over all of these.",
        "The race was decided on held-out rows; no decision of it depends on test images." if record.rungs else "",
    ]
    return [note for note in notes if note]


def closing_facts(record: SelectionRecord) -> list[tuple[str, str]]:
    """Return what to do with the answer."""
    facts = [("student to ship", record.student), ("the confirmation again", record.command)]
    return [(name, value) for name, value in facts if value]


def selection_page(record: SelectionRecord, comparison: Comparison | None) -> Page:
    """Return the page of a selection, its answer last.

    Args:
        comparison: of the confirmation's study.
    """
    parts: list[str | Table] = [*(test_set_caveats(comparison.record) if comparison else [])]
    parts += [f"left out: {name} ({why})" for name, why in record.left_out.items()]
    parts += rung_tables(record)
    if record.looks:
        parts += [confirmation_table(record.last_findings), *confirmation_notes(record)]
    if comparison is not None:
        parts += class_difference_tables(comparison)
    parts += ["", *(f"{name}: {value}" for name, value in closing_facts(record))]
    return [*parts, "", question_of(record), answer_selection(record)]


def write_selection_files(record: SelectionRecord, comparison: Comparison | None, folder: Path) -> None:
    """Write the page as selection.txt and .md, and report.html."""
    page = selection_page(record, comparison)
    for suffix, render in (("txt", render_text), ("md", render_markdown)):
        (folder / f"selection.{suffix}").write_text(render(page), encoding="utf-8")
    sections = [_race_section(record)]
    if record.looks:
        sections.append(_final_section(record))
    if comparison is not None:
        parts = class_difference_tables(comparison)
        tables, notes = (
            [p for p in parts if isinstance(p, Table)],
            [to_sentence(p) for p in parts if isinstance(p, str)],
        )
        sections.append(Section("classes", "Per class", tables=tables, notes=notes))
    values = {
        "title": f"{record.dataset}, {record.scenario}: selection by robustkd",
        "kicker": f"{record.dataset} · {record.scenario} · selection",
        "caveats": [to_sentence(c) for c in test_set_caveats(comparison.record)] if comparison else [],
        "question": question_of(record),
        "answer": typeset(answer_selection(record)),
        "facts": [("contenders", str(len(record.contenders))), ("rungs", str(len(record.rungs))), *_cost_facts(record)],
        "sections": sections,
    }
    write_report_files(fill_report("report.html.j2", values), [], folder)


def _cost_facts(record: SelectionRecord) -> list[tuple[str, str]]:
    return [("training", _minutes(record.seconds)), ("share of the grid", f"{record.seconds / record.grid:.0%}")]


def _race_section(record: SelectionRecord) -> Section:
    return Section(
        "race",
        "Race and screening" if record.screening else "The race",
        lead="Contenders are compared with the leader on the same seeds and held-out rows. One that is behind by less than the"
        " noise, or is not trained whole with two seeds, is dropped only where no place is left for it. Those that a screening"
        " compares are trained whole with fresh seeds, and compared on the test set.",
        tables=rung_tables(record),
        notes=[to_sentence(f"{name} is left out: {why}") for name, why in record.left_out.items()],
    )


def _final_section(record: SelectionRecord) -> Section:
    tables, facts = [confirmation_table(record.last_findings)], closing_facts(record)
    return Section("final", "The confirmation", tables=tables, notes=confirmation_notes(record), facts=facts)
