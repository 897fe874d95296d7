"""Exactly invertible solver of the probability-flow ODE: O-BELM (Wang et al. 2024, arXiv:2410.07273).

In y = x / signal and rho = spread / signal the ODE is dy = eps d rho, and O-BELM the leapfrog rule of second order on
uneven steps: three neighbouring states and the noise in the middle one obey one linear equation, which gives the last
from the first two and the first from the last two. So a walk back over the same timesteps returns the same states,
given the last two; in float32 up to rounding.
"""
from collections.abc import Iterator

import numpy as np
import torch

from add.diffusion.noise_levels import NoiseLevels
from add.diffusion.solvers import SOLVERS, Predict, beside


def leapfrog_walk(predict: Predict, levels: NoiseLevels, x: torch.Tensor, timesteps: np.ndarray,
                  behind: tuple[float, torch.Tensor] | None = None) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Yield (row, x before, x after) for each step of images x [B, C, H, W] along timesteps.

    n steps take n evaluations. Without `behind` the first step is one of DDIM.

    Args:
        predict: predict(x, t float64 [B]) -> eps, as from `predictor_of`.
        timesteps: float64 [n + 1], ascending or descending; x stands at the first.
        behind: (timestep, images [B, C, H, W]) of the state before x, on the other side.
    """
    for row, (t, t_next) in enumerate(zip(timesteps[:-1], timesteps[1:], strict=True)):
        eps = predict(x, np.full(len(x), t))
        if behind is None:
            scale, (weight,) = SOLVERS["ddim"].weights(levels, (t,), t, t_next)
            after = float(scale) * x + float(weight) * eps
        else:
            after = leap(levels, *behind, t, x, eps, t_next)
        behind = t, x
        yield row, x, after
        x = after


def leap(levels: NoiseLevels, t_behind: float, x_behind: torch.Tensor, t: float, x: torch.Tensor, eps: torch.Tensor,
         t_next: float) -> torch.Tensor:
    """Return the images at timestep t_next from those at t and, on its other side, t_behind, and the noise eps at t."""
    (signal_behind, rho_behind), (signal, rho), (signal_next, rho_next) = (
        _place(levels, at) for at in (t_behind, t, t_next))
    ahead, back = rho_next - rho, rho - rho_behind
    ratio = (ahead / back) ** 2
    factors = signal_next * np.array([ratio / signal_behind, (1 - ratio) / signal, ahead * (ahead + back) / back])
    first, second, third = beside(factors, x).reshape(-1)
    return first * x_behind + second * x + third * eps


def _place(levels, t):
    signal, spread = levels.factors(t)
    return signal, spread / signal
