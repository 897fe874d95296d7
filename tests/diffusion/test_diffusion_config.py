import copy
from dataclasses import fields

import numpy as np
import pytest
import torch

from add.diffusion import (
    DiffusionConfig,
    GaussianDiffusion,
    LossType,
    ModelMeanType,
    ModelVarType,
    create_gaussian_diffusion,
    diffusion_from_config,
)
from add.diffusion.losses import timestep_weights
from add.errors import UserError


def test_every_option_has_help():
    assert [f.name for f in fields(DiffusionConfig) if not f.metadata.get("help")] == []


@pytest.mark.parametrize("options, mean_type, var_type, loss_type", [
    ({}, "EPSILON", "FIXED_LARGE", "MSE"),
    ({"sigma_small": True, "predict_xstart": True}, "START_X", "FIXED_SMALL", "MSE"),
    ({"learn_sigma": True, "rescale_learned_sigmas": True}, "EPSILON", "LEARNED_RANGE", "RESCALED_MSE"),
    ({"prediction": "x_start", "predict_xstart": True}, "START_X", "FIXED_LARGE", "MSE"),
    ({"use_kl": True}, "EPSILON", "FIXED_LARGE", "RESCALED_KL"),
    ({"prediction": "v"}, "V", "FIXED_LARGE", "MSE"),
])
def test_options_choose_the_kinds(options, mean_type, var_type, loss_type):
    from_config = diffusion_from_config(DiffusionConfig(**options))
    for diffusion in (create_gaussian_diffusion(**options), from_config):
        assert diffusion.model_mean_type is ModelMeanType[mean_type]
        assert diffusion.model_var_type is ModelVarType[var_type]
        assert diffusion.loss_type is LossType[loss_type]
        assert diffusion.num_timesteps == 1000


@pytest.mark.parametrize("options, message", [
    ({"prediction": "v", "predict_xstart": True}, "contradicts"),
    ({"prediction": "noise"}, "prediction is 'noise', expected one of epsilon"),
    ({"zero_terminal_snr": True}, "set prediction to 'v'"),
    ({"min_snr_gamma": -1.0}, "min_snr_gamma is -1.0, expected 0 or more"),
    ({"noise_schedule": "sqrt"}, "noise_schedule is 'sqrt', expected one of linear"),
    ({"timestep_respacing": "2000"}, "ask for fewer"),
])
def test_contradictions_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        create_gaussian_diffusion(**options)


def test_pure_noise_with_eps_is_refused_in_the_class_too():
    with pytest.raises(UserError, match="pure noise"):
        GaussianDiffusion(betas=[0.1, 1.0], model_mean_type=ModelMeanType.EPSILON,
                          model_var_type=ModelVarType.FIXED_LARGE, loss_type=LossType.MSE)


@pytest.mark.parametrize("betas", [[], [0.0, 0.1], [0.1, 1.1], [[0.1]], [float("nan")]])
def test_bad_betas_are_refused(betas):
    with pytest.raises(UserError, match="numbers in"):
        GaussianDiffusion(betas=betas, model_mean_type=ModelMeanType.EPSILON,
                          model_var_type=ModelVarType.FIXED_LARGE, loss_type=LossType.MSE)


def test_ten_linear_steps_work():
    diffusion = create_gaussian_diffusion(steps=10)
    sample = diffusion.p_sample_loop(lambda x, t: x, (1, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    assert sample.isfinite().all()


@pytest.mark.parametrize("rescale, expected", [(False, [0, 2, 4]), (True, [0.0, 400.0, 800.0])])
def test_models_are_told_original_timesteps(rescale, expected):
    diffusion = create_gaussian_diffusion(steps=5, timestep_respacing="3", rescale_timesteps=rescale)
    assert diffusion.timestep_map == [0, 2, 4] and diffusion.original_num_steps == 5
    told = diffusion.model_timesteps(torch.arange(3))
    assert told.tolist() == expected and told.is_floating_point() == rescale


def test_zero_snr_survives_respacing_only_with_the_last_timestep():
    options = {"zero_terminal_snr": True, "prediction": "v"}
    assert create_gaussian_diffusion(**options, timestep_respacing="50").alphas_cumprod[-1] == 0
    assert create_gaussian_diffusion(**options, timestep_respacing="ddim50").alphas_cumprod[-1] > 0


def test_a_copy_computes_the_same():
    diffusion = create_gaussian_diffusion(steps=10)
    x, t = torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4), torch.tensor([4])
    first = diffusion.q_sample(x, t, noise=x)
    assert torch.equal(copy.deepcopy(diffusion).q_sample(x, t, noise=x), first)
    np.testing.assert_allclose(first, x * (diffusion.sqrt_alphas_cumprod[4]
                                           + diffusion.sqrt_one_minus_alphas_cumprod[4]), rtol=1e-6)


@pytest.mark.parametrize("options, message", [
    ({"even_share": 0.1}, "even_share is 0.1, and min_snr_gamma 0: expected both above 0"),
    ({"even_share": 1.0, "min_snr_gamma": 5.0}, "even_share is 1.0, expected a number below 1"),
    ({"head_start": "wiener"}, "head_start is 'wiener', expected one of none, gaussian"),
])
def test_options_of_ours_are_refused_where_they_make_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        DiffusionConfig(**options)


def test_an_even_share_lets_a_part_of_the_loss_count_all_timesteps_alike():
    weighted, shared = (timestep_weights(diffusion_from_config(DiffusionConfig(
        prediction="v", min_snr_gamma=5.0, even_share=share))) for share in (0.0, 0.25))
    np.testing.assert_allclose(shared, 0.75 * weighted + 0.25 * weighted.mean())
    assert shared.min() > 0.25 * weighted.mean() > 50 * weighted.min()
