"""A set of images as one Gaussian, and its best denoiser in closed form: what the head start is made of.

The Gaussian is independent between the frequencies of the orthonormal two-dimensional DCT-II (for textures these are
nearly the principal axes: Ahmed, Natarajan & Rao 1974), and has a covariance of the colours at each of them. With
x_t = s x_start + n eps, s = sqrt(alpha_bar), n = sqrt(1 - alpha_bar), mean m and a principal axis of variance l, on
which z is what x_t - s m comes to, the expectations given x_t are, on that axis (Wiener's filter),

    x_start: m + s l / (s^2 l + n^2) z
    eps:         n   / (s^2 l + n^2) z
    v:       -n m + s n (1 - l) / (s^2 l + n^2) z

and what they leave open has the variance n^2 l, s^2 l and l, each over s^2 l + n^2.
"""
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from add.errors import UserError

SYMMETRIES = ("none", "mirror", "flips", "dihedral")  # of add.data.transforms.ORIENTATIONS
QUANTISATION = (2 / 255) ** 2 / 12  # variance of the rounding of 8-bit pixels in [-1, 1]: none is smaller


@dataclass(frozen=True)
class GaussianPrior:
    """A Gaussian of images [C, H, W] in [-1, 1], by frequencies of the DCT-II.

    mean: [C, H, W], an image. variances: [C, H, W], of the principal axes of the colours at each frequency, ascending.
    axes: [C, C, H, W]; axes[c, e] is the part of colour c in axis e.
    """

    mean: torch.Tensor
    variances: torch.Tensor
    axes: torch.Tensor


def dct_matrix(size: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Return the orthonormal DCT-II as a matrix [size, size]: row k holds the cosine of frequency k / (2 size)."""
    places, frequencies = torch.arange(size, dtype=torch.float64), torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * frequencies[:, None] * (places + 0.5)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.to(dtype)


def fit_gaussian(batches: Iterable[torch.Tensor], symmetry: str = "none") -> GaussianPrior:
    """Return the GaussianPrior of images, float32 tensors [b, C, H, W] in [-1, 1], in float64.

    Of the mean's coefficients only what stands out from their own error stays (James & Stein 1961, the positive part):
    of a few images of a texture, that is the mean colour.

    Args:
        symmetry: one of SYMMETRIES, the orientations that the images are seen in: the moments are those of the set in
            all of them. "dihedral" needs squares.

    Raises:
        UserError: no images.
    """
    count, first, second = 0, torch.zeros(()), torch.zeros(())
    for x in batches:
        rows, columns = (dct_matrix(size, x.dtype).to(x.device) for size in x.shape[2:])
        z = rows @ x @ columns.T
        count += len(x)
        first = first + z.sum(dim=0).double()
        second = second + torch.einsum("bchw,bdhw->cdhw", z, z).double()
    if count == 0:
        raise UserError("no images were given for the head start: expected at least one; check the folder")
    first, second = _symmetrised(first / count, second / count, symmetry)
    spread = second.diagonal(dim1=0, dim2=1).sum(dim=-1) - first.square().sum(dim=0)  # [H, W]
    error = spread / max(1, count - 1)
    kept = (1 - error / first.square().sum(dim=0).clamp(min=1e-30)).clamp(0, 1)
    mean = first * kept
    covariance = second - _outer(first, mean) - _outer(mean, first) + _outer(mean, mean)
    variances, axes = torch.linalg.eigh(covariance.permute(2, 3, 0, 1))  # [H, W, C], [H, W, C, C]
    rows, columns = (dct_matrix(size).to(mean.device) for size in mean.shape[1:])
    return GaussianPrior(rows.T @ mean @ columns, variances.permute(2, 0, 1).clamp(min=QUANTISATION).contiguous(),
                         axes.permute(2, 3, 0, 1).contiguous())


def linear_gain(variances: torch.Tensor, signal: torch.Tensor, spread: torch.Tensor, prediction: str) -> torch.Tensor:
    """Return the factor of z in the expectation of `prediction` on each principal axis, see above.

    Args:
        variances: l. signal, spread: s and n; all broadcast against each other.
        prediction: one of parametrization.PREDICTIONS.
    """
    noisy = signal.square() * variances + spread.square()
    if prediction == "x_start":
        return signal * variances / noisy
    return (spread if prediction == "epsilon" else signal * spread * (1 - variances)) / noisy


def mean_factor(spread: torch.Tensor, prediction: str) -> torch.Tensor:
    """Return the factor of the mean image in the expectation of `prediction`, like `spread`, n."""
    if prediction == "x_start":
        return torch.ones_like(spread)
    return torch.zeros_like(spread) if prediction == "epsilon" else -spread


def open_variance(variances: torch.Tensor, signal: torch.Tensor, spread: torch.Tensor, prediction: str) -> torch.Tensor:
    """Return the variance of `prediction` given x_t, on each principal axis; arguments as of `linear_gain`."""
    left = variances / (signal.square() * variances + spread.square())
    factor = {"epsilon": signal, "x_start": spread}.get(prediction)
    return left if factor is None else left * factor.square()


def _symmetrised(first, second, symmetry):
    """Return the moments [C, H, W] and [C, C, H, W] of coefficients, over all orientations of a symmetry.

    A mirror image changes the sign of the odd frequencies along it, and a quarter turn exchanges the directions too.
    """
    assert symmetry in SYMMETRIES, f"symmetry {symmetry!r} is none of {SYMMETRIES}"
    first = first.clone()
    if symmetry != "none":
        first[..., 1::2] = 0
    if symmetry in ("flips", "dihedral"):
        first[..., 1::2, :] = 0
    if symmetry != "dihedral":
        return first, second
    return (first + first.mT) / 2, (second + second.mT) / 2


def _outer(a, b):
    """Return the products of the colours of a and b [C, H, W] with each other, [C, C, H, W]."""
    return a[:, None] * b[None]
