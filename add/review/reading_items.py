"""Which images a reading shows, and in which order."""
import dataclasses
from collections.abc import Sequence

import numpy as np

from add.results.translation_series import Series

GENERATED, REAL = "generated", "real"


@dataclasses.dataclass(frozen=True)
class Item:
    """One showing of an image, as the key knows it.

    item: its name in the page and in the answers, which says its place in the order alone.
    repeat_of: the item that showed the same image before, or "".
    kind: GENERATED or REAL.
    folder: of a generated image, the number of its translation; of a real one, that of its stage, 0 or 1.
    image: the path, of a generated image relative to its translation folder.
    m: place in the series, 0 for a real image.
    sha256: of the image file.
    """

    item: str
    repeat_of: str
    kind: str
    folder: int
    image: str
    m: int
    sha256: str


def choose_generated(series: Series, count: int, rng: np.random.Generator) -> list[int]:
    """Return the rows of `count` images of a translation, or all where it has fewer.

    Their places m are spread evenly from 1 to N, and the source images are used as evenly as that allows.
    """
    count = min(count, len(series))
    places = np.linspace(1, series.amount, count).round().astype(int) if count > 1 else np.array([series.amount])
    used = np.zeros(int(series.groups.max()) + 1, dtype=int)
    left = np.ones(len(series), dtype=bool)
    chosen = []
    for place in rng.permutation(places):
        distance = np.where(left, np.abs(series.m - place), np.inf)  # the nearest, where all of one place are taken
        nearest = np.flatnonzero(distance == distance.min())
        fewest = nearest[used[series.groups[nearest]] == used[series.groups[nearest]].min()]
        row = int(rng.choice(fewest))
        used[series.groups[row]] += 1
        left[row] = False
        chosen.append(row)
    return chosen


def shares(count: int, parts: int) -> list[int]:
    """Return `count` divided into `parts` whole numbers that differ by one at most."""
    return [count // parts + (i < count % parts) for i in range(parts)]


def in_random_order(items: Sequence[Item], repeats: int, rng: np.random.Generator) -> list[Item]:
    """Return the items in random order under names by place, `repeats` of them a second time.

    The repeated ones are among the first third, and come again among the last one, so that a third of the reading
    lies between.
    """
    order = [items[i] for i in rng.permutation(len(items))]
    third = len(order) // 3
    again = rng.choice(third, repeats, replace=False).tolist()
    late: list[tuple[Item, int]] = [(order[i], -1) for i in range(len(order) - third, len(order))]
    late += [(order[i], i) for i in again]
    late = [late[i] for i in rng.permutation(len(late))]
    sequence = [(own, -1) for own in order[:len(order) - third]] + late
    digits = max(3, len(str(len(sequence))))
    names = [f"{place:0{digits}}" for place in range(1, len(sequence) + 1)]
    return [dataclasses.replace(own, item=name, repeat_of="" if first < 0 else names[first])
            for name, (own, first) in zip(names, sequence, strict=True)]
