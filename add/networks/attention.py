"""Self-attention over pixels, with the two head orders of the hybrid attention, and attention pooling.

Liu et al. 2024 (ADD, arXiv:2311.12316) call the orders global priority (queries, keys and values are split
first, then the heads) and local priority (heads first, then queries, keys and values in each). Their weights
have the same shapes and differ only in which row of the qkv projection feeds what.
"""
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from add.errors import UserError
from add.networks.blocks import GroupNorm, run_block, zeroed


def count_heads(channels: int, num_heads: int = 1, num_head_channels: int = -1, option: str = "num_heads") -> int:
    """Return the number of heads in a layer of `channels`.

    A `num_head_channels` other than -1 sets the width of each head and overrides `num_heads`. Raises
    UserError, which calls the number of heads `option`, where the heads do not divide the channels.
    """
    by_count = num_head_channels == -1
    option, value = (option, num_heads) if by_count else ("num_head_channels", num_head_channels)
    if value <= 0 or channels % value:
        raise UserError(
            f"{option} {value} does not divide an attention layer of {channels} channels: expected a divisor "
            f"of {channels}; change {option}, the number of channels or the attention resolutions")
    return num_heads if by_count else channels // num_head_channels


def split_heads(qkv: torch.Tensor, num_heads: int, use_new_attention_order: bool) -> tuple[torch.Tensor, ...]:
    """Return q, k, v, each [B, heads, L, D], of qkv [B, L, 3 heads D].

    The last axis runs over (3, heads, D) in the new order, over (heads, 3, D) in the old one.
    """
    if use_new_attention_order:
        return qkv.unflatten(2, (3, num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return qkv.unflatten(2, (num_heads, 3, -1)).permute(3, 0, 2, 1, 4).unbind(0)


def permute_attention_order(state_dict: Mapping[str, torch.Tensor], to_new_order: bool, num_heads: int = 1,
                            num_head_channels: int = -1, num_heads_upsample: int = -1) -> dict[str, torch.Tensor]:
    """Return a state dict that computes, in the other head order, what `state_dict` computes in its own.

    Rows of each attention block's qkv projection are reordered; every other entry is passed on as it is, and
    the given dict is left alone. Attention pooling knows one order only.

    Args:
        state_dict: weights of a UNetModel, SuperResModel or EncoderUNetModel.
        to_new_order: True from local (heads first) to global priority; False the way back.
        num_heads, num_head_channels, num_heads_upsample: as the model was built with.
    """
    if num_heads_upsample == -1:
        num_heads_upsample = num_heads
    permuted = dict(state_dict)
    for key, rows in state_dict.items():
        if not key.endswith((".qkv.weight", ".qkv.bias")):
            continue
        asked = num_heads_upsample if key.startswith("output_blocks.") else num_heads
        heads = count_heads(len(rows) // 3, asked, num_head_channels)
        outer = (heads, 3) if to_new_order else (3, heads)
        permuted[key] = rows.unflatten(0, (*outer, -1)).transpose(0, 1).flatten(0, 2).contiguous()
    return permuted


class TokenLinear(nn.Conv1d):
    """A linear layer on tokens [B, L, C]; its weight is [C_out, C, 1], as published."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return [B, L, C_out] for tokens [B, L, C]."""
        return F.linear(tokens, self.weight.squeeze(2), self.bias)


class AttentionBlock(nn.Module):
    """Residual self-attention in which every pixel attends to every other.

    Args:
        channels: C.
        num_heads, num_head_channels: see count_heads.
        use_new_attention_order: True for global priority, False for local priority.
        use_checkpoint: recompute activations in the backward pass.
    """

    def __init__(self, channels: int, num_heads: int = 1, num_head_channels: int = -1,
                 use_new_attention_order: bool = False, use_checkpoint: bool = False) -> None:
        super().__init__()
        self.num_heads = count_heads(channels, num_heads, num_head_channels)
        self.use_new_attention_order = use_new_attention_order
        self.use_checkpoint = use_checkpoint
        self.norm = GroupNorm(channels)
        self.qkv = TokenLinear(channels, 3 * channels)
        self.proj_out = zeroed(TokenLinear(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, C, H, W] for x [B, C, H, W]."""
        return run_block(self._forward, self.use_checkpoint, x)

    def _forward(self, x):
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # [B, HW, C], a view if x is channels-last
        q, k, v = split_heads(self.qkv(tokens), self.num_heads, self.use_new_attention_order)
        mixed = F.scaled_dot_product_attention(q, k, v)  # [B, heads, HW, D]
        mixed = self.proj_out(mixed.transpose(1, 2).flatten(2))  # [B, HW, C]
        return x + mixed.transpose(1, 2).reshape(x.shape)


class AttentionPool(nn.Module):
    """Pooling by the attention of the mean pixel to all pixels; Radford et al. 2021 (CLIP, arXiv:2103.00020).

    Args:
        size: height and width of the feature map, in pixels.
        channels: C; num_head_channels: width of one head.
        out_channels: K, width of the result.
    """

    def __init__(self, size: int, channels: int, num_head_channels: int, out_channels: int) -> None:
        super().__init__()
        self.size = size
        self.num_heads = count_heads(channels, num_head_channels=num_head_channels)
        self.positional_embedding = nn.Parameter(torch.randn(channels, size * size + 1) / channels**0.5)
        self.qkv_proj = TokenLinear(channels, 3 * channels)
        self.c_proj = TokenLinear(channels, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, K] for x [B, C, size, size]."""
        if x.shape[2:] != (self.size, self.size):
            raise UserError(
                f"the map to pool has {tuple(x.shape[2:])} pixels: expected {(self.size, self.size)}; "
                f"give the classifier images of the image_size that it was built for")
        tokens = x.flatten(2).transpose(1, 2)  # [B, HW, C]
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)  # [B, 1 + HW, C]
        tokens = tokens + self.positional_embedding.t().to(tokens.dtype)
        q, k, v = split_heads(self.qkv_proj(tokens), self.num_heads, use_new_attention_order=True)
        mean_token = F.scaled_dot_product_attention(q[:, :, :1], k, v)  # [B, heads, 1, D], the only one used
        return self.c_proj(mean_token.transpose(1, 2).flatten(2))[:, 0]
