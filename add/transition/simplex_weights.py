"""Weights of domains along a path: points of the simplex, which are soft labels as well, and fields of them in space.

A path `blend` gives all pixels of an image the same weights. A path `mosaic` gives each pixel one domain, or near the
edges two, so that the domains lie side by side and the new one's part grows: tissue is rarely half of each everywhere.
"""
import hashlib

import numpy as np
import torch

from add.errors import UserError

PATHS = ("depth", "blend", "mosaic")
WEIGHT_RULES = ("even", "progress")
TOLERANCE = 1e-3  # by which weights may miss a sum of 1
HALVINGS = 50


def edge_weights(positions: torch.Tensor, count: int) -> torch.Tensor:
    """Return weights [..., count] at positions [...] from 0 to count - 1 along the edges between domains 0, 1, ...

    At position k domain k has all the weight, half-way to the next each has half.
    """
    return (1 - (positions[..., None] - torch.arange(count, dtype=positions.dtype)).abs()).clamp(min=0)


def parse_weights(text: str, count: int) -> torch.Tensor:
    """Return float64 [M, count] of a text such as "0.2,0.3,0.5" or, of several points, "0.5,0.5;0.1,0.9".

    Raises:
        UserError: other than numbers, another number of them, negative ones, or a sum other than 1.
    """
    points = []
    for part in text.split(";"):
        try:
            point = [float(number) for number in part.split(",")]
        except ValueError:
            point = []
        if len(point) != count or not all(0 <= number <= 1 for number in point) or abs(sum(point) - 1) > TOLERANCE:
            raise UserError(f"--weights {text}: '{part}' is no point between {count} domains: expected {count} numbers "
                            f"from 0 to 1 with commas, whose sum is 1, in the order of the way; several points with ;")
        points.append(point)
    weights = torch.tensor(points, dtype=torch.float64)
    return weights / weights.sum(dim=1, keepdim=True)


def check_mosaic(scale: float, edge: float) -> None:
    """Raise UserError where a mosaic can't be had with such patches and edges."""
    if not 0 < scale <= 1:
        raise UserError(f"--mosaic_scale is {scale}: expected more than 0, up to 1, the size of the patches as a share "
                        f"of the image's shorter side")
    if not 0 <= edge <= 1:
        raise UserError(f"--mosaic_edge is {edge}: expected 0 (hard edges) to 1, the share of the image that lies in "
                        f"an edge")


def mosaic_weights(weights: torch.Tensor, x: torch.Tensor, scale: float = 0.5, edge: float = 0.1,
                   seed: int = 0) -> torch.Tensor:
    """Return fields [B, M, K, H, W] whose means over the pixels are the weights [B, M, K], for images x [B, C, H, W].

    Each image has one smooth random field, which decides where a domain's part lies: the last domain fills it from its
    lowest place upwards, and the others follow. So a part that grows keeps the pixels that it has.

    Args:
        scale: size of the patches, as a share of the shorter side. edge: share of the image that lies in a soft edge,
            0: hard ones. seed: of the fields, which follow from it and from the image's own pixels.
    """
    check_mosaic(scale, edge)
    height, width = x.shape[2:]
    fields = []
    for image, points in zip(x, weights.double().cpu().numpy(), strict=True):
        digest = hashlib.sha256(np.ascontiguousarray(image.detach().cpu().float().numpy()).tobytes()).digest()
        ranks = _ranks(np.random.default_rng([seed, *digest]), height, width, scale)
        above = np.append(points[:, ::-1].cumsum(axis=1)[:, ::-1], np.zeros((len(points), 1)), axis=1)  # [M, K + 1]
        filled = np.stack([np.stack([_filled(ranks, part, edge) for part in row]) for row in above])
        fields.append(torch.from_numpy(filled[:, :-1] - filled[:, 1:]))
    return torch.stack(fields)


def _ranks(random, height, width, scale):
    """Return the ranks of a smooth random field [H, W], evenly spread between 0 and 1."""
    size = 2 * height, 2 * width  # a field of a torus; the quarter that is taken does not close on itself
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1]))
    spectrum = np.fft.rfft2(random.standard_normal(size)) * np.exp(-(np.pi * scale * min(height, width) * frequency)**2
                                                                   / 2)
    smooth = np.fft.irfft2(spectrum, size)[:height, :width]
    ranks = np.empty(height * width)
    ranks[smooth.ravel().argsort(kind="stable")] = (np.arange(height * width) + 0.5) / (height * width)
    return ranks.reshape(height, width)


def _filled(ranks, part, edge):
    """Return [H, W] from 0 to 1 with mean `part`: how far the pixels of the lowest ranks are filled."""
    if part <= 0 or part >= 1 - 1e-12:
        return np.full_like(ranks, float(part > 0))
    width = max(edge, 1e-9)

    def filled(level):
        return np.clip((level - ranks) / width + 0.5, 0, 1)

    low, high = -width / 2, 1 + width / 2
    for _ in range(HALVINGS):  # the mean rises with the level
        middle = (low + high) / 2
        low, high = (middle, high) if filled(middle).mean() < part else (low, middle)
    return filled(high)
