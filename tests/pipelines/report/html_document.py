"""HTML documents, parsed strictly."""

import re
from html.parser import HTMLParser
from pathlib import Path

VOID_TAGS = {"meta", "img", "br", "hr", "link", "input", "path", "use", "rect", "image"}


class HtmlDocument(HTMLParser):
    """A document in which tags are closed, ids unique and pictures described, and which fetches nothing."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.pictures: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open_tags == []
        assert len(self.ids) == len(set(self.ids))
        assert self.references <= set(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), (tag, attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID_TAGS:
            self.open_tags.append(tag)
        if attributes.get("id"):
            self.ids.append(str(attributes["id"]))
        self.references |= {str(attributes["aria-labelledby"])} if "aria-labelledby" in attributes else set()
        for name, value in attrs:
            text = str(value)
            assert not name.startswith("on"), (tag, name)
            self.references |= set(re.findall(r"url\(#([^)]+)\)", text))
            if name in ("href", "src"):
                assert text.startswith(("#", "data:image/png;base64,")) or tag == "a", text
                self.references |= {text[1:]} if text.startswith("#") else set()
            if name != "content":
                assert "://" not in text, (tag, name, text)
        if tag == "svg" and attributes.get("aria-hidden") != "true":
            assert attributes["role"] == "img"
            self.pictures.append(str(attributes["aria-label"]))
        if tag == "img":
            self.pictures.append(str(attributes["alt"]))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID_TAGS:
            self.open_tags.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_TAGS:
            assert self.open_tags.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open_tags and "tr" in self.open_tags:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join("".join(self.texts).split())

    def table(self, heading: str) -> dict[str, dict[str, str]]:
        """Return the rows of the table whose headings begin with these, by name and heading."""
        start = next(n for n, row in enumerate(self.rows) if row[: len(heading.split("|"))] == heading.split("|"))
        titles, table = self.rows[start], {}
        for row in self.rows[start + 1 :]:
            if len(row) != len(titles) or row[0] in ("method", "class", "option"):
                break
            table[row[0]] = dict(zip(titles, row, strict=True))
        return table


def read_html(path: Path) -> HtmlDocument:
    """Read and check a document."""
    return HtmlDocument(path.read_text(encoding="utf-8"))
