"""The three stages of the UNet, each from one function: down path, middle, up path.

A stage is made of blocks, and the blocks of one network share their options; `BlockBuilder` holds these.
"""
from collections.abc import Container, Sequence
from dataclasses import dataclass

from torch import nn

from add.networks.attention import AttentionBlock
from add.networks.blocks import Downsample, EmbedSequential, ResBlock, Upsample


@dataclass(frozen=True)
class BlockBuilder:
    """The options that the blocks of a network share, and the blocks made of them.

    `emb_channels` is the width of the timestep embedding.
    """

    emb_channels: int
    dropout: float = 0.0
    num_heads: int = 1
    num_head_channels: int = -1
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    conv_resample: bool = True
    use_new_attention_order: bool = False
    use_checkpoint: bool = False

    def res(self, channels: int, out_channels: int, **resample: bool) -> ResBlock:
        """Return a residual block; `resample` is empty, up=True or down=True."""
        return ResBlock(channels, self.emb_channels, self.dropout, out_channels, self.use_scale_shift_norm,
                        self.use_checkpoint, **resample)

    def attention(self, channels: int) -> AttentionBlock:
        """Return an attention block."""
        return AttentionBlock(channels, self.num_heads, self.num_head_channels, self.use_new_attention_order,
                              self.use_checkpoint)

    def layers(self, channels: int, out_channels: int, attend: bool) -> list[nn.Module]:
        """Return the list of a residual block and, if `attend`, an attention block after it."""
        residual = self.res(channels, out_channels)
        return [residual, self.attention(out_channels)] if attend else [residual]

    def downsample(self, channels: int) -> ResBlock | Downsample:
        """Return the block that halves height and width between two levels."""
        if self.resblock_updown:
            return self.res(channels, channels, down=True)
        return Downsample(channels, self.conv_resample)

    def upsample(self, channels: int) -> ResBlock | Upsample:
        """Return the block that doubles height and width between two levels."""
        if self.resblock_updown:
            return self.res(channels, channels, up=True)
        return Upsample(channels, self.conv_resample)


def level_widths(model_channels: int, channel_mult: Sequence[float]) -> list[int]:
    """Return the channels of each level, finest first; a multiplier may be a fraction."""
    return [int(mult * model_channels) for mult in channel_mult]


def down_path(builder: BlockBuilder, in_channels: int, widths: Sequence[int], num_res_blocks: int,
              attention_rates: Container[int]) -> tuple[nn.ModuleList, list[int]]:
    """Return the blocks from image to coarsest level, and the width that each of them puts out.

    Args:
        in_channels: channels of the input image.
        widths: channels of each level, finest first.
        attention_rates: downsampling rates (1, 2, 4 ...) at which residual blocks are followed by attention.
    """
    blocks = [EmbedSequential(nn.Conv2d(in_channels, widths[0], 3, padding=1))]
    outputs = [widths[0]]
    for level, width in enumerate(widths):
        if level > 0:
            blocks.append(EmbedSequential(builder.downsample(outputs[-1])))
            outputs.append(outputs[-1])
        for _ in range(num_res_blocks):
            blocks.append(EmbedSequential(*builder.layers(outputs[-1], width, 2**level in attention_rates)))
            outputs.append(width)
    return nn.ModuleList(blocks), outputs


def middle(builder: BlockBuilder, width: int) -> EmbedSequential:
    """Return the blocks at the coarsest level: residual, attention, residual."""
    return EmbedSequential(
        builder.res(width, width), builder.attention(width), builder.res(width, width))


def up_path(builder: BlockBuilder, widths: Sequence[int], skip_widths: Sequence[int], num_res_blocks: int,
            attention_rates: Container[int]) -> nn.ModuleList:
    """Return the blocks from coarsest level back to full size.

    Each takes the concatenation of its predecessor's output and of one output of the down path, last first;
    `skip_widths` are the widths of those outputs in the order of the down path.
    """
    skips = list(skip_widths)
    blocks, channels = [], widths[-1]
    for level in reversed(range(len(widths))):
        for i in range(num_res_blocks + 1):
            layers = builder.layers(channels + skips.pop(), widths[level], 2**level in attention_rates)
            channels = widths[level]
            if i == num_res_blocks and level > 0:
                layers.append(builder.upsample(channels))
            blocks.append(EmbedSequential(*layers))
    assert not skips, "every output of the down path is used once"
    return nn.ModuleList(blocks)
