"""Methods with a criterion, as typed."""

import pickle

import pytest

from robustkd.criteria import CRITERIA
from robustkd.errors import UsageError
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS


def test_a_criterion_follows_a_plus_and_is_ce_otherwise() -> None:
    spec = MethodSpec.parse("hinton(alpha=0.7)+balanced")
    assert (spec.method.text, spec.criterion_text) == ("hinton(alpha=0.7)", "balanced")
    assert MethodSpec.parse("hinton").criterion_text == "ce"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hinton+ce+balanced", "at most one criterion"),
        ("hintn", "did you mean 'hinton'"),
        ("hinton+balancd", "did you mean 'balanced'"),
        ("hinton+", "nothing on one side"),
    ],
)
def test_unknown_names_and_several_criteria_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MethodSpec.parse(text)


def test_parameters_are_validated_by_check_and_not_by_parsing() -> None:
    spec = MethodSpec.parse("hinton(alpha=7)")
    with pytest.raises(UsageError, match="alpha is 7 but should be less than or equal to 1"):
        spec.check()
    MethodSpec.parse("hinton(alpha=0.7)").check()


def test_equality_and_hash_are_those_of_the_text() -> None:
    assert len({MethodSpec.parse(text) for text in ("hinton", "hinton+ce", " hinton( )", "hinton+mae")}) == 2


@pytest.mark.parametrize(
    ("texts", "canonical"),
    [
        (
            ["smooth(labels=0.1,consistency=1)", "smooth( consistency = 1 , labels=.10 )"],
            "smooth(consistency=1, labels=0.1)",
        ),
        (["baseline", "baseline()", "baseline+ce", "baseline ()+ce()"], "baseline"),
        (["hinton(0.7)+gce(q=5e-1)", "hinton0.7+gce(q=0.5)"], "hinton(0.7)+gce(q=0.5)"),
        (["hinton(temperature=2.0)", "hinton(temperature=2)"], "hinton(temperature=2)"),
        (["baseline+forward(matrix='a b.csv')"], 'baseline+forward(matrix="a b.csv")'),
        (["baseline+forward(matrix=a-b.csv)"], "baseline+forward(matrix=a-b.csv)"),
    ],
)
def test_a_method_has_one_spelling_which_parses_to_itself(texts: list[str], canonical: str) -> None:
    assert {MethodSpec.parse(text).text for text in texts} == {canonical}
    assert MethodSpec.parse(canonical).text == canonical


def test_a_teacher_is_needed_by_methods_that_ask_for_one() -> None:
    assert MethodSpec.parse("hinton").ingredients() == ("student", "teacher", "criterion")
    assert MethodSpec.parse("hinton").needs_teacher
    assert not MethodSpec.parse("baseline").needs_teacher


def test_an_ingredient_that_does_not_exist_is_refused() -> None:
    def misspelt(student: object, techer: object, *, weight: float = 0.5) -> None: ...

    METHODS.add("misspelt", misspelt)
    with pytest.raises(
        UsageError, match=r"'misspelt' asks for 'techer' \(did you mean 'teacher'\?\); ingredients are: student"
    ):
        MethodSpec.parse("misspelt").check()


def test_hyperparameters_are_those_of_method_and_criterion_with_defaults() -> None:
    def method(student: object, *, weight: float = 0.5, steps: int = 2) -> None: ...

    def loss(data: object, *, margin: float = 0.1) -> None: ...

    METHODS.add("toy", method)
    CRITERIA.add("margin", loss)
    values = MethodSpec.parse("toy(weight=0.7)+margin").hyperparameters()
    assert values == {"toy.weight": 0.7, "toy.steps": 2, "margin.margin": 0.1}


def test_a_pickled_spec_is_parsed_again() -> None:
    def local(student: object) -> None: ...  # pickle cannot store a local function

    METHODS.add("local", local)
    spec = pickle.loads(pickle.dumps(MethodSpec.parse("local+balanced")))
    assert spec.method.load() is local
    assert spec == MethodSpec.parse("local+balanced")
