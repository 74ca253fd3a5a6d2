"""The section on what runs cost."""

from pipelines.report.examples import Examples
from pipelines.report.sections.costs import NOTE, build_cost_section
from robustkd.study.results import RunResult
from tests.pipelines.report.cases import change_last, compare_changed, not_started
from tests.records import make_cost

PAIR = Examples("baseline", "hinton", ["hinton"])


def with_fixed_costs(result: RunResult) -> RunResult:
    """Let hinton take 10 s and its teacher 20 s, the baseline 12 s, with accuracies of 75 and 50 per cent."""
    is_hinton = result.run.method == "hinton"
    cost = make_cost(seconds=10.0 if is_hinton else 12.0, teacher_seconds=20.0 if is_hinton else None)
    metrics = {**result.last.metrics, "accuracy": 0.75 if is_hinton else 0.5}
    return change_last(result.model_copy(update={"cost": cost}), metrics=metrics)


def test_the_time_of_a_method_includes_its_teacher() -> None:
    section = build_cost_section(compare_changed(with_fixed_costs), PAIR)
    assert section is not None
    (picture,) = section.pictures
    assert picture.alt.endswith(
        "2 methods: cheapest baseline, 12 s, 50.0 %; most expensive hinton, 30 s, 75.0 %; most accurate hinton, 30 s, 75.0 %."
    )
    (table,) = section.tables
    assert table.note == NOTE
    assert [column.key for column in table.columns][:3] == ["method", "seconds", "teacher_seconds"]


def test_oracles_are_marked_in_the_picture_too() -> None:
    comparison = compare_changed(with_fixed_costs)
    record = comparison.record.model_copy(update={"oracles": ["hinton"]})
    section = build_cost_section(comparison._replace(record=record), PAIR)
    assert section is not None
    assert section.pictures[0].alt.endswith("most accurate hinton (oracle), 30 s, 75.0 %.")


def test_without_times_there_is_a_table_alone() -> None:
    def change(result: RunResult) -> RunResult:
        cost = make_cost(seconds=None, teacher_seconds=None, images_per_second=None)
        return result.model_copy(update={"cost": cost})

    section = build_cost_section(compare_changed(change), PAIR)
    assert section is not None
    assert not section.pictures
    assert [column.key for column in section.tables[0].columns] == ["method", "epochs", "parameters", "macs", "images"]


def test_without_runs_there_is_no_section() -> None:
    assert build_cost_section(not_started(), Examples(None, None)) is None
