"""What several draws of a study say: intervals over draws, for other test images, too, and corrected p values."""
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from add.classification.places_file import Places
from add.classification.score_reads import lower_is_better
from add.classification.scores import Interval, interval
from add.interfaces import Row

BETTER, SAME, WORSE, OPEN = "better", "the same within the margin", "worse", "undecided"


class Comparison(NamedTuple):
    """A method against a rival, from what they have in each draw.

    difference: the method's value less the rival's, an `Interval` over the draws. p: two-sided, of no difference, or
        None where the draws don't differ. verdict: BETTER, SAME, WORSE or OPEN. by_draw: the differences.
    """

    difference: Interval
    p: float | None
    verdict: str
    by_draw: list[float]


def compare_draws(method: Sequence[float], rival: Sequence[float], margin: float, less_is_better: bool) -> Comparison:
    """Return the `Comparison` of two methods' values, one for each draw, by a paired t test."""
    by_draw = [own - other for own, other in zip(method, rival, strict=True)]
    found = interval(by_draw)
    sign = -1 if less_is_better else 1
    gains = [sign * bound for bound in (found.low, found.high) if bound is not None]
    if not gains:
        verdict = OPEN
    elif max(abs(bound) for bound in gains) <= margin:
        verdict = SAME
    elif min(gains) > 0:
        verdict = BETTER
    else:
        verdict = WORSE if max(gains) < 0 else OPEN
    return Comparison(found, _p_value(by_draw), verdict, by_draw)


def ranked(methods: Mapping[str, Mapping[str, Row]], score: str) -> list[str]:
    """Return the names of methods, {method: {score: {"draws": [value in each]}}}, the best mean of a score first."""
    sign = 1 if lower_is_better(score) else -1
    return sorted(methods, key=lambda method: sign * interval(methods[method][score]["draws"]).mean)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm (1979, Scand. J. Statist. 6, 65), in the same order."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values).tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def interval_for_other_tests(draws: Sequence[Places], method: str, rival: str, repeats: int = 2000, seed: int = 0,
                             confidence: float = 0.95) -> tuple[float, float] | None:
    """Return (low, high) of the difference in the error of places, method less rival, of draws that share their tests.

    Student's interval over the draws holds for these test images alone. This one is for others, too: its half width is
    the root of the sum of squares of that one's and of a second one's, for which groups of test images are taken with
    replacement, the same ones in all draws (the bootstrap of groups, Davison & Hinkley 1997, section 3.8). As there are
    few groups, its standard error counts by Student's t, too. The draws themselves are not taken with replacement:
    of three to six of them that gives intervals that are too narrow by a third and more. None of one draw or one group.
    An error is the root mean square over the images, averaged over the classifiers.

    Args:
        draws: the `Places` of the test set in each draw, of the same images.
    """
    from scipy.stats import t

    number = int(draws[0].groups.max()) + 1
    found = interval([float(_differences(places, method, rival, np.ones((1, number)))[0]) for places in draws])
    if found.low is None or number < 2:
        return None
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(number, np.full(number, 1 / number), size=repeats).astype(float)  # [repeats, groups]
    means = np.mean([_differences(places, method, rival, weights) for places in draws], axis=0)  # [repeats]
    spread = means.std() * math.sqrt(number / (number - 1))
    half = math.hypot(found.mean - found.low, t.ppf((1 + confidence) / 2, number - 1) * spread)
    return found.mean - half, found.mean + half


def _differences(places, method, rival, weights):
    """Return the differences float64 [repeats] with groups of test images counted by weights [repeats, groups]."""
    counts = weights @ np.bincount(places.groups, minlength=weights.shape[1])
    return np.subtract(*(_errors(places, name, weights, counts) for name in (method, rival)))


def _errors(places, name, weights, counts):
    squares = (places.by_method[name].astype(float) - places.truth) ** 2  # [seeds, n]
    sums = np.stack([np.bincount(places.groups, own, minlength=weights.shape[1]) for own in squares])  # [seeds, groups]
    return np.sqrt(weights @ sums.T / counts[:, None]).mean(axis=1)


def _p_value(differences: ArrayLike) -> float | None:
    """Return the two-sided p value of Student's t test that the mean of differences [D] is 0.

    None where they have no spread to judge by: one alone, or all the same.
    """
    from scipy.stats import t

    differences = np.asarray(differences, dtype=float)
    if np.ptp(differences) < 1e-12:
        return None
    spread = differences.std(ddof=1) / math.sqrt(len(differences))
    return float(2 * t.sf(abs(differences.mean()) / spread, len(differences) - 1))
