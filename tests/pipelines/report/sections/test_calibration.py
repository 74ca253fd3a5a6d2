"""The section on reliability diagrams."""

from pipelines.report.examples import Examples
from pipelines.report.sections.calibration import build_calibration_section
from robustkd.evaluation.results import ReliabilityBin
from robustkd.study.results import RunResult
from tests.pipelines import synthetic
from tests.pipelines.report.cases import change_last, compare_changed, not_started, with_infinite_logits

PAIR = Examples("baseline", "hinton", ["hinton"])


def with_fixed_bins(result: RunResult) -> RunResult:
    """Replace the reliability by three bins, the last empty; ten rows a seed in the second."""
    bins = [
        ReliabilityBin(low=0.0, high=0.5, count=2, confidence=0.4, accuracy=0.5),
        ReliabilityBin(low=0.5, high=0.8, count=10, confidence=0.75, accuracy=0.6),
        ReliabilityBin(low=0.8, high=1.0, count=0, confidence=None, accuracy=None),
    ]
    metrics = {**result.last.metrics, "ece": 0.12, "ece_scaled": None}
    return change_last(result, reliability=bins, metrics=metrics, scaled=None)


def test_the_most_confident_predictions_of_all_seeds_are_described() -> None:
    section = build_calibration_section(compare_changed(with_fixed_bins), PAIR)
    assert section is not None
    assert [picture.name for picture in section.pictures] == ["reliability-baseline", "reliability-best"]
    assert section.pictures[1].alt == (
        "Reliability of hinton: ECE 12.0 %; at a confidence of 75.0 % the accuracy is 60.0 %, over 20 predictions."
    )
    assert section.pictures[1].caption == "ECE 12.0 %."


def test_the_error_after_temperature_scaling_is_reported() -> None:
    section = build_calibration_section(synthetic.compared_study(), PAIR)
    assert section is not None
    assert all(picture.caption.endswith(" % after temperature scaling.") for picture in section.pictures)


def test_without_finite_probabilities_there_is_no_section() -> None:
    assert build_calibration_section(compare_changed(with_infinite_logits), PAIR) is None
    assert build_calibration_section(not_started(), Examples(None, None)) is None
