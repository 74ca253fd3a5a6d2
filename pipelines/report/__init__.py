"""report: what a study or a sweep says, on one page that needs no other file, no network and no script to be read.

The words and tables of a study are in sections.py, the pictures in panels.py, the page itself in page.py and templates/.
"""

import os
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from pipelines.report import panels, sections
from pipelines.report.html import Cell, Head, Picture, Row, Table, counted, number, published, sentence, typeset, value
from pipelines.report.study_files import Files
from robustkd.study import comparison, conclusions
from robustkd.study.across import StudyTable, compare_studies, study_labels
from robustkd.study.comparison import Comparison
from robustkd.study.results import BASELINE, TEACHER


def write(made: Comparison, out: Path, trust: bool = False) -> Path:
    """Write OUT/report.html of a study, and its pictures as PNG files beside it.

    Args:
        trust: verdicts were given by test labels that nobody knows to be clean, because the user took them for clean.
    """
    seen, who = Files.of(made), sections.select_examples(made)
    parts = (
        sections.verdicts(made, trust),
        sections.methods(made),
        sections.classes(made, who, seen),
        sections.epochs(made, who),
        sections.confusions(made, who),
        sections.certainty(made, who),
        sections.scenario(made, seen),
        sections.recovered(made, who, seen),
        sections.costs(made, who),
        sections.history(made, seen),
    )
    there = [section for section in parts if section is not None]
    question, answer = conclusions.question_and_answer(made)
    record = made.record
    told = {
        "title": f"{record.dataset}, {record.options.scenario}: robustkd",
        "over": f"{record.dataset} · {record.options.scenario} · {counted(record.seeds, 'seed')}",
        "caveat": sentence(conclusions.test_label_caveat(record)),
        "question": question,
        "answer": typeset(answer),
        "facts": sections.facts(made),
        "sections": there,
    }
    return published("report.html.j2", told, [picture for section in there for picture in section.pictures], out)


def write_sweep(made: Sequence[Comparison], out: Path) -> Path:
    """Write OUT/report.html of several studies side by side, and its pictures as PNG files beside it.

    A study's own report is linked where it is there: STUDY/comparison/report.html.
    """
    found, heads = compare_studies(made, comparison.HEADLINE), study_labels([one.record for one in made])
    ranks = found.ranks
    first = list(ranks.index[:3]) if len(ranks) else []
    shown = list(dict.fromkeys([BASELINE, *(name for name in first if name != BASELINE)]))
    curves: list[Picture] = []
    studies = []
    for place, (label, one) in enumerate(zip(heads, made, strict=True), 1):
        question, answer = conclusions.question_and_answer(one)
        studies.append({"label": label, "question": question, "answer": typeset(answer), "link": link(one, out)})
        section = sweep_curves(one, label, place, shown)
        curves += [section] if section else []
    compared = {name for one in made for name in one.record.methods}
    tables = [across_table(found, heads, compared)] if len(found.table) else []
    data = sorted({one.record.dataset for one in made})
    better = sum(bool((one.verdicts["verdict"] == "better").any()) for one in made)
    overview = sweep_overview(found, heads, compared)
    caveats = {one.record.dataset: conclusions.test_label_caveat(one.record) for one in made}
    doubts = [f"{dataset}: {caveat}" for dataset, caveat in caveats.items() if caveat]
    told = {
        "title": f"{', '.join(data)}, {len(made)} studies: robustkd",
        "over": f"{', '.join(data)} · {', '.join(heads)}",
        "caveats": [sentence(doubt) for doubt in dict.fromkeys(doubts)],
        "question": f"Where does distillation help on {', '.join(data)}?",
        "answer": f"In {better} of {len(made)} studies at least one method was shown to be better than its baseline."
        + (f" {first_of(ranks['rank'])}" if len(ranks) > 1 else ""),
        "studies": studies,
        "tables": tables,
        "notes_": [
            "Balanced accuracy at the last epoch, per cent, mean ± standard deviation over seeds. Bold: the best method of a"
            " study. ↓: below its baseline in the mean. ▲, ▼: shown to be better or worse, by the rule of the study's report.",
            f"Rank: by the mean in each study, 1 the best, averaged over the studies; among the {len(ranks)} methods that every"
            " study has with all its seeds."
            if len(ranks) > 1
            else "No ranks: there are not two methods that every study has with all its seeds.",
        ],
        "overview": overview,
        "legend_": sections.legend(shown) if curves else [],
        "curves": curves,
    }
    return published("sweep.html.j2", told, [*overview, *curves], out)


