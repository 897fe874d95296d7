"""Conversions between what a model may predict - eps, x_start or v - at a noise level, and min-SNR loss weights.

With x_t = sqrt(alpha_bar) x_start + sqrt(1 - alpha_bar) eps, Salimans & Ho 2022 (arXiv:2202.00512) define
v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_start. The functions take the level of x_t as its two factors,
`signal` = sqrt(alpha_bar) and `spread` = sqrt(1 - alpha_bar): numbers, or tensors that broadcast against the
images [B, C, H, W]. Min-SNR weights: Hang et al. 2023 (arXiv:2303.09556), Sec. 3.4.
"""
from typing import TypeAlias

import numpy as np
import torch

from add.errors import UserError

Factor: TypeAlias = float | torch.Tensor

PREDICTIONS = ("epsilon", "x_start", "v")


def x_t_from(x_start: torch.Tensor, eps: torch.Tensor, signal: Factor, spread: Factor) -> torch.Tensor:
    """Return x_start with eps mixed in (Ho et al. 2020, Eq. 4)."""
    return signal * x_start + spread * eps


def eps_from_x_start(x_t: torch.Tensor, x_start: torch.Tensor, signal: Factor, spread: Factor) -> torch.Tensor:
    """Return the noise in x_t if its clean image is x_start; needs spread > 0."""
    return (x_t - signal * x_start) / spread


def v_from(x_start: torch.Tensor, eps: torch.Tensor, signal: Factor, spread: Factor) -> torch.Tensor:
    """Return v of a clean image and its noise."""
    return signal * eps - spread * x_start


def x_start_from_v(x_t: torch.Tensor, v: torch.Tensor, signal: Factor, spread: Factor) -> torch.Tensor:
    """Return the clean image that x_t and v imply; defined at every level, pure noise included."""
    return signal * x_t - spread * v


def signal_to_noise(alphas_cumprod: np.ndarray) -> np.ndarray:
    """Return SNR [T] = alpha_bar / (1 - alpha_bar) of a schedule, float64."""
    alphas_cumprod = np.asarray(alphas_cumprod, dtype=np.float64)
    return alphas_cumprod / (1 - alphas_cumprod)


def min_snr_weights(alphas_cumprod: np.ndarray, gamma: float, prediction: str) -> np.ndarray:
    """Return the weight [T], float64, of the mean squared error in `prediction` at each timestep.

    Every choice weighs the error in x_start by min(SNR, gamma); an error in eps counts SNR times as much
    as the same error in x_start, and one in v SNR + 1 times. Where SNR is 0 the weight of x_start and v is
    0: that level is then not trained.

    Args:
        alphas_cumprod: [T].
        gamma: > 0; 5 in the paper.
        prediction: one of PREDICTIONS.
    """
    if gamma <= 0:
        raise UserError(f"min-SNR gamma {gamma}: expected a number above 0; the paper uses 5")
    snr = signal_to_noise(alphas_cumprod)
    if prediction == "epsilon":
        return gamma / np.maximum(snr, gamma)  # min(SNR, gamma) / SNR, and 1 where SNR is 0
    if prediction == "x_start":
        return np.minimum(snr, gamma)
    if prediction == "v":
        return np.minimum(snr, gamma) / (snr + 1)
    raise UserError(f"no min-SNR weights for prediction {prediction!r}: expected one of {PREDICTIONS}")
