"""Adaptive depth control: which depths to decode from, so that the images progress evenly (ADD, Sec. 2)."""
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from add.errors import UserError

RULES = ("reference", "even", "uniform", "progress")
SEARCH_LIMIT = 101  # tries per value before the published search gives up
LEAST_CHANGE = 1e-6  # |F(T) - F(0)| in units of the largest |F|, or of 1; below lies the rounding of float32
LARGEST_OVERSHOOT = 0.25  # of |F(T) - F(0)|, beyond which F says little about how far the noise has come
LEAST_PROGRESS = 0.01  # |change| of the progress measure, in units as above; a grey level of 256 is 0.008
LEAST_PACE = 1e-3  # of a stretch of depths without progress, of the even grid's; it keeps the inverse unique
LARGEST_FALL = 0.25  # of the progress from 0 to T, beyond which the measure says little about how far images have come


@dataclass(frozen=True)
class DepthPlan:
    """The depths chosen for one image, and the rule that chose them.

    depths: ints, ascending, each a number of encode steps from 1 to T.
    rule: the rule that was followed; "uniform" where the wanted one could not be.
    reason: why not, or "".
    """

    depths: tuple[int, ...]
    rule: str
    reason: str = ""


def choose_depths(curve: ArrayLike, amount: int, rule: str = "uniform", start: float | None = None) -> DepthPlan:
    """Return the DepthPlan of one image.

    Args:
        curve: [T]; curve[k] is F after k + 1 encode steps, for "progress" the measure of the image decoded from
            there (progress_rule.py). Only its length matters to "uniform".
        amount: number of depths N, 1 <= N <= T.
        rule: "uniform" spaces them evenly from T / N to T. "even" takes the first depths where F has gone
            i / N of the way from F(0) to F(T), the paper's idea as stated. "reference" takes the published
            code's list, which is reversed and whose positions are then used as depths: they come out mirrored
            in time. "progress" takes those where the measure, made monotone, has gone i / N of the way.
        start: F(0), of the clean image, which "even" and "progress" look at; left out: curve[0].

    A rule that can't be followed gives evenly spaced depths and says so in `rule` and `reason`.

    Raises:
        UserError: amount out of range, unknown rule, or a curve with NaN or infinity.
    """
    curve = np.asarray(curve, dtype=np.float64)
    check_depth_options(len(curve), amount, rule)
    if rule == "uniform":
        return DepthPlan(uniform_depths(len(curve), amount), "uniform")
    start = curve[0] if start is None else float(start)
    if not (np.isfinite(curve).all() and np.isfinite(start)):
        raise UserError("the feature curve holds NaN or infinity: expected finite numbers; encoding diverged, "
                        "so check the source model" + (", or the target model" if rule == "progress" else ""))
    if rule == "reference":
        return _reference_plan(curve, amount)
    return (_even_plan if rule == "even" else _progress_plan)(curve, amount, start)


def check_depth_options(num_steps: int, amount: int, rule: str) -> None:
    """Raise UserError where no curve of num_steps could give `amount` depths by `rule`."""
    if not 1 <= amount <= num_steps:
        raise UserError(f"amount {amount}: expected 1 to {num_steps}, the number of steps; change --amount, or "
                        f"raise --timestep_respacing")
    if rule not in RULES:
        raise UserError(f"unknown depth rule '{rule}': expected one of {', '.join(RULES)}; "
                        f"change --depth_schedule")


def uniform_depths(num_steps: int, amount: int) -> tuple[int, ...]:
    """Return `amount` evenly spaced depths, a tuple of ascending ints that ends at num_steps."""
    return tuple(round(i * num_steps / amount) for i in range(1, amount + 1))


def reference_positions(total_list: ArrayLike, amount: int) -> tuple[list[int], bool]:
    """Return (positions, found) of the published get_adaptive_list on a list of measures.

    For amount values evenly spaced from the list's minimum to its maximum, the position of the nearest entry
    is taken, ahead of the one before; an entry that lies behind is overwritten with 0 and the search repeats.
    When it gives up, found is False and the positions are an even grid, which for short lists need not ascend.
    """
    values = np.array(total_list, dtype=np.float64)
    low, reach = values.min(), values.max() - values.min()
    positions, previous = [], 0
    for i in range(1, amount + 1):
        position = _search(values, low + reach * i / amount, previous)
        if position is None:
            gap = len(values) // amount
            return [*(gap * j for j in range(1, amount)), gap * amount - 1], False
        positions.append(position)
        previous = position
    return positions, True


