"""Draws the pictures of recorded studies in the pages again: the head of a report, by Chromium, and recall per class.

    python docs/pictures.py

Each picture names in its metadata the file of benchmarks/results that it is of and that file's hash, so that a test notices
pictures of a study that has been recorded again.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from outputs import HOME, execute
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from robustkd.hashing import file_digest

sys.path.append(str(HOME / "benchmarks"))
import packed

DOCS = Path(__file__).parent


class Picture(NamedTuple):
    """A picture of a recorded study: a file of its comparison, or a report of which so many pixels are shown."""

    study: str
    file: str
    size: tuple[int, int] | None = None

    def source(self) -> str:
        """Return the packed study that the picture is of, with its hash."""
        packed_study = packed.FOLDER / f"{self.study}{packed.SUFFIX}"
        return f"{packed_study.relative_to(HOME)} {file_digest(packed_study)}"

    def draw(self, studies: Path) -> Image.Image:
        """Compare the study, which is unpacked into `studies`, and return the picture."""
        comparison = packed.unpack(packed.FOLDER / f"{self.study}{packed.SUFFIX}", studies) / "comparison"
        execute(f"robustkd compare {comparison.parent}", studies)
        if self.size is None:
            return Image.open(comparison / self.file)
        shot = studies / "screenshot.png"
        size = ",".join(map(str, self.size))
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}", f"--screenshot={shot}"]
        subprocess.run(["chromium", *flags, (comparison / self.file).as_uri()], check=True, stderr=subprocess.DEVNULL)
        return Image.open(shot)


PICTURES = {
    "report.png": Picture("fashion-356ea961", "report.html", (1100, 1150)),
    "per-class.png": Picture("digits-noise0.4-1fa99ebd", "per_class.png"),
}


def main() -> None:
    for name, picture in PICTURES.items():
        with tempfile.TemporaryDirectory() as folder:
            metadata = PngInfo()
            metadata.add_text("Source", picture.source())
            picture.draw(Path(folder)).save(DOCS / name, pnginfo=metadata, optimize=True)
        print(f"docs/{name}: {picture.source()}")


if __name__ == "__main__":
    main()
