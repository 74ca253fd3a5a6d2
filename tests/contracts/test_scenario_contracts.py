"""What every scenario keeps to, asked of each entry of SCENARIOS by the example in its summary; and who is rejected."""

import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace

import numpy as np
import pytest
from helpers import SHAPE

from robustkd.data import manifest
from robustkd.data.view import Source, View
from scenarios import SCENARIOS, parse
from scenarios.base import Scenario


def images(count: int, seed: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def view(seed: int = 0) -> View:
    """Most rows of 150 images in five classes of unequal size, in no order."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(5), [45, 40, 30, 20, 15]))
    source = Source("toy", images(150, 0), labels, tuple("abcde"), truth=labels.copy())
    return View.of(source, np.arange(3, 147), seed=seed)


def mixed(seed: int = 0) -> View:
    """The same rows, every fourth with a foreign image; some of these have numbers that no own row here has."""
    shown, lender = view(seed), Source("lender", images(36, 1), np.zeros(36, np.int64), ("z",))
    foreign = np.arange(len(shown)) % 4 == 0
    rows = shown.rows.copy()
    rows[foreign] = np.arange(36)
    return replace(shown, sources=(*shown.sources, lender), rows=rows, origin=foreign.astype(np.int64))


def content(shown: View) -> tuple[bytes, ...]:
    """All that a view and its sources hold."""
    arrays = [shown.rows, shown.labels, *([] if shown.origin is None else [shown.origin])]
    for known in shown.sources:
        arrays += [known.images, known.labels, *([] if known.truth is None else [known.truth])]
    return tuple(array.tobytes() for array in arrays)


def triples(shown: View) -> list[tuple[str, int, int]]:
    """What is shown: of which source, which row, under which label."""
    origin = np.zeros_like(shown.rows) if shown.origin is None else shown.origin
    names = [shown.sources[number].name for number in origin]
    return sorted(zip(names, shown.rows.tolist(), shown.labels.tolist(), strict=True))


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
    for shown in (view(), mixed()):
        before = content(shown)
        after = scenario(shown)
        scenario.corruption_rates(shown)
        assert content(shown) == before, "what was given has changed"
        assert after.sources[0] is shown.sources[0], "the source is another"


@dataclass(frozen=True)
class Rude(Scenario):
    def apply(self, view: View) -> View:
        view.labels[::2] = 0
        return view.take(view.labels == 0)


def rows_are_some_of_those_given(scenario: Scenario) -> None:
    for shown in (view(), mixed()):
        after = scenario(shown)
        rows = [(name, row) for name, row, _ in triples(after)]
        assert len(rows) == len(set(rows)), "a row is shown twice"
        own = {row for name, row in rows if name == "toy"}
        assert own <= {row for name, row, _ in triples(shown) if name == "toy"}, "a row comes from nowhere"
        assert 0 < len(after) <= len(shown)
        arrays = [after.rows, after.labels, *([] if after.origin is None else [after.origin])]
        assert {array.dtype for array in arrays} == {np.dtype(np.int64)}
        assert {len(array) for array in arrays} == {len(after)}
        assert 0 <= after.labels.min() <= after.labels.max() < 5, "a label is of no class"


@dataclass(frozen=True)
class Copying(Scenario):
    def apply(self, view: View) -> View:
        return view.take(np.arange(len(view)).repeat(2))


def what_is_foreign_stays_foreign(scenario: Scenario) -> None:
    shown = mixed()
    after = scenario(shown)
    given, left = ({t[:2] for t in triples(one) if t[0] == "toy"} for one in (shown, after))
    assert left <= given, "a foreign image is taken for one of the data set's own"
    for number, source in enumerate(after.sources):
        rows = after.rows[np.full(len(after), number == 0) if after.origin is None else after.origin == number]
        assert ((rows >= 0) & (rows < len(source.labels))).all(), "there is no such image"
    assert after.truth is not None
    assert np.array_equal(after.truth == -1, after.foreign), "whose truth is unknown is not who is foreign"
    assert after.images().shape == (len(after), *SHAPE)


@dataclass(frozen=True)
class Forgetful(Scenario):
    def apply(self, view: View) -> View:
        return replace(view, origin=None)


def it_counts_as_one_place(scenario: Scenario) -> None:
    assert scenario(view()).position == 1, "the next scenario would draw what this one drew"
    assert scenario(replace(view(), position=4)).position == 5
    assert scenario(view(3)).seed == 3


@dataclass(frozen=True)
class Silent(Scenario):
    def apply(self, view: View) -> View:
        return view

    def __call__(self, view: View) -> View:
        return self.apply(view)


def the_order_of_rows_does_not_matter(scenario: Scenario) -> None:
    for shown in (view(), mixed()):
        shuffled = shown.take(np.random.default_rng(2).permutation(len(shown)))
        assert triples(scenario(shuffled)) == triples(scenario(shown)), "who stands where decides who is drawn"


@dataclass(frozen=True)
class Sequential(Scenario):
    def apply(self, view: View) -> View:
        return view.take(np.random.default_rng(view.derive_seed("rows")).random(len(view)) < 0.5)


def the_truth_changes_nothing(scenario: Scenario) -> None:
    for shown in (view(), mixed()):
        own, *lenders = shown.sources
        for truth in (None, np.zeros(150, np.int64), (own.labels + 1) % 5):
            told = replace(shown, sources=(replace(own, truth=truth), *lenders))
            assert triples(scenario(told)) == triples(scenario(shown)), "it goes by the truth"
            assert np.array_equal(scenario.corruption_rates(told), scenario.corruption_rates(shown)), (
                "what it asks for goes by the truth"
            )


@dataclass(frozen=True)
class Knowing(Scenario):
    def apply(self, view: View) -> View:
        return view if view.truth is None else view.take(view.truth > 0)


KNOBS = ("rate", "gamma", "factor", "share")


def a_larger_value_only_goes_further(scenario: Scenario) -> None:
    """Corruption nests, with what stands in a label's or an image's place; and so do the rows that are kept."""
    knobs = [field.name for field in fields(scenario) if field.name in KNOBS]
    assert knobs, "it has nothing to turn"
    for shown in (view(), mixed()):
        given, high = set(triples(shown)), set(triples(scenario(shown)))
        lows = [
            set(triples(replace(scenario, **{knobs[0]: share * getattr(scenario, knobs[0])})(shown)))
            for share in (0.1, 0.5, 0.9)
        ]
        assert any(low != high for low in lows), "turning it changes nothing"
        for low in lows:
            assert low - given <= high - given, "a larger value corrupts others, or to something else"
            kept = sorted((low & given, high & given), key=len)
            assert kept[0] <= kept[1], "another value keeps others"


@dataclass(frozen=True)
class Reshuffling(Scenario):
    rate: float = 0.4

    def apply(self, view: View) -> View:
        drawn = view.keys(f"flip {self.rate}") < np.uint64(self.rate * 2**63) * np.uint64(2)
        return view.relabel(np.where(drawn, (view.labels + 1) % 5, view.labels))


CONTRACTS: dict[Callable[[Scenario], None], tuple[type[Scenario], str]] = {
    it_is_a_value: (Nameless, "it is no dataclass"),
    one_seed_one_view: (Moody, "one seed, two views"),
    another_seed_another_view: (Stubborn, "another seed changes nothing"),
    what_it_is_given_stays_as_it_was: (Rude, "what was given has changed"),
    rows_are_some_of_those_given: (Copying, "a row is shown twice"),
    what_is_foreign_stays_foreign: (Forgetful, "a foreign image is taken for one of the data set's own"),
    it_counts_as_one_place: (Silent, "the next scenario would draw what this one drew"),
    the_order_of_rows_does_not_matter: (Sequential, "who stands where decides who is drawn"),
    the_truth_changes_nothing: (Knowing, "it goes by the truth"),
    a_larger_value_only_goes_further: (Reshuffling, "a larger value corrupts others"),
}
FIXED = ("clean", "matrix", "human", "counts", "manifest")
EXEMPT = {
    **{("another_seed_another_view", word): "draws nothing" for word in ("clean", "human", "manifest")},
    **{("a_larger_value_only_goes_further", word): "has neither a rate nor anything like it" for word in FIXED},
}
# What the examples in the summaries cannot be on five classes called a to e, with no file beside them.
HERE = {
    "asym": 'asym(0.4, map="a:b, c:d, d:c")',
    "matrix": 'matrix(file="{folder}/T.csv")',
    "human": 'human(column=anna, file="{folder}/people.csv")',
    "openset": "openset(0.2, source=digits)",
    "counts": 'counts(file="{folder}/sizes.csv")',
    "manifest": 'manifest(file="{folder}/pruned.csv")',
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The files that words of this kind read, for the rows of `view`."""
    folder = tmp_path_factory.mktemp("files")
    np.savetxt(folder / "T.csv", np.full((5, 5), 0.1) + np.eye(5) / 2, delimiter=",")
    (folder / "sizes.csv").write_text("class,count\n" + "".join(f"{c},{4 * n}\n" for n, c in enumerate("edcba", 2)))
    shown = view()
    told = np.where(np.arange(150) % 3, shown.sources[0].labels, 4)
    (folder / "people.csv").write_text("anna\n" + "".join(f"{'abcde'[label]}\n" for label in told))
    pruned = shown.take(np.arange(100) + 20)
    pruned = pruned.relabel(np.where(np.arange(100) % 5, pruned.labels, 0))
    held_out, test = (View.of(shown.sources[0], rows) for rows in (np.arange(3), np.arange(147, 150)))
    manifest.save_manifest(folder / "pruned.csv", manifest.Splits(pruned, held_out, test), {})
    return folder


def example(word: str, folder: object) -> str:
    """The word as its summary shows it, with the values it needs; here where that cannot be."""
    shown = re.search(r"as in (\w+(?:\([^)]*\))?[\d.]*)", SCENARIOS[word].summary)
    return HERE.get(word, shown.group(1) if shown else word).format(folder=folder)


@pytest.mark.parametrize("word", SCENARIOS)
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_scenario_keeps_every_contract(contract, word, folder):
    if reason := EXEMPT.get((contract.__name__, word)):
        pytest.skip(reason)
    text = example(word, folder)
    scenario = parse(text)
    assert isinstance(scenario, SCENARIOS.parse(text).load())
    contract(scenario)


@pytest.mark.parametrize("word", SCENARIOS)
def test_every_example_is_one(word):
    """The word's own summary shows it as it may be typed, values and all."""
    shown = re.search(r"as in (\w+(?:\([^)]*\))?[\d.]*)", SCENARIOS[word].summary)
    assert word == "clean" or shown, "its summary shows no example"
    if shown:
        assert shown.group(1).startswith(word)
        parse(shown.group(1))


def test_who_is_excused_is_there():
    assert {word for _, word in EXEMPT} | {*HERE} <= {*SCENARIOS}
    assert {name for name, _ in EXEMPT} <= {contract.__name__ for contract in CONTRACTS}


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_contract_rejects_who_breaks_it(contract):
    broken, said = CONTRACTS[contract]
    with pytest.raises(AssertionError, match=said):
        contract(broken())


def test_a_chain_counts_as_many_places_as_it_has_steps():
    chain = parse("imbalance0.2+noise0.4")
    first, second = chain
    assert chain(view()).position == second(first(view())).position == 2
    assert triples(first(chain(view()))) == triples(first(second(first(view()))))
