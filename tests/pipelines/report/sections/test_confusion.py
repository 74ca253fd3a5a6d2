"""The section on confusion matrices."""

from pipelines.report.examples import Examples
from pipelines.report.sections.confusion import build_confusion_section
from robustkd.study.results import RunResult
from tests.pipelines.report.cases import change_last, compare_changed, half_finished, without_rows_of_a_class

PAIR = Examples("baseline", "hinton", ["hinton"])


def with_fixed_confusion(result: RunResult) -> RunResult:
    """Let the baseline confuse cats with dogs, more so in seed 1, and the other methods nothing."""
    wrong = 2 * (1 + result.run.seed) if result.run.method == "baseline" else 0
    counts = {"cat": {"cat": 10 - wrong, "dog": wrong}, "dog": {"dog": 10}, "eel": {"eel": 10}}
    return change_last(result, confusion=counts)


def test_errors_are_shares_of_all_seeds_together() -> None:
    section = build_confusion_section(compare_changed(with_fixed_confusion), PAIR)
    assert section is not None
    assert {picture.name: picture.caption for picture in section.pictures} == {
        "confusion-baseline": "Most frequent: cat as dog 30.0 %.",
        "confusion-best": "No errors.",
        "confusion-change": (
            "Points; blue: more often, vermilion: less often. Errors that change most: cat as dog −30.0."
        ),
    }
    assert section.pictures[2].title == "hinton − baseline"


def test_a_class_without_test_rows_has_no_errors() -> None:
    section = build_confusion_section(compare_changed(without_rows_of_a_class), PAIR)
    assert section is not None
    assert all("eel as" not in picture.alt for picture in section.pictures)


def test_a_change_requires_a_reference() -> None:
    section = build_confusion_section(compare_changed(with_fixed_confusion), Examples(None, "hinton", ["hinton"]))
    assert section is not None
    assert [picture.name for picture in section.pictures] == ["confusion-best"]


def test_without_a_run_of_either_method_there_is_no_section() -> None:
    assert build_confusion_section(half_finished(), Examples("baseline", "dml", ["dml"])) is None
    assert build_confusion_section(half_finished(), Examples(None, None)) is None
