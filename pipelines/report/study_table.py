"""Several studies side by side: methods down, studies across, the average rank at the right."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipelines.report.formatting import MISSING, format_count, format_p_value, format_spread, format_value
from pipelines.report.row_labels import mark_oracle
from pipelines.report.table import METHOD_COLUMN, Cell, Column, Page, Row, Table, number_cell
from robustkd.errors import UsageError, did_you_mean
from robustkd.evaluation.metric_table import find_metric
from robustkd.study import conclusions
from robustkd.study.across import ALL, StudyTable, compare_studies, count_verdicts, study_labels
from robustkd.study.comparison import Comparison
from robustkd.study.pairing import HEADLINE
from scenarios import scenario_family

MARKS = {"better": "⇑ ", "worse": "⇓ "}  # of a verdict
BELOW_MARK = "↓ "


def find_ranked_metric(comparisons: Sequence[Comparison], name: str) -> str:
    """Return the column of a metric by which studies can be compared.

    Args:
        name: as typed, with hyphens or underscores.

    Raises:
        UsageError: no study has the metric, or neither direction of it is better.
    """
    summaries = (comparison.summary for comparison in comparisons)
    columns = dict.fromkeys(str(c).removesuffix("_mean") for s in summaries for c in s if str(c).endswith("_mean"))
    column = name.replace("-", "_")
    if column.removeprefix("clean_") == "temperature":
        raise UsageError(f"--figure {name}: a temperature is neither good nor bad, so there is no best or rank by it")
    if column in columns:
        return column
    raise UsageError(
        f"--figure {name}: no study has this figure{did_you_mean(column, columns)}; there are: {', '.join(columns)}"
    )


def compare_by_family(comparisons: Sequence[Comparison], metric: str = HEADLINE) -> StudyTable:
    """Put studies side by side, with average ranks over each family of scenarios."""
    return compare_studies(comparisons, metric, [scenario_family(c.record.options.scenario) for c in comparisons])


def summarise_studies(comparisons: Sequence[Comparison], metric: str = HEADLINE, count_seeds: bool = False) -> Page:
    """Return the page of several studies: their table, what its marks mean, and the rules behind the verdicts.

    Args:
        count_seeds: where runs are missing, show the number of seeds in each cell.
    """
    metric = find_ranked_metric(comparisons, metric)
    studies = compare_by_family(comparisons, metric)
    labels = study_labels([comparison.record for comparison in comparisons])
    with_given_labels = [
        label for label, c in zip(labels, comparisons, strict=True) if conclusions.test_label_caveat(c.record)
    ]
    rules = (conclusions.verdict_rule(c) for c in comparisons)
    table = study_table(studies, metric, typed_order(comparisons, studies), count_seeds=count_seeds)
    return [
        *([f"test labels as given in: {'; '.join(with_given_labels)}"] if with_given_labels else []),
        table.without("studies"),
        explain_marks(comparisons),
        describe_ranks(studies, len(dict.fromkeys(studies.table["study"]))),
        *describe_rank_tests(studies),
        *describe_verdicts_across(comparisons),
        *dict.fromkeys(sentence for rule in rules for sentence in rule),
    ]


def explain_marks(comparisons: Sequence[Comparison]) -> str:
    """Explain the marks in the table of several studies."""
    references = " or ".join(dict.fromkeys(conclusions.name_reference(c) for c in comparisons))
    return (
        f"In bold or starred: the best net that a run ships. ⇑ better, ⇓ worse than {references}, by the"
        " verdict on balanced accuracy; ↓ on the wrong side of it in the mean, which is no verdict."
    )


def study_table(
    studies: StudyTable,
    metric: str,
    order: Sequence[str],
    shipped: Iterable[str] | None = None,
    count_seeds: bool = False,
) -> Table:
    """Build the table.

    Args:
        order: the methods, in rows.
        shipped: methods that were compared; other rows are muted. None for all of them.
        count_seeds: where runs are missing, show the number of seeds in each cell.
    """
    labels = list(dict.fromkeys(studies.table["study"]))
    lines = {(line["method"], line["study"]): line for _, line in studies.table.iterrows()}
    counts = studies.table.groupby("method").size()
    count_seeds = count_seeds and studies.table["seeds"].nunique() > 1
    compared = set(order if shipped is None else shipped)
    rows = []
    for method in order:
        ranks = [studies.ranks[name].get(method, np.nan) for name in _shown_ranks(studies)]
        cells = [
            Cell(mark_oracle(method, studies.oracles)),
            *(_study_cell(lines.get((method, label)), metric, count_seeds) for label in labels),
            *(number_cell(MISSING if rank != rank else f"{rank:.2f}", rank) for rank in ranks),
            number_cell(str(counts[method]), counts[method]),
        ]
        rows.append(Row(cells, muted=method not in compared))
    columns = [
        METHOD_COLUMN,
        *(Column(f"study {label}", label) for label in labels),
        *(Column(name, "average rank" if name == "rank" else f"rank, {name}") for name in _shown_ranks(studies)),
        Column("studies", "studies"),
    ]
    return Table(_study_table_title(studies, metric, count_seeds), columns, rows)


def _study_table_title(studies: StudyTable, metric: str, count_seeds: bool) -> str:
    low, high = studies.table["seeds"].min(), studies.table["seeds"].max()
    over = format_count(high, "seed") if low == high else f"{low} to {high} seeds"
    number = " (their number in brackets)" if count_seeds else ""
    unit = ", per cent" if find_metric(metric).unit == "share" else ""
    return f"{find_metric(metric).label}, mean ± standard deviation over {over}{number}{unit}"


def _study_cell(line: "pd.Series[Any] | None", metric: str, count_seeds: bool) -> Cell:
    """Return the cell of a method in a study."""
    if line is None:
        return number_cell(MISSING, None)
    mark = MARKS.get(line["verdict"], BELOW_MARK if line["below"] else "")
    spread = format_spread(line["std"], metric) + (f" ({line['seeds']})" if count_seeds else "")
    text = f"{mark}{format_value(line['mean'], metric)}"
    return number_cell(text, line["mean"], spread.strip(), bool(line["best"]), "below" if line["below"] else "")


def describe_ranks(studies: StudyTable, count: int) -> str:
    """Say which methods are ranked."""
    subject = "every study" if count > 1 else "the study"
    if len(studies.ranks) > 1:
        return f"Ranks, 1 the best, are among the {len(studies.ranks)} methods that {subject} has with all its seeds."
    return f"No ranks: there are not two methods that {subject} has with all its seeds."


def _shown_ranks(studies: StudyTable) -> list[str]:
    """Return the columns of average ranks: of families with several studies, and over all where the families agree."""
    several = [name for name in studies.families if studies.rank_tests["studies"][name] > 1]
    return [*several, *(["rank"] if studies.has_common_rank else [])]


def describe_rank_tests(studies: StudyTable) -> list[str]:
    """Say which average ranks differ, and whether the families of scenarios rank the methods alike."""
    tests = studies.rank_tests
    if len(studies.ranks) < 2:
        return []
    shown = [*studies.families, *([ALL] if studies.has_common_rank else [])]
    parts = [
        f"{'' if name == ALL and not studies.families else f'{name}: '}{line['critical_difference']:.1f}"
        f" ({int(line['studies'])} studies, Friedman's test: p {format_p_value(line['p'])})"
        for name, line in tests.loc[shown].iterrows()
        if line["critical_difference"] == line["critical_difference"]
    ]
    sentences = []
    if not studies.has_common_rank:
        sentences.append(
            f"Families of scenarios do not rank the methods alike (lowest rank correlation of two {studies.agreement:.2f}),"
            " so that there is no average rank over all of them."
        )
    if parts:
        sentences.append(
            "Two methods differ at 5 % where their ranks are a critical difference apart (Nemenyi; studies taken as"
            f" independent): {'; '.join(parts)}."
        )
    return sentences


def describe_verdicts_across(comparisons: Sequence[Comparison]) -> list[str]:
    """Say how many verdicts of several studies hold with a correction over all of them; nothing where there are none."""
    counted = count_verdicts(comparisons)
    if len(comparisons) < 2 or not counted.verdicts:
        return []
    return [
        f"Each study's verdicts have an error of 5 % of their own. With Holm's correction over the {counted.comparisons}"
        f" comparisons of all {len(comparisons)} studies, {counted.holding} of {format_count(counted.verdicts, 'verdict')}"
        f" {'holds' if counted.holding == 1 else 'hold'}."
    ]


def typed_order(comparisons: Sequence[Comparison], studies: StudyTable) -> list[str]:
    """Return the rows of all studies, each after the row that it follows in the first study that has it."""
    present = set(studies.table["method"])
    order: list[str] = []
    for comparison in comparisons:
        place = -1
        for name in map(str, comparison.summary.index):
            if name in order:
                place = order.index(name)
            elif name in present:
                place += 1
                order.insert(place, name)
    return order


def rank_order(studies: StudyTable, shipped: Iterable[str]) -> list[str]:
    """Return methods by their rank, then those without one, then what was evaluated next to them."""
    compared = set(shipped)
    names = dict.fromkeys([*studies.ranks.index, *studies.table["method"]])
    return sorted(map(str, names), key=lambda name: name not in compared)
