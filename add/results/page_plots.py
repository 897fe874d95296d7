"""Plots of a results page as numbers to draw with: lines over an axis, and intervals by name.

add/results/templates/plot.html draws them as SVG in the page's own colors, so that they follow light and dark, stay
sharp in print, and need no package.
"""
import math
from collections.abc import Mapping, Sequence

from add.interfaces import Row

WIDTH, HEIGHT = 520, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 38  # margins
NAMES_LEFT, ROW_HEIGHT = 170, 26  # of intervals
MOST_POINTS = 200  # of a line; more are taken together
MOST_DOTS = 25  # points of a line that are marked
LOGARITHMIC = 5.0  # ratio of the largest to the smallest value from which on an axis may be logarithmic
TICKS = 5

Points = Sequence[tuple[float, float]]


def line_plot(title: str, x_label: str, lines: Mapping[str, Points], reads: str, by_factors: bool = False
              ) -> Row | None:
    """Return the plot of lines {name: [(x, y), ...]}, or None where no line has a finite point.

    Args:
        reads: a sentence that says how to read it.
        by_factors: the y axis is logarithmic where values are positive and span a factor of LOGARITHMIC.
    """
    kept = {name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
            for name, points in lines.items()}
    kept = {name: thinned(points) for name, points in kept.items() if points}
    if not kept:
        return None
    xs, ys = ([point[place] for points in kept.values() for point in points] for place in (0, 1))
    logarithmic = by_factors and min(ys) > 0 and max(ys) > LOGARITHMIC * min(ys)
    across = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = _Axis(min(ys), max(ys), HEIGHT - BOTTOM, TOP, logarithmic)
    drawn = []
    for name, points in kept.items():
        places = [(across.place(x), up.place(y)) for x, y in points]
        drawn.append({"name": name, "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in places),
                      "dots": places if len(places) <= MOST_DOTS else []})
    return {"kind": "lines", "title": title, "reads": reads, "x_label": x_label, "width": WIDTH, "height": HEIGHT,
            "box": (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM), "lines": drawn, "x_ticks": across.ticks(),
            "y_ticks": up.ticks()}


def interval_plot(title: str, rows: Mapping[str, tuple[float, float | None, float | None]], reads: str) -> Row | None:
    """Return the plot of {name: (mean, low, high)}, a line each, or None where there is none; low and high may lack."""
    if not rows:
        return None
    values = [value for row in rows.values() for value in row if value is not None]
    height = TOP + ROW_HEIGHT * len(rows) + BOTTOM
    across = _Axis(min(values), max(values), NAMES_LEFT, WIDTH - RIGHT)
    drawn = [{"name": name, "at": TOP + ROW_HEIGHT * (number + 0.5), "mean": across.place(mean),
              "low": None if low is None else across.place(low), "high": None if high is None else across.place(high)}
             for number, (name, (mean, low, high)) in enumerate(rows.items())]
    return {"kind": "intervals", "title": title, "reads": reads, "x_label": "", "width": WIDTH, "height": height,
            "box": (NAMES_LEFT, TOP, WIDTH - RIGHT, height - BOTTOM), "rows": drawn, "x_ticks": across.ticks(),
            "y_ticks": []}


def thinned(points: Points) -> list[tuple[float, float]]:
    """Return at most MOST_POINTS points: the means of so many that follow each other."""
    together = -(-len(points) // MOST_POINTS)
    parts = [points[first:first + together] for first in range(0, len(points), together)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


class _Axis:
    """Places of values between two ends in the picture; logarithmic: by their logarithms."""

    def __init__(self, least, most, start, end, logarithmic=False):
        self.logarithmic = logarithmic
        if least == most:
            least, most = (least / 2, most * 2) if logarithmic else (least - (abs(least) or 1) / 2,
                                                                     most + (abs(most) or 1) / 2)
        self.least, self.most, self.start, self.end = least, most, start, end

    def place(self, value):
        low, high, own = map(math.log, (self.least, self.most, value)) if self.logarithmic else (self.least, self.most,
                                                                                               value)
        return self.start + (self.end - self.start) * (own - low) / (high - low)

    def ticks(self):
        """Return [{"at": place, "text": value}, ...], round values."""
        values = self._factors() if self.logarithmic else []
        if len(values) < 2:
            step = _round_step((self.most - self.least) / TICKS)
            first = math.ceil(self.least / step - 1e-9)
            values = [k * step for k in range(first, first + 2 * TICKS + 2) if k * step <= self.most + 1e-9 * step]
            values = [value for value in values if not self.logarithmic or value > 0]
        return [{"at": round(self.place(value), 1), "text": f"{value:.4g}"} for value in values]

    def _factors(self):
        """Return round values at equal distances on a logarithmic axis: powers of ten, and 2 and 5 times them."""
        powers = range(math.floor(math.log10(self.least)), math.ceil(math.log10(self.most)) + 1)
        every = (1, 2, 5) if len(powers) <= 3 else (1,)
        values = [factor * 10.0**power for power in powers for factor in every]
        inside = [value for value in values if self.least <= value <= self.most]
        return inside[::-(-len(inside) // (2 * TICKS))] if inside else []


def _round_step(step):
    """Return the smallest of 1, 2, 2.5 and 5 times a power of ten that is no smaller than `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))
