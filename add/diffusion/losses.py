"""Training losses and the variational bound of a diffusion.

`training_losses` and `calc_bpd_loop` are methods of `GaussianDiffusion` under the same names.

Ho et al. 2020 (arXiv:2006.11239), Eqs. 5 and 14; the hybrid loss of Nichol & Dhariwal 2021
(arXiv:2102.09672), Eq. 16. Bounds are in bits per dimension, squared errors in squared
units of the prediction; one number per image.
"""
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from add.diffusion.ddpm_and_ddim import ModelKwargs, Tensors, noise_like
from add.diffusion.likelihood import discretized_gaussian_log_likelihood, mean_flat, normal_kl
from add.diffusion.parametrization import min_snr_weights, v_from
from add.diffusion.prediction_types import LossType, ModelMeanType
from add.errors import UserError
from add.interfaces import Model, OnStep

if TYPE_CHECKING:
    from add.diffusion.gaussian import GaussianDiffusion

BITS_PER_NAT = 1 / math.log(2)

MIN_SNR_PREDICTIONS = {
    ModelMeanType.EPSILON: "epsilon",
    ModelMeanType.START_X: "x_start",
    ModelMeanType.V: "v",
}


def training_losses(diffusion: "GaussianDiffusion", model: Model, x_start: torch.Tensor, t: torch.Tensor,
                    model_kwargs: ModelKwargs | None = None, noise: torch.Tensor | None = None,
                    generator: torch.Generator | None = None) -> Tensors:
    """Return a dict with "loss" [B], and "mse" and "vb" [B] where the loss has such terms.

    "mse" is the plain squared error; min-SNR weights enter the loss only.

    Args:
        model: see `GaussianDiffusion.p_mean_variance`.
        x_start: [B, C, H, W] in [-1, 1].
        t: int64 [B], timesteps to train.
        noise: [B, C, H, W], else drawn from `generator`.
    """
    noise = noise_like(x_start, generator) if noise is None else noise
    x_t = diffusion.q_sample(x_start, t, noise)
    output = model(x_t, diffusion.model_timesteps(t), **(model_kwargs or {}))
    if diffusion.loss_type.is_vb():
        bound, _ = _bound_term(diffusion, output, x_start, x_t, t, clip_denoised=False)
        whole = diffusion.loss_type is LossType.RESCALED_KL
        return {"loss": bound * diffusion.num_timesteps if whole else bound}

    terms = {}
    prediction, variance_output = diffusion.split_output(output, x_start)
    target = _prediction_target(diffusion, x_start, x_t, t, noise)
    terms["mse"] = mean_flat((target - prediction) ** 2)
    terms["loss"] = terms["mse"]
    if diffusion.min_snr_gamma:
        terms["loss"] = terms["mse"] * diffusion.coefficient("_loss_weights", t, x_start).flatten()
    if variance_output is not None:
        terms["vb"] = _variance_bound(diffusion, prediction, variance_output, x_start, x_t, t)
        terms["loss"] = terms["loss"] + terms["vb"]
    return terms


def timestep_weights(diffusion: "GaussianDiffusion") -> np.ndarray:
    """Return the weight [T] of the squared error at each timestep; all ones without min-SNR weighting.

    With an even share, that share of all weights is spread evenly over the timesteps.
    """
    if not diffusion.min_snr_gamma:
        return np.ones(diffusion.num_timesteps)
    if diffusion.loss_type.is_vb():
        raise UserError("min_snr_gamma weights squared errors, but the loss is the variational bound: "
                        "set min_snr_gamma to 0 or use_kl to False")
    if diffusion.model_mean_type not in MIN_SNR_PREDICTIONS:
        raise UserError(f"min_snr_gamma is not defined for {diffusion.model_mean_type.name} predictions")
    prediction = MIN_SNR_PREDICTIONS[diffusion.model_mean_type]
    weights = min_snr_weights(diffusion.alphas_cumprod, diffusion.min_snr_gamma, prediction)
    return (1 - diffusion.even_share) * weights + diffusion.even_share * weights.mean()


