"""The table across studies."""

from pipelines.report.study_table import find_ranked_metric, summarise_studies
from pipelines.report.table import Table
from robustkd.study import comparison
from robustkd.study.across import compare_studies
from robustkd.study.comparison import Comparison
from robustkd.study.results import LoadedStudy
from tests.pipelines.report.toy_studies import SCALED, study_with_known_labels, study_with_labels_as_given
from tests.records import change_results, make_record
from tests.study.example_studies import predicted_study, run_result


def test_of_a_metric_that_is_better_lower_the_lowest_is_best() -> None:
    comparisons = [comparison.compare_runs(study_with_known_labels())]
    assert find_ranked_metric(comparisons, "worst-recall") == "worst_recall"
    assert find_ranked_metric(comparisons, "nll") == "nll"
    studies = compare_studies(comparisons, "nll")
    table, ranks = studies.table, studies.ranks
    best = table.set_index("method")["best"]
    assert best[best].index.tolist() == ["hinton"], "0.540 is the least of those that a run ships"
    assert ranks.loc["hinton", "rank"] == 1
    assert table.set_index("method")["below"].to_dict()["hinton"] is False


def table_of(metric: str, *comparisons: Comparison) -> Table:
    """The table across studies."""
    (grid,) = (part for part in summarise_studies(comparisons, metric) if isinstance(part, Table))
    return grid


def test_only_shares_are_in_per_cent_in_titles_and_cells() -> None:
    study = change_results(
        study_with_labels_as_given(), lambda run: {"last": run.last.model_copy(update={"scaled": SCALED})}
    )
    compared = comparison.compare_runs(study)
    for figure, title, cell in (
        ("nll_scaled", "NLL after temperature scaling, mean", "0.300 ± 0.000"),
        ("clean_nll", "NLL, clean part, mean", "1.000 ± 0.000"),
        ("clean_brier", "Brier, clean part, mean", "0.250 ± 0.000"),
        ("ece_scaled", "ECE after temperature scaling, mean", "2.0 ± 0.0"),
        ("clean_accuracy", "accuracy, clean part, mean", "75.0 ± 0.0"),
    ):
        grid = table_of(figure, compared)
        assert grid.title.startswith(title)
        assert grid.title.endswith(", per cent") == (figure in ("ece_scaled", "clean_accuracy"))
        rows = {row.cells[0].text: row.cells[1].full_text for row in grid.rows}
        assert rows["baseline"] == cell, figure


def test_ranks_are_among_the_methods_that_every_study_has_whole() -> None:
    whole, part = study_with_known_labels(), study_with_known_labels()
    part = part._replace(results=[r for r in part.results if r.run.method not in ("dml", "hinton+balanced")])
    pages = {}
    for name, study in (("part", part), ("nothing", part._replace(results=part.results[:10]))):
        pages[name] = summarise_studies([comparison.compare_runs(whole), comparison.compare_runs(study)])
    (grid,) = (part for part in pages["part"] if isinstance(part, Table))
    rows = {row.cells[0].text: row.cells[-1].text for row in grid.rows}
    assert rows == {
        **{"teacher": "-", "baseline, stopped early": "-", "baseline+balanced, stopped early": "-"},
        **{"dml": "-", "hinton+balanced": "-"},
        **{"hinton": "1.00", "baseline": "2.00", "baseline+balanced": "3.00"},
    }
    assert "Ranks, 1 the best, are among the 3 methods that every study has with all its seeds." in pages["part"]
    assert "No ranks: there are not two methods that every study has with all its seeds." in pages["nothing"]


def study_under(scenario: str, lift: dict[str, float]) -> Comparison:
    """A study of five seeds under a scenario, each method better than 0.5 by a constant."""
    results = [run_result("student", m, s, 0.5 + lift[m] + s / 100, 0.5 + lift[m]) for m in lift for s in range(5)]
    return comparison.compare_runs(LoadedStudy(make_record([*lift], 5, {"scenario": scenario}), results, {}))


UP, DOWN = {"baseline": 0.0, "hinton": 0.1, "sp": 0.2}, {"baseline": 0.2, "hinton": 0.1, "sp": 0.0}


def test_families_that_do_not_agree_are_ranked_separately() -> None:
    apart = [study_under(*x) for x in (("noise0.2", UP), ("noise0.4", UP), ("imbalance1", DOWN), ("step10", DOWN))]
    page = summarise_studies(apart)
    (grid,) = (part for part in page if isinstance(part, Table))
    assert [column.title for column in grid.columns][-2:] == ["rank, label noise", "rank, imbalance"]
    assert {row.cells[0].text: [c.text for c in row.cells[-2:]] for row in grid.rows}["sp"] == ["1.00", "3.00"]
    said = " ".join(map(str, page))
    assert "do not rank the methods alike (lowest rank correlation of two -1.00), so that there is no average" in said
    # 2.343 sqrt(3 4 / (6 2)) of each family.
    assert "(Nemenyi; studies taken as independent): label noise: 2.3 (2 studies, Friedman's test: p" in said


def test_families_that_agree_have_an_average_rank_next_to_their_own() -> None:
    page = summarise_studies([study_under(*x) for x in (("noise0.2", UP), ("noise0.4", UP), ("imbalance1", UP))])
    (grid,) = (part for part in page if isinstance(part, Table))
    assert [column.title for column in grid.columns][-2:] == ["rank, label noise", "average rank"]
    said = " ".join(map(str, page))
    assert "do not rank the methods alike" not in said
    assert "all: 1.9 (3 studies" in said, "2.343 sqrt(3 4 / (6 3))"


def test_the_page_says_how_many_verdicts_hold_over_all_studies() -> None:
    shares = {"baseline": 0.4, "hinton": 0.1}
    clear = comparison.compare_runs(predicted_study(shares, images=1000))
    (said,) = (part for part in summarise_studies([clear, clear]) if "Each study's" in str(part))
    assert str(said).endswith("over the 2 comparisons of all 2 studies, 2 of 2 verdicts hold.")
    assert not any("Each study's" in str(part) for part in summarise_studies([clear]))
    assert not any("Each study's" in str(part) for part in summarise_studies(2 * [study_under("noise0.2", UP)]))
