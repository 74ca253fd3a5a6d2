"""One Markdown table of studies that compare distillation with other ways of training at known cost.

    robustkd run --scenario noise0.4 --methods benchmarks/robust-noise.yaml --student wrn_10_1 --seeds 5
    robustkd run --scenario imbalance0.2 --methods benchmarks/robust-imbalance.yaml --student wrn_10_1 --seeds 5
    robustkd run --scenario imbalance0.2+noise0.4 --methods benchmarks/robust-both.yaml --student wrn_10_1 --seeds 5
    python benchmarks/robust.py studies/* --csv benchmarks/robust.csv

Studies are folders, or files of benchmarks/packed.py. Each has a row per method: balanced accuracy of the last epoch and
stopped early, mean and standard deviation over the seeds in per cent; the difference from the reference with its 95 % interval,
in points, and the verdict; the cost, seconds of training with those of the teacher, relative to the baseline's.
"""

import argparse
from pathlib import Path

import pandas as pd
from packed import read_any

from robustkd.study.comparison import Comparison, compare_runs, early_row
from robustkd.study.results import BASELINE, TEACHER_ROWS

METRIC = "balanced_accuracy"


def tabulate(comparison: Comparison) -> pd.DataFrame:
    """Return a row per method of a study, the best mean first."""
    summary, verdicts, costs = comparison.summary, comparison.verdicts, comparison.costs
    seconds = costs["seconds"] + costs["teacher_seconds"].fillna(0)
    rows = []
    for method in [*summary.index]:
        if method not in comparison.record.methods and method not in TEACHER_ROWS:
            continue
        early = early_row(str(method))
        verdict = verdicts.loc[method] if method in verdicts.index else None
        rows.append(
            {
                "scenario": comparison.record.options.scenario,
                "method": f"{method} (oracle)" if method in comparison.record.oracles else method,
                "last": 100 * summary.loc[method, f"{METRIC}_mean"],
                "last_std": 100 * summary.loc[method, f"{METRIC}_std"],
                "early": 100 * summary.loc[early, f"{METRIC}_mean"] if early in summary.index else None,
                "early_std": 100 * summary.loc[early, f"{METRIC}_std"] if early in summary.index else None,
                "reference": "" if verdict is None else verdict["reference"],
                "difference": None if verdict is None else 100 * verdict["difference"],
                "low": None if verdict is None else 100 * verdict["low"],
                "high": None if verdict is None else 100 * verdict["high"],
                "difference_early": None if verdict is None else 100 * verdict["difference_early"],
                "verdict": "" if verdict is None else verdict["verdict"],
                "cost": seconds[method] / seconds[BASELINE],
                "seeds": int(summary.loc[method, "seeds"]),
            }
        )
    return pd.DataFrame(rows).sort_values("last", ascending=False, kind="stable")


def to_markdown(table: pd.DataFrame) -> str:
    """Return a study's rows as a Markdown table."""
    lines = [
        "| method | last epoch | stopped early | difference, last | difference, early | verdict | cost |",
        "|---|---|---|---|---|---|---|",
    ]
    for _, row in table.iterrows():
        compared = row["reference"] and row["reference"] != BASELINE
        against = f" (to `{row['reference']}`)" if compared else ""
        interval = f" [{row['low']:+z.1f}, {row['high']:+z.1f}]" if pd.notna(row["low"]) else ""
        cells = [
            f"`{row['method']}`"
            if "(oracle)" not in row["method"]
            else f"`{row['method'].removesuffix(' (oracle)')}` (oracle)",
            f"{row['last']:.1f} ± {row['last_std']:.1f}",
            f"{row['early']:.1f} ± {row['early_std']:.1f}" if pd.notna(row["early"]) else "",
            f"{row['difference']:+z.1f}{interval}{against}" if pd.notna(row["difference"]) else "",
            f"{row['difference_early']:+z.1f}" if pd.notna(row["difference_early"]) else "",
            row["verdict"],
            f"{row['cost']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+")
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    studies = [study for path in arguments.studies if (study := read_any(path)) is not None]
    tables = [tabulate(compare_runs(study)) for study in studies]
    for table in tables:
        seeds = " to ".join(map(str, sorted({table["seeds"].min(), table["seeds"].max()})))
        print(f"{table['scenario'].iloc[0]}, {seeds} seeds\n\n{to_markdown(table)}\n")
    if arguments.csv is not None:
        pd.concat(tables).to_csv(arguments.csv, index=False, float_format="%.3f")


if __name__ == "__main__":
    main()
