"""Checks that the outputs in the pages are what the commands print today.

    python docs/outputs.py --check [--photos FOLDER] [PAGE ...]
    python docs/outputs.py [--photos FOLDER] PAGE        # prints them, to be pasted

A block of output is checked if this comment is above it:

    <!-- output of: robustkd compare studies/digits-noise0.4-1fa99ebd -->

The command is executed in an empty folder, where `studies` holds the studies of benchmarks/results, and `clothing` and `photos`
are links to the photographs, if they are given; blocks that need them are left out otherwise. The block need not be broken into
lines as the output is, and may leave out parts of it, which it marks by a line of three dots. Everything else has to be in the
output, in this order. A line of the block that starts with `$` is the command that readers see, which may take hours.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HOME = Path(__file__).parents[1]
COMMENT = re.compile(r"<!-- output of: (.+?) -->\n+```\n(.*?)\n```", re.S)
RULE = re.compile(r"[─━┏┓┗┛┡┩╇┳┴┻└┘├┤]+")  # lines of tables, whose lengths depend on the width
ROBUSTKD = [sys.executable, "-m", "pipelines"]


class Block(NamedTuple):
    """An output in a page: where it begins, the command that prints it, and its text."""

    page: Path
    line: int
    command: str
    text: str


def iter_blocks(page: Path) -> Iterator[Block]:
    """Yield the outputs of a page that are to be checked."""
    content = page.read_text(encoding="utf-8")
    for match in COMMENT.finditer(content):
        yield Block(page, content.count("\n", 0, match.start()) + 1, " ".join(match[1].split()), match[2])


def normalise(text: str) -> str:
    """Return a text without rules and with single spaces, so that it does not depend on the width."""
    return " ".join(RULE.sub(" ", text).split())


def find_missing(expected: str, output: str) -> str | None:
    """Return the first part of a block that is not in the output after the parts before it; None if all are.

    >>> find_missing("1 2\\n...\\n5", "1  2\\n3 4 5"), find_missing("5\\n...\\n1", "1 2 5")
    (None, '1')
    """
    lines = [line for line in re.sub(r"\\\n", "", expected).splitlines() if not line.startswith("$ ")]
    place, found = 0, normalise(output)
    for part in re.split(r"^\.\.\.$", "\n".join(lines), flags=re.M):
        wanted = normalise(part)
        start = found.find(wanted, place)
        if start < 0:
            return describe_difference(wanted, found)
        place = start + len(wanted)
    return None


def describe_difference(wanted: str, found: str) -> str:
    """Return where a part that is not in the output begins to differ from it."""
    length = max(size for size in range(len(wanted)) if wanted[:size] in found)
    return wanted[max(0, length - 60) : length + 60]


def execute(command: str, folder: Path) -> str:
    """Return what a command prints, standard error included."""
    words = shlex.split(command)
    assert words[0] == "robustkd", command
    environment = {**os.environ, "COLUMNS": "110", "PYTHONPATH": str(HOME), "TERM": "dumb"}
    done = subprocess.run(
        [*ROBUSTKD, *words[1:]],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout


def prepare_folder(folder: Path, photos: Path | None) -> None:
    """Write the recorded studies into an empty folder, and link the photographs."""
    sys.path.append(str(HOME / "benchmarks"))
    import packed

    for file in sorted(packed.FOLDER.glob(f"*{packed.SUFFIX}")):
        packed.unpack(file, folder / "studies")
    (folder / "benchmarks").symlink_to(HOME / "benchmarks")
    if photos is not None:
        for name in ("clothing", "photos"):
            (folder / name).symlink_to(photos.resolve())


def check_pages(pages: list[Path], photos: Path | None, show: bool = False) -> list[str]:
    """Check the outputs in pages, or show what they should be; return a line for each that differs."""
    differences, outputs = [], dict[str, str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_folder(folder, photos)
        for block in (block for page in pages for block in iter_blocks(page)):
            where = f"{block.page.relative_to(HOME)}:{block.line}"
            if photos is None and re.search(r":(clothing|photos)\b", block.command):
                print(f"{where}: not checked, since it needs --photos")
                continue
            if block.command not in outputs:
                outputs[block.command] = execute(block.command, folder)
            if show:
                print(f"{where}: {block.command}\n{outputs[block.command]}")
            elif (missing := find_missing(block.text, outputs[block.command])) is not None:
                differences.append(f"{where}: `{block.command}` does not print this: {missing}")
            else:
                print(f"{where}: as printed by `{block.command}`")
    return differences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="*", help="by default the README and all pages of docs")
    parser.add_argument("--photos", type=Path, help="the folder of the photographs of clothes")
    parser.add_argument("--check", action="store_true", help="compare them; exit code 1 if one differs")
    arguments = parser.parse_args()
    pages = arguments.pages or [HOME / "README.md", *sorted((HOME / "docs").glob("*.md"))]
    differences = check_pages([page.resolve() for page in pages], arguments.photos, not arguments.check)
    sys.exit("\n".join(differences) or 0)


if __name__ == "__main__":
    main()
