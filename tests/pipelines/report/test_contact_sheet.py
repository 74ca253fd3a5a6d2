"""The contact sheet."""

import re

import numpy as np
from markupsafe import escape

from pipelines.report.contact_sheet import Suspect, render_contact_sheet
from pipelines.report.renderers.html import TEMPLATES
from robustkd.data.view import Source


def test_names_are_escaped_on_the_contact_sheet() -> None:
    nasty = "<b>&\"'</b><script>x</script>"
    images = np.zeros((2, 1, 8, 8), np.uint8)
    source = Source("npz:x", images, np.array([0, 1]), (nasty, "plain"), files=(f"{nasty}.png", "b.png"))
    suspect = Suspect(source, 0, nasty, "plain", 0.01, 0.98)
    page = render_contact_sheet(nasty, [nasty], [(nasty, [suspect])])
    assert "<script" not in page
    assert "<b>&" not in page
    assert page.count(str(escape(nasty))) >= 6
    assert f'alt="row 0, {escape(nasty)}.png: given {escape(nasty)}, suggested plain"' in page
    assert 'src="data:image/png;base64,' in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_every_page_forbids_what_it_does_not_hold() -> None:
    pages = [text for path in TEMPLATES.glob("*.html.j2") if (text := path.read_text()).startswith("<!doctype")]
    assert len(pages) == 2, "reports and the contact sheet; another page needs a policy, too"
    for text in pages:
        (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert rules["img-src"] == "data:"
        assert text.index("Content-Security-Policy") < text.index("<title>"), "it precedes all text of the user's"


def test_the_contact_sheet_allows_no_script() -> None:
    page = render_contact_sheet("audit", [], [])
    assert "default-src 'none'" in page
    assert "script-src" not in page
