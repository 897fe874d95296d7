"""The two growing networks of ProGAN; Karras et al. 2018 (arXiv:1710.10196), Table 2.

Both hold the layers of every size from the first one up. A call names the size in pixels and the share `alpha` that its
newest layers have, so that nothing about the growth is kept in the weights.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

SLOPE = 0.2  # of the leaky ReLU, Appendix A.1
LRELU_GAIN = math.sqrt(2 / (1 + SLOPE ** 2))  # He et al. 2015 (arXiv:1502.01852), Eq. 15
SMALLEST = 4  # pixels of the first feature map
EPS = 1e-8


class _Equalised(nn.Module):
    """A layer's weights, drawn from N(0, 1) and scaled when used, so that Adam moves every layer at one pace; Sec. 4.1.

    Args:
        shape: of the weight, outputs first. fan_in: numbers that each output sums up.
        gain: He's constant is gain / sqrt(fan_in). out_channels: of the bias, which starts at 0.
    """

    def __init__(self, shape: tuple[int, ...], fan_in: int, gain: float, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = gain / math.sqrt(fan_in)


class EqualisedConv(_Equalised):
    """Convolution with an equalised learning rate, Sec. 4.1; the bias is added after the scaling."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0,
                 gain: float = LRELU_GAIN) -> None:
        super().__init__((out_channels, in_channels, kernel_size, kernel_size), in_channels * kernel_size ** 2, gain,
                         out_channels)
        self.padding = padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, out_channels, H', W'] of x [B, in_channels, H, W]."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class EqualisedLinear(_Equalised):
    """Linear layer with an equalised learning rate, Sec. 4.1."""

    def __init__(self, in_features: int, out_features: int, gain: float = 1.0) -> None:
        super().__init__((out_features, in_features), in_features, gain, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, out_features] of x [B, in_features]."""
        return F.linear(x, self.weight * self.scale, self.bias)


class FirstFeatures(_Equalised):
    """Layer from the latent [B, Z] to the first feature map [B, C, 4, 4]: a 4x4 convolution of one pixel, padded by 3.

    Each output sums up the Z numbers once, since every other tap lies on padding.
    """

    def __init__(self, latent_dim: int, out_channels: int) -> None:
        super().__init__((out_channels * SMALLEST ** 2, latent_dim), latent_dim, LRELU_GAIN, out_channels)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return [B, out_channels, 4, 4] of z [B, Z]."""
        h = F.linear(z, self.weight * self.scale).unflatten(1, (-1, SMALLEST, SMALLEST))
        return h + self.bias[:, None, None]


def pixel_norm(x: torch.Tensor) -> torch.Tensor:
    """Return x [B, C, ...] with a mean square of 1 over C at every pixel; Sec. 4.2."""
    return x * (x.square().mean(dim=1, keepdim=True) + EPS).rsqrt()


def minibatch_std(x: torch.Tensor) -> torch.Tensor:
    """Return x [B, C, H, W] with one more, constant channel: the batch's standard deviation; Sec. 3.

    That is the standard deviation over the batch at each place of each channel, averaged over all of them. It is
    sqrt(EPS) where all images are the same, so that its second derivatives, which the gradient penalty needs, exist.
    """
    std = (x.var(dim=0, correction=0) + EPS).sqrt().mean()
    return torch.cat([x, std.expand(len(x), 1, *x.shape[2:])], dim=1)


