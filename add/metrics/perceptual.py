"""A perceptual distance between images in the manner of LPIPS; Zhang et al. 2018 (arXiv:1801.03924), Eq. 1.

This is not LPIPS: its numbers compare with each other and with no published LPIPS. The features come from
EfficientNet-Lite0, trained on ImageNet, instead of AlexNet or VGG, and its channels weigh the same (w_l = 1) instead of
as people's judgements taught. Per layer l, channels are scaled to unit length at each place, and

    d(x, y) = sum_l 1 / (H_l W_l) sum_hw |z_hw^l(x) - z_hw^l(y)|^2

One choice keeps an image's row short: after that scaling, layers finer than 7 x 7 places are averaged to 7 x 7. It
forgives small shifts. Between patches of tissue at 64 pixels the distance is 0.6 of what it is without (correlation
over pairs 0.97), and shifting a patch by a pixel costs 0.11 instead of 0.17 of the mean distance.
"""
from typing import Any

import torch
import torch.nn.functional as F

from add.errors import UserError
from add.metrics.image_features import load_features, to_network_input

BLOCKS = (0, 2, 4, 10, 15)  # the last block at each resolution: 16, 24, 40, 112 and 320 channels
MOST_PLACES = 7  # along each side
INPUT_SIZE = 112  # pixels; half of what the network was trained at, for a fourth of the time
SMALLEST_INPUT = 32
SMALLEST_LENGTH = 1e-10  # keeps a place with no activation at 0


class PerceptualDistance:
    """Perceptual distance: images are embedded as rows whose squared Euclidean distance it is.

    Args:
        device: where the network runs.
        input_size: pixels that images are scaled to; distances from different sizes do not compare.
    """

    name = "efficientnet_lite0_perceptual"

    def __init__(self, device: torch.device | str = "cpu", input_size: int = INPUT_SIZE) -> None:
        if input_size < SMALLEST_INPUT:
            raise UserError(f"the perceptual distance was asked to scale images to {input_size} pixels: expected at "
                            f"least {SMALLEST_INPUT}, the network halves them five times; {INPUT_SIZE} is the default")
        self.device, self.input_size = torch.device(device), input_size
        self.network: Any = load_features("efficientnet_lite0", device).network

    @torch.no_grad()
    def embed(self, images: torch.Tensor, batch_size: int = 16) -> torch.Tensor:
        """Return rows float32 [n, M], on the CPU, of images [n, 3, H, W] in [-1, 1] of any size.

        Args:
            batch_size: images per forward pass; it does not change the result.
        """
        _check_images(images)
        parts = images.split(batch_size) if len(images) else [images.new_zeros(1, 3, 8, 8)]
        rows = torch.cat([self._embed(part.to(self.device)).cpu() for part in parts])
        return rows[:len(images)]

    def pairwise(self, images: torch.Tensor, batch_size: int = 16) -> torch.Tensor:
        """Return the distances between all images, float32 [n, n]; symmetric, 0 on the diagonal."""
        rows = self.embed(images, batch_size)
        return between(rows, rows).fill_diagonal_(0)

    def layers(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the network's activations [n, C_l, H_l, W_l] after each of BLOCKS."""
        x = to_network_input(images, self.input_size).contiguous(memory_format=torch.channels_last)
        x = self.network._swish(self.network._bn0(self.network._conv_stem(x)))
        found = []
        for i, block in enumerate(self.network._blocks):
            x = block(x)
            if i in BLOCKS:
                found.append(x)
        return found

    def _embed(self, images):
        return torch.cat([layer_rows(layer) for layer in self.layers(images)], dim=1)


def layer_rows(layer: torch.Tensor) -> torch.Tensor:
    """Return rows [n, C * places] of a layer [n, C, H, W]; their squared distance is the layer's summand of Eq. 1."""
    unit = layer / (layer.square().sum(dim=1, keepdim=True) + SMALLEST_LENGTH).sqrt()
    height, width = (min(length, MOST_PLACES) for length in layer.shape[2:])
    pooled = F.adaptive_avg_pool2d(unit, (height, width))
    return pooled.flatten(1) / (height * width) ** 0.5


def between(x_rows: torch.Tensor, y_rows: torch.Tensor) -> torch.Tensor:
    """Return distances float32 [n, m] between rows [n, M] and [m, M] of `PerceptualDistance.embed`."""
    return torch.cdist(x_rows.double(), y_rows.double()).square().float()


def _check_images(images):
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(f"perceptual distances were asked of a batch of shape {tuple(images.shape)}: expected "
                        f"[n, 3, H, W], colour images in [-1, 1]; repeat a grey channel three times")
    if not torch.isfinite(images).all():
        raise UserError("perceptual distances were asked of images with NaN or infinite values: expected numbers in "
                        "[-1, 1]; look at the images, the model may have broken down")
