"""The section on accuracy and memorisation by epoch."""

import pytest

from pipelines.report.examples import Examples
from pipelines.report.sections.epochs import build_epoch_section, describe_progress
from robustkd.evaluation.results import FitMetrics
from robustkd.study import comparison
from robustkd.study.results import RunResult
from tests.pipelines import synthetic
from tests.pipelines.report.cases import compare_changed


@pytest.mark.parametrize(("corrupted", "warned"), [(4, True), (0, False), (None, True)])
def test_label_noise_is_mentioned_where_there_may_be_any(corrupted: int | None, warned: bool) -> None:
    def change(result: RunResult) -> RunResult:
        metrics = None if corrupted is None else FitMetrics(known=9, corrupted=corrupted, foreign=0, metrics={})
        return result.model_copy(update={"fit": metrics})

    (line,) = describe_progress(compare_changed(change))
    assert line.startswith("Plain training: ")
    assert ("label noise" in line) == warned


def test_each_recorded_metric_has_a_picture() -> None:
    compared = synthetic.compared_study(("baseline", "hinton", "dml"), 2)
    section = build_epoch_section(compared, Examples("baseline", "hinton", ["hinton"]))
    assert section is not None
    assert [picture.name for picture in section.pictures] == ["accuracy", "memorised", "recovered"]
    assert section.lead.endswith("; the other methods in grey.")
    assert [item.name for item in section.legend] == ["baseline", "hinton"]
    accuracy, memorised, _ = section.pictures
    # Accuracy rises to 0.9 in seed 0 and to 0.89 in seed 1, in four equal steps.
    assert "hinton 22.4 % at first, 89.5 % at most, 89.5 % in the end" in accuracy.alt
    assert accuracy.caption.endswith(" Diamond: baseline stopped early, at epoch 2 on average.")
    assert "Diamond" not in memorised.caption


def test_without_recorded_epochs_there_is_no_section() -> None:
    examples = Examples("baseline", "hinton", ["hinton"])
    without_epochs = comparison.compare_runs(synthetic.loaded_study()._replace(epochs={}))
    assert build_epoch_section(without_epochs, examples) is None
    assert build_epoch_section(synthetic.compared_study(), Examples(None, "at", ["at"])) is None
    assert describe_progress(without_epochs) == []
