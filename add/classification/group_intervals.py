"""Intervals of a score over groups: how much it would change with other slides or patients.

Images of one slide are alike, so that a hundred of them tell less than a hundred images of as many slides. Whole groups
are drawn with replacement (Davison and Hinkley 1997, section 3.8), and the score is computed of the images drawn.
"""
from collections.abc import Callable, Mapping, Sequence

import numpy as np

REPEATS = 1000
FEWEST_GROUPS = 3  # of fewer an interval would say nothing
Scores = Mapping[str, float]


def grouped_intervals(score: Callable[[np.ndarray], Scores], groups: Sequence[str] | np.ndarray, seed: int = 0,
                      confidence: float = 0.95) -> dict[str, tuple[float, float]]:
    """Return {score: (low, high)}, percentiles over REPEATS draws of groups; {} of fewer than FEWEST_GROUPS.

    Args:
        score: score(indices int64 [m] of images) -> {score: float}, NaN where these images say nothing of one.
        groups: the group of each image, [n].
    """
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    members = [np.flatnonzero(numbers == k) for k in range(numbers.max() + 1)]
    if len(members) < FEWEST_GROUPS:
        return {}
    rng = np.random.default_rng(seed)
    drawn = [score(np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))]))
             for _ in range(REPEATS)]
    tail = 100 * (1 - confidence) / 2
    ends = {name: np.nanpercentile([found[name] for found in drawn], [tail, 100 - tail]) for name in drawn[0]}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}
