"""How well readers agree, and what a count of images may mean."""
from collections.abc import Sequence

import numpy as np

LEVEL = 0.95  # of intervals


def exact_interval(count: int, total: int) -> tuple[float, float]:
    """Return the exact 95 % interval (low, high) of a share, `count` of `total`.

    Clopper and Pearson 1934, Biometrika 26: it holds for any number of images, and is rather too wide than too narrow.
    """
    from scipy.stats import binomtest

    found = binomtest(count, total).proportion_ci(LEVEL, method="exact")
    return float(found.low), float(found.high)


def cohen_kappa(first: Sequence[int], second: Sequence[int], num_classes: int, quadratic: bool = False
                ) -> float | None:
    """Return the agreement of two readers beyond chance, 1 at most; None where both said one class alone.

    Cohen 1960, Educ. Psychol. Meas. 20.

    Args:
        first, second: class numbers of the same images, below `num_classes`.
        quadratic: of ordered classes: an error counts by its square (Cohen 1968, Psychol. Bull. 70).
    """
    from sklearn.metrics import cohen_kappa_score

    if not len(first) or len({*first, *second}) == 1:
        return None
    return float(cohen_kappa_score(first, second, labels=list(range(num_classes)),
                                   weights="quadratic" if quadratic else None))


def fleiss_kappa(counts: np.ndarray) -> float | None:
    """Return the agreement of any number of readers beyond chance; None where all said one class alone.

    Fleiss 1971, Psychol. Bull. 76: (P - P_e) / (1 - P_e), P being the mean over images of the share of agreeing pairs
    of readers, and P_e the sum of the classes' squared shares.

    Args:
        counts: int [n, classes], how many readers put each image into each class; rows have one sum, 2 or more.
    """
    readers = counts[0].sum()
    assert readers > 1 and (counts.sum(axis=1) == readers).all(), "every image needs the same number of readers"
    agreeing = ((counts * (counts - 1)).sum(axis=1) / (readers * (readers - 1))).mean()
    by_chance = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    return None if by_chance == 1 else float((agreeing - by_chance) / (1 - by_chance))
