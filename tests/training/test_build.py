"""Construction of a method from its ingredients."""

from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from robustkd.criteria import CRITERIA
from robustkd.criteria.base import Criterion
from robustkd.criteria.ce import CE
from robustkd.errors import UsageError
from robustkd.method import Method
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.models.net import Frozen
from robustkd.training.build import bind_criterion, build_method
from robustkd.types import Batch, DatasetInfo
from tests.helpers import toy_spec


class Toy(Method):
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


def test_what_is_not_a_method_is_refused() -> None:
    METHODS.add("number", lambda student: 3)
    with pytest.raises(UsageError, match=r"method 'number' makes a int, but a robustkd\.method\.Method is wanted"):
        build_method(MethodSpec.parse("number"), INGREDIENTS)


class _Scaled(Criterion):
    """Asks for nothing about the data."""

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return self.weight * logits.sum(dim=1)


class _Inherited(CE):
    """Has no constructor of its own."""


class _Demanding(CE):
    def __init__(self, data: DatasetInfo, teacher: Frozen) -> None:
        super().__init__(data)


def test_a_criterion_is_given_the_data_only_if_it_asks_for_it() -> None:
    data = DatasetInfo(3, (1, 2), (1, 8, 8))
    assert bind_criterion(toy_spec("criterion", _Inherited), data)().version == 1
    assert bind_criterion(CRITERIA.parse("balanced"), data)().log_counts[1] == pytest.approx(np.log(2))
    CRITERIA.add("scaled", _Scaled)
    assert bind_criterion(CRITERIA.parse("scaled(weight=3)"), data)().weight == 3


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (_Demanding, "asks for data, teacher, but `data` is all"),
        (nn.CrossEntropyLoss, r"is not a class derived from robustkd\.criteria\.base\.Criterion"),
        (lambda logits, batch: logits, r"is not a class derived from robustkd\.criteria\.base\.Criterion"),
    ],
)
def test_a_criterion_that_cannot_be_made_is_refused(target: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bind_criterion(toy_spec("criterion", target), DatasetInfo(3, (1, 2), (1, 8, 8)))