def enlarge(x: torch.Tensor) -> torch.Tensor:
    """Return x [B, C, H, W] at twice the size, by nearest neighbour."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def shrink(x: torch.Tensor) -> torch.Tensor:
    """Return x [B, C, H, W] at half the size, by averages of 2x2 pixels."""
    return F.avg_pool2d(x, 2)


def sizes_between(first: int, last: int) -> list[int]:
    """Return the sizes in pixels from `first` to `last`, each twice the one before."""
    return [first << i for i in range((last // first).bit_length())]


def widths(image_size: int, channels: int, max_channels: int) -> dict[int, int]:
    """Return {size: width of its layers}: `channels` at image_size, double at each half of it, up to max_channels.

    Table 2 has 16 channels at 1024 pixels and at most 512.
    """
    return {size: min(channels * image_size // size, max_channels) for size in sizes_between(SMALLEST, image_size)}


def _activate(x):
    return F.leaky_relu(x, SLOPE)


class Generator(nn.Module):
    """Growing generator from latents to images, whose blocks enlarge and convolve twice; Table 2, left.

    Args:
        image_size: of the full-grown network, in pixels. first_size: at which it can start to make images.
        channels, max_channels: width of the layers at image_size, and at most. A latent has as many numbers as the
            first layer has channels.
    """

    def __init__(self, image_size: int, first_size: int, channels: int, max_channels: int) -> None:
        super().__init__()
        self.sizes = sizes_between(first_size, image_size)
        width_at = widths(image_size, channels, max_channels)
        self.latent_dim = width_at[SMALLEST]
        self.first = FirstFeatures(self.latent_dim, self.latent_dim)
        self.blocks = nn.ModuleDict()
        for size, width in width_at.items():
            convs = [EqualisedConv(width, width, 3, padding=1)]
            if size > SMALLEST:
                convs.insert(0, EqualisedConv(width_at[size // 2], width, 3, padding=1))
            self.blocks[f"{size}x{size}"] = nn.ModuleList(convs)
        self.to_rgb = nn.ModuleDict({
            f"{size}x{size}": EqualisedConv(width_at[size], 3, 1, gain=1.0) for size in self.sizes})

    def forward(self, z: torch.Tensor, size: int, alpha: float = 1.0) -> torch.Tensor:
        """Return images [B, 3, size, size], about [-1, 1], of latents z [B, Z].

        alpha: from 0, the enlarged image of half the size, to 1, what the layers of this size make; Fig. 2.
        """
        assert size in self.sizes and (alpha == 1 or size > self.sizes[0]), f"no fade-in at {size} pixels"
        h = pixel_norm(_activate(self.first(z)))
        for at in sizes_between(SMALLEST, size):
            if at == size and alpha < 1:
                half = enlarge(self.to_rgb[f"{size // 2}x{size // 2}"](h))
            h = enlarge(h) if at > SMALLEST else h
            for conv in self.blocks[f"{at}x{at}"].children():
                h = pixel_norm(_activate(conv(h)))
        image = self.to_rgb[f"{size}x{size}"](h)
        return torch.lerp(half, image, alpha) if alpha < 1 else image


class Discriminator(nn.Module):
    """Growing critic from images to a score each, the generator's mirror image with its arguments; Table 2, right."""

    def __init__(self, image_size: int, first_size: int, channels: int, max_channels: int) -> None:
        super().__init__()
        self.sizes = sizes_between(first_size, image_size)
        width_at = widths(image_size, channels, max_channels)
        self.from_rgb = nn.ModuleDict({
            f"{size}x{size}": EqualisedConv(3, width_at[size], 1) for size in self.sizes})
        self.blocks = nn.ModuleDict({
            f"{size}x{size}": nn.ModuleList([EqualisedConv(width, width, 3, padding=1),
                                             EqualisedConv(width, width_at[size // 2], 3, padding=1)])
            for size, width in width_at.items() if size > SMALLEST})
        width = width_at[SMALLEST]
        self.last = nn.ModuleList([
            EqualisedConv(width + 1, width, 3, padding=1), EqualisedConv(width, width, SMALLEST)])
        self.score = EqualisedLinear(width, 1)

    def forward(self, x: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
        """Return scores [B] of images x [B, 3, S, S] of any of its sizes, higher for more real ones.

        alpha: from 0, the score of the image at half its size, to 1, what the layers of this size see; Fig. 2.
        """
        size = x.shape[-1]
        assert size in self.sizes and (alpha == 1 or size > self.sizes[0]), f"no fade-in at {size} pixels"
        h = _activate(self.from_rgb[f"{size}x{size}"](x))
        for at in reversed(sizes_between(2 * SMALLEST, size)):
            for conv in self.blocks[f"{at}x{at}"].children():
                h = _activate(conv(h))
            h = shrink(h)
            if at == size and alpha < 1:
                half = _activate(self.from_rgb[f"{size // 2}x{size // 2}"](shrink(x)))
                h = torch.lerp(half, h, alpha)
        h = minibatch_std(h)
        for conv in self.last:
            h = _activate(conv(h))
        return self.score(h.flatten(1))[:, 0]
