"""Building blocks of the UNet: timestep embedding, normalisation, resampling, residual block.

The network is that of Dhariwal and Nichol 2021 (ADM, arXiv:2105.05233). Attribute names, and the order in
which parameters are made, are fixed by the published guided-diffusion checkpoints.
"""
import math
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from add.errors import UserError
from add.networks.norm_activation import norm_silu

ModuleT = TypeVar("ModuleT", bound=nn.Module)

NORM_GROUPS = 32


def timestep_embedding(t: torch.Tensor, dim: int, max_period: float = 10000) -> torch.Tensor:
    """Return [B, dim] float32: cosines, then sines, of t at geometrically falling frequencies.

    Vaswani et al. 2017 (arXiv:1706.03762), section 3.5, cosines first. An odd `dim` ends in a zero column.

    Args:
        t: [B], timesteps, int or float (fractions are allowed).
        max_period: the longest period, in timesteps, times 2 pi.
    """
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(-math.log(max_period) * steps / half)  # [B, half]
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, dim % 2))


def time_mlp(channels: int, emb_channels: int) -> nn.Sequential:
    """Return the two-layer network from a timestep embedding [B, channels] to [B, emb_channels]."""
    return nn.Sequential(nn.Linear(channels, emb_channels), nn.SiLU(), nn.Linear(emb_channels, emb_channels))


def zeroed(module: ModuleT) -> ModuleT:
    """Return `module` with its parameters at zero: a residual branch then starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def full_precision(x: torch.Tensor) -> torch.autocast:
    """Return a context without autocast for the device of x: embedding and output head stay in float32."""
    device_type = "cpu" if x.device.type == "meta" else x.device.type
    return torch.autocast(device_type, enabled=False)


def run_block(forward: Callable[..., torch.Tensor], use_checkpoint: bool, *args: torch.Tensor) -> torch.Tensor:
    """Return forward(*args); with `use_checkpoint`, activations are recomputed in the backward pass."""
    if use_checkpoint and torch.is_grad_enabled():
        return checkpoint(forward, *args, use_reentrant=False)
    return forward(*args)


def check_groups(channels: int) -> None:
    """Raise UserError unless a layer of `channels` can be normalised in 32 groups."""
    if channels <= 0 or channels % NORM_GROUPS:
        raise UserError(
            f"a layer has {channels} channels: expected a multiple of {NORM_GROUPS}, the number of groups "
            f"that are normalised; choose --num_channels (or --classifier_width), times each channel "
            f"multiplier, as a multiple of {NORM_GROUPS}")


class GroupNorm(nn.GroupNorm):
    """Group normalisation in 32 groups, computed in float32 (or wider) whatever the type of its input."""

    def __init__(self, channels: int) -> None:
        check_groups(channels)
        super().__init__(NORM_GROUPS, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x [B, C, ...] normalised, in the type of x."""
        wide = torch.promote_types(x.dtype, torch.float32)
        y = F.group_norm(x.to(wide), self.num_groups, self.weight.to(wide), self.bias.to(wide), self.eps)
        return y.to(x.dtype)


class Upsample(nn.Module):
    """Nearest-neighbour doubling of height and width, then a 3x3 convolution if `use_conv`."""

    def __init__(self, channels: int, use_conv: bool) -> None:
        super().__init__()
        if use_conv:
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.use_conv = use_conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, C, 2H, 2W] for x [B, C, H, W]."""
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.conv(x) if self.use_conv else x


class Downsample(nn.Module):
    """Halving of height and width: a strided 3x3 convolution if `use_conv`, else the mean of 2x2 pixels."""

    def __init__(self, channels: int, use_conv: bool) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if use_conv else nn.AvgPool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, C, H/2, W/2] for x [B, C, H, W]."""
        return self.op(x)


class EmbedBlock(nn.Module):
    """A module called as module(x, emb), with emb [B, E] the embedding of timestep and label."""


class EmbedSequential(nn.Sequential):
    """Modules in sequence; those that are an EmbedBlock also get the embedding."""

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Return x passed through every layer."""
        for layer in self:
            x = layer(x, emb) if isinstance(layer, EmbedBlock) else layer(x)
        return x


class ResBlock(EmbedBlock):
    """Residual block conditioned on the embedding of timestep and label; ADM, section 3 and appendix.

    Args:
        channels, out_channels: width of the input and of the output (the same if None).
        emb_channels: E, width of the embedding.
        dropout: probability of dropping an activation before the last convolution.
        use_scale_shift_norm: the embedding scales and shifts the second normalisation (ADM's adaptive group
            normalisation, Eq. 3 there); otherwise it is added before it.
        up, down: resample by 2 in both branches; at most one of them.
        use_checkpoint: recompute activations in the backward pass.
    """

    def __init__(self, channels: int, emb_channels: int, dropout: float, out_channels: int | None = None,
                 use_scale_shift_norm: bool = False, use_checkpoint: bool = False, up: bool = False,
                 down: bool = False) -> None:
        super().__init__()
        assert not (up and down), "a block resamples in one direction"
        out_channels = out_channels or channels
        self.use_scale_shift_norm = use_scale_shift_norm
        self.use_checkpoint = use_checkpoint
        self.in_layers = nn.Sequential(
            GroupNorm(channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1))
        self.resample = _resampler(channels, up, down)
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(emb_channels, out_channels * (2 if use_scale_shift_norm else 1)))
        self.out_layers = nn.Sequential(
            GroupNorm(out_channels), nn.SiLU(), nn.Dropout(dropout),
            zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1)))
        same = out_channels == channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        """Return [B, C_out, H', W'] for x [B, C, H, W] and emb [B, E]."""
        return run_block(self._forward, self.use_checkpoint, x, emb)

    def _forward(self, x, emb):
        normalise, _, widen = self.in_layers
        features = widen(self.resample(norm_silu(normalise, x)))
        normalise, _, drop, project = self.out_layers
        told = self.emb_layers(emb).to(features.dtype)[:, :, None, None]
        if self.use_scale_shift_norm:
            residual = norm_silu(normalise, features, told)
        else:
            residual = norm_silu(normalise, features + told)
        return self.skip_connection(self.resample(x)) + project(drop(residual))


def _resampler(channels, up, down):
    """Return the parameter-free resampling of a residual block; the identity where it does not resample."""
    if up:
        return Upsample(channels, use_conv=False)
    if down:
        return Downsample(channels, use_conv=False)
    return nn.Identity()
