"""What the runs of a study say together: per method, per class against plain training, along the run, and across studies.

A difference is taken seed by seed to the baseline with the same criterion; where a study has none, to the plain baseline.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd import specs
from robustkd.evaluation import metrics, significance

FIGURES = ("accuracy", "balanced_accuracy", "worst_recall")
PER_RUN = (*FIGURES, "worst_three", "macro_f1", "nll", "brier", "ece")
FIT = ("memorised", "recovered", "clean_fit", "loss_auroc")
HEADLINE = "balanced_accuracy"  # what verdicts are about
LESS = ("nll", "brier", "ece", "memorised")  # of these, and what is made of them, less is better
KNOWN = 30  # test rows with a clean label that each class must have for a verdict by them
VERDICT = (  # the columns of the table of verdicts, but for those that Holm's correction adds
    *("reference", "metric", "n", "difference", "low", "high", "p", "boot_low", "boot_high"),
    *("difference_plain", "difference_stopped"),
)
BASELINE = "baseline"
STOPPED = "baseline, stopped early"
TEACHER = "teacher"

Values = Mapping[tuple[str, int], NDArray[np.float64]]  # by method and seed


class Recorded(NamedTuple):
    """What a study left, wherever it was read from."""

    study: dict[str, Any]  # study.json
    results: list[dict[str, Any]]  # each run's result.json
    epochs: dict[str, pd.DataFrame]  # each run's epochs.csv, by the run's name
    folder: Path | None = None  # where it lies, if it lies in files


class Comparison(NamedTuple):
    """A study's tables."""

    summary: pd.DataFrame  # a row per method: mean and std over seeds of each figure, and how many seeds
    verdicts: pd.DataFrame  # a row per method: difference from its reference in the headline metric, and what it shows
    classes: pd.DataFrame  # a row per class and method: recall, the reference's, the difference, its interval, p and q
    per_class: pd.DataFrame  # a row per class: the baseline's recall, each method's mean difference from its reference
    clean: pd.DataFrame  # the same on the test rows with a clean label, where labels as given may be wrong
    along: pd.DataFrame  # plain training's accuracy at a quarter, half and the whole of the run
    curves: pd.DataFrame  # epoch, method, seed, accuracy; where wrong labels are known, memorised and recovered
    costs: pd.DataFrame  # a row per method: the mean of what a run costs
    study: dict[str, Any]  # study.json
    results: list[dict[str, Any]]  # of the runs that were asked for, teachers first
    folder: Path | None = None


class Across(NamedTuple):
    """Several studies side by side."""

    table: pd.DataFrame  # study, method, mean, std, seeds, difference from the baseline, verdict, best, below
    ranks: pd.DataFrame  # a row per method: average rank over the studies, and over how many


def load_record(folder: Path) -> Recorded:
    """A study's record, from its folder."""
    study = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("runs/*/result.json"))]
    paths = {result["name"]: folder / "runs" / result["name"] / "epochs.csv" for result in results}
    epochs = {name: pd.read_csv(path) for name, path in paths.items() if path.exists()}  # a given teacher has none
    return Recorded(study, results, epochs, folder)


def compare(record: Recorded, trust: bool = False) -> Comparison:
    """The tables of a study: of the methods and seeds it was last asked for, as far as they are finished.

    Args:
        trust: take the test labels for clean where nobody has said so.
    """
    study = record.study
    order = {method: place for place, method in enumerate(study["methods"], 1)}
    wanted = metrics.add_teacher_agreement(r for r in record.results if _wanted(r["cell"], study))
    wanted.sort(key=lambda r: (0 if r["cell"]["role"] == TEACHER else order[r["cell"]["method"]], r["cell"]["seed"]))
    histories = [_history(record.epochs[r["name"]], r["cell"]) for r in wanted if r["name"] in record.epochs]
    curves = pd.concat(histories, ignore_index=True) if histories else pd.DataFrame()
    students = [r for r in wanted if r["cell"]["role"] != TEACHER]
    known = [r for r in students if "clean" in r]
    return Comparison(
        summarise(long_table(wanted)),
        verdicts(students, study, trust, family(record)),
        class_table(students, study, headline(students, study, trust)[0]),
        differences(students, study["methods"]),
        differences(known, study["methods"], "clean"),
        along(curves),
        curves,
        costs(wanted),
        study,
        wanted,
        record.folder,
    )


