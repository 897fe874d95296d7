"""The Gaussian head start: exact on Gaussian data under every prediction, schedule, sampler and class."""
import dataclasses
import subprocess
import sys

import pytest
import torch

from add.diffusion import DiffusionConfig, diffusion_from_config
from add.diffusion.gaussian_prior import GaussianPrior, dct_matrix, fit_gaussian
from add.diffusion.parametrization import PREDICTIONS
from add.errors import UserError
from add.networks import ClassifierConfig, ModelConfig, SuperResConfig, create_denoiser, create_network
from add.networks.head_start import GaussianHeadStart
from add.transition import make_sampler

SMALL = {"image_size": 8, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1", "attention_resolutions": ""}


def some_prior(size=8, channels=3, seed=0):
    """Return a GaussianPrior with correlated colours and falling variances, float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(200, channels, size, size, generator=generator, dtype=torch.float64)
    x = torch.cumsum(0.2 * x, dim=-1) + 0.1 * x.flip(1) + torch.linspace(-0.3, 0.4, channels)[:, None, None]
    return fit_gaussian([x])


def network_of(prior, model=None, **diffusion):
    """Return (untrained float64 network with a head start, DiffusionConfig)."""
    config = DiffusionConfig(head_start="gaussian", **{"prediction": "v"} | diffusion)
    network = create_denoiser(ModelConfig(**SMALL | (model or {}), learn_sigma=config.learn_sigma), config).double()
    network.head_start.fit(prior)
    return network.eval(), config


def on_axes(prior, x):
    """Return images [B, C, H, W] less the mean, in the principal axes [B, C, H, W]."""
    rows, columns = (dct_matrix(size) for size in x.shape[2:])
    return torch.einsum("cehw,bchw->behw", prior.axes, rows @ (x - prior.mean) @ columns.T)


def expected_image(prior, noise, signal, spread):
    """Return where the probability flow carries x = noise: on every axis a Gaussian keeps its quantile."""
    rows, columns = (dct_matrix(size) for size in noise.shape[2:])
    z = torch.einsum("cehw,bchw->behw", prior.axes, rows @ (noise - signal * prior.mean) @ columns.T)
    z = z * (prior.variances / (signal ** 2 * prior.variances + spread ** 2)).sqrt()
    return prior.mean + rows.T @ torch.einsum("cehw,behw->bchw", prior.axes, z) @ columns


@pytest.mark.parametrize(("schedule", "prediction"), [*(("linear", name) for name in PREDICTIONS), ("cosine", "v")])
def test_untrained_ode_ends_at_the_gaussians_closed_form(prediction, schedule):
    prior = some_prior()
    network, config = network_of(prior, prediction=prediction, noise_schedule=schedule, timestep_respacing="250")
    diffusion = diffusion_from_config(config)
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        found = diffusion.ddim_sample_loop(network, noise.shape, noise=noise, clip_denoised=False)
    signal, spread = diffusion.sqrt_alphas_cumprod[-1], diffusion.sqrt_one_minus_alphas_cumprod[-1]
    expected = expected_image(prior, noise, signal, spread)
    # 250 steps of first order; without a head start an untrained network's error is the noise itself
    assert (found - expected).square().mean() < 1e-3 * (noise - expected).square().mean()


def test_untrained_samples_have_the_mean_and_covariance_of_the_images():
    """Moments of 3000 samples, on every axis within 5 standard errors (and 1 % for the solver's 60 steps)."""
    prior, count = some_prior(size=4), 3000
    config = DiffusionConfig(prediction="v", head_start="gaussian")
    head_start = GaussianHeadStart((3, 4, 4), config).double()
    head_start.fit(prior)
    noise = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():  # an untrained network puts out 0
        x = make_sampler("unipc", 60, 60).decode(lambda x, t: head_start(torch.zeros_like(x), x, t),
                                                 diffusion_from_config(config), noise, torch.full((count,), 1000))
    z = on_axes(prior, x)
    assert (z.mean(dim=0).abs() < 5 * (prior.variances / count).sqrt()).all()
    assert ((z.var(dim=0) / prior.variances - 1).abs() < 5 * (2 / count) ** 0.5 + 0.01).all()


def test_samplers_agree_with_the_closed_form_in_few_evaluations():
    prior = some_prior()
    network, config = network_of(prior)
    diffusion = diffusion_from_config(config)
    noise = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = expected_image(prior, noise, diffusion.sqrt_alphas_cumprod[-1],
                              diffusion.sqrt_one_minus_alphas_cumprod[-1])
    for name, steps in (("unipc", 40), ("dpm++2m", 60), ("heun", 60)):  # heun's timesteps are fractional
        with torch.no_grad():
            found = make_sampler(name, steps, steps).decode(network, diffusion, noise, torch.full((4,), 1000))
        assert (found - expected).square().mean() < 1e-3 * expected.square().mean(), name


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_network_adds_to_the_denoiser_in_units_of_what_that_leaves(prediction):
    """Of data of the Gaussian, what is left has the root mean square rms(t): the network's target has 1."""
    prior = some_prior()
    network, config = network_of(prior, prediction=prediction)
    diffusion = diffusion_from_config(config)
    generator = torch.Generator().manual_seed(2)
    count = 500
    z = torch.randn(count, 3, 8, 8, generator=generator, dtype=torch.float64) * prior.variances.sqrt()
    rows, columns = dct_matrix(8), dct_matrix(8)
    x_start = prior.mean + rows.T @ torch.einsum("cehw,behw->bchw", prior.axes, z) @ columns
    noise = torch.randn(x_start.shape, generator=generator, dtype=torch.float64)
    for step in (0, 300, 900):
        t = torch.full((count,), step)
        x_t = diffusion.q_sample(x_start, t, noise)
        zero, one = (network.head_start(torch.full_like(x_t, value), x_t, t) for value in (0.0, 1.0))
        target = {"epsilon": noise, "x_start": x_start,
                  "v": diffusion.sqrt_alphas_cumprod[step] * noise
                  - diffusion.sqrt_one_minus_alphas_cumprod[step] * x_start}[prediction]
        assert ((target - zero) / (one - zero)).square().mean().item() == pytest.approx(1, abs=0.03)


def test_unfitted_head_start_of_white_noise_changes_no_v():
    """Of N(0, 1) the best prediction of v is 0 and leaves 1: the network's output stays what it is."""
    head_start = GaussianHeadStart((3, 8, 8), DiffusionConfig(prediction="v"))
    output, x = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(head_start(output, x, torch.tensor([3, 700])), output)


def test_fractional_rescaled_and_pure_noise_timesteps():
    prior = some_prior()
    config = DiffusionConfig(prediction="v", head_start="gaussian", zero_terminal_snr=True, diffusion_steps=500)
    plain = GaussianHeadStart((3, 8, 8), config).double()
    rescaled = GaussianHeadStart((3, 8, 8), dataclasses.replace(config, rescale_timesteps=True)).double()
    for module in (plain, rescaled):
        module.fit(prior)
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    output = torch.zeros_like(x)
    t = torch.tensor([0.0, 250.5, 499.0])
    found = plain(output, x, t)
    torch.testing.assert_close(found, rescaled(output, x, 2 * t))
    torch.testing.assert_close(found[2], -prior.mean, atol=1e-6, rtol=0)  # pure noise tells nothing: v = -m
    between = torch.stack([plain(output[1:2], x[1:2], torch.tensor([250.5 + d]))[0] for d in (-0.5, 0.5)])
    assert (found[1] - between.mean(dim=0)).abs().max() < 1e-3 * between.abs().max()


def test_each_class_has_its_gaussian_and_no_class_the_last_row():
    model = {"class_cond": True, "num_classes": 2, "class_dropout": 0.1}
    network, config = network_of(some_prior(seed=9), model=model)
    priors = [some_prior(seed=seed) for seed in (0, 1)]
    for label, prior in enumerate(priors):
        network.head_start.fit(prior, label)
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t, y = torch.tensor([400, 400, 400]), torch.tensor([0, 1, 2])
    together = network(x, t, y)
    for place, prior in enumerate((*priors, some_prior(seed=9))):
        alone, _ = network_of(prior)
        torch.testing.assert_close(together[place:place + 1], alone(x[place:place + 1], t[:1]))


def test_learned_variances_are_left_alone():
    network, _ = network_of(some_prior(), learn_sigma=True)
    torch.nn.init.normal_(network.out[2].weight, std=0.1)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with_start = network(x, torch.tensor([5, 500]))
    head_start, network.head_start = network.head_start, None
    assert torch.equal(with_start[:, 3:], network(x, torch.tensor([5, 500]))[:, 3:])
    assert head_start is not None and with_start.shape == (2, 6, 8, 8)


def test_state_dict_is_the_networks_own_with_three_tensors_more():
    network, config = network_of(some_prior())
    plain = create_network(ModelConfig(**SMALL))
    added = network.state_dict().keys() - plain.state_dict().keys()
    assert added == {"head_start.mean", "head_start.variances", "head_start.axes"}
    assert create_denoiser(ModelConfig(**SMALL), dataclasses.replace(config, head_start="none")).head_start is None


def test_any_number_of_channels():
    prior = some_prior(channels=5)
    head_start = GaussianHeadStart((5, 8, 8), DiffusionConfig(prediction="x_start")).double()
    head_start.fit(prior)
    x = prior.mean[None].clone()
    torch.testing.assert_close(head_start(torch.zeros_like(x), 0.99995 * x, torch.tensor([0])), x, atol=1e-3, rtol=0)


def test_under_autocast_the_denoiser_stays_in_float32():
    prior = GaussianPrior(*(value.float() for value in vars(some_prior()).values()))
    network, _ = network_of(prior)
    network.float()
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    exact = network(x, torch.tensor([5, 500]))
    with torch.autocast("cpu", torch.bfloat16):
        lower = network(x, torch.tensor([5, 500]))
    torch.testing.assert_close(lower.float(), exact)  # untrained: the network itself adds nothing


def test_another_image_size_is_refused():
    network, _ = network_of(some_prior())
    with pytest.raises(UserError, match=r"head start for \[3, 8, 8\].*--head_start none"):
        network(torch.zeros(1, 3, 16, 16, dtype=torch.float64), torch.tensor([0]))


@pytest.mark.parametrize("config", [SuperResConfig(large_size=64), ClassifierConfig()])
def test_networks_of_other_kinds_are_refused(config):
    with torch.device("meta"), pytest.raises(UserError, match="--head_start gaussian was given"):
        create_denoiser(config, DiffusionConfig(head_start="gaussian"))


def test_the_shape_of_a_network_is_known_without_pytorchs_compiler():
    """Every command that loads a network asks for its shape first, and the compiler takes a second to load."""
    program = ("import sys, torch\nfrom add.diffusion import DiffusionConfig\n"
               "from add.networks import ModelConfig, create_denoiser\nwith torch.device('meta'):\n"
               "    network = create_denoiser(ModelConfig(), DiffusionConfig(head_start='gaussian'))\n"
               "sys.exit('torch._dynamo' in sys.modules or not network.head_start.rows_dct.is_meta)")
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
