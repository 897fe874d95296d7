"""Gaussian head start: a network learns only what the best linear denoiser of its training images leaves.

The denoiser is that of add/diffusion/gaussian_prior.py. What a network with a head start predicts is

    (expectation of the prediction given x_t, of the Gaussian) + rms(t) * network(x_t, t),

with rms(t) the root mean square of what the expectation leaves open, so that the network's task has the same size at
every noise level. Its last layer starts at zero: an untrained network is the denoiser itself.
"""
import dataclasses

import numpy as np
import torch
from torch import nn

from add.diffusion import DiffusionConfig, diffusion_from_config
from add.diffusion.gaussian_prior import GaussianPrior, dct_matrix, linear_gain, mean_factor, open_variance
from add.diffusion.noise_levels import NoiseLevels
from add.errors import UserError
from add.networks.blocks import full_precision
from add.networks.network_configs import IMAGE_CHANNELS, ModelConfig, NetworkConfig, create_network
from add.networks.unet import UNetModel

PREFIX = "head_start."  # of the keys in a state dict
PURE_NOISE = -30.0  # stands for half the log SNR of minus infinity: a signal of 1e-13


class GaussianHeadStart(nn.Module):
    """The expectation of a prediction under a Gaussian of the images, or of one for each class.

    Its tensors lie in the state dict: `mean` [K, C, H, W], `variances` [K, C, H, W] and `axes` [K, C * C, H, W],
    as GaussianPrior explains them. Until `fit` they are those of white noise.

    Args:
        shape: (C, H, W) of an image.
        diffusion_config: tells noise levels, timesteps and prediction.
        rows: K, the labels that a network may be told; 1 without classes.
    """

    mean: torch.Tensor
    variances: torch.Tensor
    axes: torch.Tensor
    half_log_snr: torch.Tensor
    rows_dct: torch.Tensor
    columns_dct: torch.Tensor

    def __init__(self, shape: tuple[int, int, int], diffusion_config: DiffusionConfig, rows: int = 1) -> None:
        super().__init__()
        channels, height, width = shape
        diffusion = diffusion_from_config(dataclasses.replace(diffusion_config, timestep_respacing=""))
        self.prediction = diffusion_config.predicted
        self.told_per_timestep = 1000 / diffusion.num_timesteps if diffusion.rescale_timesteps else 1.0
        self.register_buffer("mean", torch.zeros(rows, *shape))
        self.register_buffer("variances", torch.ones(rows, *shape))
        axes = torch.zeros(rows, channels * channels, height, width)
        axes[:, ::channels + 1] = 1  # the identity
        self.register_buffer("axes", axes)
        levels = NoiseLevels(diffusion.alphas_cumprod).log_snr(np.arange(diffusion.num_timesteps))
        levels = np.where(diffusion.alphas_cumprod > 0, levels, PURE_NOISE)
        self.register_buffer("half_log_snr", torch.from_numpy(levels).float(), persistent=False)
        self.register_buffer("rows_dct", _dct(height, axes.device), persistent=False)
        self.register_buffer("columns_dct", _dct(width, axes.device), persistent=False)

    @torch.no_grad()
    def fit(self, prior: GaussianPrior, row: int | slice = slice(None)) -> None:
        """Take over a GaussianPrior, for the label `row`, or for all."""
        for name, value in vars(prior).items():
            getattr(self, name)[row] = value.flatten(0, -3).to(self.mean)

    def forward(self, output: torch.Tensor, x: torch.Tensor, timesteps: torch.Tensor,
                y: torch.Tensor | None = None) -> torch.Tensor:
        """Return a network's output [B, C or 2C, H, W] with its mean turned into the prediction, see above.

        Args:
            output: learned variances, its second half, stay as they are.
            x: [B, C, H, W], the noisy images that it was made from; timesteps: [B], as the network is told them.
            y: [B] int64, labels, where there are several rows.
        """
        if x.shape[1:] != self.mean.shape[1:]:
            raise UserError(f"the network was given images of {list(x.shape[1:])} and has a head start for "
                            f"{list(self.mean.shape[1:])} [channels, height, width]: expected that size; resize or "
                            f"crop the images, or train one with --head_start none")
        with full_precision(x):
            x = x.to(torch.promote_types(x.dtype, self.mean.dtype))
            signal, spread = self._level(timesteps, x)
            row = slice(0, 1) if y is None else y
            mean, variances = self.mean[row], self.variances[row]
            axes = self.axes[row].unflatten(1, (x.shape[1], x.shape[1]))
            z = self.rows_dct @ (x - signal * mean) @ self.columns_dct.T
            z = (axes * z[:, :, None]).sum(dim=1) * linear_gain(variances, signal, spread, self.prediction)
            filtered = self.rows_dct.T @ (axes * z[:, None]).sum(dim=2) @ self.columns_dct
            expected = mean_factor(spread, self.prediction) * mean + filtered
            left = open_variance(variances, signal, spread, self.prediction)
            rms = left.mean(dim=(1, 2, 3), keepdim=True).sqrt()
            channels = x.shape[1]
            predicted = expected + rms * output[:, :channels]
            return torch.cat([predicted, output[:, channels:].to(predicted.dtype)], dim=1)

    def _level(self, timesteps, x):
        """Return the factors of image and noise [B, 1, 1, 1] at timesteps [B], whole or fractional."""
        t = timesteps.to(x.dtype) / self.told_per_timestep
        last = len(self.half_log_snr) - 1
        below = t.floor().long().clamp(0, last)
        above = (below + 1).clamp(max=last)
        lower, upper = self.half_log_snr[below], self.half_log_snr[above]
        half_log_snr = lower + (t - below) * (upper - lower)
        factors = torch.sigmoid(torch.stack([2 * half_log_snr, -2 * half_log_snr])).sqrt()
        return factors[:, :, None, None, None].to(x.dtype)


def _dct(size, device):
    """Return `dct_matrix`; on the device "meta" its shape alone, for its steps would load PyTorch's compiler there."""
    return torch.empty(size, size) if device.type == "meta" else dct_matrix(size, torch.float32)


def create_denoiser(model_config: NetworkConfig, diffusion_config: DiffusionConfig) -> nn.Module:
    """Return the network of a config of any kind, with the head start that its diffusion asks for, not yet fitted.

    Raises:
        UserError: a head start for another network than one of images.
    """
    network = create_network(model_config)
    if diffusion_config.head_start == "none":
        return network
    if not isinstance(model_config, ModelConfig):
        raise UserError(f"--head_start {diffusion_config.head_start} was given for a network that is not one of images "
                        f"from noise: expected none there; leave it out")
    assert isinstance(network, UNetModel), "a ModelConfig builds a UNetModel"
    rows = model_config.num_classes + (model_config.class_dropout > 0) if model_config.class_cond else 1
    size = model_config.image_size
    network.head_start = GaussianHeadStart((IMAGE_CHANNELS, size, size), diffusion_config, rows)
    return network
