import numpy as np
import pytest
import torch

from add.diffusion.ddim import ddim_coefficients, ddim_path, ddim_sigma, ddim_transfer
from add.diffusion.schedules import linear_betas
from add.errors import UserError


@pytest.fixture
def alphas_cumprod():
    return np.cumprod(1 - linear_betas(1000))


@pytest.fixture
def x_start():
    return torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(1, 3, 4, 4)


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_path_lands_on_its_named_level(alphas_cumprod, x_start, steps):
    """With one fixed eps the DDIM path is exact, whatever the number of steps."""
    eps = x_start.flip(-1)

    def at(t):
        return alphas_cumprod[t] ** 0.5 * x_start + (1 - alphas_cumprod[t]) ** 0.5 * eps

    timesteps = torch.linspace(10, 700, steps + 1).round().int().tolist()
    seen = []
    latent = ddim_path(lambda x, t: eps, at(10), timesteps, alphas_cumprod,
                       on_step=lambda i, t, x: seen.append((i, t)))
    torch.testing.assert_close(latent, at(700))
    assert seen == list(enumerate(timesteps[1:]))


def test_round_trip_error_falls_as_one_over_steps(alphas_cumprod, x_start):
    """Encode then decode on one list of levels, with the exact eps of Gaussian data of variance 0.25."""
    def model(x, t):
        alpha_bar = alphas_cumprod[t[0]]
        return (1 - alpha_bar) ** 0.5 * x / (0.25 * alpha_bar + 1 - alpha_bar)

    def error(steps):
        timesteps = torch.linspace(0, 600, steps + 1).round().int().tolist()
        latent = ddim_path(model, x_start, timesteps, alphas_cumprod)
        return (ddim_path(model, latent, timesteps[::-1], alphas_cumprod) - x_start).abs().max().item()

    coarse, fine = error(50), error(200)
    assert 0 < fine < coarse < 0.2
    assert 3 < coarse / fine < 5.5


def test_gaussian_data_keeps_its_quantiles(alphas_cumprod, x_start):
    """The ODE scales Gaussian data by the ratio of standard deviations, and 600 steps come close."""
    def deviation(t):
        return (0.25 * alphas_cumprod[t] + 1 - alphas_cumprod[t]) ** 0.5

    def model(x, t):
        return (1 - alphas_cumprod[t[0]]) ** 0.5 * x / deviation(t[0]) ** 2

    latent = ddim_path(model, x_start, list(range(601)), alphas_cumprod)
    torch.testing.assert_close(latent, x_start * deviation(600) / deviation(0), rtol=1e-2, atol=0)


def test_transfer_works_on_tensor_levels(x_start):
    eps, level = x_start.flip(0), torch.tensor(0.3, dtype=torch.float64)
    cleaner = torch.tensor(0.9, dtype=torch.float64)
    there = ddim_transfer(x_start, eps, cleaner, level)
    torch.testing.assert_close(ddim_transfer(there, eps, level, cleaner), x_start)


def test_eta_one_is_ddpm(alphas_cumprod):
    """At eta 1 sigma squared is the posterior variance (Ho et al. 2020, Eq. 7)."""
    alpha_bar, previous = alphas_cumprod[1:], alphas_cumprod[:-1]
    betas = linear_betas(1000)[1:]
    np.testing.assert_allclose(ddim_sigma(alpha_bar, previous, 1.0) ** 2,
                               betas * (1 - previous) / (1 - alpha_bar), rtol=1e-9)


def test_coefficients_keep_the_level(alphas_cumprod):
    signal, direction, sigma = ddim_coefficients(alphas_cumprod[1:], alphas_cumprod[:-1], eta=0.7)
    np.testing.assert_allclose(signal**2, alphas_cumprod[:-1])
    np.testing.assert_allclose(direction**2 + sigma**2, 1 - alphas_cumprod[:-1])


@pytest.mark.parametrize("eta", [-0.1, 1.5])
def test_eta_outside_its_range_is_refused(alphas_cumprod, eta):
    with pytest.raises(UserError, match="expected 0"):
        ddim_coefficients(alphas_cumprod[1:], alphas_cumprod[:-1], eta)
