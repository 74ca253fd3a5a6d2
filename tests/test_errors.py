"""The phrasing of errors: hints, lists of names and validation errors."""

import pytest
from pydantic import TypeAdapter, ValidationError

from robustkd.errors import describe_validation_error, did_you_mean, unknown_name
from robustkd.types import Count


def test_the_closest_name_is_suggested() -> None:
    assert did_you_mean("baselin", ["at", "baseline", "baseline+balanced"]) == " (did you mean 'baseline'?)"


@pytest.mark.parametrize("candidates", [["step", "cosine"], []])
def test_nothing_is_suggested_where_no_name_is_close(candidates: list[str]) -> None:
    assert did_you_mean("xyz", candidates) == ""


def test_candidates_may_be_an_iterator() -> None:
    assert did_you_mean("nois", iter(["noise"])) == " (did you mean 'noise'?)"


def test_as_many_names_as_the_limit_are_listed_in_full() -> None:
    names = [f"class {number}" for number in range(10)]
    assert unknown_name("class", "dog", names).endswith("class 8, class 9")
    assert unknown_name("class", "dog", [*names, "eel"]).endswith("class 9 and 1 more")


def test_only_the_first_problem_of_a_validation_error_is_described() -> None:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(list[Count]).validate_python([0, "x"])
    assert len(raised.value.errors()) == 2
    assert describe_validation_error(raised.value) == "is 0 but should be greater than or equal to 1"
