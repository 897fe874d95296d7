"""Group normalisation, the embedding's gain and offset, and SiLU as one step that saves its input only.

Autograd by itself saves the input of each of the four operations for the backward pass. Here it saves x and the
groups' moments, and the backward pass recomputes the rest with one multiply-add: less memory, and fewer passes over
it. The forward pass calls the same operations in the same order, so its bits are the same.
"""
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable


def norm_silu(norm: nn.Module, x: torch.Tensor, told: torch.Tensor | None = None) -> torch.Tensor:
    """Return silu(offset + (gain + 1) * norm(x)), with gain and offset the halves of `told` (ADM, Eq. 3).

    On a CPU it has first derivatives only.

    Args:
        norm: nn.GroupNorm, as it comes out of an nn.Sequential.
        x: [B, C, H, W].
        told: [B, 2 C, 1, 1], or None for silu(norm(x)).
    """
    saves = x.device.type == "cpu" and x.dtype == norm.weight.dtype and torch.is_grad_enabled()
    if saves and not torch.compiler.is_compiling():  # compiled, all of it is fused anyway
        return _NormSilu.apply(x, norm.weight, norm.bias, told, norm.num_groups, norm.eps)
    return F.silu(_tell(norm(x), told))


def _tell(y, told):
    if told is None:
        return y
    gain, offset = told.tensor_split(2, dim=1)
    return offset + (gain + 1) * y


class _NormSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, told, num_groups, eps):
        batch, channels, height, width = x.shape
        y, mean, rstd = torch.native_group_norm(x, weight, bias, batch, channels, height * width, num_groups, eps)
        ctx.save_for_backward(x, weight, bias, told, mean, rstd)
        return F.silu(_tell(y, told))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        """With x_hat = (x - mean) rstd, z = slope x + shift is what SiLU was given; all but three passes are [B, C]."""
        x, weight, bias, told, mean, rstd = ctx.saved_tensors
        width = x.shape[1] // mean.shape[1]  # channels of a group
        mean, rstd = (moment.repeat_interleave(width, dim=1) for moment in (mean, rstd))  # [B, C]
        gain, offset = (1, 0) if told is None else told.flatten(1).tensor_split(2, dim=1)
        gain = gain if told is None else gain + 1
        scale = (gain * weight).expand_as(mean)
        slope, shift = scale * rstd, offset + gain * bias - mean * scale * rstd
        z = torch.addcmul(_map(shift), x, _map(slope))
        dz = torch.ops.aten.silu_backward(grad, z)
        sum_dz = dz.sum(dim=(2, 3))
        sum_dz_xhat = rstd * (torch.mul(dz, x, out=z).sum(dim=(2, 3)) - mean * sum_dz)
        # dx = rstd (scale dz - mean over the group of scale dz - x_hat times that of scale dz x_hat)
        size = width * x.shape[2] * x.shape[3]
        mean_dz, mean_dz_xhat = (_group_sum(scale * part, width) / size for part in (sum_dz, sum_dz_xhat))
        factor = -rstd.square() * mean_dz_xhat
        dx = torch.addcmul(_map(-factor * mean - rstd * mean_dz), x, _map(factor), out=z).addcmul_(dz, _map(slope))
        d_told = None
        if told is not None:
            d_told = _map(torch.cat([weight * sum_dz_xhat + bias * sum_dz, sum_dz], dim=1))
        return dx, (gain * sum_dz_xhat).sum(dim=0), (gain * sum_dz).sum(dim=0), d_told, None, None


def _map(numbers):
    return numbers[:, :, None, None]


def _group_sum(numbers, width):
    """Return [B, C] with each channel's number replaced by the sum over its group."""
    return numbers.unflatten(1, (-1, width)).sum(dim=2).repeat_interleave(width, dim=1)
