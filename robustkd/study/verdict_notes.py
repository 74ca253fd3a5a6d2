"""Sentences about how far verdicts go: what they are over, the power of a study, their assumptions, and missing seeds."""

from collections.abc import Sequence

import pandas as pd

from robustkd.evaluation.power import Spread, seeds_needed
from robustkd.evaluation.significance import ALPHA, MIN_SEEDS
from robustkd.study.verdicts import SEEDS_AND_IMAGES, median_spread

GAINS = (0.01, 0.02, 0.05)  # for which the number of seeds is given
RESOLUTION = 0.0005  # differences below it are 0.0 points as they are printed: all seeds have the same difference
LISTED = 4  # methods that a sentence names


def counts_images(verdicts: pd.DataFrame) -> bool:
    """Whether all intervals and verdicts are over test images too."""
    measured = verdicts[verdicts["n"] > 1]
    return bool(len(measured) and (measured["over"] == SEEDS_AND_IMAGES).all())


def describe_detectable(verdicts: pd.DataFrame) -> str:
    """Say which true differences a study would have found for these methods, or an empty string.

    >>> describe_detectable(pd.DataFrame({"detectable": [0.021, 0.0452]}))
    'differences from 2.1 to 4.5 points would have been found with 80 % power'
    """
    known = verdicts["detectable"].dropna().astype(float)
    known = known[known >= RESOLUTION]
    if not len(known):
        return ""
    low, high = f"{100 * known.min():.1f}", f"{100 * known.max():.1f}"
    size = f"of {low} points" if low == high else f"from {low} to {high} points"
    return f"differences {size} would have been found with 80 % power"


def describe_power(verdicts: pd.DataFrame) -> list[str]:
    """Say which true differences a study finds, and how many seeds others would take at the same spread."""
    lines = verdicts[(verdicts["n"] >= MIN_SEEDS) & (verdicts["detectable"].astype(float) >= RESOLUTION)]
    found = describe_detectable(lines)
    if not found:
        return []
    among = int(lines["among"].iloc[0])
    return [f"Power: {found}. {describe_seeds(median_spread(lines), among, 'the median')}"]


def describe_seeds(spread: Spread, comparisons: int, which: str = "a") -> str:
    """Say how many seeds differences of 1, 2 and 5 points take.

    Args:
        spread: in shares.
        which: the article of the spread, or which of several it is.

    >>> describe_seeds(Spread(0.009), 2)
    'At a spread of 0.9 points over seeds, +1, +2 and +5 points take 11, 5 and 5 seeds (80 % power, 2 comparisons).'
    """
    images = f", and a standard error of {100 * spread.images:.1f} points over test images" if spread.images else ""
    among = f"{comparisons} comparison{'s' * (comparisons != 1)}"
    needed = {f"+{100 * gain:g}": seeds_needed(gain, spread, comparisons) for gain in GAINS}
    reached = {name: str(number) for name, number in needed.items() if number is not None}
    out_of_reach = [name for name, number in needed.items() if number is None]
    parts = []
    if reached:
        seeds = "s" if len(reached) > 1 else ""
        parts.append(f"{_join([*reached])} points take{'' if seeds else 's'} {_join([*reached.values()])} seeds")
    if out_of_reach:
        points = "" if reached else " points"
        parts.append(
            f"{_join(out_of_reach)}{points} cannot be found with so few test images, whatever the number of seeds"
        )
    at = f"At {which} spread of {100 * spread.seeds:.1f} points over seeds{images}"
    return f"{at}, {'; '.join(parts)} (80 % power, {among})."


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def describe_assumption(verdicts: pd.DataFrame) -> list[str]:
    """Say where a sign-flip test does not confirm a verdict of better or worse, which assumes normal differences over seeds."""
    decided = verdicts[verdicts["verdict"].isin(["better", "worse"])]
    if not len(decided):
        return []
    able = decided[2.0 ** (1 - decided["n"].astype(float)) < ALPHA]
    if not len(able):
        n = int(decided["n"].max())
        return [
            f"Verdicts assume roughly normal differences over seeds. A sign-flip test, which does not, cannot reach"
            f" {ALPHA:g} with {n} seeds: its smallest p is {2.0 ** (1 - n):.3f}."
        ]
    unsure = able[able["p_sign"] >= ALPHA].sort_values("p_sign", ascending=False)
    if not len(unsure):
        return []
    named = [f"{method} (p {line['p_sign']:.3f})" for method, line in unsure.head(LISTED).iterrows()]
    more = [f"{len(unsure) - LISTED} more"] if len(unsure) > LISTED else []
    return [
        f"A sign-flip test over seeds, which does not assume normal differences, does not confirm {_join([*named, *more])}."
    ]


def describe_missing(verdicts: pd.DataFrame) -> str:
    """Name the methods that lack seeds, or whose reference does, where others have them; an empty string if none does.

    >>> describe_missing(pd.DataFrame({"missing": ["", "3, 4"]}, index=["dml", "sp"]))
    'Seeds are missing: sp 3, 4.'
    """
    rows = verdicts[verdicts["missing"] != ""]
    if not len(rows):
        return ""
    named = [f"{method} {line['missing']}" for method, line in rows.head(LISTED).iterrows()]
    more = [f"and of {len(rows) - LISTED} more methods"] if len(rows) > LISTED else []
    return f"Seeds are missing: {'; '.join([*named, *more])}."
