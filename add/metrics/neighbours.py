"""Precision and recall, density and coverage: quality and variety of generated images, told apart.

Around every image lies a ball that reaches to its k-th nearest neighbour in its own set. Precision and recall are
from Kynkaanniemi et al. 2019 (arXiv:1904.06991), density and coverage from Naeem et al. 2020 (arXiv:2002.09797).
A ball here includes its surface, so that an exact copy counts even where the radius is 0.
"""
from typing import NamedTuple

import torch

from add.errors import UserError
from add.metrics.image_features import Array, checked_pair


class PRDC(NamedTuple):
    """How far the generated images lie among the real ones, and the real ones among the generated.

    precision: share of generated images inside a real image's ball.
    recall: share of real images inside a generated image's ball; a few outliers among the generated raise it.
    density: real balls around a generated image, over k; near 1 for a perfect generator, above it for images that
        crowd where the real ones are dense. A real outlier with its wide ball raises it far less than precision.
    coverage: share of real images with a generated image in their ball; for a perfect generator and as many images
        in either set about 1 - 2^-k.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Array, fake: Array, k: int = 5) -> PRDC:
    """Return the PRDC of features real [n, D] and fake [m, D].

    All four depend on the number of images: compare at the same n and m.

    Args:
        k: which nearest neighbour sets the radius, the image itself not counted.

    Raises:
        UserError: k below 1, or not below the number of images in either set.
    """
    real, fake = checked_pair(real, fake, ("real", "generated"), fewest=1)
    fewest = min(len(real), len(fake))
    if not 1 <= k < fewest:
        raise UserError(f"the {k}-th nearest neighbour was asked of {len(real)} real and {len(fake)} generated images: "
                        f"expected 1 <= k < {fewest}; lower k, or give more images")
    distances = _distances(real, fake)  # [n, m]
    in_real_ball = distances <= radii(real, k)[:, None]
    in_fake_ball = distances <= radii(fake, k)[None, :]
    return PRDC(precision=_share(in_real_ball.any(dim=0)),
                recall=_share(in_fake_ball.any(dim=1)),
                density=in_real_ball.sum(dim=0).double().mean().item() / k,
                coverage=_share(in_real_ball.any(dim=1)))


def radii(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return the distance [n] of each row of x [n, D] to its k-th nearest other row."""
    distances = _distances(x, x).fill_diagonal_(float("inf"))
    return distances.kthvalue(k, dim=1).values


def _distances(x, y):
    # Not by a matrix product: it leaves copies a little apart from each other.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _share(mask):
    return mask.double().mean().item()
