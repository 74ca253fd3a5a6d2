"""doctor: describe the installation and the machine on one screen, for bug reports, and say what is wrong."""

import json
import sys
from pathlib import Path

from rich.table import Table

from pipelines.console import console
from pipelines.diagnosis import Diagnosis, diagnose, to_json


def main(out: Path, as_json: bool) -> None:
    """Print what was found.

    Raises:
        SystemExit: with 1 if there is a problem.
    """
    sections = list(diagnose(out))
    if as_json:
        sys.stdout.write(json.dumps(to_json(sections), indent=2) + "\n")
    else:
        print_sections(sections)
    if any(section.problems for section in sections):
        raise SystemExit(1)


def print_sections(sections: list[Diagnosis]) -> None:
    """Print facts in a table, then each problem in a line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    for section in sections:
        for number, (name, fact) in enumerate(section.facts.items()):
            table.add_row(section.title if number == 0 else "", name, fact)
    console.print(table)
    problems = [problem for section in sections for problem in section.problems]
    for problem in problems:
        console.print(f"problem: {problem}", style="yellow", highlight=False)
    if not problems:
        console.print("no problem was found")
