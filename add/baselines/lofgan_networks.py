"""LoFGAN's networks: encoder, local fusion module and decoder, and the discriminator; Gu et al., ICCV 2021.

At the paper's 128 pixels the encoder is five convolutions, four of which halve the image, so that maps of 8x8 places
are fused; the discriminator is a convolution, five residual blocks and two linear layers. Smaller images keep the 8x8
places: the encoder and the decoder keep their depth but change resolution less often, and the discriminator has
a residual block less for each halving. Widths of encoder and decoder are the authors' (32, 64, 128, 128, ...). Their
discriminator has 64 to 1024 channels, blocks that halve after both convolutions, and a last one that does not; here it
is narrower, all blocks halve, between their convolutions, down to 4x4, and a last activation comes before the pooling.

Group normalisation stands for the paper's batch normalisation: an image must not depend on those beside it, and running
averages of a network's activations do not fit the averaged weights that samples are made with (an average that the
authors do without). The discriminator's convolutions have spectral normalisation (Miyato et al. 2018,
arXiv:1802.05957), those of the shortcuts excepted.
"""
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from add.baselines.lofgan_fusion import FusionPlan, fuse, match

SLOPE = 0.2  # of the leaky ReLU
NORM_GROUPS = 8
DEPTH = 5  # convolutions of the encoder, and of the decoder, up to 128 pixels
WIDEST = 4  # times the first layer, in encoder and decoder
LAST_SIZE = 4  # pixels of the discriminator's last maps


def _conv(in_channels, out_channels, kernel_size=3, stride=1):
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, padding_mode="reflect")


class _Block(nn.Sequential):
    """A convolution, group normalisation and leaky ReLU; `scale` 0.5 halves the size, 2 doubles it first."""

    def __init__(self, in_channels, out_channels, scale=1, kernel_size=3):
        enlarge = [nn.Upsample(scale_factor=2, mode="nearest")] if scale == 2 else []
        conv = _conv(in_channels, out_channels, kernel_size, stride=2 if scale == 0.5 else 1)
        super().__init__(*enlarge, conv, nn.GroupNorm(NORM_GROUPS, out_channels), nn.LeakyReLU(SLOPE))


class Generator(nn.Module):
    """Generator of one image from k images of its class; section "Generator".

    Args:
        image_size, map_size: of the images and of the maps that are fused; powers of two, in pixels.
        channels: width of the first layer, a multiple of 8; it doubles with each halving of the size, up to 4 times.
    """

    def __init__(self, image_size: int, map_size: int, channels: int) -> None:
        super().__init__()
        self.map_size = map_size
        halvings = (image_size // map_size).bit_length() - 1
        widths = [channels * min(2 ** i, WIDEST) for i in range(halvings + 1)]
        inner = [(widths[-1], widths[-1], 1)] * max(0, DEPTH - 1 - halvings)
        down = [(narrow, wide, 0.5) for narrow, wide in zip(widths, widths[1:], strict=False)]
        up = [(wide, narrow, 2) for narrow, wide, _ in reversed(down)]
        self.encoder = nn.Sequential(*(_Block(*block) for block in [(3, channels, 1, 5), *down, *inner]))
        self.decoder = nn.Sequential(*(_Block(*block) for block in [*inner, *up]), _conv(channels, 3, 5))
        _initialise(self)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def forward(self, images: torch.Tensor, plan: FusionPlan) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (images made [B, 3, S, S] in (-1, 1), matches int64 [B, k, n]: see lofgan_fusion.match).

        Args:
            images: [B, k, 3, S, S] in [-1, 1], k of one class in each row. plan: of their fusion.
        """
        maps = self.encoder(images.flatten(0, 1)).unflatten(0, images.shape[:2])  # [B, k, C, h, w]
        matches = match(maps, plan)
        return self.decoder(fuse(maps, plan, matches)).tanh(), matches


class _ResidualBlock(nn.Module):
    """Two convolutions, each after a leaky ReLU, beside a plain one, on the way to maps of half the size."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.first = _conv(in_channels, in_channels)
        self.second = _conv(in_channels, out_channels)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x):
        """Return [B, out_channels, H/2, W/2] for x [B, in_channels, H, W]."""
        h = F.avg_pool2d(self.first(F.leaky_relu(x, SLOPE)), 2)
        return self.second(F.leaky_relu(h, SLOPE)) + self.skip(F.avg_pool2d(x, 2))


class Discriminator(nn.Module):
    """Discriminator with two outputs, a score of how real an image is and its class; section "Discriminator".

    Args:
        image_size: in pixels, a power of two.
        channels: width of the first layer; it doubles with each halving of the size, up to max_channels.
    """

    def __init__(self, image_size: int, channels: int, max_channels: int, num_classes: int) -> None:
        super().__init__()
        halvings = (image_size // LAST_SIZE).bit_length() - 1
        widths = [min(channels * 2 ** i, max_channels) for i in range(halvings + 1)]
        self.first = _conv(3, channels, 5)
        self.blocks = nn.Sequential(*(_ResidualBlock(*pair) for pair in zip(widths, widths[1:], strict=False)))
        self.score = nn.Linear(widths[-1], 1)
        self.classify = nn.Linear(widths[-1], num_classes)
        _initialise(self)
        for conv in [self.first, *(conv for block in self.blocks for conv in (block.first, block.second))]:
            spectral_norm(conv)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (scores [B], higher for more real ones; logits [B, num_classes]) of images x [B, 3, S, S]."""
        features = F.leaky_relu(self.blocks(self.first(x)), SLOPE).mean(dim=(2, 3))
        return self.score(features)[:, 0], self.classify(features)


def _initialise(network):
    """Set weights as He et al. 2015 (arXiv:1502.01852), Eq. 15, and biases to 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