def _search(values, value, previous):
    """Return the position nearest to `value` and above `previous`, or None; entries passed over become 0."""
    for _ in range(SEARCH_LIMIT):
        position = int(np.argmin(np.abs(values - value)))
        if position > previous:
            return position
        values[position] = 0
    return None


def _reference_plan(curve, amount):
    positions, found = reference_positions(curve[::-1], amount)
    if found:
        return DepthPlan(tuple(positions), "reference")
    if _ascend([0, *positions]):
        return DepthPlan(tuple(positions), "uniform",
                         "the published search gave up and spaced its list evenly")
    return DepthPlan(uniform_depths(len(curve), amount), "uniform",
                     "the published search gave up, and its even spacing repeats depths on so few steps")


def _even_plan(curve, amount, start):
    fallback = uniform_depths(len(curve), amount)
    if _is_flat(curve, start, LEAST_CHANGE):
        return DepthPlan(fallback, "uniform", "the curve is flat: F(T) equals F(0)")
    progress = (curve - start) / (curve[-1] - start)
    overshoot = max(-progress.min(), progress.max() - 1)
    if overshoot > LARGEST_OVERSHOOT:
        return DepthPlan(fallback, "uniform",
                         f"F leaves the range from F(0) to F(T) by {overshoot:.0%} of it, so it doesn't tell "
                         f"how far the noise has come")
    # The slack keeps rounding from hiding a crossing.
    depths = [int(np.argmax(progress >= i / amount - 1e-12)) + 1 for i in range(1, amount + 1)]
    if not _ascend(depths):
        return DepthPlan(fallback, "uniform",
                         "F passes several of the wanted values within one step: take more steps")
    return DepthPlan(tuple(depths), "even")


def _is_flat(curve, start, least):
    return abs(curve[-1] - start) <= least * max(1, abs(start), np.abs(curve).max())


def _progress_plan(curve, amount, start):
    fallback = uniform_depths(len(curve), amount)
    if _is_flat(curve, start, LEAST_PROGRESS):
        return DepthPlan(fallback, "uniform", "the curve is flat: by the measure, the translated image is its source")
    progress = np.concatenate([[0], (curve - start) / (curve[-1] - start)])
    fall = (np.maximum.accumulate(progress) - progress).max()
    if fall > LARGEST_FALL:
        return DepthPlan(fallback, "uniform",
                         f"the progress of the decoded images falls back by {fall:.0%} of the way, so it doesn't "
                         f"tell how far they have come")
    progress = monotone(progress)
    # Ends that the fit moved inwards are reached again, and a stretch without progress is crossed at an even pace.
    progress = (progress - progress[0]) / (progress[-1] - progress[0])
    pace = LEAST_PACE * np.arange(len(progress)) / len(curve)
    steps = np.interp(np.arange(1, amount + 1) / amount, progress * (1 - LEAST_PACE) + pace, np.arange(len(progress)))
    return DepthPlan(_apart(steps.round().astype(int), len(curve)), "progress")


def monotone(values: Iterable[float]) -> np.ndarray:
    """Return the rising float64 [n] nearest to `values` [n] by least squares (pool adjacent violators)."""
    means, sizes = [], []
    for value in values:
        means.append(float(value))
        sizes.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            mean, size = means.pop(), sizes.pop()
            means[-1] = (means[-1] * sizes[-1] + mean * size) / (sizes[-1] + size)
            sizes[-1] += size
    return np.repeat(means, sizes)


def _apart(depths, num_steps):
    """Return ascending ints near to `depths`, from 1 to num_steps, which the last one is."""
    apart: list[int] = []
    for place, depth in enumerate(depths):
        lowest = apart[-1] + 1 if apart else 1
        highest = num_steps - (len(depths) - 1 - place)  # leaves room for the others
        apart.append(min(max(int(depth), lowest), highest))
    return (*apart[:-1], num_steps)


def _ascend(numbers):
    return all(a < b for a, b in pairwise(numbers))
