"""Progress of a translation's images from source to target: evenness, monotony, and the error of a way there and back.

A position is one number per image: its place between the domains, 0 for the source's mean and 1 for the target's, by
`projection` of features or by a measure of severity. A sequence holds the N progressive images of one source image,
m = 1..N; an ideal one stands at m / N of its own way.
"""
from typing import NamedTuple

import torch

from add.errors import UserError
from add.metrics.image_features import Array

LEAST_MOVE = 0.01  # in positions, whose way from domain to domain is about 1


class Evenness(NamedTuple):
    """Mean and median absolute deviation from even steps, over the `sequences` that move; None where none does.

    A deviation is a share of the sequence's own way, averaged over its images between the ends; mean and median are
    over sequences. `still` counts those left out because they hardly move.
    """

    mean: float | None
    median: float | None
    sequences: int
    still: int


class Monotony(NamedTuple):
    """Share of steps forward, and the rank correlation of m and position, averaged over sequences."""

    forward: float
    spearman: float


def projection(features: Array, source_mean: Array, target_mean: Array) -> torch.Tensor:
    """Return positions float64 [n] on the line between domain means: 0 at the source's, 1 at the target's.

    (f - s) . (t - s) / |t - s|^2: the nearest point of the line; an image may lie before 0 or beyond 1.

    Args:
        features: [n, D]. source_mean, target_mean: [D], means over the real images of each domain.
    """
    features, source, target = map(_to_float64, (features, source_mean, target_mean))
    if features.ndim != 2 or not source.shape == target.shape == features.shape[1:]:
        raise ValueError(f"features {tuple(features.shape)} and means {tuple(source.shape)}, {tuple(target.shape)} do "
                         f"not fit: expected [n, D], [D] and [D]")
    way = target - source
    if not way.any():
        raise UserError("the domains have the same mean features, so there is no line between them: expected two "
                        "different folders of real images")
    return (features - source) @ way / way.square().sum()


def evenness(positions: Array, start: Array | None = None, least_move: float = LEAST_MOVE) -> Evenness:
    """Return the Evenness of sequences of positions [n, N], each scaled by its own ends.

    Args:
        start: [n], positions of the source images, which open the sequences: image m is held against m / N. Left out,
            the first image is the start, and image m is held against (m - 1) / (N - 1).
        least_move: sequences whose ends differ by less are counted as still and left out, their scale would be noise.
    """
    positions = _checked(positions, start)
    steps = positions.shape[1] - 1
    if steps < 2:
        raise UserError(f"evenness was asked of sequences of {positions.shape[1]} positions: expected at least 3, as "
                        f"ends lie on the line by definition; make more progressive images")
    moves = positions[:, -1] - positions[:, 0]
    moved = moves.abs() >= max(least_move, torch.finfo(torch.float64).tiny)
    still = int((~moved).sum())
    if still == len(positions):
        return Evenness(None, None, 0, still)
    scaled = (positions[moved] - positions[moved, :1]) / moves[moved, None]
    line = torch.arange(steps + 1, dtype=torch.float64) / steps
    deviations = (scaled - line)[:, 1:-1].abs().mean(dim=1)
    return Evenness(deviations.mean().item(), deviations.quantile(0.5).item(), len(deviations), still)


def monotony(positions: Array, start: Array | None = None) -> Monotony:
    """Return the Monotony of sequences of positions [n, N], which rise towards the target.

    An unchanged position is no step forward. A sequence of equal positions has rank correlation 0.

    Args:
        start: [n], positions of the source images, which open the sequences.
    """
    positions = _checked(positions, start)
    if positions.shape[1] < 2:
        raise UserError(f"monotony was asked of sequences of {positions.shape[1]} positions: expected at least 2; make "
                        f"more progressive images")
    forward = (positions.diff(dim=1) > 0).double().mean().item()
    a = _ranks(positions)
    b = _ranks(torch.arange(positions.shape[1], dtype=torch.float64)[None])
    correlation = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-300)
    return Monotony(forward, correlation.mean().item())


def cycle_error(x: torch.Tensor, there_and_back: torch.Tensor) -> torch.Tensor:
    """Return the PSNR in dB, float64 [n], between images [n, C, H, W] in [-1, 1] and what a cycle made of them.

    10 log10(2^2 / mean squared difference); infinite for an image that came back unchanged. 8-bit rounding alone
    gives about 59 dB.
    """
    if x.shape != there_and_back.shape:
        raise UserError(f"images of shapes {tuple(x.shape)} and {tuple(there_and_back.shape)} were to be compared in "
                        f"pairs: expected as many of the same size in both")
    if not (torch.isfinite(x).all() and torch.isfinite(there_and_back).all()):
        raise UserError("images with NaN or infinite values were to be compared: expected numbers in [-1, 1]; look at "
                        "the images, the model may have broken down")
    mean_square = (x.double() - there_and_back.double()).square().flatten(1).mean(dim=1)
    return 10 * (4 / mean_square).log10()


def _ranks(rows):
    """Return centred ranks within rows [n, N]; equal values share the mean of their ranks."""
    a, b = rows[:, :, None], rows[:, None, :]
    ranks = (b < a).double().sum(dim=2) + (b == a).double().sum(dim=2) / 2
    return ranks - ranks.mean(dim=1, keepdim=True)


def _to_float64(x: Array) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64).detach().cpu()


def _checked(positions: Array, start: Array | None) -> torch.Tensor:
    """Return positions float64 [n, N], or [n, N + 1] with the start in front."""
    positions = _to_float64(positions)
    if positions.ndim != 2 or len(positions) == 0:
        raise ValueError(f"positions have shape {tuple(positions.shape)}: expected [n, N], a row for each of at least "
                         f"one source image")
    if start is not None:
        start = _to_float64(start)
        if start.shape != positions.shape[:1]:
            raise ValueError(f"starts have shape {tuple(start.shape)}: expected [{len(positions)}]")
        positions = torch.cat([start[:, None], positions], dim=1)
    if not torch.isfinite(positions).all():
        raise UserError("some positions are NaN or infinite: look at the images and at what measured them")
    return positions
