"""The report in a real browser: displayed without problems, also on a phone, and sortable."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.report.study_report import write_study_report
from pipelines.report.sweep_report import write_sweep_report
from tests.pipelines import synthetic
from tests.pipelines.report.browser import CHROMIUM, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

VERDICTS = "document.querySelector('#verdicts table')"
ORDER = f"[...{VERDICTS}.tBodies[0].rows].map(row => row.cells[0].textContent)"
HEADS = f"[...{VERDICTS}.tHead.rows[0].cells].map(head => head.getAttribute('aria-sort'))"
LONG = "hinton(alpha=0.7, temperature=2)+balanced"


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with Page() as page:
        yield page


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    methods = ("baseline", "hinton", "dml", "at", "baseline+balanced", LONG)
    return write_study_report(
        synthetic.compared_study(methods, 5, synthetic.SPECIAL_NAMES), tmp_path_factory.mktemp("report")
    )


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    studies = [
        synthetic.compared_study(("baseline", "hinton"), 5, scenario=name) for name in ("clean", "noise0.2", "noise0.4")
    ]
    return write_sweep_report(studies, tmp_path_factory.mktemp("sweep"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_report_is_displayed_without_problems(browser: Page, path: Path, dark: bool) -> None:
    browser.problems.clear()
    browser.open(path, dark=dark)
    assert browser.problems == []
    assert browser.evaluate("document.querySelector('h1').offsetHeight") > 20
    sizes = browser.evaluate(
        "[...document.querySelectorAll('main figure svg')].map(s => s.getBoundingClientRect().height)"
    )
    assert len(sizes) >= 10
    assert min(sizes) > 50
    back = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(21, 23, 26)" if dark else "rgb(255, 255, 255)")
    ink = browser.evaluate("getComputedStyle(document.querySelector('main svg text')).fill")
    assert ink == browser.evaluate("getComputedStyle(document.body).color"), "pictures follow the page"
    lost = (
        "[...document.querySelectorAll('svg use')].filter(u => !document.querySelector(u.getAttribute('href'))).length"
    )
    assert browser.evaluate(lost) == 0
    assert browser.evaluate("document.scripts.length") == 1


def test_headings_sort_by_mouse_and_by_keyboard(browser: Page, path: Path) -> None:
    browser.open(path)
    first = browser.evaluate(ORDER)
    assert browser.evaluate(HEADS)[:2] == [None, "descending"]
    browser.evaluate(f"{VERDICTS}.tHead.rows[0].cells[1].querySelector('button').click()")
    assert browser.evaluate(ORDER) == first[::-1]
    assert browser.evaluate(HEADS)[:2] == [None, "ascending"]
    browser.evaluate(f"{VERDICTS}.tHead.rows[0].cells[0].querySelector('button').focus()")
    browser.press("Enter")
    assert browser.evaluate(ORDER) == sorted(first)
    assert browser.evaluate(HEADS)[:2] == ["ascending", None]
    browser.press(" ")
    assert browser.evaluate(ORDER) == sorted(first)[::-1]
    browser.press("Tab")
    browser.press("Enter")
    assert browser.evaluate(ORDER) == first, "numbers begin with the largest"


def test_missing_values_are_last_in_either_order(browser: Page, path: Path) -> None:
    browser.open(path)
    table = "document.querySelectorAll('#methods table')[1]"  # the baseline stopped early has no temperature of its own
    last = f"{table}.tBodies[0].rows[2].cells[2].dataset.value = ''"
    browser.evaluate(last)
    column = f"[...{table}.tBodies[0].rows].map(row => row.cells[2].dataset.value)"
    for _ in range(2):
        browser.evaluate(f"{table}.tHead.rows[0].cells[2].querySelector('button').click()")
        values = browser.evaluate(column)
        assert values[-1] == ""
        numbers = [float(value) for value in values[:-1]]
        assert numbers in (sorted(numbers), sorted(numbers, reverse=True))


@pytest.mark.parametrize("which", ["path", "sweep"])
def test_nothing_scrolls_sideways_on_a_phone(browser: Page, which: str, request: pytest.FixtureRequest) -> None:
    browser.open(request.getfixturevalue(which), width=375)
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth") == 375
    cut = "[...document.querySelectorAll('tbody th')].filter(h => h.scrollWidth > h.clientWidth).length"
    assert browser.evaluate(cut) == 0, "names are whole"
    boxes = browser.evaluate("[...document.querySelectorAll('.box')].filter(b => b.scrollWidth > b.clientWidth).length")
    assert boxes > 0, "wide tables scroll in boxes of their own"
    pictures = "[...document.querySelectorAll('figure:not(.scroll) svg')]"
    small = f"Math.min(...{pictures}.map(s => s.getBoundingClientRect().width / s.getAttribute('width')))"
    assert browser.evaluate(small) > 0.75, "letters in pictures stay readable"


def test_a_report_is_complete_without_scripts_and_in_print(browser: Page, path: Path) -> None:
    browser.open(path, scripts=False)
    assert browser.evaluate("document.querySelectorAll('th button').length") == 0
    assert browser.evaluate(ORDER)
    browser.open(path, width=690, media="print", dark=True)
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate("getComputedStyle(document.querySelector('tbody th')).position") == "static"
    assert browser.evaluate("document.documentElement.scrollWidth") <= 690


def test_other_scripts_are_refused(browser: Page, path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    (tmp_path / "bad.html").write_text(
        text.replace("<main>", "<main><script>window.bad = 1</script>"), encoding="utf-8"
    )
    browser.problems.clear()
    browser.open(tmp_path / "bad.html")
    assert browser.evaluate("window.bad") is None
    assert browser.problems
