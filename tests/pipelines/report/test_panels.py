"""The panels of a report, looked at as matplotlib holds them, and as they stand in a page."""

import re

import numpy as np
import pandas as pd
import pytest

from pipelines.report.charts.class_sizes import plot_class_sizes
from pipelines.report.charts.costs import plot_costs, spread_apart
from pipelines.report.charts.differences import plot_class_differences, plot_forest
from pipelines.report.charts.epochs import plot_accuracy_curves, plot_epochs
from pipelines.report.charts.labels import shorten_distinctly
from pipelines.report.charts.matrices import plot_matrix
from pipelines.report.charts.output import add_title, render_svg, save_figure
from pipelines.report.charts.reliability import plot_reliability
from pipelines.report.charts.style import BETTER_COLOUR, FAINT, INK, PANEL_LINES, panel_line_styles
from robustkd.evaluation.results import ReliabilityBin

ODD = ["süß, sauer", "$50$ % \\frac", 'an id="x" d="0.123456" url(#y) #0072b2']


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text()]


def test_bars_are_sorted_with_their_intervals_and_without_classes_that_have_no_difference():
    table = pd.DataFrame(
        {"class": ["a", "b", "c", "d"], "difference": [-0.1, 0.2, np.nan, 0.0], "low": -0.3, "high": 0.25}
    )
    (axes,) = plot_class_differences(table).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "d", "a"]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [20, 0, -10])
    assert axes.patches[0].get_facecolor() != axes.patches[2].get_facecolor()
    (lines,) = axes.collections
    np.testing.assert_allclose([segment[:, 0] for segment in lines.get_segments()], [[-30, 25]] * 3)
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the largest on top"


def test_bars_of_a_hundred_classes_have_a_name_each():
    table = pd.DataFrame({"class": [f"class {n}" for n in range(100)], "difference": 0.1, "low": 0.0, "high": 0.2})
    figure = plot_class_differences(table)
    assert len({text for text in texts(figure) if text.startswith("class ")}) == 100
    assert figure.get_size_inches()[1] / 100 > 7 / 72, "no lower than its letters"


def test_a_method_that_failed_is_told_by_its_number_beside_the_others():
    table = pd.DataFrame(
        {"difference": [0.01, -0.01, 0.02, -0.5], "low": [0.0, -0.02, 0.01, -0.6], "high": [0.02, 0.0, 0.03, -0.4]},
        index=["a", "b", "c", "failed"],
    ).assign(verdict=["no difference shown", "no difference shown", "better", "worse"])
    (axes,) = plot_forest(table).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "a", "b", "failed"]
    assert axes.get_xlim()[0] > -20
    assert [text.get_text() for text in axes.texts] == ["◂ −50.0 (−60.0 to −40.0)"]
    full = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() in "Do"]
    assert full == [BETTER_COLOUR, "#ffffff", "#ffffff"], "full where a verdict is given"


def test_one_seed_has_no_intervals_and_is_drawn_all_the_same():
    table = pd.DataFrame({"difference": [0.01], "low": np.nan, "high": np.nan, "verdict": "too few seeds"}, index=["a"])
    low, high = plot_forest(table, 0.02).axes[0].get_xlim()
    assert low < 0 < 1 < 2 < high, "and so is the broken line"
    for difference in (0.01, -0.3, 0.0):  # the ring is whole: its middle is farther from the edge than half of it
        axes = plot_forest(table.assign(difference=difference)).axes[0]
        (ring,) = [line for line in axes.lines if line.get_marker() == "o"]
        at = axes.transData.transform((ring.get_xdata()[0], 0))[0] * 72 / axes.figure.dpi
        box = axes.get_window_extent()
        edges = np.array([box.x0, box.x1]) * 72 / axes.figure.dpi
        assert np.abs(edges - at).min() > 4