@torch.no_grad()
def calc_bpd_loop(diffusion: "GaussianDiffusion", model: Model, x_start: torch.Tensor, clip_denoised: bool = True,
                  model_kwargs: ModelKwargs | None = None, generator: torch.Generator | None = None,
                  on_step: OnStep | None = None, noise: Callable[[int], torch.Tensor] | None = None) -> Tensors:
    """Return the whole variational bound of images x_start [B, C, H, W], in bits per dimension.

    One noise per timestep is used, noise(t) like x_start, else drawn from `generator`. on_step(i, t, x_t) is called
    after each.

    Returns:
        A dict: "total_bpd" and "prior_bpd" [B]; "vb", "xstart_mse" and "mse" (of eps) [B, T], with the LAST
        timestep first.
    """
    columns: dict[str, list[torch.Tensor]] = {"vb": [], "xstart_mse": [], "mse": []}
    for i, step in enumerate(reversed(range(diffusion.num_timesteps))):
        t = torch.full((len(x_start),), step, dtype=torch.int64, device=x_start.device)
        eps = noise_like(x_start, generator) if noise is None else noise(step)
        x_t = diffusion.q_sample(x_start, t, eps)
        output = model(x_t, diffusion.model_timesteps(t), **(model_kwargs or {}))
        bound, pred_xstart = _bound_term(diffusion, output, x_start, x_t, t, clip_denoised)
        columns["vb"].append(bound)
        columns["xstart_mse"].append(mean_flat((pred_xstart - x_start) ** 2))
        columns["mse"].append(mean_flat((diffusion.eps_from_x_start(x_t, t, pred_xstart) - eps) ** 2))
        if on_step is not None:
            on_step(i, step, x_t)
    terms = {name: torch.stack(column, dim=1) for name, column in columns.items()}
    prior_bpd = _prior_bpd(diffusion, x_start)
    return {"total_bpd": terms["vb"].sum(dim=1) + prior_bpd, "prior_bpd": prior_bpd, **terms}


def _bound_term(diffusion, output, x_start, x_t, t, clip_denoised):
    """Return the bound's term at timesteps t, bits per dimension [B], and the predicted x_start.

    It is the KL divergence L_{t-1} of Eq. 5, and at t = 0 the negative log-likelihood of the 8-bit image, L_0.
    """
    p = diffusion.p_from_output(output, x_t, t, clip_denoised)
    true_mean, _, true_log_variance = diffusion.q_posterior_mean_variance(x_start, x_t, t)
    kl = normal_kl(true_mean, true_log_variance, p["mean"], p["log_variance"])
    log_likelihood = discretized_gaussian_log_likelihood(
        x_start, means=p["mean"], log_scales=0.5 * p["log_variance"])
    bits = torch.where(t == 0, -mean_flat(log_likelihood), mean_flat(kl)) * BITS_PER_NAT
    return bits, p["pred_xstart"]


def _variance_bound(diffusion, prediction, variance_output, x_start, x_t, t):
    """Return the bound [B] as a loss of the variances alone: no gradient reaches the prediction."""
    output = torch.cat([prediction.detach(), variance_output], dim=1)
    bound, _ = _bound_term(diffusion, output, x_start, x_t, t, clip_denoised=False)
    if diffusion.loss_type is LossType.RESCALED_MSE:
        # L_vlb = T L_t, times the 0.001 of Eq. 16: unscaled it would outweigh the squared error.
        return bound * diffusion.num_timesteps / 1000
    return bound


def _prediction_target(diffusion, x_start, x_t, t, noise):
    kind = diffusion.model_mean_type
    if kind is ModelMeanType.EPSILON:
        return noise
    if kind is ModelMeanType.START_X:
        return x_start
    if kind is ModelMeanType.V:
        return v_from(x_start, noise, *diffusion.level(t, x_start))
    return diffusion.q_posterior_mean_variance(x_start, x_t, t)[0]


def _prior_bpd(diffusion, x_start):
    """Return KL(q(x_T | x_start) || N(0, 1)) [B], bits per dimension: L_T of Eq. 5."""
    t = torch.full((len(x_start),), diffusion.num_timesteps - 1, dtype=torch.int64, device=x_start.device)
    mean, _, log_variance = diffusion.q_mean_variance(x_start, t)
    return mean_flat(normal_kl(mean, log_variance, 0.0, 0.0)) * BITS_PER_NAT
