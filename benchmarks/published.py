"""Gains of methods over the baseline with their intervals, published and measured here, by scenario.

    python benchmarks/published.py studies/sweep-NAME/table.csv     # or across.csv of `robustkd compare studies --csv FOLDER`

The published figures (published.csv) are from Sarfraz, Arani and Zonooz, "Knowledge Distillation Beyond Model Compression",
ICPR 2020, arXiv 2007.01922: accuracy on CIFAR-10 over 5 seeds, with what we infer to be a wrn_16_2. A gain is the difference
between the mean of a method and that of the baseline, in points, with half its 95 % interval by Welch's t test: the published
runs are not paired, and ours are treated alike, whose intervals are then too wide. The sign of a gain is decided where its
interval excludes 0. The table of a sweep has balanced accuracy, which equals accuracy for test classes of equal size. Gains on
other images and with fewer epochs can be compared by sign and by order at best: Cohen's kappa of the signs, the undecided ones
included, and Spearman's correlation of the gains.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from robustkd.evaluation.significance import ALPHA
from robustkd.study.comparison import BASELINE

KEYS = ["scenario", "method"]
SEEDS = 5  # of the published figures
SIDES = ("published", "ours")


def compute_gains(results: pd.DataFrame) -> pd.DataFrame:
    """Return gain, half its 95 % interval, and sign per method, from mean, std and seeds, all indexed by (scenario, method).

    Scenarios without a baseline, and methods of one seed, are omitted. Without any spread, the interval is the gain itself.
    """
    is_baseline = results.index.get_level_values("method") == BASELINE
    baseline = results[is_baseline].droplevel("method").reindex(results.index, level="scenario")
    own, theirs = (part["std"] ** 2 / part["seeds"] for part in (results, baseline))
    rest = own**2 / (results["seeds"] - 1) + theirs**2 / (baseline["seeds"] - 1)
    degrees = ((own + theirs) ** 2 / rest).where(rest > 0, 1.0)
    gains = pd.DataFrame({"gain": results["mean"] - baseline["mean"]})
    gains["half"] = stats.t.isf(ALPHA / 2, degrees) * np.sqrt(own + theirs)
    gains["sign"] = np.sign(gains["gain"]).where(gains["gain"].abs() > gains["half"], 0)
    return gains[~is_baseline].dropna()


def read_results(file: Path) -> pd.DataFrame:
    """Read means and standard deviations in per cent, and numbers of seeds, by (scenario, method)."""
    table = pd.read_csv(file, comment="#").rename(columns={"study": "scenario"}).set_index(KEYS)
    table = table.assign(seeds=table.get("seeds", SEEDS))[["mean", "std", "seeds"]]
    return table.assign(mean=100 * table["mean"], std=100 * table["std"]) if (table["mean"] <= 1).all() else table


def pair_gains(published: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Return the gains of the entries that both have, in the published order, with columns (side, what)."""
    both = pd.concat({SIDES[0]: published, SIDES[1]: measured.reindex(published.index)}, axis=1)
    return both.dropna()


def format_comparison(both: pd.DataFrame) -> str:
    """Format paired gains as a Markdown table: in bold where both signs are decided and equal, counted in the last row."""
    gains = both.xs("gain", axis=1, level=1).map("{:+.1f}".format)
    texts = gains + " ± " + both.xs("half", axis=1, level=1).map("{:.1f}".format)
    entries = texts[SIDES[0]] + " / " + texts[SIDES[1]]
    decided = (both.xs("sign", axis=1, level=1) != 0).all(axis=1)
    same = decided & (both[SIDES[0], "sign"] == both[SIDES[1], "sign"])
    entries = entries.where(~same, "**" + entries + "**")
    counts = pd.DataFrame({"same": same, "decided": decided}).groupby(level="scenario", sort=False).sum().astype(str)
    scenarios, methods = (list(dict.fromkeys(both.index.get_level_values(key))) for key in KEYS)
    table = entries.unstack("scenario").loc[methods, scenarios].fillna("")
    table.loc["same sign"] = counts["same"] + " of " + counts["decided"]
    head = [["published / ours", *(f"`{scenario}`" for scenario in table)], ["---"] * (1 + table.shape[1])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [*head, *table.reset_index().to_numpy()])


def describe_agreement(both: pd.DataFrame) -> str:
    """Say how far signs and gains of all entries agree."""
    (published, measured), (gains, ours) = (
        [both[side, what].to_numpy() for side in SIDES] for what in ("sign", "gain")
    )
    kappa, rho = cohen_kappa_score(published, measured), stats.spearmanr(gains, ours).statistic
    return (
        f"{len(both)} entries; intervals exclude 0 in {int((published != 0).sum())} published and"
        f" {int((measured != 0).sum())} of ours; kappa of the signs {kappa:.2f}, Spearman's correlation of the gains {rho:.2f}"
    )


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="a sweep's table with scenario, method, mean, std and seeds")
    file = parser.parse_args(words).table
    if (results := read_results(file)).index.has_duplicates:
        parser.error(f"{file} has several data sets, expected one")
    both = pair_gains(compute_gains(read_results(Path(__file__).with_suffix(".csv"))), compute_gains(results))
    if not len(both):
        parser.error(f"{file} has no published scenario with a baseline and a published method")
    print(format_comparison(both))
    print(f"\n{describe_agreement(both)}")


if __name__ == "__main__":
    main()
