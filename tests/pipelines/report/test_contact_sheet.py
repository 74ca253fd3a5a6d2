"""The contact sheet."""

import re

import numpy as np
from markupsafe import escape

from pipelines.report.contact_sheet import Suspect, render_contact_sheet
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
