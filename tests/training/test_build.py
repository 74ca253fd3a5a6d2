"""Construction of a method from its ingredients."""

from typing import Any

import pytest
from torch import nn

from robustkd.errors import UsageError
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.training.build import build_method


class Toy(nn.Module):
    """A method that keeps what it is constructed with."""

    def __init__(self, student: str, data: str, *, weight: float = 0.5, steps: int = 2) -> None:
        super().__init__()
        if steps > 100:
            raise UsageError("toy: the student is too small for so many steps")
        self.arguments = (student, data, weight, steps)


def unavailable() -> Any:
    raise AssertionError("this ingredient is not asked for")


INGREDIENTS = {"student": lambda: "a student", "data": lambda: "some data", "teacher": unavailable}


@pytest.fixture(autouse=True)
def _toy_method() -> None:
    METHODS.add("toy", Toy)


def test_a_method_is_built_from_what_it_asks_for_and_nothing_else_is_made() -> None:
    method = build_method(MethodSpec.parse("toy(weight=0.7)"), INGREDIENTS)
    assert method.arguments == ("a student", "some data", 0.7, 2)


def test_ingredients_are_made_again_for_every_method() -> None:
    students = iter(["first", "second"])
    ingredients = {**INGREDIENTS, "student": lambda: next(students)}
    spec = MethodSpec.parse("toy")
    assert [build_method(spec, ingredients).arguments[0] for _ in range(2)] == ["first", "second"]


def test_hyperparameters_are_validated_before_ingredients_are_made() -> None:
    with pytest.raises(UsageError, match="steps is 'many' but should be a valid integer"):
        build_method(MethodSpec.parse("toy(steps=many)"), {"student": unavailable, "data": unavailable})


def test_a_method_may_refuse_its_ingredients() -> None:
    with pytest.raises(UsageError, match="the student is too small"):
        build_method(MethodSpec.parse("toy(steps=101)"), INGREDIENTS)
