"""Balanced accuracy of methods whose defaults changed, before and after, as a Markdown table.

    robustkd sweep --scenarios clean,noise0.2,... --methods benchmarks/defaults.yaml --seeds 5 --tracker files
    python benchmarks/defaults.py studies/sweep-NAME/table.csv                              # both in one sweep
    python benchmarks/defaults.py studies/sweep-NAME/table.csv --former benchmarks/sweep.csv   # or those of an earlier one

across.csv of `robustkd compare studies --csv FOLDER` is such a table too.

A row per method with a column per scenario: the mean with the former default, an arrow, and the mean by default, in per cent.
The last row is the baseline, which is the same training in both: if its means differ, so do the seeds or the machines.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from robustkd.study.results import BASELINE

# The former default of a method, as a method. fsp has none: it averaged where it now takes the maximum.
FORMER = {
    "at": "at(weight=1000)",
    "bss": "bss(step=0.3)",
    "amkd": "amkd_annealed",
    "amkd_bss": "amkd_bss(step=0.3)",
    "mean_teacher": "mean_teacher(decay=0.99, mse=100, ramp=0.26666666666666666)",
    "dkd": "dkd(beta=8)",
    "tald": "tald(weight=0.1)",
    "ccd": "ccd(view=random)",
    "fsp": "",
    "ffcl": "ffcl(layers=last)",
}


def read_means(file: Path) -> pd.DataFrame:
    """Read the mean of every method in every scenario of a sweep's table, in per cent: a row per method."""
    table = pd.read_csv(file, comment="#").rename(columns={"study": "scenario"})
    means = table.pivot(index="method", columns="scenario", values="mean")
    return 100 * means[list(dict.fromkeys(table["scenario"]))]


def compare_defaults(means: pd.DataFrame, former: pd.DataFrame | None = None) -> list[list[str]]:
    """Return the cells of a row per method that is in both.

    Args:
        means: by default, and of the methods in FORMER.
        former: of an earlier sweep, in which the former defaults were those of the methods' names.
    """
    rows = []
    for method, before in {**FORMER, BASELINE: BASELINE}.items():
        earlier = means.loc[before] if before in means.index else None
        if former is not None and method in former.index and (earlier is None or method == BASELINE):
            earlier = former.loc[method].reindex(means.columns)
        if method in means.index and earlier is not None:
            pairs = zip(earlier, means.loc[method], strict=True)
            rows.append(
                [f"`{method}`", *(f"{old:.1f} → {new:.1f}" if pd.notna(old) else f"{new:.1f}" for old, new in pairs)]
            )
    return rows


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="table.csv of a sweep of one data set")
    parser.add_argument("--former", type=Path, help="table.csv of a sweep with the former defaults")
    arguments = parser.parse_args(words)
    means = read_means(arguments.table)
    former = None if arguments.former is None else read_means(arguments.former)
    cells = [["method", *(f"`{scenario}`" for scenario in means.columns)], ["---", *["---"] * len(means.columns)]]
    for row in [*cells, *compare_defaults(means, former)]:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
