"""Places of plots: values lie where the axis says, whatever their range."""
import math

import pytest

from add.results.page_plots import MOST_POINTS, interval_plot, line_plot, thinned


def points_of(plot, number=0):
    return [tuple(map(float, pair.split(","))) for pair in plot["lines"][number]["points"].split()]


@pytest.mark.parametrize("values", [[0, 1], [-3, 12], [1e-9, 3e-9], [5, 5], [0, 0], [-1e6, 2e7]])
def test_ticks_stand_where_their_values_would(values):
    plot = line_plot("a", "x", {"b": list(enumerate(values))}, "")
    left, top, right, bottom = plot["box"]
    assert all(left <= x <= right and top - 0.1 <= y <= bottom + 0.1 for x, y in points_of(plot))
    (x0, y0), (x1, y1) = points_of(plot)
    ticks = plot["y_ticks"]
    assert 2 <= len(ticks) <= 12 and len({tick["text"] for tick in ticks}) == len(ticks)
    if values[0] != values[1]:
        for tick in ticks:
            share = (float(tick["text"]) - values[0]) / (values[1] - values[0])
            assert tick["at"] == pytest.approx(y0 + share * (y1 - y0), abs=0.5)


def test_an_axis_by_factors_puts_equal_factors_at_equal_distances():
    plot = line_plot("a", "x", {"b": [(0, 1), (1, 10), (2, 100)]}, "", by_factors=True)
    heights = [y for _, y in points_of(plot)]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    even = line_plot("a", "x", {"b": [(0, 1), (1, 2), (2, 3)]}, "", by_factors=True)  # no factor of 5
    heights = [y for _, y in points_of(even)]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)


def test_what_is_not_finite_is_left_out():
    plot = line_plot("a", "x", {"b": [(0, 1), (1, math.nan), (2, 2)], "c": [(0, math.inf)]}, "")
    assert len(plot["lines"]) == 1 and len(points_of(plot)) == 2
    assert line_plot("a", "x", {"b": [(0, math.nan)]}, "") is None and interval_plot("a", {}, "") is None


def test_long_lines_become_means():
    points = thinned([(i, i % 2) for i in range(10 * MOST_POINTS)])
    assert len(points) == MOST_POINTS and points[0] == (4.5, 0.5) and {y for _, y in points} == {0.5}
    assert thinned([(1, 2), (3, 4)]) == [(1, 2), (3, 4)]


def test_intervals_are_in_order_and_may_lack():
    plot = interval_plot("a", {"plain": (0.5, 0.4, 0.6), "mixup": (0.7, None, None)}, "")
    first, second = plot["rows"]
    assert first["low"] < first["mean"] < first["high"] < second["mean"] and second["low"] is None
    assert first["at"] < second["at"]
