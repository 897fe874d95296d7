import numpy as np
import pytest

from add.diffusion import create_gaussian_diffusion
from add.diffusion.noise_levels import GRIDS, Grid, NoiseLevels, signal_factor
from add.errors import UserError

SCHEDULES = [{}, {"noise_schedule": "cosine"}, {"zero_terminal_snr": True, "prediction": "v"}]


def levels_of(**options):
    return NoiseLevels(create_gaussian_diffusion(**options).alphas_cumprod)


@pytest.mark.parametrize("t, expected", [
    (0, 4.605120183487924), (1, 4.211040838259354), (250, 0.04287230887245649),
    (500, -1.236333632328722), (999, -5.058836591650516)])
def test_log_snr_golden(t, expected):
    """Half the log SNR of betas 0.0001 to 0.02 in 1000 steps, multiplied out in 40 decimal digits."""
    assert levels_of().log_snr(t) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("options", SCHEDULES)
def test_factors_at_whole_timesteps_are_the_schedules(options):
    diffusion = create_gaussian_diffusion(**options)
    t = np.arange(999)  # the last is pure noise in one of them
    signal, spread = NoiseLevels(diffusion.alphas_cumprod).factors(t)
    np.testing.assert_allclose(signal, diffusion.sqrt_alphas_cumprod[t], rtol=1e-10)
    np.testing.assert_allclose(spread, diffusion.sqrt_one_minus_alphas_cumprod[t], rtol=1e-10)


@pytest.mark.parametrize("options", SCHEDULES)
def test_between_timesteps_the_log_snr_is_interpolated_and_falls(options):
    levels = levels_of(**options)
    t = np.linspace(levels.first, levels.last, 4001)
    assert (np.diff(levels.log_snr(t)) < 0).all()
    signal, spread = levels.factors(t)
    np.testing.assert_allclose(signal**2 + spread**2, 1, rtol=1e-14)
    np.testing.assert_allclose(np.log(signal / spread), levels.log_snr(t), atol=1e-9)
    assert levels.log_snr(700.25) == pytest.approx(0.75 * levels.log_snr(700) + 0.25 * levels.log_snr(701), rel=1e-13)


@pytest.mark.parametrize("prediction", ["v", "x_start"])
def test_the_last_timestep_is_the_last_that_is_not_pure_noise(prediction):
    levels = levels_of(zero_terminal_snr=True, prediction=prediction)
    assert (levels.first, levels.last, levels_of().last) == (0, 998, 999)
    assert np.isfinite(levels.log_snr([0, 998])).all()
    assert levels.factors(998)[0] > 0


def test_levels_of_kept_timesteps_stand_where_they_stood():
    respaced = create_gaussian_diffusion(timestep_respacing="50")
    levels, whole = NoiseLevels(respaced.alphas_cumprod, respaced.timestep_map), levels_of()
    np.testing.assert_allclose(levels.log_snr(respaced.timestep_map), whole.log_snr(respaced.timestep_map), rtol=1e-9)
    assert (levels.first, levels.last) == (0, 999)


@pytest.mark.parametrize("log_snr, expected", [(0, 0.5**0.5), (np.log(3) / 2, 0.75**0.5), (-40, np.exp(-40))])
def test_signal_factor(log_snr, expected):
    assert signal_factor(log_snr) == pytest.approx(expected, rel=1e-12)


COORDINATES = {
    "uniform": lambda levels, t: t / levels.last,
    "quadratic": lambda levels, t: (t / levels.last) ** (1 / 2),
    "cubic": lambda levels, t: (t / levels.last) ** (1 / 3),
    "log_snr": lambda levels, t: (levels.log_snr(0) - levels.log_snr(t)) / (
        levels.log_snr(0) - levels.log_snr(levels.last)),
    "mixed": lambda levels, t: (COORDINATES["uniform"](levels, t) + COORDINATES["log_snr"](levels, t)) / 2,
}


@pytest.mark.parametrize("options", SCHEDULES)
@pytest.mark.parametrize("name", GRIDS)
def test_steps_are_equal_in_the_grids_coordinate(name, options):
    levels = levels_of(**options)
    for start, end in [(levels.first, levels.last), (levels.last, levels.first), (31.7, 560), (560, 0)]:
        timesteps = GRIDS[name].timesteps(levels, start, end, 12)
        assert timesteps.shape == (13,)
        assert (timesteps[0], timesteps[-1]) == (start, end)
        assert (np.diff(timesteps) * np.sign(end - start) > 0).all()
        along = COORDINATES[name](levels, timesteps)
        np.testing.assert_allclose(np.diff(along), (along[-1] - along[0]) / 12, rtol=1e-3)
        np.testing.assert_allclose(GRIDS[name].way(levels, timesteps), along, atol=1e-5)


@pytest.mark.parametrize("name", GRIDS)
def test_grids_there_and_back_are_the_same(name):
    levels = levels_of()
    there = GRIDS[name].timesteps(levels, 0, 999, 30)
    np.testing.assert_allclose(GRIDS[name].timesteps(levels, 999, 0, 30)[::-1], there, atol=1e-6)


@pytest.mark.parametrize("name", GRIDS)
def test_the_way_runs_from_image_to_noise(name):
    levels = levels_of(zero_terminal_snr=True, prediction="v")
    way = GRIDS[name].way(levels, np.linspace(0, 998, 500))
    assert (way[0], way[-1]) == pytest.approx((0, 1), abs=1e-12)
    assert (np.diff(way) > 0).all()


@pytest.mark.parametrize("share, power", [(-0.1, 1), (1.1, 1), (0.5, 0), (0, -2)])
def test_bad_grids_are_refused(share, power):
    with pytest.raises(UserError, match="expected a share of log SNR from 0 to 1 and a power above 0"):
        Grid(share, power)
