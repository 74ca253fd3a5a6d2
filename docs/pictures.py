"""Draws the pictures of recorded studies in the pages again: the head of a report, by Chromium, and recall per class.

    python docs/pictures.py

Each picture names in its metadata the file of benchmarks/results that it is of and that file's hash, so that a test notices
pictures of a study that has been recorded again.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from outputs import HOME, execute, prepare_folder
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from robustkd.hashing import file_digest


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


def take_screenshot(page: Path, size: tuple[int, int]) -> Path:
    """Save what Chromium shows of a page in a window, next to the page."""
    file, window = page.with_suffix(".png"), "{},{}".format(*size)
    flags = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={window}", f"--screenshot={file}"]
    subprocess.run(["chromium", *flags, page.as_uri()], check=True, stderr=subprocess.DEVNULL)
    return file


PICTURES = {
    "report.png": Picture("photos-random-clean-27c31e8f", "report.html", (1100, 1110)),
    "per-class.png": Picture("digits-noise0.4-1fa99ebd", "per_class.png"),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepare_folder(Path(folder), None)
        for name, picture in PICTURES.items():
            metadata = PngInfo()
            metadata.add_text("Source", picture.source())
            with Image.open(picture.draw(Path(folder))) as image:
                image.save(HOME / "docs" / name, pnginfo=metadata, optimize=True)
            print(f"docs/{name}: {picture.source()}")


if __name__ == "__main__":
    main()
