"""What every scenario keeps to, asked of each entry of SCENARIOS by the example in its summary; and who is rejected."""

import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace

import numpy as np
import pytest
from helpers import SHAPE

from robustkd.data.view import Source, View
from scenarios import SCENARIOS, parse
from scenarios.base import Scenario


def view(seed: int = 0) -> View:
    """Most rows of 150 blank images in five classes of unequal size, in no order."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(5), [45, 40, 30, 20, 15]))
    source = Source("blank", np.zeros((150, *SHAPE), np.uint8), labels, tuple("abcde"), truth=labels.copy())
    return View.of(source, np.arange(3, 147), seed=seed)


def content(shown: View) -> tuple[bytes, ...]:
    """All that a view and its first source hold."""
    known = shown.sources[0]
    assert known.truth is not None
    return tuple(array.tobytes() for array in (shown.rows, shown.labels, known.images, known.labels, known.truth))


def pairs(shown: View) -> list[tuple[int, int]]:
    """The data set's own rows, each with its label."""
    own = np.ones(len(shown), bool) if shown.origin is None else shown.origin == 0
    return sorted(zip(shown.rows[own].tolist(), shown.labels[own].tolist(), strict=True))


def it_is_a_value(scenario: Scenario) -> None:
    assert is_dataclass(scenario), "it is no dataclass"
    assert scenario == replace(scenario), "two of the same values differ"
    assert hash(scenario) == hash(replace(scenario))
    for field in fields(scenario):
        with pytest.raises(FrozenInstanceError):
            setattr(scenario, field.name, None)


class Nameless(Scenario):
    def apply(self, view: View) -> View:
        return view


def one_seed_one_view(scenario: Scenario) -> None:
    shown = view()
    assert scenario(shown).digest == scenario(shown).digest == scenario(view()).digest, "one seed, two views"


@dataclass(frozen=True)
class Moody(Scenario):
    def apply(self, view: View) -> View:
        return view.relabel(np.random.default_rng().permutation(view.labels))


def another_seed_another_view(scenario: Scenario) -> None:
    assert len({scenario(view(seed)).digest for seed in range(3)}) == 3, "another seed changes nothing"


@dataclass(frozen=True)
class Stubborn(Scenario):
    def apply(self, view: View) -> View:
        return view.take(np.random.default_rng(0).random(len(view)) < 0.5)


def what_it_is_given_stays_as_it_was(scenario: Scenario) -> None:
    shown, before = view(), content(view())
    after = scenario(shown)
    assert content(shown) == before, "what was given has changed"
    assert after.sources[0] is shown.sources[0], "the source is another"


@dataclass(frozen=True)
class Rude(Scenario):
    def apply(self, view: View) -> View:
        view.labels[::2] = 0
        return view.take(view.labels == 0)


def rows_are_some_of_those_given(scenario: Scenario) -> None:
    shown = view()
    after = scenario(shown)
    rows = [row for row, _ in pairs(after)]
    assert len(rows) == len(set(rows)), "a row is shown twice"
    assert set(rows) <= set(shown.rows.tolist()), "a row comes from nowhere"
    assert len(after) > 0
    assert after.rows.dtype == after.labels.dtype == np.int64
    assert len(after.rows) == len(after.labels)
    assert 0 <= after.labels.min() <= after.labels.max() < 5, "a label is of no class"


@dataclass(frozen=True)
class Copying(Scenario):
    def apply(self, view: View) -> View:
        return view.take(np.arange(len(view)).repeat(2))


def it_counts_as_one_place(scenario: Scenario) -> None:
    assert scenario(view()).place == 1, "the next scenario would draw what this one drew"
    assert scenario(replace(view(), place=4)).place == 5
    assert scenario(view(3)).seed == 3


@dataclass(frozen=True)
class Silent(Scenario):
    def apply(self, view: View) -> View:
        return view

    def __call__(self, view: View) -> View:
        return self.apply(view)


def the_order_of_rows_does_not_matter(scenario: Scenario) -> None:
    shuffled = view().take(np.random.default_rng(2).permutation(len(view())))
    assert pairs(scenario(shuffled)) == pairs(scenario(view())), "who stands where decides who is drawn"


@dataclass(frozen=True)
class Sequential(Scenario):
    def apply(self, view: View) -> View:
        return view.take(np.random.default_rng(view.draw("rows")).random(len(view)) < 0.5)


def the_truth_changes_nothing(scenario: Scenario) -> None:
    shown = view()
    untold = replace(shown, sources=(replace(shown.sources[0], truth=None),))
    assert pairs(scenario(untold)) == pairs(scenario(shown)), "it goes by the truth"


@dataclass(frozen=True)
class Knowing(Scenario):
    def apply(self, view: View) -> View:
        return view if view.truth is None else view.take(view.truth > 0)


CONTRACTS: dict[Callable[[Scenario], None], tuple[type[Scenario], str]] = {
    it_is_a_value: (Nameless, "it is no dataclass"),
    one_seed_one_view: (Moody, "one seed, two views"),
    another_seed_another_view: (Stubborn, "another seed changes nothing"),
    what_it_is_given_stays_as_it_was: (Rude, "what was given has changed"),
    rows_are_some_of_those_given: (Copying, "a row is shown twice"),
    it_counts_as_one_place: (Silent, "the next scenario would draw what this one drew"),
    the_order_of_rows_does_not_matter: (Sequential, "who stands where decides who is drawn"),
    the_truth_changes_nothing: (Knowing, "it goes by the truth"),
}
EXEMPT = {("another_seed_another_view", "clean"): "draws nothing"}


def example(word: str) -> str:
    """The word as its summary shows it, with the values it needs."""
    shown = re.search(r"as in ([^\s,;]+)", SCENARIOS[word].summary)
    return shown.group(1) if shown else word


@pytest.mark.parametrize("word", SCENARIOS)
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_scenario_keeps_every_contract(contract, word):
    if reason := EXEMPT.get((contract.__name__, word)):
        pytest.skip(reason)
    scenario = parse(example(word))
    assert isinstance(scenario, SCENARIOS.read(example(word)).load())
    contract(scenario)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_contract_rejects_who_breaks_it(contract):
    broken, said = CONTRACTS[contract]
    with pytest.raises(AssertionError, match=said):
        contract(broken())


def test_a_chain_counts_as_many_places_as_it_has_steps():
    chain = parse("imbalance0.2+noise0.4")
    first, second = chain
    assert chain(view()).place == second(first(view())).place == 2
    assert pairs(first(chain(view()))) == pairs(first(second(first(view()))))