def _wanted(cell: Mapping[str, Any], study: Mapping[str, Any]) -> bool:
    return cell["seed"] < study["seeds"] and (cell["role"] == TEACHER or cell["method"] in study["methods"])


def row_name(cell: Mapping[str, Any]) -> str:
    """A run's row in the tables."""
    return TEACHER if cell["role"] == TEACHER else str(cell["method"])


def _rows(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A run's rows in the table: its model, what was measured beside it, and the baseline stopped early."""
    method = row_name(result["cell"])
    beside = {f"{method}, {name}": figures for name, figures in result.get("beside", {}).items()}
    stopped = {STOPPED: result["early"]} if method == BASELINE and "early" in result else {}
    return {method: result["last"], **beside, **stopped}


def _flat(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The single numbers among a net's figures, by the names of the columns they stand in."""
    scaled = figures.get("scaled", {})
    return {
        **{name: figures[name] for name in PER_RUN if name in figures},
        **figures.get("groups", {}),
        **{name if name == "temperature" else f"{name}_scaled": value for name, value in scaled.items()},
    }


def _further(result: Mapping[str, Any]) -> dict[str, Any]:
    """What is measured of a run's model alone: on clean test rows, by the truth, beside its teacher, on changed images."""
    corruptions = {kind: list(levels.values()) for kind, levels in (result.get("corruptions") or {}).items()}
    every = [value for values in corruptions.values() for value in values]
    return {
        **{f"clean_{name}": value for name, value in _flat(result.get("clean", {})).items()},
        **{name: result["fit"][name] for name in FIT if name in result.get("fit", {})},
        **{f"agreement_{name}": value for name, value in (result.get("agreement") or {}).items()},
        **{name: figures["accuracy"] for name, figures in (result.get("robust") or {}).items()},
        **({"corruptions": np.mean(every)} if every else {}),
        **{f"corruption {kind}": np.mean(values) for kind, values in corruptions.items()},
    }


def long_table(results: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A line per run and row: method, seed, and every figure that any run has."""
    lines = []
    for result in results:
        for place, (name, figures) in enumerate(_rows(result).items()):
            further = _further(result) if place == 0 else {}
            lines.append({"method": name, "seed": result["cell"]["seed"], **_flat(figures), **further})
    table = pd.DataFrame(lines, columns=None if lines else ["method", "seed", *FIGURES])
    figures_ = [name for name in table if name not in ("method", "seed")]
    table = table.astype(dict.fromkeys(figures_, float))
    return table.drop(columns=[name for name in figures_ if len(lines) and table[name].isna().all()])


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
    criterion = specs.split_at(method, "+")[1:]
    same = "+".join([BASELINE, *criterion])
    return next((name for name in (same, BASELINE) if name in methods), None)


def headline(results: Sequence[Mapping[str, Any]], study: Mapping[str, Any], trust: bool = False) -> tuple[str, bool]:
    """Which part of the test set verdicts go by, `last` (all of it) or `clean`, and whether any may be given.

    Where test labels are not known to be clean, that takes at least 30 rows of each class that have a clean label, or the
    user's word that all are.
    """
    if study.get("truth_known") or trust:
        return "last", True
    supports = [r["clean"]["support"].values() for r in results if "clean" in r]
    enough = len(supports) == len(results) > 0 and all(rows >= KNOWN for support in supports for rows in support)
    return ("clean", True) if enough else ("last", False)


def family(record: Recorded) -> int:
    """How many methods Holm's correction is over: all that the study compares or ever compared, finished or not."""
    tried = {r["cell"]["method"] for r in record.results if r["cell"]["role"] != TEACHER}
    methods = {*record.study["methods"], *tried}
    return sum(reference(method, methods) not in (None, method) for method in methods)


def verdicts(
    results: Sequence[Mapping[str, Any]], study: Mapping[str, Any], trust: bool = False, among: int = 0
) -> pd.DataFrame:
    """Each method's difference from its reference in balanced accuracy, and what it shows; Holm over the study's methods.

    Args:
        among: how many methods the correction is over, where that is more than stand in the table.

    Returns:
        By method: reference, metric, n (pairs of seeds; of draws of the scenario where seeds share a few), difference, low,
        high (95 %), p, p_holm, among (how many the correction is over), verdict; difference_plain, from the plain baseline
        where that is not the reference; difference_stopped, from the reference stopped early, which tells a gain from one
        over an overtrained baseline. From 10 seeds, boot_low and boot_high too.
    """
    methods, (part, allowed) = study["methods"], headline(results, study, trust)
    value = {_key(r): np.array([r[part][HEADLINE]], dtype=float) for r in results if part in r}
    early_ = {_key(r): r["early"] if part == "last" else r["early"].get("clean") for r in results if "early" in r}
    stopped = {key: np.array([figures[HEADLINE]], dtype=float) for key, figures in early_.items() if figures}
    rows = {}
    for method in methods:
        against = reference(method, methods)
        if against in (None, method):
            continue
        d = _pairs(value, value, method, str(against), draws(study))
        plain = _pairs(value, value, method, BASELINE) if against != BASELINE else d[:0]
        early = _pairs(value, stopped, method, str(against))
        test, boot = significance.paired_t_test(d), significance.bootstrap_interval(d)
        rows[method] = {
            "reference": against,
            "metric": HEADLINE if part == "last" else f"clean_{HEADLINE}",
            "n": len(d),
            **dict(zip(("difference", "low", "high", "p"), (float(x[0]) for x in test), strict=True)),
            "boot_low": float(boot[0][0]),
            "boot_high": float(boot[1][0]),
            "difference_plain": plain.mean() if len(plain) else np.nan,
            "difference_stopped": early.mean() if len(early) else np.nan,
        }
    table = pd.DataFrame(list(rows.values()), index=pd.Index(rows, name="method"), columns=VERDICT)
    p = table["p"].to_numpy(dtype=float)
    table["among"] = max(len(p), among)
    # What is not finished may come to any p: as 1, it takes no verdict back later.
    filled = np.concatenate([np.nan_to_num(p, nan=1.0), np.ones(max(0, among - len(p)))])
    table["p_holm"] = np.where(np.isnan(p), np.nan, significance.holm(filled)[: len(p)])
    told = zip(table["n"], table["difference"], table["low"], table["p_holm"], strict=True)
    table["verdict"] = [significance.verdict(*row) if allowed else "withheld" for row in told]
    return table


def _key(result: Mapping[str, Any]) -> tuple[str, int]:
    return result["cell"]["method"], result["cell"]["seed"]


def draws(study: Mapping[str, Any]) -> int | None:
    """How many draws of the scenario the seeds of a study share; None where each has its own."""
    shared = study.get("given", {}).get("data_seeds")
    return None if shared is None or shared >= study["seeds"] else int(shared)


def _by_draw(differences: NDArray[np.float64], seeds: Sequence[int], shared: int | None) -> NDArray[np.float64]:
    """What is independent: differences seed by seed, or their means by draw where seeds share a few draws: (n, m) -> (d, m).

    Where all share one draw they are independent given it, and what is inferred speaks of that draw alone.
    """
    if shared is None or shared == 1:
        return differences
    draw = np.array(seeds) % shared
    return np.stack([differences[draw == d].mean(axis=0) for d in np.unique(draw)]) if len(seeds) else differences


def _pairs(own: Values, other: Values, method: str, against: str, shared: int | None = None) -> NDArray[np.float64]:
    """Differences of the seeds that both have, as far as these are independent: (n, 1)."""
    seeds = sorted(seed for name, seed in own if name == method and (against, seed) in other)
    return _by_draw(np.array([own[method, s] - other[against, s] for s in seeds]).reshape(-1, 1), seeds, shared)


def class_table(results: Sequence[Mapping[str, Any]], study: Mapping[str, Any], part: str = "last") -> pd.DataFrame:
    """Per class and method: recall, the reference's over the same seeds, the difference, its unadjusted 95 % interval, p and q.

    q is Benjamini and Hochberg's over all classes and methods of the study. There is no verdict per class: corrected for so
    many questions none could ever be given at 5 seeds.

    Args:
        part: what verdicts go by: `last` for the whole test set, `clean` for its rows with a clean label.
    """
    methods, results = study["methods"], [r for r in results if part in r]
    if not results:
        return pd.DataFrame(columns=["class", "support", "method", "reference", "recall", "recall_reference", "n", "q"])
    names, support = list(results[0][part]["recall"]), list(results[0][part]["support"].values())
    value = {_key(r): np.array(list(r[part]["recall"].values()), dtype=float) for r in results}
    parts = []
    for method in methods:
        against = reference(method, methods)
        if against in (None, method):
            continue
        seeds = [seed for name, seed in value if name == method and (against, seed) in value]
        if not seeds:
            continue
        own, theirs = (np.stack([value[name, seed] for seed in seeds]) for name in (method, str(against)))
        test = significance.paired_t_test(_by_draw(own - theirs, seeds, draws(study)))
        columns = {"recall": own.mean(axis=0), "recall_reference": theirs.mean(axis=0), "difference": test.mean}
        told = {"class": names, "support": support, "method": method, "reference": against, "n": len(seeds)}
        parts.append(pd.DataFrame({**told, **columns, "low": test.low, "high": test.high, "p": test.p}))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["class", "method", "p"])
    return table.assign(q=significance.benjamini_hochberg(table["p"].to_numpy(dtype=float)))


def differences(results: Iterable[Mapping[str, Any]], methods: Sequence[str], part: str = "last") -> pd.DataFrame:
    """Per class: the baseline's mean recall, then each method's mean difference from its reference, paired by seed.

    Without a baseline in the study, recalls stand in the place of differences.

    Args:
        part: `last` for the whole test set, `clean` for its rows with a clean label.
    """
    recall = {_key(r): pd.Series(r[part]["recall"], dtype=float) for r in results if r["cell"]["role"] != TEACHER}
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


def _history(epochs: pd.DataFrame, cell: Mapping[str, Any]) -> pd.DataFrame:
    kept = epochs[[name for name in ("epoch", "accuracy", "memorised", "recovered") if name in epochs]]
    return kept.assign(method=row_name(cell), seed=cell["seed"])


def along(curves: pd.DataFrame) -> pd.DataFrame:
    """Plain training's test accuracy at a quarter, half and the whole of the run, mean and std over seeds."""
    plain = curves[curves["method"] == BASELINE] if len(curves) else curves
    if not len(plain):
        return pd.DataFrame()
    last = int(plain["epoch"].max())
    at = {epoch: f"epoch {epoch}" for epoch in (-(-last // 4), -(-last // 2), last)}
    return plain[plain["epoch"].isin(list(at))].groupby("epoch")["accuracy"].agg(["mean", "std"]).rename(index=at)


def costs(results: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The mean of what a run of each method costs."""
    lines = [{"method": row_name(r["cell"]), **r["cost"]} for r in results if "cost" in r]
    return pd.DataFrame(lines).groupby("method", sort=False).mean() if lines else pd.DataFrame()


def supported(table: pd.DataFrame) -> pd.DataFrame:
    """Differences without the intervals that few seeds cannot bear: where all are 0 these are [0, 0], as if it were sure."""
    if not {"difference", "low", "high", "n"} <= {*table}:
        return table
    empty = (table["low"] == 0) & (table["high"] == 0) & (table["n"] < significance.MIN_SEEDS)
    return table.assign(low=table["low"].mask(empty), high=table["high"].mask(empty))


# Of corrupted test images; in words here, since the figures' version is a digest of robustkd.evaluation.corruptions.
UNDEFINED = "not defined for images of this shape, only from 32x32 up, in grey or in colour"


def undefined(results: Iterable[Mapping[str, Any]]) -> bool:
    """Whether corrupted test images were asked for, and images of this shape have no such figures."""
    return any(result.get("corruptions") == {} for result in results)


def trusted(study: Mapping[str, Any], trust: bool | None = None) -> bool:
    """Whether test labels are taken for clean: as said now, or else as the study was told."""
    return bool(study["given"].get("trust_test_labels", False) if trust is None else trust)


def caveat(study: Mapping[str, Any]) -> str:
    """What is known of the test labels, where they are not known to be clean; nothing where they are.

    >>> caveat({"truth_known": False, "known_test": [4, 9]})
    'test labels as given; the clean part is 4 of 9 rows with a clean label'
    """
    if study.get("truth_known"):
        return ""
    some, every = study.get("known_test", (0, 0))  # a study of an earlier version does not say
    if not some:
        return "test labels as given: nobody has said that they are clean"
    return f"test labels as given; the clean part is {some} of {every} rows with a clean label"


def rule(made: Comparison, trust: bool = False) -> list[str]:
    """By what rule the verdicts were given, sentence by sentence."""
    table = made.verdicts
    if not len(table):
        return []
    if (table["verdict"] == "withheld").all():
        return [
            "No verdict: the test labels are as given, and a verdict by them could be about their errors. It takes"
            f" {KNOWN} test rows of each class with a clean label, or --trust-test-labels."
        ]
    clean = " on the test rows with a clean label" if "clean" in table["metric"].iloc[0] else ""
    trusted = " (test labels taken for clean, as asked)" if trust and not made.study.get("truth_known") else ""
    return [
        f"Verdicts: paired t test of balanced accuracy{clean}{trusted} over the seeds against the baseline with the same"
        f" criterion, Holm's correction over the {table['among'].iloc[0]} compared, better or worse at"
        f" {significance.ALPHA:g}; none below {significance.MIN_SEEDS} seeds.",
        f"Intervals (95 %, t) speak of {_randomness(made)} on this test set, not of other test images. Seeds added until"
        " something shows make false findings likelier: their number is to be fixed beforehand.",
    ]


def _randomness(made: Comparison) -> str:
    """What a study's seeds vary."""
    shared = draws(made.study)
    given = [r for r in made.results if r["cell"]["role"] == TEACHER and not r.get("trained", {"": 0})]
    parts = ["training", *([] if shared == 1 else ["scenario"])]
    fixed = [*(["one draw of the scenario"] if shared == 1 else []), *(["one teacher"] if given else [])]
    pooled = f", seeds of one draw of the scenario averaged ({shared} draws)" if shared not in (None, 1) else ""
    return f"the randomness of {' and '.join(parts)}{pooled}" + (f", for {' and '.join(fixed)}," if fixed else "")


def answer(made: Comparison) -> tuple[str, str]:
    """The study's question, and its answer in one sentence that says no more than the verdicts do."""
    given, table = made.study["given"], made.verdicts
    asked = {0: "anything", 1: "the method"}.get(len(table), f"any of {len(table)} methods")
    question = f"Did {asked} beat plain training on {made.study['dataset']} under {given['scenario']}?"
    if not len(table):
        return question, "There is nothing to compare: the study has no baseline, or no method beside it."
    count = table["verdict"].value_counts()
    open_ = [verdict for verdict in ("withheld", "too few seeds") if verdict in count]
    if sum(count[verdict] for verdict in open_) == len(table):
        return question, _undecided(table)
    better = _listed(table, "better") or "no method was shown to be better"
    if behind := int((table["difference_stopped"][table["verdict"] == "better"] <= 0).sum()):
        of = "" if behind == count["better"] else f"{behind} of these "
        better += f", but {of}only than an overtrained baseline: stopped early it does at least as well"
    parts = [better, _listed(table, "worse")]
    parts += [
        f"{verdict}: {count[verdict]}" for verdict in ("no difference shown", "identical", *open_) if verdict in count
    ]
    told = "; ".join(part for part in parts if part)
    return question, f"{told[0].upper()}{told[1:]} (balanced accuracy)."


def _undecided(table: pd.DataFrame) -> str:
    """What can be said where there is no verdict."""
    gains = table["difference"].astype(float)
    if gains.isna().all():
        return "No method and its baseline are both finished for any seed yet."
    reasons = ["the test labels are as given"] if (table["verdict"] == "withheld").any() else []
    reasons += ["there are too few seeds"] if (table["n"] < significance.MIN_SEEDS).any() else []
    table, gains = table[gains.notna()], gains.dropna()
    first, points = str(gains.idxmax()), f"{100 * gains.max():+.1f} points of balanced accuracy"
    ahead = gains > 0
    said = f"{ahead.sum()} of {len(table)} lie above their baseline in the mean, first of all {first} ({points})"
    if len(table) == 1:
        said = f"its mean difference is {points}"
    elif not ahead.any():
        said = f"none lies above its baseline, nearest {first} ({points})"
    behind = table.loc[ahead, "difference_stopped"] <= 0
    if behind.any():
        of = "" if len(table) == 1 else f" as {behind.sum()} of these"
        said += f"; but the baseline, stopped early, does as well{of}"
    return f"No verdict, because {' and '.join(reasons)}: {said}."


def _listed(table: pd.DataFrame, verdict: str) -> str:
    """The methods of a verdict, the largest difference first; beyond four, how many more."""
    rows = table[table["verdict"] == verdict].sort_values("difference", ascending=verdict == "worse")
    named = [f"{method} ({100 * row['difference']:+.1f} points)" for method, row in rows.head(4).iterrows()]
    more = [f"and {len(rows) - 4} more"] if len(rows) > 4 else []
    return f"{verdict}: {', '.join([*named, *more])}" if named else ""


def labels(studies: Sequence[Mapping[str, Any]]) -> list[str]:
    """A column head for each study: its scenario, and whatever else tells them apart.

    >>> one = {"given": {"scenario": "clean", "dataset": "digits", "epochs": 30}}
    >>> labels([one, {"given": {"scenario": "noise0.4", "dataset": "digits", "epochs": 30}}])
    ['clean', 'noise0.4']
    >>> labels([one, {"given": {"scenario": "clean", "dataset": "digits", "epochs": 60}}])
    ['clean, epochs 30', 'clean, epochs 60']
    """
    silent = {"scenario", "dataset"}  # told first, where they differ; what follows is about where and how far, not what
    silent |= {
        "methods",
        "seeds",
        "out",
        "name",
        "fresh",
        "tracker",
        "experiment",
        "jobs",
        "threads",
        "download",
        "data_dir",
    }
    given = [study["given"] for study in studies]
    keys = [k for k in {k: 0 for g in given for k in g} if k not in silent]
    varied = [k for k in keys if len({str(g.get(k)) for g in given}) > 1]
    several = len({g["dataset"] for g in given}) > 1
    scenarios = [f"{g['dataset']} {g['scenario']}" if several else str(g["scenario"]) for g in given]
    if len(set(scenarios)) == len(scenarios):
        return scenarios
    heads = [", ".join([name, *(f"{k} {g.get(k)}" for k in varied)]) for name, g in zip(scenarios, given, strict=True)]
    return [head if heads.count(head) == 1 else f"{head} ({place})" for place, head in enumerate(heads, 1)]


def less_is_better(figure: str) -> bool:
    """Whether a smaller value of a figure is the better one.

    >>> less_is_better("ece_scaled"), less_is_better("clean_accuracy")
    (True, False)
    """
    return figure.removeprefix("clean_").removesuffix("_scaled") in LESS


def across(made: Sequence[Comparison], figure: str = HEADLINE) -> Across:
    """Studies side by side: each row's mean and spread in each, and methods by their average rank.

    Ranks are of the means of the nets that methods ship, 1 the best, ties sharing theirs, among the methods that every
    study has with all its seeds: ranks among few and among many are not of one kind. The teacher and what is stopped early
    or measured beside a net take no part. Verdicts stand only beside the figure they are about.
    """
    lines, less = [], less_is_better(figure)
    ranked: dict[str, pd.Series[float]] = {}
    complete: dict[str, set[str]] = {}
    for label, each in zip(labels([m.study for m in made]), made, strict=True):
        if f"{figure}_mean" not in each.summary:
            continue
        means = each.summary[f"{figure}_mean"]
        by_seed = long_table(each.results).pivot(index="seed", columns="method", values=figure)
        ships = [name for name in means.index if name in each.study["methods"]]
        best = means[ships].min() if less else means[ships].max()
        full = each.summary.loc[ships, "seeds"]
        complete[label] = {name for name in ships if full[name] == full.max()}
        judged = set(each.verdicts["metric"]) <= {figure}  # a verdict is of its own metric
        ranked[label] = means[ships]
        for method, row in each.summary.iterrows():
            name = str(method)
            against = reference(name, each.study["methods"]) if name in ships else BASELINE
            compared = against in by_seed and against != name
            difference = (by_seed[name] - by_seed[against]).mean() if compared else np.nan
            lines.append(
                {
                    **{"study": label, "method": name, "mean": means[name], "std": row[f"{figure}_std"]},
                    **{"seeds": int(row["seeds"]), "difference": difference},
                    "verdict": each.verdicts["verdict"].get(name, "") if judged else "",
                    "best": name in ships and bool(means[name] == best),
                    "below": bool(difference > 0 if less else difference < 0),
                }
            )
    everywhere = set.intersection(*complete.values()) if complete else set()
    common = {label: values[values.index.isin(everywhere)] for label, values in ranked.items()}
    ranks = pd.DataFrame(common).rank(ascending=less)
    average = pd.DataFrame({"rank": ranks.mean(axis=1), "studies": ranks.count(axis=1)}).rename_axis("method")
    return Across(pd.DataFrame(lines), average.sort_values("rank", kind="stable"))
