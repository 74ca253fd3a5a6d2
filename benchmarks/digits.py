"""Every method on digits under three scenarios: the README's table, beside the signs that a paper found on CIFAR-10.

    python benchmarks/digits.py [--scenarios clean,noise0.4,imbalance0.2] [--out studies/digits-table] [-- words of `run`]
    python benchmarks/digits.py --only-table [--csv FILE]

Each scenario is a study, `robustkd run --scenario S --methods all --seeds 3 --tracker files --out OUT`: the same command
goes on where it was stopped. What is finished goes to digits.csv after each, a line per run and row of the table, and
`--only-table` prints from there. Words after `--` go to `run` and win; the CSV is then OUT/digits.csv where none is named.

The published figures (published.csv) are from the tables of Sarfraz, Arani and Zonooz, "Knowledge Distillation Beyond
Model Compression", ICPR 2020: CIFAR-10, 5 seeds, a wrn_16_2 by inference. A sign is that of the difference of a method's mean
accuracy from the baseline's, and 0 where that is within the baseline's standard deviation over seeds: theirs for theirs,
ours for ours. Images of 8x8 and 30 epochs can be compared in sign at best.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from robustkd import comparison
from robustkd.comparison import BASELINE, STOPPED, TEACHER
from robustkd.words import split

HERE = Path(__file__).parent
SCENARIOS = "clean,noise0.4,imbalance0.2"
OPTIONS = {"methods": "all", "seeds": "3", "tracker": "files"}
# What a line is about: the net a run ships, at its end or stopped early, or what was measured beside it.
LAST, EARLY, BESIDE = "last", "early", "beside"
COLUMNS = ["scenario", "method", "what", "net", "seed", *comparison.FIGURES, "epochs", "seconds"]


def conduct(scenario: str, out: Path, more: Sequence[str]) -> int:
    """Run a study, or what is left of it: 0 when all is done, 1 when some runs failed. Anything worse ends it all."""
    typed = {word.split("=")[0].removeprefix("--") for word in more}
    options = {"scenario": scenario, "out": str(out)} | {k: v for k, v in OPTIONS.items() if k not in typed}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    code = subprocess.run([sys.executable, "-m", "pipelines", "run", *words, *more], check=False).returncode
    if code not in (0, 1):
        sys.exit(code)
    return code


def collected(scenario: str, out: Path) -> pd.DataFrame:
    """What is finished of a scenario's study, the one that was worked on last."""
    cards = {path: json.loads(path.read_text()) for path in out.glob("*/study.json")}
    newest = max((p for p in cards if cards[p]["given"]["scenario"] == scenario), key=lambda p: p.stat().st_mtime)
    card, order = cards[newest], {TEACHER: 0}
    order |= {method: place for place, method in enumerate(card["methods"], 1)}
    found: list[tuple[tuple[int, int], dict[str, Any]]] = []
    for path in newest.parent.glob("runs/*/result.json"):
        result = json.loads(path.read_text())
        cell, trained = result["cell"], result["trained"]
        own = TEACHER if cell["role"] == TEACHER else cell["method"]
        if own not in order or cell["seed"] >= card["seeds"]:  # of an earlier, larger study
            continue
        run = {"scenario": scenario, "net": card["given"]["teacher" if own == TEACHER else "student"]}
        history = path.parent / "epochs.csv"  # a teacher that was given has none
        run |= {"seconds": trained.get("seconds"), "epochs": len(pd.read_csv(history)) if history.exists() else None}
        for place, line in enumerate(comparison.long_table([result]).to_dict("records")):
            what = {own: LAST, STOPPED: EARLY}.get(line["method"], BESIDE)
            epochs = {"epochs": trained["early_epoch"]} if what == EARLY else {}
            found.append(((order[own], place), {**run, **line, **epochs, "what": what}))
    found.sort(key=lambda pair: (*pair[0], pair[1]["seed"]))
    return pd.DataFrame([line for _, line in found], columns=COLUMNS)


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation of the accuracy over seeds in per cent, and how many: by (scenario, method, what)."""
    per_cent = table.assign(accuracy=100 * table["accuracy"])
    return per_cent.groupby(["scenario", "method", "what"], sort=False)["accuracy"].agg(["mean", "std", "count"])


def markdown(table: pd.DataFrame) -> str:
    """The README's table, in bold the best net that a student's run ships, scenario by scenario."""
    made, chosen, most = means(table), list(dict.fromkeys(table["scenario"])), table["seed"].nunique()
    students = made[
        (made.index.get_level_values("what") != BESIDE) & (made.index.get_level_values("method") != TEACHER)
    ]
    best = students["mean"].round(1).groupby(level="scenario").max()

    def cell(scenario: str, method: str, what: str) -> str:
        key = (scenario, method, what)
        if key not in made.index:
            return ""
        mean, std, count = made.loc[key]
        text = f"{mean:.1f}" + (f" ± {std:.1f}" if std == std else "")  # one seed has no deviation
        text = f"**{text}**" if key in students.index and round(mean, 1) == best[scenario] else text
        return text + (f" ({count:.0f} of {most} seeds)" if count < most else "")

    rows = []
    for method, what, net in table[["method", "what", "net"]].drop_duplicates().itertuples(index=False):
        name = f"{method} ({net})" if method in (TEACHER, BASELINE) else method
        rows.append([name, *(cell(scenario, method, what) for scenario in chosen)])
    return lines(["method", *(f"`{scenario}`" for scenario in chosen)], rows)


def lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, *rows)).replace(
        "\n", "\n|" + "---|" * len(head) + "\n", 1
    )


def signs(figures: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(scenario, method) -> the sign of its difference from the baseline; figures are mean and std by the same keys."""
    found = {}
    for (scenario, method), mean in figures["mean"].items():
        if method != BASELINE and (scenario, BASELINE) in figures.index:
            base = figures.loc[(scenario, BASELINE)]
            apart = mean - base["mean"]
            within = abs(apart) <= (base["std"] if base["std"] == base["std"] else 0.0)
            found[scenario, method] = "0" if within else "+" if apart > 0 else "-"
    return found


