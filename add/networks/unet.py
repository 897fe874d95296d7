"""The UNet that predicts the noise in an image; Dhariwal and Nichol 2021 (ADM, arXiv:2105.05233)."""
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from add.errors import UserError
from add.networks.blocks import GroupNorm, full_precision, time_mlp, timestep_embedding, zeroed
from add.networks.precision import PrecisionMixin
from add.networks.stages import BlockBuilder, down_path, level_widths, middle, up_path


def check_image(x: torch.Tensor, in_channels: int, num_levels: int, patch_size: int = 1) -> None:
    """Raise UserError unless x is [B, in_channels, H, W] of whole patches, halved in number at every level but one."""
    step = patch_size * 2 ** (num_levels - 1)
    if x.ndim != 4 or x.shape[1] != in_channels or x.shape[2] % step or x.shape[3] % step:
        raise UserError(
            f"the network was given a batch of shape {tuple(x.shape)}: expected [B, {in_channels}, H, W] "
            f"with H and W multiples of {step}; resize or crop the images")


class UNetModel(PrecisionMixin, nn.Module):
    """UNet with residual blocks, attention, timestep and optional class conditioning.

    Args:
        image_size: height and width in pixels that it is meant for; not a limit on what it accepts.
        in_channels, out_channels: channels of input and output.
        model_channels: channels that `channel_mult` multiplies.
        num_res_blocks: residual blocks per level.
        attention_resolutions: downsampling rates (not pixels) with attention: 4 is a quarter of the size.
        dropout: probability, in the residual blocks.
        channel_mult: one multiplier per level, finest first.
        conv_resample: resampling between levels by convolution; ignored with `resblock_updown`.
        num_classes: number of classes to condition on, or None.
        knows_no_class: whether the label num_classes stands for no class at all; Ho & Salimans 2022, classifier-free
            guidance (arXiv:2207.12598).
        num_heads, num_head_channels: see attention.count_heads; -1 leaves it to `num_heads`.
        num_heads_upsample: heads on the up path; -1 for the same as `num_heads`.
        use_scale_shift_norm, resblock_updown, use_new_attention_order, use_checkpoint: see blocks, attention.
        patch_size: pixels along the side of a patch that the first level sees as one place: image and output are folded
            so that each patch's pixels are channels there (pixel-unshuffle, Shi et al. 2016, arXiv:1609.05158).

    Attributes:
        head_start: None, or the module GaussianHeadStart that the output is handed to.
    """

    def __init__(self, image_size: int, in_channels: int, model_channels: int, out_channels: int,
                 num_res_blocks: int, attention_resolutions: Iterable[int], dropout: float = 0.0,
                 channel_mult: Sequence[float] = (1, 2, 4, 8), conv_resample: bool = True,
                 num_classes: int | None = None, use_checkpoint: bool = False, num_heads: int = 1,
                 num_head_channels: int = -1, num_heads_upsample: int = -1, use_scale_shift_norm: bool = False,
                 resblock_updown: bool = False, use_new_attention_order: bool = False,
                 knows_no_class: bool = False, patch_size: int = 1) -> None:
        super().__init__()
        self.image_size, self.in_channels, self.out_channels = image_size, in_channels, out_channels
        self.patch_size = patch_size
        self.head_start: nn.Module | None = None
        self.model_channels, self.channel_mult = model_channels, tuple(channel_mult)
        self.num_classes = num_classes
        self.use_new_attention_order = use_new_attention_order
        rates = set(attention_resolutions)
        widths = level_widths(model_channels, channel_mult)
        emb_channels = 4 * model_channels
        builder = BlockBuilder(
            emb_channels, dropout, num_heads, num_head_channels, use_scale_shift_norm, resblock_updown,
            conv_resample, use_new_attention_order, use_checkpoint)
        up_heads = num_heads if num_heads_upsample == -1 else num_heads_upsample

        self.time_embed = time_mlp(model_channels, emb_channels)
        if num_classes is not None:
            self.label_emb = nn.Embedding(num_classes + knows_no_class, emb_channels)
        self.input_blocks, skip_widths = down_path(
            builder, in_channels * patch_size**2, widths, num_res_blocks, rates)
        self.middle_block = middle(builder, widths[-1])
        self.output_blocks = up_path(
            replace(builder, num_heads=up_heads), widths, skip_widths, num_res_blocks, rates)
        self.out = nn.Sequential(
            GroupNorm(widths[0]), nn.SiLU(), zeroed(
                nn.Conv2d(widths[0], out_channels * patch_size**2, 3, padding=1)))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Return [B, out_channels, H, W], in the type of x.

        Under autocast the blocks run in the lower precision, the embedding and the last layers do not.

        Args:
            x: [B, in_channels, H, W], images at the noise levels of `timesteps`.
            timesteps: [B], int or float.
            y: [B] int64 class labels; given if, and only if, the model has classes.
        """
        check_image(x, self.in_channels, len(self.channel_mult), self.patch_size)
        emb = self._embed(x, timesteps, y)
        h, skips = x.to(self.dtype), []
        if self.patch_size > 1:
            h = F.pixel_unshuffle(h, self.patch_size)
        for block in self.input_blocks:
            h = block(h, emb)
            skips.append(h)
        h = self.middle_block(h, emb)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
        with full_precision(x):
            output = self.out(h.to(self.dtype)).to(x.dtype)
        if self.patch_size > 1:
            output = F.pixel_shuffle(output, self.patch_size)
        return output if self.head_start is None else self.head_start(output, x, timesteps, y).to(x.dtype)

    def _embed(self, x, timesteps, y):
        """Return the embedding [B, E] of timestep and class."""
        with full_precision(x):
            emb = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(self.dtype))
        if self.num_classes is None:
            if y is not None:
                raise UserError(
                    "class labels were given to a model without classes: expected none; leave y out, or "
                    "build the model with --class_cond True")
            return emb
        if y is None or y.shape != (len(x),):
            given = "none" if y is None else f"labels of shape {tuple(y.shape)}"
            raise UserError(
                f"the model is class-conditional and was given {given}: expected one label per image, shape "
                f"{(len(x),)}; pass y, or build the model with --class_cond False")
        return emb + self.label_emb(y)


class SuperResModel(UNetModel):
    """A UNetModel whose input is the noisy image beside the enlarged low-resolution one.

    Takes UNetModel's arguments; `in_channels` counts the channels of one of the two images.
    """

    def __init__(self, image_size: int, in_channels: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(image_size, 2 * in_channels, *args, **kwargs)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor,  # type: ignore[override]  # guided-diffusion's order
                low_res: torch.Tensor | None = None, y: torch.Tensor | None = None) -> torch.Tensor:
        """Return [B, out_channels, H, W], in the type of x.

        Args:
            x: [B, C, H, W], images at the noise levels of `timesteps`.
            low_res: [B, C, h, w], the same images small and clean, in [-1, 1]; enlarged bilinearly.
            timesteps, y: see UNetModel.forward.
        """
        if low_res is None or low_res.ndim != 4 or low_res.shape[:2] != x.shape[:2]:
            given = "none" if low_res is None else f"one of shape {tuple(low_res.shape)}"
            raise UserError(
                f"a super-resolution model needs the low-resolution batch and was given {given}: expected "
                f"{list(x.shape[:2])} and any height and width; pass low_res")
        enlarged = F.interpolate(low_res, x.shape[2:], mode="bilinear", align_corners=False)
        return super().forward(torch.cat([x, enlarged.to(x.dtype)], dim=1), timesteps, y)
