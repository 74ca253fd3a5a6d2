"""The table of verdicts."""

import re

from pipelines.report.renderers.terminal import render_text
from pipelines.report.summary import summarise_study
from pipelines.report.table import Table
from robustkd.study import comparison
from robustkd.study.results import LoadedStudy
from tests.pipelines.report.toy_studies import (
    make_toy_record,
    make_toy_result,
    study_with_known_labels,
    summarise_toy_study,
)
from tests.study.example_studies import predicted_study


def test_identical_results_of_three_seeds_have_no_interval() -> None:
    runs = [make_toy_result(method, seed) for method in ("baseline", "dml") for seed in range(3)]
    text = render_text(summarise_toy_study(LoadedStudy(make_toy_record(["baseline", "dml"], 3), runs, {})))
    assert re.search(r"dml +baseline +0\.0 +- +", text)
    assert "[0.0, 0.0]" not in text


def test_the_interval_over_seeds_alone_is_shown_beside_that_over_images() -> None:
    counted = predicted_study({"baseline": 0.3, "hinton": 0.05})
    for study, has_images in ((study_with_known_labels(), False), (counted, True)):
        compared = comparison.compare_runs(study)
        (grid,) = (
            p for p in summarise_study(compared) if isinstance(p, Table) and p.title.startswith("what the seeds")
        )
        titles = [column.title for column in grid.columns]
        assert ("over seeds alone" in titles) == has_images
        cells = dict(zip(titles, (cell.text for cell in grid.rows[0].cells), strict=True))
        assert cells["verdict"] == "better"
        assert [column.title for column in grid.columns if column.is_text] == ["method", "reference", "verdict"]
        row = compared.verdicts.loc["hinton"]
        assert cells["95 % interval"] == f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        if has_images:
            assert cells["over seeds alone"] == f"[{100 * row['seed_low']:+.1f}, {100 * row['seed_high']:+.1f}]"
