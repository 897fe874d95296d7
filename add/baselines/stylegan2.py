"""StyleGAN2's generator and discriminator in compact form; Karras et al. 2020 (arXiv:1912.04958).

The generator has output skips and the discriminator residual blocks (Fig. 7 there). Weights are modulated and
demodulated (Eqs. 1 to 3), every layer has the equalised learning rate of arXiv:1710.10196 Sec. 4.1, and images are
filtered with [1, 3, 3, 1] where their size changes. The generator's noise images come in from outside.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

SMALLEST = 4  # pixels a side where the generator starts and the discriminator ends
STD_GROUP = 4  # images whose spread the discriminator sees together
SLOPE = 0.2
GAIN = math.sqrt(2.0)  # keeps the variance of what leaves a leaky ReLU
DEMODULATION_EPS = 1e-8


def widths(image_size: int, channels: int, max_channels: int) -> dict[int, int]:
    """Return {resolution: channels} from 4 to image_size: `channels` at the end, twice as many at half of it and so on.

    No layer has more than max_channels.
    """
    sizes = [SMALLEST * 2**i for i in range(int(math.log2(image_size // SMALLEST)) + 1)]
    return {size: min(channels * image_size // size, max_channels) for size in sizes}


def activate(x: torch.Tensor) -> torch.Tensor:
    """Return leaky ReLU of x, scaled to keep its variance."""
    return F.leaky_relu(x, SLOPE) * GAIN


def enlarge(x: torch.Tensor) -> torch.Tensor:
    """Return x [B, C, H, W] with twice as many rows and columns, by the filter [1, 3, 3, 1].

    The border's pixels go on beyond it: with zeros there each resolution would add a grey frame to the images.
    """
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class EqualLinear(nn.Module):
    """Fully connected layer whose stored weights have unit variance; arXiv:1710.10196 Sec. 4.1.

    lr_factor: how much slower the layer learns than the others.
    """

    def __init__(self, in_features: int, out_features: int, bias: float = 0.0, lr_factor: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_factor)
        self.bias = nn.Parameter(torch.full((out_features,), bias / lr_factor))
        self.scale, self.lr_factor = lr_factor / math.sqrt(in_features), lr_factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, out_features] of x [B, in_features]."""
        return F.linear(x, self.weight * self.scale, self.bias * self.lr_factor)


class EqualConv(nn.Module):
    """Convolution with stored weights of unit variance; with `down` on an image that is filtered and halved."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True, down: bool = False
                 ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.scale = self.weight[0].numel() ** -0.5
        self.padding, self.stride = kernel_size // 2, 1
        self.blur: Blur | None = None
        if down:  # half the reach of both kernels, so that the halved image keeps its place
            self.padding, self.stride = 0, 2
            self.blur = Blur((kernel_size // 2 + 1, kernel_size // 2 + 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, out_channels, H, W] of x [B, in_channels, H, W], or half of H and W."""
        x = x if self.blur is None else self.blur(x)
        return F.conv2d(x, self.weight * self.scale, self.bias, stride=self.stride, padding=self.padding)


