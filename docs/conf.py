"""Configuration of the documentation: `sphinx-build -W docs docs/_build`, which needs no network."""

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import robustkd

DOCS = Path(__file__).parent

project, author, version = "robustkd", "the robustkd authors", robustkd.__version__
copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme, html_title = "furo", f"robustkd {version}"
exclude_patterns = ["_build"]
html_show_sourcelink = html_show_copyright = False

myst_heading_anchors = 3
myst_enable_extensions, html_math_renderer = ["dollarmath"], "mathml"
default_role = "code"  # docstrings have single backticks around code, as pages do
autodoc_typehints, autodoc_member_order = "description", "bysource"
napoleon_numpy_docstring, napoleon_use_ivar = False, True

# Pages link to files of the repository, as they are read there; on the site these are pages.
PAGES = {"../README.md": "index.md", "../CHANGELOG.md": "changelog.md", "../CONTRIBUTING.md": "contributing.md"}


def link_pages(app: Sphinx, name: str, content: list[str]) -> None:
    """Replace links to files above the pages by links to the pages that include them."""
    for file, page in PAGES.items():
        content[0] = content[0].replace(f"]({file})", f"]({page})")


def setup(app: Sphinx) -> None:
    """Write the page of method cards, and extend Sphinx."""
    sys.path.append(str(DOCS))
    import equations
    import method_cards

    (DOCS / "cards.md").write_text(method_cards.write_page(), encoding="utf-8")
    app.add_html_math_renderer("mathml", (equations.visit_math, None), (equations.visit_math, None))
    app.add_lexer("mermaid", TextLexer)  # as text: its diagrams are drawn on GitHub, and here that would need a network
    app.connect("source-read", link_pages)
