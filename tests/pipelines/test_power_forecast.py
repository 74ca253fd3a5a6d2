"""What a dry run says of a study's power."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.planning import Draft
from pipelines.power_forecast import describe_planned_power, measured_spread
from pipelines.stages import run
from robustkd.errors import UsageError
from robustkd.evaluation.power import Spread, seeds_needed, smallest_difference
from robustkd.study.comparison import compare_runs
from robustkd.study.options import StudyOptions
from robustkd.study.results import LoadedStudy, StudyRecord, write_document
from tests.records import make_record
from tests.study.example_studies import predicted_study


def draft(record: StudyRecord, folder: Path) -> Draft:
    planned: Any = SimpleNamespace(record=record, plan=SimpleNamespace(folder=folder))
    return planned


def write_study(study: LoadedStudy, folder: Path) -> None:
    write_document(folder / "study.json", study.record)
    for result in study.results:
        (folder / "runs" / result.name).mkdir(parents=True)
        write_document(folder / "runs" / result.name / "result.json", result)


def test_a_given_spread_decides_what_is_found(tmp_path: Path) -> None:
    record = make_record(["baseline", "hinton", "dml", "sp"], 7, oracles=["sp"])
    text = describe_planned_power(draft(record, tmp_path), 0.9)
    found = 100 * smallest_difference(7, Spread(0.009), 2)
    assert text.startswith(
        f"power: 7 seeds would find differences of {found:.1f} points. At a spread of 0.9 points over seeds,"
    )
    assert f"take {seeds_needed(0.01, Spread(0.009), 2)}, 5 and 5 seeds (80 % power, 2 comparisons)" in text
    few = describe_planned_power(draft(make_record(["baseline", "hinton"], 3), tmp_path), 0.9)
    assert few.startswith("power: fewer than 5 seeds give no verdict. At a spread of")


def test_an_earlier_spread_is_that_of_finished_runs(tmp_path: Path) -> None:
    study = predicted_study({"baseline": 0.3, "hinton": 0.2}, favoured=0.7)
    record = study.record
    assert "--spread POINTS" in describe_planned_power(draft(record, tmp_path), None), "nothing is finished"
    write_study(study, tmp_path)
    row = compare_runs(study).verdicts.loc["hinton"]
    assert measured_spread(study) == pytest.approx((row["sd_seeds"], row["se_images"]))
    text = describe_planned_power(draft(record, tmp_path), None)
    assert f"would find differences of {100 * row['detectable']:.1f} points. At the measured spread" in text


def test_a_given_spread_goes_with_the_images_of_finished_runs(tmp_path: Path) -> None:
    """More seeds do not reduce their error, so that the same spread finds less than it would alone."""
    study = predicted_study({"baseline": 0.3, "hinton": 0.2}, favoured=0.7)
    alone = describe_planned_power(draft(study.record, tmp_path), 0.9)
    assert "over test images" not in alone
    write_study(study, tmp_path)
    images = measured_spread(study).images
    assert images > 0.01, "otherwise this test shows nothing"
    text = describe_planned_power(draft(study.record, tmp_path), 0.9)
    found = 100 * smallest_difference(5, Spread(0.009, images), 1)
    assert text.startswith(
        f"power: 5 seeds would find differences of {found:.1f} points. At a spread of 0.9 points over seeds,"
    )
    assert f"a standard error of {100 * images:.1f} points over test images" in text
    assert text != alone


def test_methods_that_the_study_compared_before_count(tmp_path: Path) -> None:
    study = predicted_study({"baseline": 0.3, "hinton": 0.2, "dml": 0.25, "sp": 0.2})
    write_study(study, tmp_path)
    fewer = make_record(["baseline", "hinton"], 20)
    assert compare_runs(study._replace(record=fewer)).verdicts["among"].tolist() == [3]
    assert "(80 % power, 3 comparisons)" in describe_planned_power(draft(fewer, tmp_path), 0.9)


def test_without_a_comparison_there_is_no_power(tmp_path: Path) -> None:
    assert "nothing is compared" in describe_planned_power(draft(make_record(["hinton"], 5), tmp_path), 0.9)


@pytest.mark.parametrize("spread", [0.0, -1.0, float("inf"), float("nan")])
def test_a_spread_is_positive(tmp_path: Path, spread: float) -> None:
    with pytest.raises(UsageError, match="a spread is a positive number of points"):
        describe_planned_power(draft(make_record(["baseline", "hinton"], 5), tmp_path), spread)


def test_a_spread_belongs_to_a_dry_run() -> None:
    with pytest.raises(UsageError, match=r"--spread 0\.9: it belongs to --dry-run"):
        run.main(StudyOptions(scenario="clean"), spread=0.9)
