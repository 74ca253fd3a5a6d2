"""HTML and Markdown documents filled from templates/."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipelines.report.formatting import capitalise, keep_units, typeset
from pipelines.report.renderers.markdown import escape_markdown

TEMPLATES = Path(__file__).parent.parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "capitalise": capitalise,
        "typeset": typeset,
        "keep_units": keep_units,
        "markdown": escape_markdown,
    }
    return environment


def fill_template(name: str, values: Mapping[str, Any]) -> str:
    """Fill a template. Values are escaped in HTML; in Markdown by the filter `markdown`."""
    return _environment().get_template(name).render(values)


def fill_report(name: str, values: Mapping[str, Any]) -> str:
    """Fill the template of a report, with its style sheet and its script inline.

    The document itself forbids any other script, and everything that would have to be fetched.
    """
    script = _read_asset("sort.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assets = {"style": Markup(_read_asset("style.css")), "script": Markup(script), "script_digest": f"sha256-{digest}"}
    return fill_template(name, {**values, **assets})


def _read_asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
