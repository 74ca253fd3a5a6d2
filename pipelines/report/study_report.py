"""The HTML report of a study: one file that requires no other file, no network, and no script to be read."""

from collections.abc import Iterable
from pathlib import Path

from pipelines.report.charts import output
from pipelines.report.examples import select_examples
from pipelines.report.formatting import format_count, to_sentence, typeset
from pipelines.report.renderers.html import fill_report
from pipelines.report.section import Picture, Section
from pipelines.report.sections.calibration import build_calibration_section
from pipelines.report.sections.classes import build_class_section
from pipelines.report.sections.confusion import build_confusion_section
from pipelines.report.sections.costs import build_cost_section
from pipelines.report.sections.epochs import build_epoch_section
from pipelines.report.sections.metrics import build_metric_section
from pipelines.report.sections.provenance import build_provenance_section, study_facts
from pipelines.report.sections.recovered import build_recovered_section
from pipelines.report.sections.scenario import build_scenario_section
from pipelines.report.sections.verdicts import build_verdict_section
from pipelines.report.study_files import read_study_files
from robustkd.atomic import write_text_atomically
from robustkd.study.comparison import Comparison
from robustkd.study.conclusions import question_and_answer, test_set_caveats

REPORT_FILE = "report.html"


def write_study_report(comparison: Comparison, folder: Path) -> Path:
    """Write report.html of a study, and its pictures as PNG files.

    Args:
        folder: where the files are written.
    """
    record = comparison.record
    question, answer = question_and_answer(comparison)
    sections = build_sections(comparison)
    values = {
        "title": f"{record.dataset}, {record.options.scenario}: robustkd",
        "kicker": f"{record.dataset} · {record.options.scenario} · {format_count(record.seeds, 'seed')}",
        "caveats": [to_sentence(caveat) for caveat in test_set_caveats(record)],
        "question": question,
        "answer": typeset(answer),
        "facts": study_facts(comparison),
        "sections": sections,
    }
    text = fill_report("report.html.j2", values)
    return write_report_files(text, [picture for section in sections for picture in section.pictures], folder)


def build_sections(comparison: Comparison) -> list[Section]:
    """Build the sections of a study's report, without those that have nothing to show."""
    files, examples = read_study_files(comparison), select_examples(comparison)
    sections = (
        build_verdict_section(comparison),
        build_metric_section(comparison),
        build_class_section(comparison, examples, files),
        build_epoch_section(comparison, examples),
        build_confusion_section(comparison, examples),
        build_calibration_section(comparison, examples),
        build_scenario_section(comparison, files),
        build_recovered_section(comparison, examples),
        build_cost_section(comparison, examples),
        build_provenance_section(comparison, files),
    )
    return [section for section in sections if section is not None]


def write_report_files(text: str, pictures: Iterable[Picture], folder: Path) -> Path:
    """Write a report and its pictures, and return the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT_FILE
    write_text_atomically(path, text)
    for old in folder.glob("classes-*.png"):  # of methods that an earlier report showed
        old.unlink()
    for picture in pictures:
        output.save_figure(output.add_title(picture.figure, picture.title), folder / f"{picture.name}.png")
    return path
