"""A mean of predictions is a mean of scores, whatever the models predict; weights decide which models are asked."""
import numpy as np
import pytest
import torch

from add.diffusion import create_gaussian_diffusion
from add.diffusion.blend import Blend
from add.diffusion.noise_levels import NoiseLevels
from add.diffusion.solvers import QUANTITIES, predictor_of
from add.errors import UserError

PREDICTIONS = {"eps": {}, "x_start": {"prediction": "x_start"}, "v": {"prediction": "v"}}
MEANS, STDS = (-0.4, 0.5), (0.2, 0.7)


def diffusion_of(quantity, **options):
    return create_gaussian_diffusion(**PREDICTIONS[quantity], **options)


def exact_model(mean, std, quantity, told=1.0):
    """Return the exact prediction of data N(mean, std^2), told timesteps `told` times as large."""
    levels = NoiseLevels(create_gaussian_diffusion().alphas_cumprod)

    def model(x, t):
        signal, spread = (torch.from_numpy(factor)[:, None, None, None] for factor in levels.factors(
            t.double().numpy() / told))
        away = (x - signal * mean) / (signal**2 * std**2 + spread**2)
        eps, x_start = spread * away, mean + signal * std**2 * away
        return {"eps": eps, "x_start": x_start, "v": signal * eps - spread * x_start}[quantity]

    return model


def images(count=3):
    return torch.linspace(-1.5, 1.5, count * 12, dtype=torch.float64).reshape(count, 3, 2, 2)


WEIGHTS = torch.tensor([[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]], dtype=torch.float64)
T = np.array([12.0, 345.6, 987.0])


@pytest.mark.parametrize("wanted", QUANTITIES)
@pytest.mark.parametrize("kinds", [("eps", "eps"), ("eps", "v"), ("x_start", "eps"), ("v", "x_start")])
def test_the_mean_commutes_with_what_is_predicted(kinds, wanted):
    """Mean of the scores of two Gaussians by hand: eps = spread times the weighted sum of (x - s m) / variance."""
    diffusions = [diffusion_of(kind) for kind in kinds]
    models = [exact_model(*law, kind) for *law, kind in zip(MEANS, STDS, kinds, strict=True)]
    levels = NoiseLevels(diffusions[0].alphas_cumprod)
    found = predictor_of(diffusions[-1], levels, Blend(models, diffusions, WEIGHTS), wanted)(images(), T)
    signal, spread = (factor[:, None, None, None] for factor in map(torch.from_numpy, levels.factors(T)))
    eps = sum(WEIGHTS[:, k, None, None, None] * spread * (images() - signal * MEANS[k])
              / (signal**2 * STDS[k]**2 + spread**2) for k in range(2))
    x_start = (images() - spread * eps) / signal
    expected = {"eps": eps, "x_start": x_start, "v": signal * eps - spread * x_start}[wanted]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_row_of_one_model_is_its_prediction_and_asks_no_other():
    asked = []

    def noted(name):
        def model(x, t):
            asked.append((name, len(x)))
            return 0.1 * x if name else torch.sin(x)
        return model

    diffusions = [diffusion_of("v")] * 2
    blend = Blend([noted(0), noted(1)], diffusions, WEIGHTS)
    found = blend(images(), torch.tensor([1, 2, 3]))
    assert asked == [(0, 2), (1, 2)]
    assert torch.equal(found[0], torch.sin(images()[0])) and torch.equal(found[2], 0.1 * images()[2])


def test_weights_may_differ_by_pixel():
    field = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    field[0, 0, :, 0] = field[0, 1, :, 1] = 1
    blend = Blend([torch.zeros_like, torch.ones_like], [diffusion_of("eps")] * 2, field)
    blend.models = [lambda x, t: torch.zeros_like(x), lambda x, t: torch.ones_like(x)]
    assert blend(images(1), torch.tensor([5]))[0, 0].tolist() == [[0, 1], [0, 1]]


def test_models_may_be_told_timesteps_in_other_units_and_may_learn_variances():
    """The first is told 0 to 1000 of 1000 steps, rescaled; the last one's learned variance comes out as zeros."""
    diffusions = [diffusion_of("eps", rescale_timesteps=True), diffusion_of("eps", learn_sigma=True)]
    plain = exact_model(0.2, 0.5, "eps")
    blend = Blend([plain, lambda x, t: torch.cat([plain(x, t), x], dim=1)], diffusions, WEIGHTS)
    found = blend(images(), torch.from_numpy(T))
    torch.testing.assert_close(found[:, :3], plain(images(), torch.from_numpy(T)), rtol=0, atol=1e-12)
    assert not found[:, 3:].any()


def test_schedules_of_another_length_are_refused():
    with pytest.raises(UserError, match="1000, 100 timesteps can't be blended"):
        Blend([None, None], [diffusion_of("eps"), create_gaussian_diffusion(steps=100)], WEIGHTS)
