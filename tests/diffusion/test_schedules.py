import numpy as np
import pytest

from add.diffusion.schedules import (
    cosine_betas,
    linear_betas,
    named_beta_schedule,
    rescale_zero_terminal_snr,
)
from add.errors import UserError


@pytest.mark.parametrize(
    "name", ["linear_1000", "linear_200", "linear_50", "cosine_1000", "cosine_200", "cosine_10"])
def test_betas_are_guided_diffusions(golden_npz, name):
    kind, steps = name.split("_")
    betas = named_beta_schedule(kind, int(steps))
    assert betas.dtype == np.float64
    np.testing.assert_allclose(betas, golden_npz("diffusion/schedules.npz")[name], rtol=1e-14)


@pytest.mark.parametrize("steps", [1, 2, 10, 20, 21])
@pytest.mark.parametrize("schedule", [linear_betas, cosine_betas])
def test_few_steps_stay_below_one(schedule, steps):
    """Ten linear steps would end at a beta of 2."""
    betas = schedule(steps)
    assert betas.shape == (steps,)
    assert ((betas > 0) & (betas <= 0.999)).all()


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_zero_terminal_snr_keeps_the_first_level(name):
    before = np.cumprod(1 - named_beta_schedule(name, 1000))
    after = np.cumprod(1 - rescale_zero_terminal_snr(named_beta_schedule(name, 1000)))
    assert after[-1] == 0
    np.testing.assert_allclose(after[0], before[0], rtol=1e-12)
    assert (np.diff(after) < 0).all()
    # Algorithm 1 is affine in sqrt(alpha_bar): differences keep their ratios.
    ratio = np.diff(np.sqrt(after)) / np.diff(np.sqrt(before))
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)


def test_refusals():
    with pytest.raises(UserError, match="expected one of linear, cosine"):
        named_beta_schedule("quadratic", 10)
    with pytest.raises(UserError, match="expected at least 1"):
        linear_betas(0)
    with pytest.raises(UserError, match="at least 2 timesteps"):
        rescale_zero_terminal_snr([0.1])
