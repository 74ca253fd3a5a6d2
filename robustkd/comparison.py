"""What the cells of a study say together: per method over seeds, per class against plain training, and along the run.

A difference is taken seed by seed to the baseline with the same criterion; where a study has none, to the plain baseline.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

FIGURES = ("accuracy", "balanced_accuracy", "worst_recall")
# Figures against the truth, where it is known: of test rows with a clean label of their own, and of the training rows.
TRUE = {
    **{f"clean_{figure}": ("clean", figure) for figure in FIGURES},
    **{figure: ("fit", figure) for figure in ("memorised", "seen_through", "clean_fit")},
}
BASELINE = "baseline"
STOPPED = "baseline, stopped early"
TEACHER = "teacher"


class Comparison(NamedTuple):
    """A study's tables."""

    summary: pd.DataFrame  # a row per method: mean and std over seeds of each figure, and how many seeds
    per_class: pd.DataFrame  # a row per class: the baseline's recall, each method's mean difference from its reference
    clean: pd.DataFrame  # the same on the test rows with a clean label, where labels as given may be wrong
    along: pd.DataFrame  # plain training's accuracy at a quarter, half and the whole of the run
    curves: pd.DataFrame  # epoch, method, seed, accuracy
    study: dict[str, Any]  # study.json


def compare(folder: Path) -> Comparison:
    """The tables of a study's folder: of the methods and seeds it was last asked for, as far as they are finished."""
    study = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("runs/*/result.json"))]
    order = {method: place for place, method in enumerate(study["methods"], 1)}
    wanted = [r for r in results if _wanted(r["cell"], study)]
    wanted.sort(key=lambda r: 0 if r["cell"]["role"] == TEACHER else order[r["cell"]["method"]])
    curves = pd.concat([_epochs(folder, r) for r in wanted], ignore_index=True) if wanted else pd.DataFrame()
    known = [r for r in wanted if "clean" in r]
    return Comparison(
        summarise(long_table(wanted)),
        differences(wanted, study["methods"]),
        differences(known, study["methods"], "clean"),
        along(curves),
        curves,
        study,
    )


def _wanted(cell: dict[str, Any], study: dict[str, Any]) -> bool:
    return cell["seed"] < study["seeds"] and (cell["role"] == "teacher" or cell["method"] in study["methods"])


def _rows(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A run's rows in the table: its model, what was measured beside it, and the baseline stopped early."""
    cell = result["cell"]
    method = TEACHER if cell["role"] == "teacher" else cell["method"]
    beside = {f"{method}, {name}": figures for name, figures in result.get("beside", {}).items()}
    stopped = {STOPPED: result["early"]} if method == BASELINE and "early" in result else {}
    return {method: result["last"], **beside, **stopped}


def long_table(results: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """A line per run and row: method, seed, the figures, and those against the truth that any run has."""
    lines = []
    for result in results:
        for place, (name, figures) in enumerate(_rows(result).items()):
            true = {t: result.get(part, {}).get(f) for t, (part, f) in TRUE.items()} if place == 0 else {}
            lines.append({"method": name, "seed": result["cell"]["seed"], **{f: figures[f] for f in FIGURES}, **true})
    table = pd.DataFrame(lines, columns=["method", "seed", *FIGURES, *TRUE]).astype(dict.fromkeys(TRUE, float))
    return table.drop(columns=[name for name in TRUE if table[name].isna().all()])


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds, a row per method in the order of its first line."""
    grouped, figures = table.groupby("method", sort=False), [str(c) for c in table if c not in ("method", "seed")]
    parts = {f"{figure}_{what}": grouped[figure].agg(what) for figure in figures for what in ("mean", "std")}
    return pd.DataFrame({**parts, "seeds": grouped["seed"].count()})


def reference(method: str, methods: Iterable[str]) -> str | None:
    """What a method is compared with.

    >>> reference("hinton+balanced", ["baseline", "baseline+balanced", "hinton+balanced"])
    'baseline+balanced'
    """
    same = BASELINE + "+" + method.split("+")[1] if "+" in method else BASELINE
    return next((name for name in (same, BASELINE) if name in methods), None)


def differences(results: Iterable[dict[str, Any]], methods: list[str], part: str = "last") -> pd.DataFrame:
    """Per class: the baseline's mean recall, then each method's mean difference from its reference, paired by seed.

    Without a baseline in the study, recalls stand in the place of differences.

    Args:
        part: `last` for the whole test set, `clean` for its rows with a clean label.
    """
    recall = {
        (r["cell"]["method"], r["cell"]["seed"]): pd.Series(r[part]["recall"], dtype=float)
        for r in results
        if r["cell"]["role"] != "teacher"
    }
    columns = {}
    for method in methods:
        against = reference(method, methods)
        seeds = [seed for name, seed in recall if name == method]
        if against in (None, method):
            columns[f"{method} recall"] = _mean([recall[method, seed] for seed in seeds])
        else:
            paired = [seed for seed in seeds if (against, seed) in recall]
            columns[f"{method} - {against}"] = _mean([recall[method, s] - recall[against, s] for s in paired])
    return pd.DataFrame({name: column for name, column in columns.items() if column is not None}).rename_axis("class")


def _mean(columns: list["pd.Series[float]"]) -> "pd.Series[float] | None":
    return pd.concat(columns, axis=1).mean(axis=1) if columns else None


def _epochs(folder: Path, result: dict[str, Any]) -> pd.DataFrame:
    path = folder / "runs" / result["name"] / "epochs.csv"
    if not path.exists():  # a teacher that was given has no history here
        return pd.DataFrame({"method": [], "seed": [], "epoch": [], "accuracy": []})
    cell = result["cell"]
    method = TEACHER if cell["role"] == "teacher" else cell["method"]
    return pd.read_csv(path)[["epoch", "accuracy"]].assign(method=method, seed=cell["seed"])


def along(curves: pd.DataFrame) -> pd.DataFrame:
    """Plain training's test accuracy at a quarter, half and the whole of the run, mean and std over seeds."""
    plain = curves[curves["method"] == BASELINE] if len(curves) else curves
    if not len(plain):
        return pd.DataFrame()
    last = int(plain["epoch"].max())
    at = {epoch: f"epoch {epoch}" for epoch in (-(-last // 4), -(-last // 2), last)}
    return plain[plain["epoch"].isin(list(at))].groupby("epoch")["accuracy"].agg(["mean", "std"]).rename(index=at)
