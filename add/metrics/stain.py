"""Difference in colour between generated and real images: means and spreads in CIE Lab, where stain shows as a shift.

CIE 15, by scikit-image: sRGB under D65; L in [0, 100] is lightness, a runs from green to red, b from blue to yellow.
Haematoxylin and eosin differ mostly in a and b; a pale or overstained set shows in L.
"""
from typing import NamedTuple

import numpy as np
import torch

from add.errors import UserError
from add.extras import install_command

IMAGES_AT_ONCE = 64


class StainShift(NamedTuple):
    """Colour of two sets, each per channel (L, a, b) over all pixels; shifts are of generated minus real.

    delta_e is the CIE76 difference, the Euclidean distance, of the mean colours; 2.3 is about what people just notice.
    """

    real_mean: tuple[float, float, float]
    fake_mean: tuple[float, float, float]
    mean_shift: tuple[float, float, float]
    real_spread: tuple[float, float, float]
    fake_spread: tuple[float, float, float]
    spread_shift: tuple[float, float, float]
    delta_e: float


def lab_shift(real: torch.Tensor, fake: torch.Tensor) -> StainShift:
    """Return the StainShift from real images [n, 3, H, W] to generated ones [m, 3, H, W], both in [-1, 1].

    Spread is the standard deviation; sets may differ in number and size of images.
    """
    real_mean, real_spread = lab_moments(real)
    fake_mean, fake_spread = lab_moments(fake)
    shift = fake_mean - real_mean
    return StainShift(real_mean=_triple(real_mean), fake_mean=_triple(fake_mean), mean_shift=_triple(shift),
                      real_spread=_triple(real_spread), fake_spread=_triple(fake_spread),
                      spread_shift=_triple(fake_spread - real_spread), delta_e=float(np.linalg.norm(shift)))


def lab_moments(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, float64 [3] each, of the Lab channels over all pixels of images in [-1, 1].

    Args:
        images: [n, 3, H, W]; values outside are cut off.

    Raises:
        UserError: no images, broken ones, or scikit-image is missing.
    """
    rgb2lab = _import_rgb2lab()
    if images.ndim != 4 or images.shape[1] != 3 or images.numel() == 0:
        raise UserError(f"colours were asked of a batch of shape {tuple(images.shape)}: expected [n, 3, H, W], at "
                        f"least one colour image in [-1, 1]")
    if not torch.isfinite(images).all():
        raise UserError("colours were asked of images with NaN or infinite values: expected numbers in [-1, 1]; look "
                        "at the images, the model may have broken down")
    total, squares = np.zeros(3), np.zeros(3)
    for part in images.split(IMAGES_AT_ONCE):
        rgb = (part.double().clamp(-1, 1).permute(0, 2, 3, 1).cpu().numpy() + 1) / 2
        lab = rgb2lab(rgb).reshape(-1, 3)
        total += lab.sum(axis=0)
        squares += (lab ** 2).sum(axis=0)
    pixels = images.numel() / 3
    mean = total / pixels
    return mean, np.sqrt(np.maximum(squares / pixels - mean ** 2, 0))


def _triple(row: np.ndarray) -> tuple[float, float, float]:
    lightness, a, b = row.tolist()
    return lightness, a, b


def _import_rgb2lab():
    try:
        from skimage.color import rgb2lab
    except ImportError as error:
        raise UserError("colours in Lab need the package scikit-image, expected it to import: run "
                        f"`{install_command('eval', 'scikit-image')}`") from error
    return rgb2lab
