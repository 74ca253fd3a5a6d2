"""The contact sheet: suspicious images on one page, as a person looks them through. One file that needs no other."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustkd.data.decode import decode_image
from robustkd.data.view import Source

SIDE = 96  # pixels of a thumbnail that is read from its file

STYLE = """
:root { color-scheme: light dark; --line: #8886; --wrong: #b3261e; --right: #146c2e; }
@media (prefers-color-scheme: dark) { :root { --wrong: #ff8a80; --right: #81d897; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 90rem; font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
ul { list-style: none; margin: 0; padding: 0; display: grid; gap: .75rem;
     grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
li { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem; font-size: .875rem; }
img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; margin-bottom: .4rem; }
img.small { image-rendering: pixelated; }
.given { color: var(--wrong); } .suggested { color: var(--right); }
p { margin: 0; } header p { max-width: 60rem; margin: .4rem 0; } small { opacity: .75; }
"""


@dataclass(frozen=True)
class Suspect:
    """An image under a label that is probably wrong."""

    source: Source
    row: int
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float

    def item(self) -> str:
        """Its place on the sheet."""
        uri, small = thumbnail(self.source, self.row)
        where = f"row {self.row}" + (f", {self.source.files[self.row]}" if self.source.files else "")
        alt = f"{where}: given {self.given}, suggested {self.suggested}"
        return (
            f'<li><img src="{uri}" alt="{escape(alt)}" loading="lazy"{" class=small" * small}>'
            f'<p>given <b class="given">{escape(self.given)}</b> {100 * self.given_probability:.1f}&nbsp;%</p>'
            f'<p>suggested <b class="suggested">{escape(self.suggested)}</b> {100 * self.suggested_probability:.1f}&nbsp;%</p>'
            f"<small>{escape(where)}</small></li>"
        )


def thumbnail(source: Source, row: int) -> tuple[str, bool]:
    """An image as a data URI, and whether it is as small as nets see it.

    A file is read again, larger; where that is no longer possible, and for arrays, the pixels are the source's own.
    """
    pixels: NDArray[np.uint8] = np.asarray(source.images[row])
    larger = _from_file(source, row) if max(pixels.shape[1:]) < SIDE else None
    shown = pixels if larger is None else larger
    image = Image.fromarray(shown[0] if len(shown) == 1 else np.ascontiguousarray(shown.transpose(1, 2, 0)))
    written = io.BytesIO()
    image.save(written, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}", larger is None


def _from_file(source: Source, row: int) -> NDArray[np.uint8] | None:
    if source.files is None:
        return None
    Image.init()  # Pillow names its formats only then, and picture asks for them by name
    named = Path(source.name.partition(":")[2]).expanduser()
    try:
        return decode_image((named if named.is_dir() else named.parent) / source.files[row], SIDE, source.shape[0])
    except (OSError, ValueError, SyntaxError):  # moved since, or a kind that Pillow now refuses
        return None


def page(title: str, told: Sequence[str], parts: Iterable[tuple[str, Sequence[Suspect]]]) -> str:
    """The whole page.

    Args:
        title: what was audited.
        told: sentences to stand above the images.
        parts: headings, and the suspects below each, the worst first.
    """
    sections = "\n".join(
        f"<h2>{escape(heading)}</h2>\n<ul>\n{joined(suspect.item() for suspect in suspects)}\n</ul>"
        for heading, suspects in parts
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>\n{joined(f'<p>{escape(line)}</p>' for line in told)}</header>\n"
        f"<main>\n{sections}\n</main>\n</body>\n</html>\n"
    )


def joined(lines: Iterable[str]) -> str:
    """Lines, one below the other."""
    return "\n".join(lines)
