"""The factors of a DDIM step from one noise level to another (Song et al. 2021, arXiv:2010.02502)."""
import numpy as np

from add.errors import UserError


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
