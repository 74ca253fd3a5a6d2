"""The signs of what methods gain over plain training, as published and as measured here, scenario by scenario.

    python benchmarks/published.py studies/sweep-NAME/table.csv

Published (published.csv) are the tables of Sarfraz, Arani and Zonooz, "Knowledge Distillation Beyond Model Compression", ICPR
2020, arXiv 2007.01922: accuracy on CIFAR-10, 5 seeds, a wrn_16_2 by inference. A sign is that of the difference of a method's
mean from the baseline's, 0 where that is within the baseline's standard deviation over the seeds: theirs for theirs, ours for
ours. A sweep's table is of balanced accuracy, theirs of accuracy; of test classes of one size these are the same. What was
measured on other images and over fewer epochs can be compared in sign at best.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from robustkd.study.comparison import BASELINE

KEYS = ["scenario", "method"]


def signs(figures: pd.DataFrame) -> "pd.Series[str]":
    """'+', '0' or '-' of each method, by (scenario, method); figures are mean and std by the same keys.

    A scenario without a baseline has none.
    """
    plain = figures.index.get_level_values("method") == BASELINE
    base = figures[plain].droplevel("method").reindex(figures.index, level="scenario")
    apart = figures["mean"] - base["mean"]
    told = np.select([apart.abs() <= base["std"].fillna(0), apart > 0, apart < 0], ["0", "+", "-"], "")
    found = pd.Series(told, figures.index)
    return found[~plain & (told != "")]


def read(file: Path) -> pd.DataFrame:
    """Means and standard deviations by (scenario, method)."""
    return pd.read_csv(file, comment="#").set_index(KEYS)[["mean", "std"]]


def beside(theirs: "pd.Series[str]", ours: "pd.Series[str]") -> str:
    """Both signs of all that both have, in Markdown; in bold where they are the same, which the last row counts."""
    both = pd.DataFrame({"theirs": theirs, "ours": ours}).reindex(theirs.index).dropna()
    same = (both["theirs"] == both["ours"]).groupby(level="scenario", sort=False).agg(["sum", "count"])
    told = both["theirs"] + " / " + both["ours"]
    told = told.where(both["theirs"] != both["ours"], "**" + told + "**")
    chosen, methods = (list(dict.fromkeys(both.index.get_level_values(key))) for key in KEYS)
    table = told.unstack("scenario").loc[methods, chosen].fillna("")
    table.loc["the same"] = same["sum"].astype(str) + " of " + same["count"].astype(str)
    head = [["published / ours", *(f"`{scenario}`" for scenario in table)], ["---"] * (1 + table.shape[1])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [*head, *table.reset_index().to_numpy()])


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "table", type=Path, help="a line per scenario and method with mean and std, as a sweep writes it"
    )
    file = parser.parse_args(words).table
    if (figures := read(file)).index.has_duplicates:
        parser.error(f"{file} is of several data sets, and one is wanted")
    theirs, ours = signs(read(Path(__file__).with_suffix(".csv"))), signs(figures)
    if not len(theirs.index.intersection(ours.index)):
        parser.error(f"{file} has no scenario with a baseline and a method that are published")
    print(beside(theirs, ours))


if __name__ == "__main__":
    main()
