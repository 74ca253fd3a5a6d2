"""Axes that several charts share."""

import pytest
from matplotlib.figure import Figure

from pipelines.report.charts.axes import limit_to_percent, name_rows, panel_axes, set_epoch_ticks, set_log_ticks


def test_margins_of_a_panel_are_in_inches() -> None:
    figure, axes = panel_axes(4.0, 2.0, left=0.5, bottom=0.4, right=0.1)
    assert figure.get_size_inches().tolist() == [4.0, 2.0]
    box = axes.get_position()
    assert (box.x0 * 4, box.y0 * 2, box.x1 * 4, box.y1 * 2) == pytest.approx((0.5, 0.4, 3.9, 1.9))


def test_the_first_row_is_at_the_top() -> None:
    axes = Figure().add_subplot()
    name_rows(axes, ["first", "second"], 8)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    bottom, top = axes.get_ylim()
    assert bottom > 1 > 0 > top


@pytest.mark.parametrize(
    ("limits", "expected"), [((-20, 130), (-3, 103)), ((40, 60), (40, 60)), ((50, 120), (50, 101.5))]
)
def test_a_vertical_axis_in_per_cent_ends_near_0_and_100(
    limits: tuple[float, float], expected: tuple[float, float]
) -> None:
    axes = Figure().add_subplot()
    axes.set_ylim(*limits)
    limit_to_percent(axes)
    assert axes.get_ylim() == pytest.approx(expected)


@pytest.mark.parametrize("last", [1, 2, 60, 300])
def test_ticks_of_epochs_are_whole(last: int) -> None:
    axes = Figure().add_subplot()
    axes.set_xlim(1, last + (last == 1))
    set_epoch_ticks(axes, last)
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks
    assert len(ticks) <= 7
    assert all(tick == round(tick) for tick in ticks)
    if last == 1:
        assert ticks == [1.0]


@pytest.mark.parametrize(
    ("limits", "whole", "ticks"),
    [
        ((0.8, 30.0), False, [1, 2, 5, 10, 20]),
        ((0.3, 30.0), False, [0.5, 1, 2, 5, 10, 20]),
        ((0.3, 30.0), True, [1, 2, 5, 10, 20]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_ordinary_numbers(
    limits: tuple[float, float], whole: bool, ticks: list[float]
) -> None:
    axes = Figure().add_subplot()
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    set_log_ticks(axes, whole)
    assert axes.get_xticks().tolist() == ticks
    formatter = axes.xaxis.get_major_formatter()
    assert [formatter(tick) for tick in ticks] == [f"{tick:g}" for tick in ticks]
    assert axes.get_xticks(minor=True).tolist() == []


@pytest.mark.parametrize("limits", [(11.0, 14.0), (1e-3, 1e8)])
def test_a_logarithmic_axis_has_a_few_ticks_whatever_its_range(limits: tuple[float, float]) -> None:
    axes = Figure().add_subplot()
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    set_log_ticks(axes)
    ticks = axes.get_xticks()
    assert 2 <= len(ticks) <= 7
    assert limits[0] <= min(ticks)
    assert max(ticks) <= limits[1]
