"""What several draws of one study are: which images each gets, so that none has an image of another."""
import math
from typing import NamedTuple

import numpy as np

from add.interfaces import Row

ENDS = "ends"  # the test set of images of the domains
VAL_SHARE = 0.2
SEEDS_OF_A_DRAW = 1000  # of which each draw has its own


class Draw(NamedTuple):
    """Which of a study's draws: its number from 0, and how many there are."""

    number: int = 0
    of: int = 1

    def seed(self, seed: int) -> int:
        """Return the seed of what this draw draws, from that of the study."""
        return seed + SEEDS_OF_A_DRAW * self.number


ONLY_DRAW = Draw()


class DrawnImages(NamedTuple):
    """{domain: [(file name, function that gives the image, severity or None)]} to train on, {test: the same}.

    groups: {"train" or test: {domain/file name: group}}.
    """

    pool: Row
    tests: Row
    disjoint: bool = True
    groups: Row | None = None


def val_count(size: int) -> int:
    """Return the number of validation images per domain beside `size` training images."""
    return math.ceil(VAL_SHARE * size)


def dealt(count: int, needed: int, seed: int, rng: np.random.Generator, draw: Draw, disjoint: bool) -> np.ndarray:
    """Return the `needed` indices of `count` images that a draw gets, in random order."""
    order = rng.permutation(count)  # the same for all draws
    if disjoint:
        return order[draw.number * needed:(draw.number + 1) * needed]
    return np.random.default_rng([seed, draw.number]).permutation(count)[:needed]
