"""DDIM steps as plain functions (Song et al. 2021, arXiv:2010.02502).

alpha_bar arguments are entries of alphas_cumprod: numbers, arrays or tensors that broadcast against images.
"""
import numpy as np
import torch

from add.errors import UserError


def ddim_transfer(x_t, eps, alpha_bar_from, alpha_bar_to):
    """Return x_t carried to level alpha_bar_to along the DDIM ODE.

    Denoises when alpha_bar_to is the larger level, encodes when it is the smaller (Eq. 12, sigma_t = 0).

    Args:
        x_t: [B, C, H, W], images at level alpha_bar_from; clean images lie in [-1, 1].
        eps: [B, C, H, W], the noise predicted in x_t.
        alpha_bar_from: in (0, 1]. At 0 an image cannot be told from eps; predict x_start or v there.
        alpha_bar_to: in [0, 1].
    """
    x_start = (x_t - (1 - alpha_bar_from) ** 0.5 * eps) / alpha_bar_from**0.5
    return alpha_bar_to**0.5 * x_start + (1 - alpha_bar_to) ** 0.5 * eps


def ddim_sigma(alpha_bar_from, alpha_bar_to, eta):
    """Return the standard deviation of the noise a step adds: 0 for eta 0, DDPM's for eta 1 (Eq. 16)."""
    noise_ratio = (1 - alpha_bar_to) / (1 - alpha_bar_from)
    return eta * noise_ratio**0.5 * (1 - alpha_bar_from / alpha_bar_to) ** 0.5


def ddim_coefficients(alpha_bar_from, alpha_bar_to, eta=0.0):
    """Return the three float64 factors of Eq. 12: x_to = signal x_start + direction eps + sigma noise.

    Args:
        alpha_bar_from, alpha_bar_to: float64 [T], the levels before and after each step.
        eta: in [0, 1]; above 0 only for steps that denoise.
    """
    if not 0 <= eta <= 1:
        raise UserError(f"eta {eta}: expected 0 (deterministic DDIM) to 1 (as random as DDPM)")
    sigma = ddim_sigma(alpha_bar_from, alpha_bar_to, eta) if eta else np.zeros_like(alpha_bar_to)
    # At eta = 1 rounding can leave a difference of about -1e-17.
    direction = np.sqrt(np.maximum(1 - alpha_bar_to - sigma**2, 0))
    return np.sqrt(alpha_bar_to), direction, sigma


@torch.no_grad()
def ddim_path(model, x, timesteps, alphas_cumprod, on_step=None):
    """Return x [B, C, H, W] carried through `timesteps`: ascending encodes, descending decodes.

    Both ends of every step stand on one list of levels, so the reversed list leads back.

    Args:
        model: model(x_t, t) -> eps, with t an int64 tensor [B].
        timesteps: ints in [0, T); x stands at timesteps[0], the result at timesteps[-1].
        alphas_cumprod: float64 [T], every used entry above 0.
        on_step: called as on_step(i, t, x) after step i, with x at level t.
    """
    for i, (t, t_next) in enumerate(zip(timesteps[:-1], timesteps[1:], strict=True)):
        eps = model(x, torch.full((len(x),), t, device=x.device))
        x = ddim_transfer(x, eps, float(alphas_cumprod[t]), float(alphas_cumprod[t_next]))
        if on_step is not None:
            on_step(i, t_next, x)
    return x
