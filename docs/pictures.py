"""Draws the pictures of recorded studies in the pages again: the head of a report, by Chromium, recall per class, and curves.

    python docs/pictures.py [NAME.png ...]

Each picture names in its metadata the files of benchmarks/results that it is of and their hashes, so that a test notices
pictures of a study that has been recorded again.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from outputs import HOME, execute, prepare_folder
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipelines.report.charts.epochs import StudyCurves, plot_sweep_curves
from pipelines.report.charts.output import save_figure
from robustkd.hashing import file_digest
from robustkd.study.comparison import compare_runs, early_stopping_point
from robustkd.study.results import BASELINE


class Picture(NamedTuple):
    """A picture of a recorded study: a file of its comparison, or a report of which so many pixels are shown."""

    study: str
    file: str
    size: tuple[int, int] | None = None

    def source(self) -> str:
        """Return the file of the study that the picture is of, with its hash."""
        name = f"benchmarks/results/{self.study}.jsonl.gz"
        return f"{name} {file_digest(HOME / name)}"

    def draw(self, folder: Path) -> Path:
        """Compare the study, which is in `folder`, and return the file of the picture."""
        execute(f"robustkd compare studies/{self.study}", folder)
        file = folder / "studies" / self.study / "comparison" / self.file
        return file if self.size is None else take_screenshot(file, self.size)


class Curves(NamedTuple):
    """A picture of accuracy by epoch, a panel for each of the packed studies in a folder of benchmarks/results."""

    folder: str
    methods: tuple[str, ...]

    @property
    def files(self) -> list[Path]:
        """The packed studies."""
        return sorted((HOME / "benchmarks" / "results" / self.folder).iterdir())

    def source(self) -> str:
        """Return the files, with their hashes."""
        return "; ".join(f"{file.relative_to(HOME)} {file_digest(file)}" for file in self.files)

    def draw(self, folder: Path) -> Path:
        """Draw the plain training and the methods of every study; return the file of the picture."""
        from packed import read_packed  # found after `prepare_folder`

        comparisons = [compare_runs(read_packed(file)[0]) for file in self.files]
        panels = [StudyCurves(c.record.options.scenario, c.curves, early_stopping_point(c)) for c in comparisons]
        save_figure(plot_sweep_curves(panels, [BASELINE, *self.methods]), folder / "curves.png")
        return folder / "curves.png"


def take_screenshot(page: Path, size: tuple[int, int]) -> Path:
    """Save what Chromium shows of a page in a window, next to the page."""
    file, window = page.with_suffix(".png"), "{},{}".format(*size)
    flags = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={window}", f"--screenshot={file}"]
    subprocess.run(["chromium", *flags, page.as_uri()], check=True, stderr=subprocess.DEVNULL)
    return file


PICTURES: dict[str, Picture | Curves] = {
    "report.png": Picture("photos-random-clean-27c31e8f", "report.html", (1100, 1110)),
    "per-class.png": Picture("digits-noise0.4-1fa99ebd", "per_class.png"),
    "curves.png": Curves("digits", ("hinton", "dml", "mean_teacher")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(PICTURES), help="of pictures, by default all")
    names = parser.parse_args().names
    with tempfile.TemporaryDirectory() as folder:
        prepare_folder(Path(folder), None)
        for name in names:
            picture = PICTURES[name]
            metadata = PngInfo()
            metadata.add_text("Source", picture.source())
            with Image.open(picture.draw(Path(folder))) as image:
                image.save(HOME / "docs" / name, pnginfo=metadata, optimize=True)
            print(f"docs/{name}: {picture.source()}")


if __name__ == "__main__":
    main()