def first_of(ranks: "pd.Series[float]") -> str:
    """Which method has the best average rank, and by how much: the baseline is one of them.

    >>> first_of(pd.Series({"baseline": 1.3333, "hinton": 1.6667}))
    'The baseline has the best average rank, 1.33; next is hinton with 1.67.'
    >>> first_of(pd.Series({"dml": 1.5, "hinton": 2.0, "baseline": 2.5}))
    'dml has the best average rank, 1.50; next is hinton with 2.00; the baseline has 2.50.'
    >>> first_of(pd.Series({"hinton": 1.5, "baseline": 1.5}))
    'hinton and the baseline share the best average rank, 1.50.'
    """

    def named(name: object) -> str:
        return "the baseline" if name == BASELINE else str(name)

    ranks = ranks.sort_values(kind="stable")
    level = np.isclose(ranks, ranks.iloc[0])
    first, rest = ranks[level], ranks[~level]
    which, best = [named(name) for name in first.index], f"the best average rank, {first.iloc[0]:.2f}"
    if len(first) == 1:
        parts = [f"{which[0]} has {best}"]
    else:
        shown = which if len(which) < 5 else [*which[:3], f"{len(which) - 3} more"]
        parts = [f"{', '.join(shown[:-1])} and {shown[-1]} share {best}"]
    if len(rest):
        parts.append(f"next is {named(rest.index[0])} with {rest.iloc[0]:.2f}")
        if BASELINE in rest.index[1:]:
            parts.append(f"the baseline has {rest[BASELINE]:.2f}")
    told = "; ".join(parts)
    return f"{'T' if told.startswith('the baseline') else told[0]}{told[1:]}."


def link(made: Comparison, out: Path) -> str:
    """The way from a sweep's report to a study's own, if it is there."""
    path = made.folder / "comparison" / "report.html" if made.folder else None
    if path is None or not path.exists():
        return ""

    return quote(Path(os.path.relpath(path, out)).as_posix())


def in_order(found: StudyTable, compared: AbstractSet[str]) -> list[str]:
    """Methods by their rank, then those without one as they come, then what was measured beside them."""
    names = dict.fromkeys([*found.ranks.index, *found.table["method"]])
    return sorted(map(str, names), key=lambda name: name not in compared)


def across_table(found: StudyTable, heads: Sequence[str], compared: AbstractSet[str]) -> Table:
    """Methods down, studies across."""
    lines = {(line["study"], line["method"]): line for _, line in found.table.iterrows()}
    count = found.table.groupby("method").size()
    rows = []
    for method in in_order(found, compared):
        cells = [Cell(method)]
        for head in heads:
            line = lines.get((head, method))
            if line is None:
                cells.append(number("–", np.nan))
                continue
            mark = {"better": " ▲", "worse": " ▼"}.get(line["verdict"], "")
            below = " ↓" if line["below"] else ""
            look = " ".join(word for word, on in (("best", line["best"]), ("below", line["below"])) if on)
            spread = f"± {value(line['std'])}" if line["std"] == line["std"] else ""
            cells.append(number(f"{value(line['mean'])}{below}{mark}", line["mean"], spread, look))
        rank = found.ranks["rank"].get(method, np.nan)
        cells.append(number("–" if rank != rank else f"{rank:.2f}", rank))
        cells.append(number(str(count[method]), count[method]))
        rows.append(Row(cells, aside=method not in compared))
    columns = [
        Head("method", text=True),
        *(Head(head) for head in heads),
        Head("rank", order="ascending"),
        Head("studies"),
    ]
    return Table("Balanced accuracy", columns, rows)


def sweep_overview(found: StudyTable, heads: Sequence[str], compared: AbstractSet[str]) -> list[Picture]:
    """Differences from the baseline, methods down and studies across."""
    if not len(found.table):
        return []
    wide = found.table.pivot(index="method", columns="study", values="difference").astype(float)
    order = [name for name in in_order(found, compared) if name in compared and wide.loc[name].notna().any()]
    columns = [head for head in heads if head in wide]
    wide = wide.loc[order, columns]
    if not wide.notna().any().any():
        return []
    most = float(np.nanmax(np.abs(wide.to_numpy()), initial=0.01))
    above = [f"{head}: {int((wide[head] > 0).sum())} of {int(wide[head].notna().sum())}" for head in columns]
    alt = f"Mean differences in balanced accuracy from the baseline, points. Methods above it: {'; '.join(above)}."
    figure = panels.matrix(wide.to_numpy(), order, columns, ("", ""), most)
    caption = "Mean difference in balanced accuracy, points. Blue: above the baseline; vermilion: below."
    return [Picture("overview", "Against the baseline", figure, alt, caption)]


def sweep_curves(made: Comparison, label: str, place: int, shown: Sequence[str]) -> Picture | None:
    """Accuracy along the runs of one study."""
    if not len(made.curves) or not {*shown} & {*made.curves["method"]}:
        return None
    curves = made.curves[made.curves["method"] != TEACHER]
    last = curves.sort_values("epoch").groupby(["method", "seed"])["accuracy"].last().groupby("method").mean()
    told = [f"{name} {value(last[name])} %" for name in shown if name in last]
    stop = comparison.early_stopping_point(made)
    caption = f"Diamond: baseline stopped early, epoch {stop[0]:.0f}." if stop else ""
    figure = panels.along(curves, "accuracy", shown, stop)
    return Picture(
        f"curves-{place}", label, figure, f"Test accuracy under {label}, at last: {'; '.join(told)}.", caption
    )
