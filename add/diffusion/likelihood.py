"""Likelihood terms of the variational bound (Ho et al. 2020, arXiv:2006.11239, Eqs. 5 and 13), in nats."""
import math
from typing import Any, TypeAlias

import torch

Number: TypeAlias = torch.Tensor | float

HALF_LEVEL = 1 / 255  # half the distance of two 8-bit levels, for images in [-1, 1]
SMALLEST_PROBABILITY = 1e-12  # keeps the logarithm finite


def normal_kl(mean: Number, log_variance: Number, other_mean: Number, other_log_variance: Number) -> Any:
    """Return KL(N(mean, exp log_variance) || N(other_mean, exp other_log_variance)) per element, in nats.

    Tensors that broadcast, or plain numbers in their place; a number if all four are.
    """
    log_ratio = log_variance - other_log_variance
    squared_distance = (mean - other_mean) ** 2 * _exp(-other_log_variance)
    return 0.5 * (_exp(log_ratio) - log_ratio + squared_distance - 1)


def _exp(x):
    return x.exp() if torch.is_tensor(x) else math.exp(x)


def approx_standard_normal_cdf(x: torch.Tensor) -> torch.Tensor:
    """Return the standard normal distribution function, by the tanh formula of Page 1977 (error < 2e-4)."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def discretized_gaussian_log_likelihood(x: torch.Tensor, *, means: torch.Tensor,
                                        log_scales: torch.Tensor) -> torch.Tensor:
    """Return the log probability, in nats, of each 8-bit value of x under a Gaussian binned to 8-bit levels.

    The darkest bin reaches down to -inf and the brightest up to inf (Ho et al. 2020, Eq. 13). Evaluated with
    the tanh formula in the dtype of x, as the published numbers are: far tails end at log 1e-12.

    Args:
        x: [B, ...], images of 8-bit levels scaled to [-1, 1].
        means, log_scales: like x, the Gaussian's mean and log standard deviation.
    """
    assert x.shape == means.shape == log_scales.shape, "x, means and log_scales must have one shape"
    centred, precision = x - means, torch.exp(-log_scales)
    below_upper = approx_standard_normal_cdf(precision * (centred + HALF_LEVEL))
    below_lower = approx_standard_normal_cdf(precision * (centred - HALF_LEVEL))
    probability = torch.where(x > 0.999, 1 - below_lower, below_upper - below_lower)
    probability = torch.where(x < -0.999, below_upper, probability)
    return probability.clamp(min=SMALLEST_PROBABILITY).log()


def mean_flat(x: torch.Tensor) -> torch.Tensor:
    """Return the mean over all but the first dimension: [B, ...] to [B]."""
    return x.flatten(1).mean(dim=1)
