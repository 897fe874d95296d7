"""Network for points in the plane; Su et al. 2022 (DDIB, arXiv:2203.08382), the 2-D experiments."""
import torch
from torch import nn

from add.errors import UserError
from add.networks.blocks import (
    NORM_GROUPS,
    EmbedBlock,
    EmbedSequential,
    GroupNorm,
    full_precision,
    run_block,
    time_mlp,
    timestep_embedding,
    zeroed,
)
from add.networks.precision import PrecisionMixin


class PointNorm(GroupNorm):
    """Group normalisation of vectors; its means are products with a matrix.

    With groups of two or four numbers that takes a third of the time of the general one on a CPU, half with gradients.
    """

    averaging: torch.Tensor  # [C, C], of weight 1 / width within a group

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        width = channels // NORM_GROUPS
        averaging = torch.block_diag(*[torch.full((width, width), 1 / width)] * NORM_GROUPS)
        self.register_buffer("averaging", averaging, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x [B, C] normalised, in the type of x."""
        wide = x.to(self.averaging.dtype)
        centred = wide - wide @ self.averaging
        spread = (centred.square() @ self.averaging + self.eps).rsqrt()
        return (centred * spread * self.weight + self.bias).to(x.dtype)


class PointResBlock(EmbedBlock):
    """Residual block on vectors [B, C]; the embedding [B, E] is added before the second normalisation."""

    def __init__(self, channels: int, emb_channels: int, dropout: float, use_checkpoint: bool = False) -> None:
        super().__init__()
        self.use_checkpoint = use_checkpoint
        self.in_layers = nn.Sequential(PointNorm(channels), nn.SiLU(), nn.Linear(channels, channels))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, channels))
        self.out_layers = nn.Sequential(
            PointNorm(channels), nn.SiLU(), nn.Dropout(dropout), zeroed(nn.Linear(channels, channels)))

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        """Return [B, C] for x [B, C] and emb [B, E]."""
        return run_block(self._forward, self.use_checkpoint, x, emb)

    def _forward(self, x, emb):
        h = self.in_layers(x)
        return x + self.out_layers(h + self.emb_layers(emb).to(h.dtype))


class SyntheticModel(PrecisionMixin, nn.Module):
    """Residual network on points, with one skip from before its middle to after it.

    Args:
        in_channels, out_channels: coordinates of a point, and of what is predicted for it.
        model_channels: width, a multiple of 32; twice as wide after the middle.
        num_res_blocks: residual blocks before the middle, and as many after it.
        dropout: probability, in the residual blocks.
        use_checkpoint: recompute activations in the backward pass.
    """

    def __init__(self, in_channels: int, model_channels: int, out_channels: int, num_res_blocks: int,
                 dropout: float = 0.0, use_checkpoint: bool = False) -> None:
        super().__init__()
        self.in_channels, self.model_channels = in_channels, model_channels

        def blocks(count, width):
            return EmbedSequential(
                *(PointResBlock(width, model_channels, dropout, use_checkpoint) for _ in range(count)))

        self.time_embed = time_mlp(model_channels, model_channels)
        self.input_blocks = nn.ModuleList([
            EmbedSequential(nn.Linear(in_channels, model_channels)), blocks(num_res_blocks, model_channels)])
        self.middle_block = blocks(2, model_channels)
        self.output_blocks = nn.ModuleList([blocks(num_res_blocks, 2 * model_channels)])
        self.out = nn.Sequential(
            PointNorm(2 * model_channels), nn.SiLU(), zeroed(nn.Linear(2 * model_channels, out_channels)))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return [B, out_channels], in the type of x, for points x [B, in_channels] and timesteps [B].

        Autocast is off inside: a group of two channels is normalised to about +1 and -1, which blows up the
        rounding of a lower precision, and a network this small gains nothing from it.
        """
        if x.ndim != 2 or x.shape[1] != self.in_channels:
            raise UserError(
                f"the network was given points of shape {tuple(x.shape)}: expected [B, {self.in_channels}]; "
                f"put one point in each row")
        with full_precision(x):
            emb = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(self.dtype))
            lift, before = self.input_blocks
            skip = before(lift(x.to(self.dtype), emb), emb)
            h = torch.cat([self.middle_block(skip, emb), skip], dim=1)
            return self.out(self.output_blocks[0](h, emb)).to(x.dtype)
