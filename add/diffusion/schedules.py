"""Noise schedules: how much noise each timestep adds, as float64 arrays of betas.

linear: Ho et al. 2020 (arXiv:2006.11239), stretched to any number of steps as in guided-diffusion.
cosine: Nichol & Dhariwal 2021 (arXiv:2102.09672), Eq. 17.
Zero terminal SNR: Lin et al. 2023 (arXiv:2305.08891), Algorithm 1.
"""
import math

import numpy as np

from add.errors import UserError

MAX_BETA = 0.999  # a beta of 1 would erase the image in one step
COSINE_OFFSET = 0.008  # s of Eq. 17


def linear_betas(num_timesteps: int) -> np.ndarray:
    """Return betas [T], evenly spaced from 0.1/T to 20/T, so that the last level is nearly noise for any T.

    With T <= 20 the upper end reaches 1 (guided-diffusion then stops with an assertion, or silently erases
    the image); here betas are clipped to MAX_BETA and few-step schedules work.
    """
    _check_num_timesteps(num_timesteps)
    scale = 1000 / num_timesteps
    betas = np.linspace(scale * 0.0001, scale * 0.02, num_timesteps, dtype=np.float64)
    return np.minimum(betas, MAX_BETA)


def cosine_betas(num_timesteps: int) -> np.ndarray:
    """Return betas [T] whose alpha_bar falls as a squared cosine; clipped to MAX_BETA near the end."""
    _check_num_timesteps(num_timesteps)
    levels = [_cosine_alpha_bar(i / num_timesteps) for i in range(num_timesteps + 1)]
    return np.array([min(1 - after / before, MAX_BETA)
                     for before, after in zip(levels[:-1], levels[1:], strict=True)])


def _cosine_alpha_bar(fraction):
    """Return alpha_bar after `fraction` of the schedule, up to a constant factor (f(t) of Eq. 17)."""
    return math.cos((fraction + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2


SCHEDULES = {"linear": linear_betas, "cosine": cosine_betas}


def named_beta_schedule(name: str, num_timesteps: int) -> np.ndarray:
    """Return betas [T] of the schedule called `name`, one of SCHEDULES."""
    if name not in SCHEDULES:
        raise UserError(f"unknown noise schedule {name!r}: expected one of {', '.join(SCHEDULES)}")
    return SCHEDULES[name](num_timesteps)


def rescale_zero_terminal_snr(betas: np.ndarray) -> np.ndarray:
    """Return betas [T] shifted and scaled so that alpha_bar of the last timestep is exactly 0.

    sqrt(alpha_bar) is moved down to 0 at the end and stretched back to its first value (Algorithm 1).
    A model that predicts eps has nothing to say at that level: train with v or x_start.
    """
    betas = np.asarray(betas, dtype=np.float64)
    if len(betas) < 2:
        raise UserError(
            f"zero terminal SNR needs at least 2 timesteps, got {len(betas)}: raise the number of steps")
    signal = np.sqrt(np.cumprod(1 - betas))
    signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    alpha_bar = signal**2
    alphas = alpha_bar / np.append(1.0, alpha_bar[:-1])
    return 1 - alphas


def _check_num_timesteps(num_timesteps):
    if num_timesteps < 1:
        raise UserError(f"{num_timesteps} diffusion steps: expected at least 1")
