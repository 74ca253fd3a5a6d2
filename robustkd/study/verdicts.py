"""A study's verdicts: each method's difference from its reference, over seeds and test images, and what it shows.

Differences are taken seed by seed to the baseline with the same criterion, where a study has none to the plain baseline, or on
request all to one method.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd.evaluation import significance
from robustkd.evaluation.crossed import crossed_test, crossed_test_by_class
from robustkd.evaluation.power import Spread, smallest_difference
from robustkd.evaluation.results import NetMetrics
from robustkd.study.pairing import (
    HEADLINE,
    Pairs,
    Part,
    Select,
    average_by_draw,
    compared_methods,
    find_pairs,
    image_differences,
    shared_draws,
)
from robustkd.study.results import BASELINE, TEACHER, RunResult, StudyRecord

ORACLE_VERDICT = "oracle"  # of methods that use knowledge that a user would not have
MIN_CLEAN_ROWS = 30  # test rows with a clean label that each class needs for a verdict by them
SEEDS_AND_IMAGES, SEEDS = "seeds and test images", "seeds"  # what an interval and a verdict are over
VERDICT_COLUMNS = (  # without those that Holm's correction adds
    *("reference", "metric", "n", "missing", "difference", "low", "high", "p", "over"),
    *("seed_low", "seed_high", "p_sign", "sd_seeds", "se_images"),
    *("difference_plain", "difference_stopped", "difference_early"),
)

TestLabels = Literal["clean", "treated as clean", "clean rows", "as given"]  # that verdicts are by


def headline_part(results: Sequence[RunResult], record: StudyRecord, trust: bool = False) -> tuple[Part, TestLabels]:
    """Return which part of the test set verdicts are based on, and by which labels.

    Where test labels are not known to be clean, these are the rows with a clean label, if each class has at least 30 of them;
    otherwise all rows, by labels that may be wrong unless the user states that they are not.
    """
    if record.truth_known or trust:
        return "last", "clean" if record.truth_known else "treated as clean"
    supports = [r.clean.support.values() for r in results if r.clean is not None]
    enough = len(supports) == len(results) > 0 and all(n >= MIN_CLEAN_ROWS for support in supports for n in support)
    return ("clean", "clean rows") if enough else ("last", "as given")


def count_comparisons(record: StudyRecord, results: Iterable[RunResult], reference: str = "") -> int:
    """Return how many methods Holm's correction is over: all that the study compares or ever compared, finished or not.

    Args:
        results: of all runs that the study ever finished.
        reference: of all methods, where it is one.
    """
    tried = {r.run.method: r.run.criterion for r in results if r.run.role != TEACHER}
    compared = compared_methods({**record.criteria, **tried}, reference)
    return len(compared.keys() - {*record.oracles})


def compute_verdicts(
    results: Sequence[RunResult],
    record: StudyRecord,
    references: Mapping[str, str],
    trust: bool = False,
    comparisons: int = 0,
) -> pd.DataFrame:
    """Compute each method's difference from its reference in balanced accuracy, and its verdict.

    Args:
        references: by method.
        comparisons: how many methods Holm's correction is over, where that is more than the table has.

    Returns:
        By method: reference, metric, n (pairs of seeds; of draws of the scenario where seeds share a few), missing (seeds
        that it or its reference lacks), difference, low, high (95 %), p, p_holm, among (how many the correction is over),
        over (what interval and p cover: "seeds and test images", or "seeds" where predictions or test labels are not
        recorded), labels, verdict; seed_low, seed_high: the interval over seeds alone, on these test images; p_sign: of the
        sign-flip test over seeds; sd_seeds, se_images: the spread over seeds and images; detectable: the smallest true
        difference that would be found with 80 % power; difference_plain, from plain training where that is not the reference;
        difference_stopped, from the reference stopped early: no gain over an overtrained baseline; difference_early, with
        both stopped early. Oracles have no p.
    """
    part, labels = headline_part(results, record, trust)
    rows = {name: _difference_row(name, reference, results, record, part) for name, reference in references.items()}
    table = pd.DataFrame(list(rows.values()), index=pd.Index(rows, name="method"), columns=VERDICT_COLUMNS)
    is_oracle = table.index.isin(record.oracles)
    p = table["p"].where(~is_oracle).to_numpy(dtype=float)
    compared = len(p) - int(is_oracle.sum())
    table["p"], table["among"], table["labels"] = p, max(compared, comparisons), labels
    # What is not finished may result in any p: counted as 1, it withdraws no verdict later.
    unfinished = np.ones(max(0, comparisons - compared))
    corrected = significance.holm([*np.nan_to_num(p[~is_oracle], nan=1.0), *unfinished])
    table.loc[~is_oracle, "p_holm"] = corrected[:compared]
    table["p_holm"] = table["p_holm"].where(~np.isnan(p))
    table["verdict"] = [*map(significance.verdict, table["n"], table["difference"], table["low"], table["p_holm"])]
    table.loc[is_oracle, "verdict"] = ORACLE_VERDICT
    table["detectable"] = [_detectable(line) for _, line in table.iterrows()]
    return table


def spread_of(line: "pd.Series[Any]") -> Spread:
    """Return how much the difference in a line of the table of verdicts varies."""
    return Spread(float(line["sd_seeds"]), float(np.nan_to_num(line["se_images"])))


def median_spread(lines: pd.DataFrame) -> Spread:
    """Return the median spread of lines of the table of verdicts."""
    return Spread(float(lines["sd_seeds"].median()), float(lines["se_images"].fillna(0).median()))


def _detectable(line: "pd.Series[Any]") -> float:
    known = (
        line["n"] >= significance.MIN_SEEDS
        and line["sd_seeds"] == line["sd_seeds"]
        and line["verdict"] != ORACLE_VERDICT
    )
    return smallest_difference(int(line["n"]), spread_of(line), int(line["among"])) if known else np.nan


def _difference_row(
    method: str, reference: str, results: Sequence[RunResult], record: StudyRecord, part: Part
) -> dict[str, Any]:
    """Return a method's row in the table of verdicts, up to Holm's correction."""

    def last(result: RunResult) -> NetMetrics | None:
        return result.part(part)

    def early(result: RunResult) -> NetMetrics | None:
        return result.early if part == "last" else result.clean_early

    pairs = find_pairs(results, method, reference, last)
    d = average_by_draw(_differences(pairs, last, last)[:, None], pairs.seeds, shared_draws(record))
    plain = find_pairs(results, method, BASELINE, last) if reference != BASELINE else Pairs([], [])
    from_early, both_early = (
        find_pairs(results, method, reference, last, early),
        find_pairs(results, method, reference, early),
    )
    missing = [str(seed) for seed in record.seed_numbers if seed not in pairs.seeds]
    return {
        "reference": reference,
        "metric": HEADLINE if part == "last" else f"clean_{HEADLINE}",
        "n": len(d),
        "missing": ", ".join(missing),
        **_test_difference(d, pairs, record, part),
        "difference_plain": _mean(_differences(plain, last, last)),
        "difference_stopped": _mean(_differences(from_early, last, early)),
        "difference_early": _mean(_differences(both_early, early, early)),
    }


def _test_difference(d: NDArray[np.float64], pairs: Pairs, record: StudyRecord, part: Part) -> dict[str, Any]:
    """Return mean, intervals and p of independent differences (n, 1), over images too where they are known."""
    seeds = {name: float(x[0]) for name, x in significance.paired_t_test(d)._asdict().items()}
    images = image_differences(pairs, record, part) if len(d) > 1 else None
    found: dict[str, Any] = {
        **{"difference": seeds["mean"], "low": seeds["low"], "high": seeds["high"], "p": seeds["p"], "over": SEEDS},
        **{"seed_low": seeds["low"], "seed_high": seeds["high"]},
        "p_sign": float(significance.sign_flip_test(d)[0]),
        "sd_seeds": float(d.std(ddof=1)) if len(d) > 1 else np.nan,
        "se_images": np.nan,
    }
    if images is None:
        return found
    test = crossed_test(*images)
    return {
        **found,
        **{"difference": float(test.mean), "low": float(test.low), "high": float(test.high), "p": float(test.p)},
        "over": SEEDS_AND_IMAGES,
        "sd_seeds": float(np.sqrt(len(d) * np.maximum(test.variances.seed, test.variances.within))),
        "se_images": float(np.sqrt(test.variances.images_alone)),
    }


def _differences(pairs: Pairs, own: Select, other: Select) -> NDArray[np.float64]:
    """Return the differences in the headline metric by seed: (n,)."""
    values = [(own(a), other(b)) for a, b in zip(*pairs, strict=True)]
    known = [(a.metrics[HEADLINE], b.metrics[HEADLINE]) for a, b in values if a is not None and b is not None]
    table = np.array(known, dtype=float).reshape(-1, 2)
    difference: NDArray[np.float64] = table[:, 0] - table[:, 1]
    return difference


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else np.nan


def class_table(
    results: Sequence[RunResult], record: StudyRecord, references: Mapping[str, str], part: Part = "last"
) -> pd.DataFrame:
    """Compare recall per class and method: both recalls, difference, its unadjusted 95 % interval, p and q.

    Intervals and p are over seeds and test images where the predictions are recorded, otherwise over seeds. q is Benjamini and
    Hochberg's over all classes and methods of the study but oracles, which have neither p nor q. There is no verdict per class:
    corrected for so many comparisons, none could ever be given at 5 seeds.

    Args:
        references: by method.
        part: of the test set, as for the verdicts.
    """
    first = next((net for r in results if (net := r.part(part)) is not None), None)
    if first is None:
        return pd.DataFrame(columns=["class", "support", "method", "reference", "recall", "recall_reference", "n", "q"])
    parts = []
    for method, reference in references.items():
        pairs = find_pairs(results, method, reference, lambda result: result.part(part))
        if not pairs.own:
            continue
        own, theirs = (np.stack([_recalls(r.part(part)) for r in runs]) for runs in pairs)
        columns = {
            **{"class": list(first.recall), "support": list(first.support.values())},
            **{"method": method, "reference": reference, "n": len(pairs.own)},
            **{"recall": own.mean(axis=0), "recall_reference": theirs.mean(axis=0)},
            **_test_classes(own - theirs, pairs, record, part),
        }
        parts.append(pd.DataFrame(columns))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["class", "method", "p"])
    table["p"] = table["p"].where(~table["method"].isin(record.oracles))
    return table.assign(q=significance.benjamini_hochberg(table["p"].to_numpy(dtype=float)))


def _recalls(net: NetMetrics | None) -> NDArray[np.float64]:
    return np.array([] if net is None else list(net.recall.values()), dtype=float)


def _test_classes(
    differences: NDArray[np.float64], pairs: Pairs, record: StudyRecord, part: Part
) -> Mapping[str, NDArray[np.float64]]:
    """Return mean, interval and p of each class's differences: (n, K) -> (K,) each."""
    d = average_by_draw(differences, pairs.seeds, shared_draws(record))
    seeds, images = significance.paired_t_test(d), image_differences(pairs, record, part) if len(d) > 1 else None
    found = {"difference": seeds.mean, "low": seeds.low, "high": seeds.high, "p": seeds.p}
    if images is None:
        return found
    test, present = crossed_test_by_class(*images), np.unique(images.labels)
    for name, values in zip(found, (test.mean, test.low, test.high, test.p), strict=True):
        found[name][present] = values
    return found
