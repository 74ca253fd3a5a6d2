"""Configuration of the documentation: `sphinx-build -W docs docs/_build`, which needs no network."""

import sys
from pathlib import Path

HOME = Path(__file__).parents[1]
sys.path[:0] = [str(HOME), str(HOME / "docs")]

import method_cards  # noqa: E402
from pygments.lexers.special import TextLexer  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

import robustkd  # noqa: E402

project, author, version = "robustkd", "the robustkd authors", robustkd.__version__
copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme, html_title = "furo", f"robustkd {version}"
exclude_patterns = ["_build"]
html_show_sourcelink = html_show_copyright = False

myst_heading_anchors = 3
default_role = "code"  # docstrings have single backticks around code, as pages do
autodoc_typehints, autodoc_member_order = "description", "bysource"
napoleon_numpy_docstring, napoleon_use_ivar = False, True

(HOME / "docs" / "cards.md").write_text(method_cards.write_page(), encoding="utf-8")

# Pages link to files of the repository, as they are read there; on the site these are pages.
PAGES = {"../README.md": "index.md", "../CHANGELOG.md": "changelog.md", "../CONTRIBUTING.md": "contributing.md"}


def link_pages(app: Sphinx, name: str, content: list[str]) -> None:
    """Replace links to files above the pages by links to the pages that include them."""
    for file, page in PAGES.items():
        content[0] = content[0].replace(f"]({file})", f"]({page})")


def setup(app: Sphinx) -> None:
    """Extend Sphinx."""
    app.add_lexer("mermaid", TextLexer)  # a diagram where pages are read on GitHub; its drawing needs a network
    app.connect("source-read", link_pages)
