import pytest
import torch

from add.diffusion import GaussianDiffusion, LossType, ModelMeanType, ModelVarType, create_gaussian_diffusion
from add.diffusion.parametrization import min_snr_weights, v_from
from add.errors import UserError


@pytest.fixture
def images():
    return torch.linspace(-1, 1, 96).reshape(2, 3, 4, 4)


@pytest.mark.parametrize("prediction", ["epsilon", "x_start", "v"])
def test_the_true_answer_has_no_error(images, prediction):
    diffusion = create_gaussian_diffusion(steps=50, prediction=prediction)
    noise, t = images.flip(-1), torch.tensor([3, 44])
    alpha_bar = torch.from_numpy(diffusion.alphas_cumprod)[t].float().reshape(-1, 1, 1, 1)
    v = v_from(images, noise, alpha_bar.sqrt(), (1 - alpha_bar).sqrt())
    answer = {"epsilon": noise, "x_start": images, "v": v}[prediction]
    terms = diffusion.training_losses(lambda x, t: answer, images, t, noise=noise)
    assert set(terms) == {"loss", "mse"}
    torch.testing.assert_close(terms["loss"], torch.zeros(2))


@pytest.mark.parametrize("prediction", ["epsilon", "x_start", "v"])
def test_min_snr_weighs_the_loss_and_spares_the_mse(images, prediction):
    options = {"steps": 50, "prediction": prediction, "learn_sigma": True}
    t, noise = torch.tensor([3, 44]), images.flip(-1)

    def model(x, t):
        return torch.cat([0.5 * x, 0 * x], dim=1)

    plain = create_gaussian_diffusion(**options).training_losses(model, images, t, noise=noise)
    diffusion = create_gaussian_diffusion(**options, min_snr_gamma=5)
    weighted = diffusion.training_losses(model, images, t, noise=noise)
    weights = torch.from_numpy(min_snr_weights(diffusion.alphas_cumprod, 5, prediction))[t].float()
    torch.testing.assert_close(weighted["mse"], plain["mse"])
    torch.testing.assert_close(weighted["loss"], weights * plain["mse"] + plain["vb"])


def test_the_bound_trains_only_the_variance(images):
    diffusion = create_gaussian_diffusion(steps=50, learn_sigma=True)
    output = torch.zeros(2, 6, 4, 4, requires_grad=True)
    terms = diffusion.training_losses(lambda x, t: output, images, torch.tensor([3, 44]))
    gradient, = torch.autograd.grad(terms["vb"].sum(), output)
    assert (gradient[:, :3] == 0).all() and (gradient[:, 3:] != 0).any()


def test_rescaled_bounds_are_multiples(images):
    def loss(loss_type, name):
        diffusion = GaussianDiffusion(
            betas=[0.01] * 40, model_mean_type=ModelMeanType.EPSILON,
            model_var_type=ModelVarType.LEARNED_RANGE, loss_type=loss_type)
        return diffusion.training_losses(
            lambda x, t: torch.cat([x, x], dim=1), images, torch.tensor([0, 20]), noise=images.flip(-1))[name]

    torch.testing.assert_close(loss(LossType.RESCALED_KL, "loss"), 40 * loss(LossType.KL, "loss"))
    torch.testing.assert_close(loss(LossType.RESCALED_MSE, "vb"), 0.04 * loss(LossType.MSE, "vb"))


def test_generator_fixes_the_noise(images):
    diffusion = create_gaussian_diffusion(steps=50)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    t = torch.tensor([3, 44])
    losses = [diffusion.training_losses(lambda x, t: x, images, t, generator=generator)["loss"]
              for generator in generators]
    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[0], losses[2])


def test_min_snr_without_a_squared_error_is_refused():
    with pytest.raises(UserError, match="variational bound"):
        create_gaussian_diffusion(use_kl=True, min_snr_gamma=5)
    with pytest.raises(UserError, match="PREVIOUS_X"):
        GaussianDiffusion(betas=[0.1], model_mean_type=ModelMeanType.PREVIOUS_X, min_snr_gamma=5,
                          model_var_type=ModelVarType.FIXED_LARGE, loss_type=LossType.MSE)
