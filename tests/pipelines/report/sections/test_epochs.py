"""The section on accuracy and memorisation by epoch."""

import pytest

from pipelines.report.sections.epochs import describe_progress
from robustkd.evaluation.results import FitMetrics
from robustkd.study.results import RunResult
from tests.pipelines.report.cases import compare_changed


@pytest.mark.parametrize(("corrupted", "warned"), [(4, True), (0, False), (None, True)])
def test_label_noise_is_mentioned_where_there_may_be_any(corrupted: int | None, warned: bool) -> None:
    def change(result: RunResult) -> RunResult:
        metrics = None if corrupted is None else FitMetrics(known=9, corrupted=corrupted, foreign=0, metrics={})
        return result.model_copy(update={"fit": metrics})

    (line,) = describe_progress(compare_changed(change))
    assert line.startswith("Plain training: ")
    assert ("label noise" in line) == warned
