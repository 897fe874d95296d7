import numpy as np
import pytest
import torch

from add.diffusion import create_gaussian_diffusion
from add.diffusion.leapfrog import leap, leapfrog_walk
from add.diffusion.noise_levels import GRIDS, NoiseLevels

LEVELS = NoiseLevels(create_gaussian_diffusion().alphas_cumprod)
MEAN, STD = 0.3, 0.4


def column(t, x):
    return (torch.from_numpy(factor).to(x.dtype).reshape(-1, 1, 1, 1) for factor in LEVELS.factors(np.asarray(t)))


def gaussian(x, t):
    """Return the exact eps of data N(MEAN, STD^2) in x [B, ...] at timesteps t [B]."""
    signal, spread = column(t, x)
    return spread * (x - signal * MEAN) / (signal**2 * STD**2 + spread**2)


def bent(x, t):
    """Return an eps that is not linear in x."""
    _, spread = column(t, x)
    return spread * (0.8 * x + 0.3 * torch.sin(3 * x + 0.01 * torch.from_numpy(t).to(x.dtype).reshape(-1, 1, 1, 1)))


def images(dtype=torch.float64):
    return torch.linspace(-0.9, 0.9, 96, dtype=dtype).reshape(2, 3, 4, 4)


def moved(timesteps, depths):
    """Return the timesteps with the nearest to each depth moved onto it, so that neighbouring steps differ."""
    timesteps = timesteps.copy()
    timesteps[[np.abs(timesteps - depth).argmin() for depth in depths]] = depths
    return timesteps


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("predict", [gaussian, bent])
@pytest.mark.parametrize("timesteps", [
    GRIDS["quadratic"].timesteps(LEVELS, 0, 999, 100), GRIDS["quadratic"].timesteps(LEVELS, 0, 999, 20),
    moved(GRIDS["quadratic"].timesteps(LEVELS, 0, 999, 100), [250, 500, 750, 999])], ids=["100", "20", "moved"])
def test_there_and_back_returns_the_images(timesteps, predict, dtype, tolerance):
    x = images(dtype)
    there = [(before, after) for _, before, after in leapfrog_walk(predict, LEVELS, x, timesteps)]
    last_but_one, last = there[-1]
    assert last.dtype is dtype
    back = leapfrog_walk(predict, LEVELS, last_but_one, timesteps[-2::-1], behind=(timesteps[-1], last))
    for (before, _), (_, _, after) in zip(reversed(there[:-1]), back, strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=tolerance)
    torch.testing.assert_close(after, x, rtol=0, atol=tolerance)


def test_each_state_returns_from_its_neighbours():
    """One linear equation of three states: what gives the last gives the first."""
    t = 310.0, 402.5, 440.0
    behind, x, eps = images(), images().flip(0), images().flip(-1)
    after = leap(LEVELS, t[0], behind, t[1], x, eps, t[2])
    assert (after - behind).abs().max() > 0.1
    torch.testing.assert_close(leap(LEVELS, t[2], after, t[1], x, eps, t[0]), behind, rtol=0, atol=1e-12)


def test_a_leap_is_second_order_on_uneven_steps():
    """In y = x / signal, the polynomials 1, rho and rho^2, of which eps is the slope, are carried exactly."""
    t = 310.0, 402.5, 440.0
    factors = [LEVELS.factors(at) for at in t]
    rho = [spread / signal for signal, spread in factors]
    for power in range(3):
        behind, x, after = (torch.full((1, 1, 1, 1), signal * at**power, dtype=torch.float64)
                            for (signal, _), at in zip(factors, rho, strict=True))
        eps = torch.full_like(x, power * rho[1] ** max(power - 1, 0))
        torch.testing.assert_close(leap(LEVELS, t[0], behind, t[1], x, eps, t[2]), after, rtol=1e-12, atol=0)


@pytest.mark.parametrize("start, end", [(0.0, 999.0), (999.0, 0.0)])
def test_gaussian_order_of_convergence(start, end):
    def exact(t):
        signal, spread = LEVELS.factors(t)
        return signal * MEAN + (signal**2 * STD**2 + spread**2) ** 0.5 * images() / STD

    def error(number):
        *_, (_, _, last) = leapfrog_walk(gaussian, LEVELS, exact(start),
                                         GRIDS["quadratic"].timesteps(LEVELS, start, end, number))
        return (last - exact(end)).abs().max().item()

    assert np.log(error(64) / error(256)) / np.log(4) == pytest.approx(2, abs=0.35)
    assert error(256) < 0.01


def test_steps_follow_each_other_with_an_evaluation_each():
    seen = []

    def predict(x, t):
        seen.append(t.tolist())
        return gaussian(x, t)

    x, timesteps = images(), np.array([0.0, 1.5, 40.0, 900.0])
    steps = list(leapfrog_walk(predict, LEVELS, x, timesteps))
    assert [row for row, _, _ in steps] == [0, 1, 2]
    assert seen == [[0, 0], [1.5, 1.5], [40, 40]]
    assert steps[0][1] is x
    assert all(step[2] is following[1] for step, following in zip(steps, steps[1:], strict=False))


def test_the_first_step_is_ddims():
    x = images()
    (_, _, after), *_ = leapfrog_walk(gaussian, LEVELS, x, np.array([20.0, 35.0, 60.0]))
    eps = gaussian(x, np.full(2, 20.0))
    (signal, spread), (signal_next, spread_next) = LEVELS.factors(20.0), LEVELS.factors(35.0)
    torch.testing.assert_close(after, signal_next * (x - spread * eps) / signal + spread_next * eps,
                               rtol=1e-12, atol=1e-12)
