"""Choice of a few images that show what a set holds: spread over its groups, and over what the images look like.

The first by name would be one corner of a slide: tiling tools name tiles by their place.
"""
from collections import Counter
from collections.abc import Sequence

import numpy as np

from add.data.dataset import ImageSet

MOST_CANDIDATES = 2000  # of a larger set, so many drawn at random are looked at
CELLS = 8  # a side of the grid of mean colours that images are compared by


def choose_spread(images: ImageSet, count: int, seed: int = 0, groups: Sequence[str] | None = None) -> list[int]:
    """Return the sorted indices of `count` images, or of all where there are no more.

    The first is drawn by the seed. Each further one is, of the groups with the fewest images so far, the image farthest
    from those chosen (Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5): by the mean colours and their spread in a
    CELLS x CELLS grid.

    Args:
        groups: [n], what must be shown evenly, such as slides; None: one group.
    """
    if count >= len(images):
        return list(range(len(images)))
    order = np.random.default_rng([seed, len(images)]).permutation(len(images))
    candidates = _drawn(order, max(count, MOST_CANDIDATES), groups)
    if count >= len(candidates):  # as many are wanted as are looked at
        return sorted(candidates.tolist())
    features = _features(images, candidates)
    kinds = np.array(["" if groups is None else groups[i] for i in candidates])
    chosen = [0]
    nearest = np.square(features - features[0]).sum(axis=1)
    used = Counter(dict.fromkeys(kinds.tolist(), 0))
    used[kinds[0]] = 1
    while len(chosen) < count:
        free = np.ones(len(candidates), dtype=bool)
        free[chosen] = False
        fewest = min(used[kind] for kind in set(kinds[free].tolist()))
        eligible = free & np.array([used[kind] == fewest for kind in kinds.tolist()])
        pick = int(np.where(eligible, nearest, -1.0).argmax())
        chosen.append(pick)
        used[kinds[pick]] += 1
        nearest = np.minimum(nearest, np.square(features - features[pick]).sum(axis=1))
    return sorted(int(candidates[i]) for i in chosen)


def _drawn(order, most, groups):
    """Return the first `most` images of a random order, taken from each group in turn."""
    if groups is None or len(order) <= most:
        return order[:most]
    rank: Counter[str] = Counter()
    places = []
    for place, index in enumerate(order.tolist()):
        places.append((rank[groups[index]], place))
        rank[groups[index]] += 1
    return order[[place for _, place in sorted(places)[:most]]]


def _features(images, indices):
    """Return float64 [m, D] of the images at `indices`, each number of about equal weight."""
    rows = []
    for index in indices.tolist():
        pixels = images.batch([index], crop="center")[0].astype(np.float64)
        edges = np.linspace(0, len(pixels), min(CELLS, len(pixels)) + 1).round().astype(int)
        cells = [pixels[top:bottom, left:right] for top, bottom in zip(edges, edges[1:], strict=False)
                 for left, right in zip(edges, edges[1:], strict=False)]
        rows.append(np.concatenate([np.concatenate([cell.mean(axis=(0, 1)), cell.std(axis=(0, 1))]) for cell in cells]))
    return np.stack(rows)
