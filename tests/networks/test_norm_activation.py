"""The fused step against the plain operations: same bits forwards, same gradients, less kept."""
import pytest
import torch

from add.networks.blocks import GroupNorm
from add.networks.norm_activation import _NormSilu, _tell, norm_silu


def case(told, dtype=torch.float64, memory_format=torch.channels_last, channels=64):
    g = torch.Generator().manual_seed(0)
    norm = GroupNorm(channels).to(dtype)
    with torch.no_grad():
        for p in norm.parameters():
            p.copy_(torch.randn(p.shape, generator=g))
    x = torch.randn(2, channels, 4, 3, generator=g, dtype=dtype).to(memory_format=memory_format) + 0.5
    e = torch.randn(2, 2 * channels, 1, 1, generator=g, dtype=dtype) if told else None
    return norm, x.requires_grad_(), e if e is None else e.requires_grad_()


@pytest.mark.parametrize("channels", [32, 64])
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_same_values_and_gradients(told, memory_format, channels):
    norm, x, e = case(told, memory_format=memory_format, channels=channels)
    wanted = [t for t in (x, norm.weight, norm.bias, e) if t is not None]
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    plain, fused = torch.nn.functional.silu(_tell(norm(x), e)), norm_silu(norm, x, e)
    assert torch.equal(plain, fused) and fused.is_contiguous(memory_format=memory_format)
    for a, b in zip(torch.autograd.grad(plain, wanted, grad), torch.autograd.grad(fused, wanted, grad), strict=False):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_gradients_by_differences():
    norm, x, e = case(told=True, channels=32)
    assert torch.autograd.gradcheck(lambda *a: _NormSilu.apply(*a, 32, 1e-5), (x, norm.weight, norm.bias, e), atol=1e-6)


def test_keeps_one_map():
    norm, x, e = case(told=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        norm_silu(norm, x, e)
    assert sum(n == x.numel() for n in kept) == 1
