"""Embedding, normalisation, resampling and the residual block."""
import math

import pytest
import torch
import torch.nn.functional as F

from add.errors import UserError
from add.networks.blocks import (
    Downsample,
    EmbedSequential,
    GroupNorm,
    ResBlock,
    Upsample,
    timestep_embedding,
)
from tests import golden


@pytest.mark.parametrize(("name", "dim", "period"), [
    ("te_dim32", 32, 10000), ("te_dim33", 33, 10000), ("te_dim128", 128, 10000),
    ("te_dim16_period100", 16, 100)])
def test_embedding_is_that_of_guided_diffusion(name, dim, period):
    arrays = golden.load_npz("timestep_embedding")
    t, expected = arrays["te_t"].double(), arrays[name]
    embedding = timestep_embedding(arrays["te_t"], dim, max_period=period)
    half = dim // 2
    angles = t[:, None] * torch.exp(-math.log(period) * torch.arange(half, dtype=torch.float64) / half)
    last_bit = F.pad(angles.repeat(1, 2), (0, dim % 2)) * 2**-23  # exp's, which differs between processors
    assert ((embedding - expected).abs() <= 1e-6 + last_bit).all()


def test_embedding_by_hand():
    """Two frequencies: 1 and 10000^(-1/2) = 0.01."""
    expected = [math.cos(3), math.cos(0.03), math.sin(3), math.sin(0.03), 0.0]
    torch.testing.assert_close(timestep_embedding(torch.tensor([3]), 5), torch.tensor([expected]))


def test_norm_is_computed_in_float32():
    """Only the result is rounded to the type of x, not the statistics or the scale; float64 stays float64."""
    x = (300 + 4 * torch.randn(2, 64, 8, 8)).bfloat16()
    norm = GroupNorm(64)
    torch.nn.init.normal_(norm.weight)
    expected = torch.nn.functional.group_norm(x.float(), 32, norm.weight)
    assert torch.equal(norm(x), expected.bfloat16())
    assert norm(x.double()).dtype == torch.float64
    torch.testing.assert_close(norm(x.double()).float(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("channels", [48, 0, 31])
def test_channels_that_do_not_group_are_refused(channels):
    with pytest.raises(UserError, match=f"{channels} channels: expected a multiple of 32"):
        GroupNorm(channels)


def test_resampling_by_hand():
    x = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    up = Upsample(1, use_conv=False)(x)
    assert up[0, 0].tolist() == [[1, 1, 3, 3], [1, 1, 3, 3], [5, 5, 7, 7], [5, 5, 7, 7]]
    assert Downsample(1, use_conv=False)(x).item() == 4
    torch.testing.assert_close(Downsample(1, use_conv=False)(up), x)


@pytest.mark.parametrize(("options", "factor"), [({}, 1), ({"up": True}, 2), ({"down": True}, 0.5)])
def test_fresh_block_is_its_skip_connection(options, factor):
    """The residual branch starts at zero, so only the resampling of x is left."""
    x = torch.randn(2, 32, 4, 4)
    mode = "area" if factor < 1 else "nearest"
    expected = torch.nn.functional.interpolate(x, scale_factor=factor, mode=mode)
    torch.testing.assert_close(ResBlock(32, 8, 0.0, **options)(x, torch.randn(2, 8)), expected)


@pytest.mark.parametrize("scale_shift", [True, False])
def test_residual_branch_by_definition(scale_shift):
    torch.manual_seed(0)
    block = ResBlock(32, 8, 0.0, out_channels=64, use_scale_shift_norm=scale_shift)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, emb = torch.randn(2, 32, 4, 4), torch.randn(2, 8)
    functional = torch.nn.functional
    h = block.in_layers[2](functional.silu(block.in_layers[0](x)))
    condition = block.emb_layers[1](functional.silu(emb))[:, :, None, None]
    if scale_shift:
        h = block.out_layers[0](h) * (1 + condition[:, :64]) + condition[:, 64:]
    else:
        h = block.out_layers[0](h + condition)
    expected = block.skip_connection(x) + block.out_layers[3](functional.silu(h))
    torch.testing.assert_close(block(x, emb), expected)


def test_sequential_passes_the_embedding_only_where_it_is_wanted():
    torch.manual_seed(0)
    block = ResBlock(32, 8, 0.0)
    torch.nn.init.normal_(block.out_layers[3].weight)
    layers = EmbedSequential(torch.nn.Conv2d(3, 32, 1), block)
    x, emb = torch.randn(1, 3, 4, 4), torch.randn(1, 8)
    torch.testing.assert_close(layers(x, emb), block(layers[0](x), emb))
    assert not torch.equal(layers(x, emb), layers(x, 2 * emb))
