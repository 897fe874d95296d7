"""The feature F(t) that depth control follows: the mean Fourier magnitude of the grey image at low frequencies."""
import torch

from add.diffusion.wide_numbers import to_float64
from add.errors import UserError

GREY = (0.299, 0.587, 0.114)  # weights of R, G, B (ITU-R BT.601)
FEATURES = ("reference", "radial")


def measure_feature(x: torch.Tensor, kind: str = "reference") -> torch.Tensor:
    """Return the mean Fourier magnitude of each image, float64 [B].

    "reference" is what the published ADD code measures: the mean over 18 bins of the centred 2-D FFT, on the
    row of vertical frequency 0 at offsets -10..-2 and +1..+9 from the column numbered half the image's HEIGHT,
    so that only square images are measured about frequency 0. "radial" averages the bins from 1 to 10 cycles
    per image over all directions, for images of any shape.

    Args:
        x: [B, 3, H, W], clean images in [-1, 1], or the same at any noise level.
        kind: one of FEATURES.

    Raises:
        UserError: unknown kind, images that are not [B, 3, H, W], or a size that leaves no bin to average.
    """
    if kind not in FEATURES:
        raise UserError(f"unknown feature '{kind}': expected one of {', '.join(FEATURES)}")
    if x.dim() != 4 or x.shape[1] != 3:
        raise UserError(f"images of shape {tuple(x.shape)}: expected [B, 3, H, W]")
    red, green, blue = to_float64(x).unbind(dim=1)
    grey = GREY[0] * red + GREY[1] * green + GREY[2] * blue  # [B, H, W]
    return _reference(grey) if kind == "reference" else _radial(grey)


def _reference(grey):
    height, width = grey.shape[1:]
    # The row of vertical frequency 0 is the 1-D transform of the sum over rows.
    row = torch.fft.fftshift(torch.fft.fft(grey.sum(dim=1)), dim=1).abs()
    # The published high-pass mask blanks two bins about frequency 0, which square images don't average anyway.
    row[:, max(0, width // 2 - 1):width // 2 + 1] = 0
    center = height // 2
    # A start below 0 counts from the end, as in the published code: under 20 pixels fewer bins are averaged.
    left, right = slice(center - 10, center - 1), slice(center + 1, center + 10)
    return _mean_of_bins(torch.cat([row[:, left], row[:, right]], dim=1), height, width)


def _radial(grey):
    height, width = grey.shape[1:]
    magnitude = torch.fft.fft2(grey).abs()
    vertical = torch.fft.fftfreq(height, 1 / height, device=grey.device)
    horizontal = torch.fft.fftfreq(width, 1 / width, device=grey.device)
    radius = torch.hypot(vertical[:, None], horizontal[None, :])  # cycles per image
    return _mean_of_bins(magnitude[:, (radius >= 1) & (radius <= 10)], height, width)


def _mean_of_bins(bins, height, width):
    if bins.shape[1] == 0:
        raise UserError(f"images of {height} x {width} pixels leave no frequency to measure: expected larger "
                        f"ones, square ones for the feature 'reference'; resize them, or set --feature radial")
    return bins.mean(dim=1)
