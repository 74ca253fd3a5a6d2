"""What tests of charts do with figures."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def figure_texts(figure: Figure) -> list[str]:
    """Return all text in a figure."""
    artists: list[Any] = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return [artist.get_text() for artist in artists if artist.get_text()]


def save_png(figure: Figure, path: Path) -> Figure:
    """Save a figure as a PNG file, and return it."""
    figure.savefig(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    return figure
