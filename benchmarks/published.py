"""Signs of the gains of methods over the baseline, published and measured here, by scenario.

    python benchmarks/published.py studies/sweep-NAME/table.csv

The published figures (published.csv) are from Sarfraz, Arani and Zonooz, "Knowledge Distillation Beyond Model Compression",
ICPR 2020, arXiv 2007.01922: accuracy on CIFAR-10 over 5 seeds, with what we infer to be a wrn_16_2. A sign is that of the
difference between the mean of a method and that of the baseline, or 0 within one standard deviation of the baseline over its
seeds. The table of a sweep has balanced accuracy, which equals accuracy for test classes of equal size. Figures on other images
and with fewer epochs can be compared by sign at best.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from robustkd.study.comparison import BASELINE

KEYS = ["scenario", "method"]


def gain_signs(results: pd.DataFrame) -> "pd.Series[str]":
    """Return '+', '0' or '-' per method from mean and std, both indexed by (scenario, method).

    Scenarios without a baseline are omitted.
    """
    is_baseline = results.index.get_level_values("method") == BASELINE
    baseline = results[is_baseline].droplevel("method").reindex(results.index, level="scenario")
    gains = results["mean"] - baseline["mean"]
    signs = np.select([gains.abs() <= baseline["std"].fillna(0), gains > 0, gains < 0], ["0", "+", "-"], "")
    return pd.Series(signs, results.index)[~is_baseline & (signs != "")]


def read_results(file: Path) -> pd.DataFrame:
    """Read means and standard deviations by (scenario, method)."""
    return pd.read_csv(file, comment="#").set_index(KEYS)[["mean", "std"]]


def format_comparison(published: "pd.Series[str]", measured: "pd.Series[str]") -> str:
    """Format the signs of common entries as a Markdown table, equal signs in bold and counted in the last row."""
    both = pd.DataFrame({"published": published, "measured": measured}).reindex(published.index).dropna()
    equal = both["published"] == both["measured"]
    same = equal.groupby(level="scenario", sort=False).agg(["sum", "count"])
    entries = both["published"] + " / " + both["measured"]
    entries = entries.where(~equal, "**" + entries + "**")
    scenarios, methods = (list(dict.fromkeys(both.index.get_level_values(key))) for key in KEYS)
    table = entries.unstack("scenario").loc[methods, scenarios].fillna("")
    table.loc["the same"] = same["sum"].astype(str) + " of " + same["count"].astype(str)
    head = [["published / ours", *(f"`{scenario}`" for scenario in table)], ["---"] * (1 + table.shape[1])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [*head, *table.reset_index().to_numpy()])


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="a sweep's table with scenario, method, mean and std")
    file = parser.parse_args(words).table
    if (results := read_results(file)).index.has_duplicates:
        parser.error(f"{file} has several data sets, expected one")
    published, measured = gain_signs(read_results(Path(__file__).with_suffix(".csv"))), gain_signs(results)
    if not len(published.index.intersection(measured.index)):
        parser.error(f"{file} has no published scenario with a baseline and a published method")
    print(format_comparison(published, measured))


if __name__ == "__main__":
    main()
