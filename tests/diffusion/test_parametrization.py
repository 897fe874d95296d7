import numpy as np
import pytest
import torch

from add.diffusion import parametrization as p
from add.errors import UserError

LEVELS = [0.9999, 0.5, 4e-5]


@pytest.fixture
def x_start():
    return torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(1, 3, 4, 4)


def factors(alpha_bar):
    return alpha_bar**0.5, (1 - alpha_bar) ** 0.5


@pytest.mark.parametrize("alpha_bar", LEVELS)
def test_round_trips(x_start, alpha_bar):
    eps, level = x_start.flip(-1) * 2, factors(alpha_bar)
    x_t = p.x_t_from(x_start, eps, *level)
    torch.testing.assert_close(p.eps_from_x_start(x_t, x_start, *level), eps)
    torch.testing.assert_close(p.x_start_from_v(x_t, p.v_from(x_start, eps, *level), *level), x_start)


def test_pure_noise_is_defined_for_v(x_start):
    eps = x_start.flip(-1)
    v = p.v_from(x_start, eps, *factors(0.0))
    torch.testing.assert_close(v, -x_start)
    torch.testing.assert_close(p.x_start_from_v(eps, v, *factors(0.0)), x_start)


@pytest.mark.parametrize("prediction, expected", [
    # SNR = 9, 1, 0 with gamma 5, by hand
    ("epsilon", [5 / 9, 1, 1]), ("x_start", [5, 1, 0]), ("v", [5 / 10, 1 / 2, 0])])
def test_min_snr_weights_by_hand(prediction, expected):
    np.testing.assert_allclose(p.min_snr_weights([0.9, 0.5, 0.0], 5, prediction), expected)


@pytest.mark.parametrize("alpha_bar", LEVELS)
def test_min_snr_weighs_the_same_error_alike(x_start, alpha_bar):
    """One error in x_start, told as an error in eps or in v, costs the same."""
    level = factors(alpha_bar)
    x_t = p.x_t_from(x_start, x_start.flip(-1), *level)
    errors = {}
    for guess in (x_start, x_start + 0.1):
        eps = p.eps_from_x_start(x_t, guess, *level)
        told = {"x_start": guess, "epsilon": eps, "v": p.v_from(guess, eps, *level)}
        errors = {k: told[k] - errors[k] for k in told} if errors else told
    costs = [p.min_snr_weights([alpha_bar], 5, k)[0] * (error**2).mean().item()
             for k, error in errors.items()]
    np.testing.assert_allclose(costs, costs[0], rtol=1e-6)


def test_refusals():
    with pytest.raises(UserError, match="above 0"):
        p.min_snr_weights([0.5], 0, "v")
    with pytest.raises(UserError, match="expected one of"):
        p.min_snr_weights([0.5], 5, "score")
