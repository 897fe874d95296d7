"""Frechet distance between Gaussians fitted to two sets of features; Heusel et al. 2017 (arXiv:1706.08500), Eq. 6.

    FID = |mu_1 - mu_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1 S_2)^(1/2)

With A [n, D] and B [m, D] the centred features over sqrt(n - 1) and sqrt(m - 1), S_1 = A^T A and S_2 = B^T B. The
eigenvalues of S_1 S_2 = A^T (A B^T) B other than 0 are those of (A B^T)(A B^T)^T, so the last trace is the sum of the
singular values of A B^T: exact for fewer images than features too, where a square root of the singular S_1 S_2
is not sure to converge and turns complex.

FID is biased: two samples of one distribution come out above 0, the more so the fewer the images. Compare values
at the same number of images only, and beside that of real images against real ones (`real_against_real`).
"""
from collections.abc import Callable
from typing import NamedTuple

import torch

from add.errors import UserError
from add.metrics.image_features import Array, checked_features, checked_pair


class Floor(NamedTuple):
    """Mean and standard deviation of a metric between disjoint halves of one set.

    The halves of different repeats share images: the standard deviation is smaller than that of fresh images.
    """

    mean: float
    spread: float


def fid(x: Array, y: Array) -> float:
    """Return the squared Frechet distance between features x [n, D] and y [m, D], in float64; n and m may differ.

    Raises:
        UserError: fewer than two images in a set.
    """
    x, y = checked_pair(x, y, ("first", "second"))
    a, b = _scaled(x), _scaled(y)
    shift = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    # Rounding alone can carry the sum below 0, by 1e-13 of the variances or so.
    return max(0.0, (shift + a.square().sum() + b.square().sum() - 2 * _cross_trace(a, b)).item())


def real_against_real(features: Array, count: int, generator: torch.Generator | None = None,
                      metric: Callable[[torch.Tensor, torch.Tensor], float | torch.Tensor] = fid,
                      repeats: int = 5) -> Floor:
    """Return the Floor of a metric: its values between two disjoint random parts of one set, `count` images each.

    It is what a perfect generator would score against `count` real images, and so what a value at that number of
    images is to be compared with.

    Args:
        features: [n, D], of real images.
        count: images in each part, at most n / 2.
        generator: on the CPU; draws the parts.
        metric: metric(x, y) -> number, of features x [count, D] and y [count, D].
        repeats: times that the set is split.

    Raises:
        UserError: fewer than 2 * count images, count below 2 or repeats below 1.
    """
    features = checked_features(features, "real")
    if not 2 <= count <= len(features) // 2:
        raise UserError(f"two disjoint parts of {count} images were asked of {len(features)} real images: expected a "
                        f"count of 2 to {len(features) // 2}; lower the count, or give more real images")
    if repeats < 1:
        raise UserError(f"{repeats} repeats were asked for: expected at least 1")
    found = []
    for _ in range(repeats):
        order = torch.randperm(len(features), generator=generator)
        found.append(float(metric(features[order[:count]], features[order[count:2 * count]])))
    values = torch.tensor(found, dtype=torch.float64)
    return Floor(values.mean().item(), values.std(correction=0).item())


def _scaled(x):
    """Return A with A^T A the unbiased covariance of x [n, D]; at most D rows, as only A^T A matters."""
    a = (x - x.mean(dim=0)) / (len(x) - 1) ** 0.5
    return torch.linalg.qr(a, mode="r").R if len(a) > a.shape[1] else a


def _cross_trace(a, b):
    """Return tr (S_1 S_2)^(1/2), the sum of the singular values of a b^T."""
    return torch.linalg.svdvals(a @ b.T).sum()
