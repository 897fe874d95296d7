import numpy as np
import pytest

from add.diffusion.ddpm_and_ddim import ddim_coefficients, ddim_sigma
from add.diffusion.schedules import linear_betas
from add.errors import UserError


@pytest.fixture
def alphas_cumprod():
    return np.cumprod(1 - linear_betas(1000))


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
