"""The section on how a study was run, and its facts in brief."""

import shlex
from dataclasses import asdict, fields
from pathlib import Path

from pipelines.report.formatting import format_range, format_time, join_first
from pipelines.report.section import Section
from pipelines.report.study_files import StudyFiles
from pipelines.report.table import Cell, Column, Row, Table
from pipelines.report.training_notes import describe_training, format_machine, list_machines
from robustkd.study.comparison import Comparison
from robustkd.study.options import StudyOptions
from robustkd.study.recipe_presets import describe_recipe
from robustkd.study.results import TEACHER

Facts = list[tuple[str, str]]  # names and values


def study_facts(comparison: Comparison) -> Facts:
    """Return what a reader must know about a study before its answer."""
    record, options, rows = comparison.record, comparison.record.options, comparison.record.resolved
    finished = sum(r.run.role != TEACHER for r in comparison.results)
    requested = len(record.methods) * record.seeds
    return [
        ("students' runs", f"{finished} of {requested}" + ("" if finished == requested else ", not finished")),
        ("epochs", str(record.recipe["epochs"])),
        ("student", options.student),
        ("teacher", Path(options.teacher).name),
        ("classes", str(len(record.classes))),
        ("training, test images", f"{rows.rows_train}, {rows.rows_test}"),
    ]


def build_provenance_section(comparison: Comparison, files: StudyFiles) -> Section:
    """Build the section."""
    record, resolved = comparison.record, comparison.record.resolved
    done = {(r.run.method, r.run.seed) for r in comparison.results if r.run.role != TEACHER}
    roles = {r.run.role for r in comparison.results}
    missing = [f"{m} seed {s}" for m in record.methods for s in record.seed_numbers if (m, s) not in done]
    facts = [
        ("command", format_command(record.options)),
        ("methods", ", ".join(record.methods)),
        ("seeds", format_range(record.seed_numbers)),
        ("data set", f"{record.dataset}, digest {record.fingerprint}"),
        *((f"draw of seed {seed}", f"digest {digest}") for seed, digest in files.digests.items()),
        ("robustkd, torch", f"{resolved.robustkd}, {resolved.torch}"),
        ("device", f"{resolved.device}, {resolved.precision}"),
        *(("trained on", format_machine(machine)) for machine in list_machines(comparison.results)),
        *((f"{role}'s recipe", describe_recipe(values)) for role, values in resolved.recipes.items() if role in roles),
        *_training_time(comparison),
        ("folder", comparison.folder.name) if comparison.folder else ("read from", "MLflow"),
        *([("not finished", join_first(missing, 12))] if missing else []),
        *([("left out", f"{len(record.skipped)} files that cannot be read")] if record.skipped else []),
    ]
    collapsed = [_option_table(record.options), *_hyperparameter_tables(comparison)]
    notes = describe_training(comparison)
    return Section("provenance", "How the study was run", facts=facts, collapsed=collapsed, notes=notes)


def _training_time(comparison: Comparison) -> Facts:
    """Return when the runs were trained and how long that took."""
    trainings = [r.training for r in comparison.results if r.training is not None]
    if not trainings:
        return []
    times, seconds = [t.finished for t in trainings], sum(t.seconds for t in trainings)
    return [("trained", f"{format_time(min(times))} to {format_time(max(times))}, {seconds:,.0f} s of training in all")]


def _option_table(options: StudyOptions) -> Table:
    rows = [Row([Cell(name), Cell("–" if value is None else str(value))]) for name, value in asdict(options).items()]
    return Table("all options", [Column(name, name, "text") for name in ("option", "value")], rows)


def _hyperparameter_tables(comparison: Comparison) -> list[Table]:
    """Return a table of all hyperparameters, if any are known."""
    trainings = {r.run.method: r.training for r in comparison.results}
    rows = [
        Row([Cell(method), Cell(name), Cell(str(value))])
        for method, training in trainings.items()
        for name, value in (training.hyperparameters if training else {}).items()
    ]
    columns = [Column(name, name, "text") for name in ("method", "hyperparameter", "value")]
    return [Table("all hyperparameters", columns, rows)] if rows else []


def format_command(options: StudyOptions) -> str:
    """Return the command that runs a study, without options that have their default.

    >>> format_command(StudyOptions(scenario="noise0.4", epochs=60, fresh=True))
    'robustkd run --scenario noise0.4 --epochs 60 --fresh'
    """
    words = ["robustkd run"]
    for option in sorted(fields(options), key=lambda option: option.name != "scenario"):
        value = getattr(options, option.name)
        if value == option.default:
            continue
        flag = "--" + option.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words.append(f"{flag} {shlex.quote(str(value))}")
    return " ".join(words)