class Blur(nn.Module):
    """Low-pass filter [1, 3, 3, 1] in both directions, that sums to `gain`."""

    kernel: torch.Tensor

    def __init__(self, padding: tuple[int, int], gain: float = 1.0) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", gain * torch.outer(taps, taps)[None, None], persistent=False)
        self.padding = (*padding, *padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x [B, C, H, W] filtered; zeros lie around it, `padding` of them before and after."""
        return F.conv2d(F.pad(x, self.padding), self.kernel.expand(x.shape[1], -1, -1, -1), groups=x.shape[1])


class ModulatedConv(nn.Module):
    """Convolution whose input channels every image scales by its own style.

    w'_ijk = s_i w_ijk (Eq. 1), and with `demodulate` w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + eps) (Eq. 3). Both
    factors belong to channels, so the images are scaled and not the weights: one convolution serves the whole batch.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, latent_dim: int,
                 demodulate: bool = True, up: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.scale = self.weight[0].numel() ** -0.5
        self.style = EqualLinear(latent_dim, in_channels, bias=1.0)
        self.demodulate, self.padding = demodulate, kernel_size // 2
        self.blur = Blur((1, 1), gain=4.0) if up else None

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Return [B, out_channels, H, W] of x [B, in_channels, H, W] and w [B, latent_dim]; with `up` twice H and W."""
        styles = self.style(w)
        weight = self.weight * self.scale
        x = x * styles[:, :, None, None]
        if self.blur is None:
            x = F.conv2d(x, weight, padding=self.padding)
        else:
            x = self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        if self.demodulate:
            power = styles.square() @ weight.square().sum((2, 3)).T  # [B, out_channels]
            x = x * (power + DEMODULATION_EPS).rsqrt()[:, :, None, None]
        return x


class StyledLayer(nn.Module):
    """Modulated 3x3 convolution, noise with a learned strength, bias and leaky ReLU; Fig. 2d."""

    def __init__(self, in_channels: int, out_channels: int, latent_dim: int, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(in_channels, out_channels, 3, latent_dim, up=up)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return [B, out_channels, H, W]; noise: [B, 1, H, W]."""
        return activate(self.conv(x, w) + self.noise_strength * noise + self.bias[:, None, None])


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to an image, without demodulation."""

    def __init__(self, in_channels: int, latent_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(in_channels, 3, 1, latent_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Return [B, 3, H, W] of x [B, in_channels, H, W] and w [B, latent_dim]."""
        return self.conv(x, w) + self.bias[:, None, None]


class Generator(nn.Module):
    """StyleGAN2's generator: mapping network and synthesis with output skips.

    Attributes:
        num_styles: latents that `synthesise` can take for one image. mean_path_length: for the path length penalty.
    """

    mean_path_length: torch.Tensor

    def __init__(self, image_size: int, channels: int, max_channels: int, latent_dim: int, mapping_layers: int,
                 mapping_lr: float) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.mapping = nn.ModuleList(
            EqualLinear(latent_dim, latent_dim, lr_factor=mapping_lr) for _ in range(mapping_layers))
        width = widths(image_size, channels, max_channels)
        self.constant = nn.Parameter(torch.randn(1, width[SMALLEST], SMALLEST, SMALLEST))
        self.layers, self.to_rgb, self.noise_sizes = nn.ModuleList(), nn.ModuleList(), []
        before = width[SMALLEST]
        for size, after in width.items():
            if size > SMALLEST:
                self.layers.append(StyledLayer(before, after, latent_dim, up=True))
                self.noise_sizes.append(size)
            self.layers.append(StyledLayer(after, after, latent_dim))
            self.noise_sizes.append(size)
            self.to_rgb.append(ToRGB(after, latent_dim))
            before = after
        self.noise_dim = sum(size**2 for size in self.noise_sizes)
        self.num_styles = len(self.layers) + 1
        self.register_buffer("mean_path_length", torch.zeros(()))

    def map(self, z: torch.Tensor) -> torch.Tensor:
        """Return w [B, latent_dim] of normal z [B, latent_dim]; z is scaled to mean square 1 first."""
        w = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.mapping:
            w = activate(layer(w))
        return w

    def synthesise(self, w: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return (images [B, 3, S, S], activations of every styled layer [[B, C, H, W], ...]).

        Args:
            w: [B, latent_dim], or [B, num_styles, latent_dim] with one for each styled layer; an image of a resolution
                shares that of the layer that comes next.
            noise: normal [B, noise_dim], the noise images of all layers in a row.
        """
        w = w if w.dim() == 3 else w[:, None].expand(-1, self.num_styles, -1)
        noises = [part.unflatten(1, (1, size, size)) for part, size
                  in zip(noise.split([size**2 for size in self.noise_sizes], dim=1), self.noise_sizes, strict=True)]
        features = [self.layers[0](self.constant.expand(len(w), -1, -1, -1), w[:, 0], noises[0])]
        images = self.to_rgb[0](features[0], w[:, 1])
        for block, to_rgb in enumerate(self.to_rgb[1:]):
            for i in (2 * block + 1, 2 * block + 2):
                features.append(self.layers[i](features[-1], w[:, i], noises[i]))
            images = enlarge(images) + to_rgb(features[-1], w[:, 2 * block + 3])
        return images, features

    def forward(self, z: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return images [B, 3, S, S] of normal z [B, latent_dim] and noise [B, noise_dim]."""
        return self.synthesise(self.map(z), noise)[0]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the second of which halves the image, beside a 1x1 convolution; Fig. 7c."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = EqualConv(in_channels, in_channels, 3)
        self.conv2 = EqualConv(in_channels, out_channels, 3, down=True)
        self.skip = EqualConv(in_channels, out_channels, 1, bias=False, down=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, out_channels, H / 2, W / 2] of x [B, in_channels, H, W], of the variance of x."""
        return (activate(self.conv2(activate(self.conv1(x)))) + self.skip(x)) / GAIN


def minibatch_std(x: torch.Tensor) -> torch.Tensor:
    """Return [B, 1, 1, 1]: the standard deviation of x [B, C, H, W] over groups of images, averaged over all positions.

    The groups are of about four images that follow each other; arXiv:1710.10196 Sec. 3.
    """
    groups = x.tensor_split(max(1, len(x) // STD_GROUP))
    spreads = [(group.var(0, unbiased=False) + 1e-8).sqrt().mean() for group in groups]
    return torch.cat([spread.expand(len(group), 1, 1, 1) for spread, group in zip(spreads, groups, strict=True)])


class Discriminator(nn.Module):
    """StyleGAN2's discriminator of residual blocks; `head` gives its last hidden layer."""

    def __init__(self, image_size: int, channels: int, max_channels: int) -> None:
        super().__init__()
        width = widths(image_size, channels, max_channels)
        sizes = sorted(width, reverse=True)
        self.from_rgb = EqualConv(3, width[image_size], 1)
        self.blocks = nn.ModuleList(ResidualBlock(width[size], width[size // 2]) for size in sizes[:-1])
        self.features = width[SMALLEST]
        self.last_conv = EqualConv(self.features + 1, self.features, 3)
        self.hidden = EqualLinear(self.features * SMALLEST**2, self.features)
        self.score = EqualLinear(self.features, 1)

    def trunk(self, images: torch.Tensor) -> torch.Tensor:
        """Return [B, features, 4, 4] of images [B, 3, S, S]."""
        x = activate(self.from_rgb(images))
        for block in self.blocks:
            x = block(x)
        return x

    def head(self, x: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
        """Return the last hidden layer [B, features] of the trunk's x and of minibatch_std's spread [B, 1, 1, 1]."""
        x = torch.cat([x, spread.expand(-1, -1, *x.shape[2:])], dim=1)
        return activate(self.hidden(activate(self.last_conv(x)).flatten(1)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return scores [B] of images [B, 3, S, S]; large means real."""
        x = self.trunk(images)
        return self.score(self.head(x, minibatch_std(x)))[:, 0]
