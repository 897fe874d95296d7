"""The down path of the UNet as a classifier of noisy images; ADM (arXiv:2105.05233), section 4."""
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from add.errors import UserError
from add.networks.attention import AttentionPool
from add.networks.blocks import GroupNorm, full_precision, time_mlp, timestep_embedding, zeroed
from add.networks.precision import PrecisionMixin
from add.networks.stages import BlockBuilder, down_path, level_widths, middle
from add.networks.unet import check_image

POOLS = ("adaptive", "attention", "spatial", "spatial_v2")
HIDDEN_CHANNELS = 2048


class EncoderUNetModel(PrecisionMixin, nn.Module):
    """Down path and middle of a UNetModel, pooled to one vector per image.

    Takes UNetModel's arguments as far as they apply, and

    Args:
        image_size: height and width in pixels; binding with attention pooling.
        out_channels: K, the number of classes.
        pool: one of POOLS. "adaptive" is the mean over pixels, "attention" the mean pixel's attention to all,
            "spatial" and "spatial_v2" a small network on the means of every block's output.
    """

    def __init__(self, image_size: int, in_channels: int, model_channels: int, out_channels: int,
                 num_res_blocks: int, attention_resolutions: Iterable[int], dropout: float = 0.0,
                 channel_mult: Sequence[float] = (1, 2, 4, 8), conv_resample: bool = True,
                 use_checkpoint: bool = False, num_heads: int = 1, num_head_channels: int = -1,
                 use_scale_shift_norm: bool = False, resblock_updown: bool = False,
                 use_new_attention_order: bool = False, pool: str = "adaptive") -> None:
        super().__init__()
        if pool not in POOLS:
            raise UserError(
                f"the pooling {pool!r} is not known: expected one of {', '.join(POOLS)}; "
                "change --classifier_pool")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.model_channels, self.channel_mult = model_channels, tuple(channel_mult)
        self.pool = pool
        widths = level_widths(model_channels, channel_mult)
        emb_channels = 4 * model_channels
        builder = BlockBuilder(
            emb_channels, dropout, num_heads, num_head_channels, use_scale_shift_norm, resblock_updown,
            conv_resample, use_new_attention_order, use_checkpoint)

        self.time_embed = time_mlp(model_channels, emb_channels)
        self.input_blocks, block_widths = down_path(
            builder, in_channels, widths, num_res_blocks, set(attention_resolutions))
        self.middle_block = middle(builder, widths[-1])
        if pool.startswith("spatial"):
            self.out = _spatial_head(pool, sum(block_widths) + widths[-1], out_channels)
        else:
            size = image_size // 2 ** (len(widths) - 1)
            self.out = _pooling_head(pool, widths[-1], size, num_head_channels, out_channels)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return logits [B, K], in the type of x, of x [B, C, H, W] at noise levels `timesteps` [B]."""
        check_image(x, self.in_channels, len(self.channel_mult))
        with full_precision(x):
            emb = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(self.dtype))
        h, means = x.to(self.dtype), []
        for block in (*self.input_blocks, self.middle_block):
            h = block(h, emb)
            means.append(h.to(self.dtype).mean(dim=(2, 3)))
        features = torch.cat(means, dim=1) if self.pool.startswith("spatial") else h.to(self.dtype)
        with full_precision(x):
            return self.out(features).to(x.dtype)


def _pooling_head(pool, width, size, num_head_channels, out_channels):
    """Return the head on the last feature map [B, width, size, size]."""
    if pool == "adaptive":
        return nn.Sequential(
            GroupNorm(width), nn.SiLU(), nn.AdaptiveAvgPool2d(1), zeroed(nn.Conv2d(width, out_channels, 1)),
            nn.Flatten())
    return nn.Sequential(
        GroupNorm(width), nn.SiLU(), AttentionPool(size, width, num_head_channels, out_channels))


def _spatial_head(pool, num_features, out_channels):
    """Return the head on the means of all blocks [B, num_features]."""
    first, last = nn.Linear(num_features, HIDDEN_CHANNELS), nn.Linear(HIDDEN_CHANNELS, out_channels)
    if pool == "spatial_v2":
        return nn.Sequential(first, GroupNorm(HIDDEN_CHANNELS), nn.SiLU(), last)
    return nn.Sequential(first, nn.ReLU(), last)
