"""The effect of scenarios, compared with loops."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from pipelines.scenario_effect import ScenarioEffect, apply_steps, corrupted_samples, measure_scenario
from robustkd.data.view import Source, View
from scenarios.base import Chain, Scenario

SAMPLES = 24


def source(name: str, labels: list[int], truth: list[int] | None = None) -> Source:
    images = np.arange(len(labels), dtype=np.uint8).repeat(4).reshape(-1, 1, 2, 2)
    known = None if truth is None else np.array(truth)
    return Source(name, images, np.array(labels), ("a", "b", "c"), known)


@dataclass(frozen=True)
class Lend(Scenario):
    """Shows a foreign image under the label of every third row; `again` shows one and the same."""

    again: bool = False

    def corruption_rates(self, view: View) -> np.ndarray:
        return np.full(len(view.classes), 1 / 3)

    def apply(self, view: View) -> View:
        other = source("other", [2] * 100)
        origin, rows = np.zeros(len(view), np.int64), view.rows.copy()
        origin[::3] = 1
        rows[::3] = 0 if self.again else np.arange(len(rows[::3]))
        return replace(view, sources=(*view.sources, other), rows=rows, origin=origin)


@dataclass(frozen=True)
class Shuffle(Scenario):
    def apply(self, view: View) -> View:
        return view.take(np.random.default_rng(0).permutation(len(view)))


def measure(view: View, *steps: Scenario) -> ScenarioEffect:
    chain = list(steps)
    views = [view]
    for step in chain:
        views.append(step(views[-1]))
    return measure_scenario(chain, views)


@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    rate=st.floats(0, 1),
    words=st.sampled_from(["noise{}", "fraction0.5+noise{}", "noise{}+longtail3", "noise{}+noise{}"]),
    shuffled=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_effects_equal_counts_by_loops(labels: list[int], rate: float, words: str, shuffled: bool) -> None:
    view = View.of(source("toy", labels), seed=4)
    chain = [*scenarios.parse(words.format(round(rate, 3), round(rate, 3))), *([Shuffle()] if shuffled else [])]
    views = apply_steps(Chain(tuple(chain)), view)
    found = measure_scenario(chain, views)
    after = dict(zip(views[-1].rows.tolist(), views[-1].labels.tolist(), strict=True))
    for i in range(3):
        line = found.per_class.iloc[i]
        assert line["before"] == labels.count(i)
        assert line["kept"] == sum(labels[row] == i for row in after)
        assert line["shown"] == line["clean"] + line["corrupted"] == list(after.values()).count(i)
        for j in range(3):
            assert found.transitions[i, j] == sum(labels[row] == i and label == j for row, label in after.items())
    for step, one, two in zip(found.steps, views, views[1:], strict=False):
        given_ = dict(zip(one.rows.tolist(), one.labels.tolist(), strict=True))
        left = dict(zip(two.rows.tolist(), two.labels.tolist(), strict=True))
        assert (step.before, step.after, step.foreign) == (len(given_), len(left), 0)
        assert step.realised == pytest.approx(np.mean([given_[row] != label for row, label in left.items()] or [0]))
        for i in range(3):
            mine = [label != i for row, label in left.items() if given_[row] == i]
            np.testing.assert_allclose(step.per_class["realised"].iloc[i], np.mean(mine) if mine else np.nan)


@pytest.mark.parametrize("again", [False, True], ids=["each its own", "one for all"])
def test_foreign_images_are_not_in_the_matrix(again: bool) -> None:
    view = View.of(source("toy", [0] * 12 + [1] * 6 + [2] * 3, truth=[0] * 12 + [1] * 6 + [2] * 3))
    found = measure(view, Lend(again), *scenarios.parse("noise0.5"), Shuffle())
    lent, noise, shuffled = found.steps
    assert (lent.foreign, lent.requested, lent.realised) == (7, pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert lent.per_class["realised"].tolist() == pytest.approx([1 / 3] * 3)
    assert noise.foreign == 7, "they stay"
    if not again:  # the same image takes the same wrong label wherever it is shown
        assert noise.per_class["realised"].tolist() == pytest.approx([6 / 12, 3 / 6, 2 / 3])
        assert shuffled.realised == 0
    assert found.transitions.sum() == 14
    assert found.per_class["kept"].tolist() == [8, 4, 2]
    assert found.per_class["foreign"].sum() == 7
    assert found.per_class[["clean", "corrupted", "foreign"]].sum(axis=1).equals(found.per_class["shown"])
    assert found.known is None, "all labels of its own were true"


def test_two_steps_with_the_same_foreign_images_are_distinguished() -> None:
    @dataclass(frozen=True)
    class More(Scenario):
        def apply(self, view: View) -> View:
            assert view.origin is not None
            rows, origin = view.rows.copy(), view.origin.copy()
            rows[1::3], origin[1::3] = 0, 1
            return replace(view, rows=rows, origin=origin)

    found = measure(View.of(source("toy", [0] * 12 + [1] * 6)), Lend(again=True), More())
    assert [step.foreign for step in found.steps] == [6, 12]
    assert [step.realised for step in found.steps] == pytest.approx([1 / 3, 1 / 3])


def test_the_shares_of_an_empty_class_are_missing_rather_than_zero() -> None:
    found = measure(View.of(source("toy", [0, 0, 1])), *scenarios.parse("noise0"))
    assert np.isnan(found.shares[2]).all()
    assert np.isnan(found.steps[0].per_class["requested"].iloc[2])
    assert found.per_class.loc["c", "group"] == "few"


def test_groups_depend_on_published_labels() -> None:
    class Swap(Scenario):
        def apply(self, view: View) -> View:
            return view.relabel(2 - view.labels)

    found = measure(View.of(source("toy", [0] * 120 + [1] * 50 + [2] * 5)), Swap())
    assert found.per_class["shown"].tolist() == [5, 50, 120]
    assert found.per_class["group"].tolist() == ["many", "medium", "few"]
    assert found.per_class["third"].tolist() == ["head", "middle", "tail"]


def test_corrupted_samples_have_both_labels() -> None:
    labels = [0] * 40 + [1] * 40
    view = View.of(source("toy", labels))
    after = scenarios.parse("noise0.5")(Lend()(view))
    images = labels_by_image(after)
    cells = corrupted_samples(after, SAMPLES)
    assert len(cells) == SAMPLES
    assert {before for _, before, _ in cells} == {"foreign", "a", "b"}
    for image, before, shown in cells:
        assert (before, shown) in images[image.tobytes()]
        assert before != shown
    assert corrupted_samples(view, 24) == []
    assert [before for _, before, _ in corrupted_samples(Lend(again=True)(view), 24)] == ["foreign"], "one image, once"


def labels_by_image(view: View) -> dict[bytes, set[tuple[str, str]]]:
    """By an image's bytes, which labels it came with and is shown under."""
    found: dict[bytes, set[tuple[str, str]]] = {}
    for image, before, shown in zip(view.images(), view.published_labels, view.labels, strict=True):
        pair = ("foreign" if before < 0 else view.classes[before], view.classes[shown])
        found.setdefault(image.tobytes(), set()).add(pair)
    return found
