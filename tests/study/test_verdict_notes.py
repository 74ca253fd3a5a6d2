"""What verdicts say about their power, assumptions and missing seeds."""

import re
from typing import Any

import pandas as pd

from robustkd.evaluation.power import Spread, seeds_needed, smallest_difference
from robustkd.study import comparison, verdict_notes
from tests.study.example_studies import example_study, predicted_study


def verdict_lines(**methods: dict[str, Any]) -> pd.DataFrame:
    """Return a table of verdicts with the given values."""
    row = {"verdict": "better", "n": 5, "p_sign": 0.0625, "among": 2, "sd_seeds": 0.009, "se_images": 0.0}
    return pd.DataFrame([{**row, **values} for values in methods.values()], index=[*methods])


def test_the_power_of_a_study_is_that_of_its_spread() -> None:
    made = comparison.compare_runs(predicted_study({"baseline": 0.3, "hinton": 0.25, "dml": 0.26}))
    (sentence,) = verdict_notes.describe_power(made.verdicts)
    spreads = [Spread(*values) for values in made.verdicts[["sd_seeds", "se_images"]].to_numpy()]
    smallest = {round(100 * smallest_difference(5, spread, 2), 1) for spread in spreads}
    found = re.findall(r"[\d.]+", sentence.partition(" points would")[0])
    assert {float(x) for x in found} == smallest
    assert "2 comparisons" in sentence


def test_few_seeds_have_no_power_to_speak_of() -> None:
    assert verdict_notes.describe_power(comparison.compare_runs(example_study(seeds=4)).verdicts) == []


def test_differences_that_need_more_images_are_named() -> None:
    sentence = verdict_notes.describe_seeds(Spread(0.009, 0.005), 2, "the median")
    needed = [seeds_needed(gain, Spread(0.009, 0.005), 2) for gain in (0.02, 0.05)]
    assert sentence.startswith("At the median spread of 0.9 points over seeds, and a standard error of 0.5 points over")
    assert f"+2 and +5 points take {needed[0]} and {needed[1]} seeds" in sentence
    assert "; +1 cannot be found with so few test images, whatever the number of seeds (" in sentence
    assert ", +1, +2 and +5 points cannot be found with" in verdict_notes.describe_seeds(Spread(0.0, 0.5), 1)


def test_a_sign_flip_test_is_mentioned_where_it_does_not_confirm() -> None:
    assert verdict_notes.describe_assumption(verdict_lines(dml={"verdict": "no difference shown"})) == []
    (few,) = verdict_notes.describe_assumption(verdict_lines(dml={}))
    assert "cannot reach 0.05 with 5 seeds: its smallest p is 0.062" in few
    assert verdict_notes.describe_assumption(verdict_lines(dml={"n": 10, "p_sign": 0.002})) == []
    several = {f"m{i}": {"n": 10, "p_sign": 0.06 + i / 100} for i in range(6)}
    (unsure,) = verdict_notes.describe_assumption(verdict_lines(**several))
    assert unsure.endswith("does not confirm m5 (p 0.110), m4 (p 0.100), m3 (p 0.090), m2 (p 0.080) and 2 more.")


def test_missing_seeds_of_many_methods_are_counted() -> None:
    table = pd.DataFrame({"missing": ["4"] * 6 + [""]}, index=[*"abcdefg"])
    assert verdict_notes.describe_missing(table) == "Seeds are missing: a 4; b 4; c 4; d 4; and of 2 more methods."
    assert verdict_notes.describe_missing(table[6:]) == ""


def test_images_count_only_where_they_count_for_every_method() -> None:
    made = comparison.compare_runs(predicted_study({"baseline": 0.3, "hinton": 0.2}))
    assert verdict_notes.counts_images(made.verdicts)
    assert not verdict_notes.counts_images(comparison.compare_runs(example_study()).verdicts)
    assert not verdict_notes.counts_images(made.verdicts.assign(n=1))
