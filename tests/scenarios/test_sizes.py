"""Class sizes: published tables, files, and properties for arbitrary counts."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from robustkd.data.class_groups import many_medium_few
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from scenarios.counts import Counts
from scenarios.fraction import Fraction
from tests.scenarios.test_scenarios import cifar_view, make_view


def view_of_sizes(counts: list[int], seed: int = 0) -> View:
    return make_view(np.repeat(np.arange(len(counts)), counts), len(counts), seed)


# The construction of arXiv 1906.07413 on CIFAR-10 and CIFAR-100: totals and the sizes of the smallest class.
@pytest.mark.parametrize(
    ("classes", "factor", "total", "least"),
    [
        *((10, factor, total, 5000 // factor) for factor, total in ((200, 11203), (100, 12406), (50, 13996))),
        *((10, factor, total, 5000 // factor) for factor, total in ((20, 17023), (10, 20431))),
        *((100, factor, total, 500 // factor) for factor, total in ((200, 9502), (100, 10847), (50, 12608))),
        *((100, factor, total, 500 // factor) for factor, total in ((20, 15907), (10, 19573))),
    ],
)
def test_long_tails_have_the_published_totals(classes: int, factor: int, total: int, least: int) -> None:
    counts = scenarios.parse(f"longtail{factor}")(cifar_view(classes)).counts
    assert (counts.sum(), counts.min(), counts.argmax()) == (total, least, 0)


@pytest.mark.parametrize(
    ("factor", "groups"),
    [(200, [30, 31, 39]), (100, [35, 35, 30]), (50, [41, 41, 18]), (20, [53, 47, 0]), (10, [69, 31, 0])],
)
def test_long_tails_have_the_published_groups(factor: int, groups: list[int]) -> None:
    names = many_medium_few(scenarios.parse(f"longtail{factor}")(cifar_view(100)).counts).tolist()
    assert [names.count(name) for name in ("many", "medium", "few")] == groups


# Totals of the power law with end points 5000 and 250 or 500 and 25, computed from the equation.
@pytest.mark.parametrize(
    ("classes", "words", "total"),
    [
        *(
            (10, f"imbalance{gamma}", total)
            for gamma, total in ((0.2, 15207), (0.4, 16537), (0.6, 18033), (0.8, 19682))
        ),
        *((10, f"imbalance{gamma}", total) for gamma, total in ((1, 21455), (1.5, 26166), (2, 30700))),
        *((100, f"imbalance{gamma}", total) for gamma, total in ((0.2, 20380), (0.6, 29364), (1, 37863), (2, 47009))),
        *((10, f"imbalance({gamma}, form=second)", total) for gamma, total in ((0.2, 8662), (0.6, 9390), (1, 10421))),
        (10, "imbalance(2, form=second)", 14402),
    ],
)
def test_power_laws_have_the_totals_of_the_table(classes: int, words: str, total: int) -> None:
    assert len(scenarios.parse(words)(cifar_view(classes))) == total


# Sizes must not depend on the last bit of a power.
@given(least=st.integers(1, 60), factor=st.sampled_from([2, 5, 10, 20, 50, 100, 200]), classes=st.integers(2, 12))
@settings(max_examples=100, deadline=None)
def test_the_last_class_has_the_size_given_by_the_factor(least: int, factor: int, classes: int) -> None:
    for word in ("longtail", "step"):
        counts = scenarios.parse(f"{word}{factor}")(view_of_sizes([least * factor] * classes)).counts
        assert (counts[0], counts[-1]) == (least * factor, least)


def test_sizes_between_two_numbers_are_floored() -> None:
    assert sizes_of("longtail10", [29] * 3) == [29, 9, 2]
    assert sizes_of("step10", [29] * 3) == [29, 29, 2]
    whole = [3200, 1600, 800, 400, 200, 100]  # as floats, two of them are too small by one bit
    assert sizes_of("longtail32", [3200] * 6) == whole


def sizes_of(words: str, counts: list[int], seed: int = 0) -> list[int]:
    return scenarios.parse(words)(view_of_sizes(counts, seed)).counts.tolist()


COUNTS = st.lists(st.integers(1, 90), min_size=2, max_size=9)
# Scenarios whose size increases with the value.
FAMILIES: dict[str, Callable[[float], str]] = {
    "gamma": lambda value: f"imbalance{0.05 + 5 * value:.6f}",
    "gamma, second form": lambda value: f"imbalance({0.05 + 5 * value:.6f}, form=second, cap=own)",
    "longtail": lambda value: f"longtail(factor={300 - 298 * value:.6f}, order=seeded)",
    "step": lambda value: f"step(factor={300 - 298 * value:.6f}, order=reversed, cap=own)",
    "fraction": lambda value: f"fraction{0.01 + 0.99 * value:.6f}",
}


@pytest.mark.parametrize("family", FAMILIES)
@given(counts=COUNTS, values=st.lists(st.floats(0, 1), min_size=2, max_size=3), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_larger_sizes_keep_a_superset_within_bounds(
    family: str, counts: list[int], values: list[float], seed: int
) -> None:
    view = view_of_sizes(counts, seed)
    kept = [scenarios.parse(FAMILIES[family](value))(view) for value in sorted(values)]
    for fewer, more in pairwise(kept):
        assert set(fewer.rows) <= set(more.rows)
    for after in kept:
        assert (after.counts <= view.counts).all()
        assert np.array_equal(after.labels, after.published_labels)
        shuffled = view.take(np.random.default_rng(seed).permutation(len(view)))
        again = scenarios.parse(FAMILIES[family](sorted(values)[0]))(shuffled)
        assert sorted(again.rows) == kept[0].rows.tolist(), "the order of rows must not matter"


@pytest.mark.parametrize("words", ["longtail10", "imbalance0.5", "step10", "fraction0.3"])
def test_another_seed_keeps_other_rows_and_the_same_sizes(words: str) -> None:
    kept = [scenarios.parse(words)(view_of_sizes([40] * 5, seed)) for seed in range(3)]
    assert len({after.rows.tobytes() for after in kept}) == 3
    assert len({after.counts.tobytes() for after in kept}) == 1


@given(seed=st.integers(0, 50), words=st.sampled_from(["longtail(100, order=seeded)", "step(10, order=seeded)"]))
@settings(max_examples=40, deadline=None)
def test_held_out_rows_have_the_class_order_of_training_rows(seed: int, words: str) -> None:
    train = scenarios.parse(words)(view_of_sizes([900] * 6, seed))
    held_out = scenarios.parse(words)(replace(view_of_sizes([100] * 6, seed), scale=1 / 9))
    largest = np.argsort(-train.counts, kind="stable")
    assert (np.diff(held_out.counts[largest]) <= 0).all(), "the order differs"
    assert np.abs(held_out.counts - train.counts / 9).max() <= 1


def test_the_smallest_class_may_become_empty() -> None:
    assert sizes_of("longtail100", [50] * 3) == [50, 5, 0], "rejected later for training rows"


@given(counts=COUNTS, share=st.floats(0.01, 1))
@settings(max_examples=100, deadline=None)
def test_a_fraction_of_each_class_is_never_empty(counts: list[int], share: float) -> None:
    after = Fraction(share)(view_of_sizes(counts))
    assert after.counts.tolist() == [max(1, round(round(share * count, 6))) for count in counts]


def test_a_fraction_leaves_an_empty_class_empty() -> None:
    assert Fraction(0.1)(view_of_sizes([0, 3, 40])).counts.tolist() == [0, 1, 4]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_fraction_and_noise_compose_in_either_order(share: float) -> None:
    view = view_of_sizes([400, 240, 80])
    fraction, noise = scenarios.parse(f"fraction{share}"), scenarios.parse("noise0.25")
    subsampled, noisy = (fraction >> noise)(view), (noise >> fraction)(view)
    assert len(subsampled) == len(noisy) == share * 720
    wrong = subsampled.labels != subsampled.published_labels
    for label, count in enumerate((400, 240, 80)):
        assert wrong[subsampled.published_labels == label].sum() == share * count / 4, "a quarter of the remaining rows"
    assert noisy.counts.tolist() == [share * count for count in scenarios.parse("noise0.25")(view).counts]


@pytest.mark.parametrize("words", ["fraction0", "fraction1.1", "fraction-1", "counts", "counts(3)"])
def test_invalid_values_are_rejected(words: str) -> None:
    with pytest.raises(UsageError):
        scenarios.parse(words)


# counts


def named_view(counts: list[int], seed: int = 0) -> View:
    labels = np.repeat(np.arange(3), counts)
    classes = ("NA", "süß, sauer", "007")
    return View.of(Source("toy", np.zeros((len(labels), 1, 1, 1), np.uint8), labels, classes), seed=seed)


LINES = 'class,count\nNA,4\n"süß, sauer",10\n007,1\n'
SEMICOLONS = 'class;count\nNA;4\n"süß, sauer";10\n007;1\n'


def write_file(tmp_path: Path, text: str, name: str = "sizes.csv") -> str:
    (tmp_path / name).write_bytes(text.encode())
    return str(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        *(LINES, "\ufeff" + LINES, LINES.replace("\n", "\r\n") + ",\r\n", SEMICOLONS),
        'count,note,class\n10,x,"süß, sauer"\n1,,007\n4,,NA\n',
    ],
    ids=["plain", "byte order mark", "windows", "semicolons", "columns and lines in another order"],
)
def test_counts_match_the_file(tmp_path: Path, text: str) -> None:
    after = Counts(write_file(tmp_path, text))(named_view([10, 10, 10]))
    assert after.counts.tolist() == [4, 10, 1]
    assert after.digest == scenarios.parse(f"counts(file={tmp_path / 'sizes.csv'})")(named_view([10, 10, 10])).digest
    fewer = Counts(write_file(tmp_path, LINES.replace("4", "3")))(named_view([10, 10, 10]))
    assert set(fewer.rows) < set(after.rows)


@given(counts=st.lists(st.integers(1, 60), min_size=3, max_size=3), scale=st.floats(0.02, 1.5))
@settings(max_examples=60, deadline=None)
def test_counts_of_held_out_rows_are_scaled_and_clipped(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], scale: float
) -> None:
    path = write_file(tmp_path_factory.mktemp("counts"), LINES)
    after = Counts(path)(replace(named_view(counts), scale=scale, training=False))
    expected = [
        min(round(round(count * scale, 6)), available) for count, available in zip((4, 10, 1), counts, strict=True)
    ]
    assert after.counts.tolist() == expected


def test_held_out_counts_are_limited_by_the_available_rows(tmp_path: Path) -> None:
    path = write_file(tmp_path, LINES)
    assert Counts(path)(replace(named_view([3, 20, 7]), training=False)).counts.tolist() == [3, 10, 1]
    with pytest.raises(UsageError, match="requests 4 samples of class 'NA', which has 3"):
        Counts(path)(named_view([3, 20, 7]))


def test_counts_are_assigned_in_another_order_on_request(tmp_path: Path) -> None:
    path = write_file(tmp_path, LINES)
    assert Counts(path, order="reversed")(named_view([10, 10, 10])).counts.tolist() == [1, 10, 4]
    orders = {tuple(Counts(path, order="seeded")(named_view([10, 10, 10], seed)).counts) for seed in range(12)}
    assert len(orders) > 2
    assert {tuple(sorted(order)) for order in orders} == {(1, 4, 10)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINES.replace("NA,4", "NA,11"), "requests 11 samples of class 'NA', which has 10"),
        (LINES.replace("007", "07"), "line 4: there is no class '07' (did you mean '007'?); there are: NA, "),
        (LINES + "NA,3\n", "lists class 'NA' twice, but should list each class once"),
        (LINES.replace("NA,4\n", ""), "does not list class 'NA', but should list each class once"),
        (LINES.replace("4", "0"), "the count of class 'NA' is '0' but should be greater than or equal to 1"),
        (LINES.replace("4", "-4"), "the count of class 'NA' is '-4' but should be greater than or equal to 1"),
        (LINES.replace("4", "4.5"), "the count of class 'NA' is '4.5' but should be a valid integer"),
        (LINES.replace("4", ""), "the count of class 'NA' is '' but should be a valid integer"),
        (LINES.replace("4", "9" * 400), "should be less than or equal to 1000000000000"),
        (LINES.replace("class,count", "class,size"), "has no column count; it has: class, size"),
        (LINES.replace("class,count", "count,count"), "has no column class; it has: count, count"),
        ("count,class,count\n4,NA,4\n", "has two columns called count; it has: count, class, count"),
        (LINES.replace("1\n", "1,\n"), "has 3 values, but line 1 has 2"),
        ("class,count\n0,NA,4\n1,007,2\n", "line 2 of "),
        ("", "is empty"),
        ('class,count\n"NA,4\n', "is not a valid CSV file: line 2"),
    ],
)
def test_an_invalid_file_of_counts_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Counts(write_file(tmp_path, text))(named_view([10, 10, 10]))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_of_counts_is_rejected_with_the_nearest_name(tmp_path: Path) -> None:
    write_file(tmp_path, LINES)
    with pytest.raises(UsageError, match=r"there is no .*size\.csv \(did you mean 'sizes\.csv'\?\)"):
        Counts(str(tmp_path / "size.csv"))(named_view([10, 10, 10]))
    with pytest.raises(UsageError, match="is a folder, not a file"):
        Counts(str(tmp_path))(named_view([10, 10, 10]))
    (tmp_path / "latin.csv").write_bytes(LINES.encode("latin-1"))
    with pytest.raises(UsageError, match=r"is not UTF-8 \(line 3\)"):
        Counts(str(tmp_path / "latin.csv"))(named_view([10, 10, 10]))


def test_a_class_absent_from_held_out_rows_does_not_empty_others() -> None:
    labels = np.repeat([0, 2], [20, 40])
    shown = View.of(Source("toy", np.zeros((60, 1, 1, 1), np.uint8), labels, tuple("abc")), scale=0.1)
    assert scenarios.parse("step2")(shown).counts.tolist() == [20, 0, 10]
