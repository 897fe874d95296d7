"""Kernel Inception Distance between two sets of features; Binkowski et al. 2018 (arXiv:1801.01401), section 4.

The squared maximum mean discrepancy with the kernel k(x, y) = (x . y / D + 1)^3, in its unbiased form: unlike FID
its expectation does not depend on the number of images, so sets of a hundred compare with sets of ten thousand. It
can be slightly negative where two sets are alike.
"""
from typing import NamedTuple

import torch

from add.errors import UserError
from add.metrics.image_features import Array, checked_pair

DEGREE = 3
LARGEST_SUBSET = 1000


class KID(NamedTuple):
    """Mean and standard deviation of the estimates on random subsets, and their size.

    The standard deviation is that of a single subset; the mean is surer.
    """

    mean: float
    spread: float
    subset_size: int


def polynomial_kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return k [n, m] = (x y^T / D + 1)^3 of features x [n, D] and y [m, D]."""
    return (x @ y.T / x.shape[1] + 1) ** DEGREE


def squared_mmd(x: Array, y: Array) -> torch.Tensor:
    """Return the unbiased squared MMD between x [n, D] and y [m, D], a 0-d float64 tensor; n and m may differ.

    Gretton et al. 2012, Eq. 3: pairs of an image with itself are left out.
    """
    x, y = checked_pair(x, y, ("first", "second"))
    return _mean_of_pairs(x) + _mean_of_pairs(y) - 2 * polynomial_kernel(x, y).mean()


def kid(x: Array, y: Array, num_subsets: int = 100, subset_size: int | None = None,
        generator: torch.Generator | None = None) -> KID:
    """Return the KID between features x [n, D] and y [m, D], from random subsets of both without repetition.

    Args:
        num_subsets: pairs of subsets drawn.
        subset_size: images in each; left out, half of the smaller set (so that subsets differ), at most 1000.
        generator: on the CPU; draws the subsets.

    Raises:
        UserError: fewer than two images in a set, or fewer than subset_size.
    """
    x, y = checked_pair(x, y, ("first", "second"))
    fewest = min(len(x), len(y))
    if subset_size is None:
        subset_size = min(max(2, fewest // 2), LARGEST_SUBSET)
    if not 2 <= subset_size <= fewest:
        raise UserError(f"KID subsets of {subset_size} images were asked of sets of {len(x)} and {len(y)}: expected "
                        f"2 to {fewest}; lower the subset size, or give more images")
    if num_subsets < 1:
        raise UserError(f"{num_subsets} subsets were asked for: expected at least 1")
    estimates = torch.stack([squared_mmd(_draw(x, subset_size, generator), _draw(y, subset_size, generator))
                             for _ in range(num_subsets)])
    return KID(estimates.mean().item(), estimates.std(correction=0).item(), subset_size)


def _mean_of_pairs(x):
    """Return the mean kernel over pairs of different rows."""
    k = polynomial_kernel(x, x)
    return (k.sum() - k.trace()) / (len(x) * (len(x) - 1))


def _draw(x, count, generator):
    return x[torch.randperm(len(x), generator=generator)[:count]]