def published() -> pd.DataFrame:
    """Mean and std in per cent, by (scenario, method)."""
    return pd.read_csv(HERE / "published.csv", comment="#").set_index(["scenario", "method"])


def beside_published(table: pd.DataFrame) -> str:
    """The published signs and ours, and where they are the same."""
    theirs, ours = signs(published()), signs(means(table[table["what"] == LAST]).droplevel("what"))
    chosen = [scenario for scenario in dict.fromkeys(table["scenario"]) if any(s == scenario for s, _ in theirs)]

    def cell(key: tuple[str, str]) -> str:
        same = ", same" if key in theirs and theirs[key] == ours.get(key) else ""
        return f"{theirs.get(key, ' ')} / {ours.get(key, ' ')}{same}"

    methods = [method for method in dict.fromkeys(m for _, m in theirs) if any((s, method) in ours for s in chosen)]
    rows = [[method, *(cell((scenario, method)) for scenario in chosen)] for method in methods]
    both = [[key for key in theirs if key in ours and key[0] == scenario] for scenario in chosen]
    rows += [["the same", *(f"{sum(theirs[k] == ours[k] for k in keys)} of {len(keys)}" for keys in both)]]
    return lines(["published / ours", *(f"`{scenario}`" for scenario in chosen)], rows)


def main(words: Sequence[str] | None = None) -> int:
    typed = list(sys.argv[1:] if words is None else words)
    at = typed.index("--") if "--" in typed else len(typed)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", default=SCENARIOS)
    parser.add_argument("--out", type=Path, default=Path("studies/digits-table"))
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--only-table", action="store_true")
    arguments, more = parser.parse_args(typed[:at]), typed[at + 1 :]
    if {"--out", "--scenario"} & {word.split("=")[0] for word in more}:
        parser.error("--scenarios and --out stand before the --")
    file, failed = arguments.csv or (arguments.out if more else HERE) / "digits.csv", 0
    if arguments.only_table and not file.exists():
        parser.error(f"{file} is not there yet")
    for scenario in [] if arguments.only_table else split(arguments.scenarios, ","):
        failed |= conduct(scenario, arguments.out, more)
        before = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=COLUMNS)
        parts = dict(iter(before.groupby("scenario", sort=False))) | {scenario: collected(scenario, arguments.out)}
        ours = [name for name in split(SCENARIOS, ",") if name in parts]
        pd.concat([parts[name] for name in dict.fromkeys([*ours, *parts])]).to_csv(file, index=False)
    table = pd.read_csv(file)
    print("accuracy on digits at the last epoch in per cent, mean and standard deviation over seeds\n")
    print(markdown(table), end="\n\n")
    print("sign of method - baseline, 0 within the baseline's standard deviation; published: CIFAR-10, ICPR 2020\n")
    print(beside_published(table), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