def intervals(axes):
    return [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"][:-1]


def test_an_interval_lies_inside_the_axis():
    table = pd.DataFrame(
        {"difference": [0.001, -0.002, 0.0], "low": [-0.03, -0.035, -0.031], "high": [0.032, 0.031, 0.031]},
        index=[*"abc"],
    ).assign(verdict="no difference shown")
    (axes,) = plot_forest(table).axes
    low, high = axes.get_xlim()
    assert low < -3.5
    assert high > 3.2
    assert not axes.texts
    np.testing.assert_allclose(sorted(span[0] for span in intervals(axes)), [-3.5, -3.1, -3.0])


def test_an_interval_that_goes_beyond_the_axis_ends_in_an_arrow_with_its_number():
    table = pd.DataFrame(
        {"difference": [0.02, -0.03, 0.01], "low": [-3.8, -0.05, 0.0], "high": [3.84, -0.01, np.nan]}, index=[*"abc"]
    ).assign(verdict="too few seeds")
    (axes,) = plot_forest(table).axes
    low, high = axes.get_xlim()
    assert -40 < low < -5
    assert 4 < high < 40
    assert [text.get_text() for text in axes.texts] == ["−380.0", "384.0"]
    assert [line.get_marker() for line in axes.lines if line.get_marker() in "<>"] == ["<", ">"]
    assert all(
        low <= x <= high for line in axes.lines for x in line.get_xdata() if line is not axes.lines[-1] and x == x
    )


@pytest.mark.parametrize(("size", "most"), [(0.75, 100), (0.1, 30), (0.002, 5)])
def test_bars_stay_readable_beside_intervals_of_hundreds_of_points(size, most):
    table = pd.DataFrame({"class": ["a", "b", "c"], "difference": [size, 0.0, -size / 2], "low": -6.85, "high": 5.85})
    table.loc[1, ["low", "high"]] = np.nan
    (axes,) = plot_class_differences(table).axes
    low, high = axes.get_xlim()
    assert -1.11 * most < low < -most
    assert most < high < 1.11 * most
    arrows = {line.get_marker(): [*line.get_ydata()] for line in axes.lines if line.get_marker() in "<>"}
    assert arrows == {"<": [0, 2], ">": [0, 2]}
    spans = [segment[:, 0] for segment in axes.collections[0].get_segments() if len(segment)]
    assert np.nanmin(spans) == -most
    assert np.nanmax(spans) == most


def test_names_of_a_list_stay_unlike_one_another():
    long = ["hinton(alpha=0.7, temperature=2)", "hinton(alpha=0.7, temperature=2)+balanced"]
    table = pd.DataFrame({"difference": [0.1, 0.2], "low": 0.0, "high": 0.3, "verdict": "better"}, index=long)
    for figure in (
        plot_forest(table),
        plot_class_differences(table.rename_axis("class").reset_index()),
        plot_matrix(np.zeros((2, 2)), long, long, ("", "")),
        plot_costs(pd.DataFrame({"seconds": [1, 2], "accuracy": [0.5, 0.6]}, index=long), {}),
        plot_accuracy_curves(pd.DataFrame({"method": long, "seed": 0, "epoch": 1, "accuracy": 0.5})),
    ):
        told = [text for text in texts(figure) if text.startswith("hinton")]
        assert len(told) >= 2
        assert len({*told}) == 2
        assert max(map(len, told)) <= 34


def test_names_are_cut_no_longer_than_asked_and_never_alike():
    random = np.random.default_rng(0)
    for _ in range(30):
        middle = {"".join(random.choice([*"ab"], 4)) for _ in range(9)}
        before, after = "x" * random.integers(0, 40), "y" * random.integers(0, 40)
        names = [before + text + after for text in sorted(middle)]
        found = shorten_distinctly([*names, *names], 18)
        assert found[: len(names)] == found[len(names) :]
        assert len({*found}) == len(names)
        assert max(map(len, found)) <= 18
        assert all(cut == name for cut, name in zip(found, names, strict=False) if len(name) <= 18)


def test_a_matrix_is_tinted_by_the_root_of_its_shares_and_written_out():
    share = np.array([[0.75, 0.25, 0.0], [np.nan] * 3, [-0.01, -0.004, 1.0]])
    figure = plot_matrix(share, ODD, ODD, ("class", "taken for"))
    (axes,) = figure.axes
    pixels = np.asarray(axes.images[0].get_array())
    step = len(pixels) // 3
    alpha = pixels[::step, ::step, 3] / 255
    np.testing.assert_allclose(alpha[0], [0.75 * 0.75**0.5, 0.75 * 0.5, 0], atol=0.003)
    np.testing.assert_allclose(alpha[1], 0)
    blue, vermilion = pixels[0, 0, :3], pixels[2 * step, 0, :3]
    assert blue[2] > blue[0]
    assert vermilion[0] > vermilion[2]
    assert [text.get_text() for text in axes.texts] == ["+75", "+25", "−1.0", "−0.4", "+100"]


def test_a_large_matrix_has_names_and_no_numbers():
    names = [f"class {n}" for n in range(100)]
    (axes,) = plot_matrix(np.eye(100), names, names, ("", "")).axes
    assert not axes.texts
    assert len(axes.get_yticklabels()) == 100
    (axes,) = plot_matrix(np.zeros((30, 3)), names[:30], ["a", "b", "c"], ("", "")).axes
    assert len(axes.get_yticklabels()) == 30


def test_names_in_a_column_keep_their_order_and_their_distance():
    random = np.random.default_rng(0)
    for _ in range(50):
        wanted = pd.Series(np.sort(random.uniform(0, 1, random.integers(1, 30)))[::-1])
        places = spread_apart(wanted, 0.03)
        assert (np.diff(places) <= -0.03 + 1e-9).all()
        assert places.max() <= 1 + 1e-9
        assert places.min() >= -1e-9


def test_the_cheapest_and_the_dearest_have_round_numbers_beneath_them():
    table = pd.DataFrame({"seconds": [3.0, 700.0], "accuracy": [0.9, 0.95]}, index=["a", "b"])
    figure = plot_costs(table, {"a": INK})
    assert [f"{tick:g}" for tick in figure.axes[0].get_xticks()] == ["5", "10", "20", "50", "100", "200", "500"]
    alone = plot_costs(table.iloc[:1], {})
    assert len(alone.axes[0].get_xticks()) > 1


def test_reliability_draws_what_is_there():
    bins = [
        ReliabilityBin(low=0.0, high=0.5, count=0, confidence=None, accuracy=None),
        ReliabilityBin(low=0.5, high=1.0, count=4, confidence=0.75, accuracy=0.5),
    ]
    (axes,) = plot_reliability(bins, BETTER_COLOUR).axes
    assert [round(bar.get_height(), 1) for bar in axes.patches] == [50.0, 12.0]
    (disc,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert (disc.get_xdata()[0], disc.get_ydata()[0]) == (75, 50)


def test_curves_tell_some_methods_apart_and_draw_the_rest_behind_them():
    rows = [(m, s, e, (e + s) / 10) for m in ("a", "b", "c") for s in (0, 1) for e in (1, 2)]
    table = pd.DataFrame(rows, columns=["method", "seed", "epoch", "accuracy"])
    (axes,) = plot_epochs(table, "accuracy", ["b", "a"], (1.0, 0.5)).axes
    colours = [line.get_color() for line in axes.lines]
    assert colours == [FAINT, PANEL_LINES[0][0], INK, INK]
    np.testing.assert_allclose(axes.lines[2].get_ydata(), [15, 25])
    assert len({str(look) for look in panel_line_styles(6)}) == 6


def test_a_run_of_one_epoch_is_seen_and_no_axis_goes_beyond_100_per_cent():
    rows = [(m, s, 1, 1.0 - 0.02 * s) for m in ("a", "b", "c") for s in (0, 1)]
    table = pd.DataFrame(rows, columns=["method", "seed", "epoch", "accuracy"])
    for figure in (plot_epochs(table, "accuracy", ["a", "b"], (1.0, 1.0)), plot_accuracy_curves(table)):
        (axes,) = figure.axes
        assert all(line.get_marker() in ("o", "D") for line in axes.lines)
        assert [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]] == [1]
        low, high = axes.get_ylim()
        assert 100 < high < 101, "room for the line itself"
        assert max(tick for tick in axes.get_yticks() if low <= tick <= high) <= 100
        for band in axes.collections:
            assert np.max([path.vertices[:, 1].max() for path in band.get_paths()]) <= 100


def test_sizes_are_drawn_for_one_net_or_two_and_classes_without_recall():
    counts = pd.Series([10.0, 100.0, 40.0], ["a", "b", "c"])
    recalls = {"baseline": pd.Series([0.5, np.nan, 1.0], ["a", "b", "c"])}
    (axes,) = plot_class_sizes(counts, recalls).axes
    assert axes.get_xscale() == "log"
    both = plot_class_sizes(counts / counts, {**recalls, "best": recalls["baseline"]})
    assert both.axes[0].get_xscale() == "linear"


@pytest.mark.parametrize("wide", [1, 30])
def test_the_names_of_classes_of_one_size_do_not_overlap_and_sizes_are_whole(wide):
    random = np.random.default_rng(1)
    names = [f"a class {n}" for n in range(10)]
    counts = pd.Series(26 + wide * random.integers(0, 5, 10) / 2, names)
    recalls = {net: pd.Series(random.choice([0, 0.5, 0.75, 1.0], 10), names) for net in ("baseline", "best")}
    figure = plot_class_sizes(counts, recalls)
    (axes,) = figure.axes
    figure.canvas.draw()
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert len(boxes) >= 9
    pairs = [(a, b) for a in boxes for b in boxes if a < b]
    assert not [pair for pair in pairs if boxes[pair[0]].overlaps(boxes[pair[1]])]
    assert all(tick == round(tick) for tick in axes.get_xticks())
    assert max(axes.get_yticks()) == 100


@pytest.mark.parametrize("name", ["one", "two"])
def test_in_a_page_ids_are_its_own_colours_are_the_pages_and_names_stay_as_they_are(name):
    figure = plot_class_differences(
        pd.DataFrame({"class": ODD, "difference": [0.3, 0.2, -0.1], "low": 0.0, "high": 0.1})
    )
    svg = render_svg(figure, name, 'one "picture" <b>')
    assert svg.startswith('<svg viewBox="0 0 ')
    assert 'aria-label="one &quot;picture&quot; &lt;b&gt;"' in svg
    ids = re.findall(r'<[^>]* id="([^"]*)"', svg)
    assert ids
    assert len(ids) == len(set(ids))
    assert all(each.startswith(f"{name}-") for each in ids)
    assert set(re.findall(r'<[^>]*(?:url\(|href=")#([^")]+)', svg)) <= set(ids)
    assert "var(--blue)" in svg
    assert "var(--vermilion)" in svg
    assert "currentColor" in svg
    assert not re.findall(r"<[^>]*(?:#0072b2|#1b1c1f|font-family|xlink)", svg, flags=re.IGNORECASE)
    assert '>an id="x" d…y) #0072b2<' in svg
    assert render_svg(figure, name, 'one "picture" <b>') == svg


def test_a_file_has_its_title_within_it(tmp_path):
    figure = plot_matrix(np.eye(3), ODD, ODD, ("class", "taken for"))
    before = figure.axes[0].get_window_extent().height
    save_figure(add_title(figure, "a title"), tmp_path / "a.png")
    assert figure.axes[0].get_window_extent().height == pytest.approx(before)
    assert "a title" in texts(figure)
