"""From noise to images: every sampler's own numbers, and images that do not depend on their company."""
import re

import numpy as np
import pytest
import torch

from add.diffusion import class_gradient, create_gaussian_diffusion
from add.diffusion.noise_levels import NoiseLevels
from add.errors import UserError
from add.transition import SAMPLERS
from add.transition.from_noise import FROM_NOISE, FromNoise, OwnNoise, draw_noise

MEAN, STD, SHAPE = 0.2, 0.25, (3, 4, 4)
LEVELS = NoiseLevels(create_gaussian_diffusion().alphas_cumprod)


def exact_eps(x, t):
    """Return the noise in x where the data is N(MEAN, STD^2)."""
    signal, spread = (torch.from_numpy(factor).to(x.dtype)[:, None, None, None]
                      for factor in LEVELS.factors(t.double().numpy()))
    return spread * (x - signal * MEAN) / (signal**2 * STD**2 + spread**2)


def logits(x, t):
    """Return the logits of "the first channel is brighter" and "the second is", surer where there is less noise."""
    signal, spread = (torch.from_numpy(factor).to(x.dtype) for factor in LEVELS.factors(t.double().numpy()))
    surety = signal / (signal**2 * STD**2 + spread**2)
    return surety[:, None] * x[:, :2].mean(dim=(2, 3))


def test_noise_is_standard_normal_and_one_s_own():
    noise = torch.stack([draw_noise(seed, i, (3, 16, 16)) for seed in range(3) for i in range(3)])
    assert noise.dtype is torch.float32 and torch.equal(draw_noise(1, 0, (3, 16, 16)), noise[3])
    correlation = torch.corrcoef(noise.flatten(1)) - torch.eye(9)
    assert correlation.abs().max() < 5 / 768**0.5
    assert noise.mean() == pytest.approx(0, abs=0.05) and noise.std() == pytest.approx(1, abs=0.03)


def test_noise_is_the_same_in_any_company():
    together, alone = OwnNoise(5, [7, 2, 9], SHAPE), OwnNoise(5, [2], SHAPE)
    draws = [(together(), alone()) for _ in range(3)]
    assert all(torch.equal(many[1], one[0]) for many, one in draws)
    assert torch.equal(draws[0][0][2], draw_noise(5, 9, SHAPE))
    assert (draws[0][1] - draws[1][1]).abs().min() > 0


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("clip_denoised", [False, True])
@pytest.mark.parametrize(("name", "eta"), [("ddpm", 0.0), ("ddim", 0.0), ("ddim", 0.7)])
def test_steps_are_those_of_the_diffusion(name, eta, clip_denoised, guided):
    """guided-diffusion's, with noise handed in and cond_fn; 0.7 z of one image makes clipping tell."""
    diffusion = create_gaussian_diffusion(timestep_respacing="8")
    gradient = class_gradient(logits, torch.tensor([0, 1, 1]), 5.0) if guided else None
    own = OwnNoise(1, [4, 5, 6], SHAPE)
    x = own()
    for step in range(7, -1, -1):
        t = torch.full((3,), step)
        if name == "ddpm":
            x = diffusion.p_sample(exact_eps, x, t, clip_denoised=clip_denoised, cond_fn=gradient, noise=own())
        else:
            noise = own() if eta else None
            x = diffusion.ddim_sample(exact_eps, x, t, clip_denoised=clip_denoised, cond_fn=gradient, eta=eta,
                                      noise=noise)
        x = x["sample"]
    way = FromNoise(name, clip_denoised=clip_denoised, eta=eta)
    found = way.images(exact_eps, diffusion, OwnNoise(1, [4, 5, 6], SHAPE), gradient)
    assert torch.equal(found, x) and not found.requires_grad


def test_ddim_agrees_with_its_loop():
    diffusion = create_gaussian_diffusion(timestep_respacing="ddim25")
    noise = OwnNoise(0, [0, 1], SHAPE)()
    gradient = class_gradient(logits, 1, 5.0)
    expected = diffusion.ddim_sample_loop(exact_eps, noise.shape, noise=noise, cond_fn=gradient)
    assert torch.equal(FromNoise("ddim").images(exact_eps, diffusion, OwnNoise(0, [0, 1], SHAPE), gradient), expected)


@pytest.mark.parametrize("name", [name for name in FROM_NOISE if name != "ddpm"])
def test_the_ode_scales_the_noise_of_a_gaussian(name):
    """Exact: z becomes MEAN + STD z where the last timestep is nearly all noise."""
    diffusion = create_gaussian_diffusion(timestep_respacing="200" if name == "ddim" else "")
    way = FromNoise(name, 0 if name == "ddim" else 20, clip_denoised=False)
    way.check(diffusion)
    found = way.images(exact_eps, diffusion, OwnNoise(3, [0, 1], SHAPE))
    assert (found - (MEAN + STD * OwnNoise(3, [0, 1], SHAPE)())).abs().max() < 0.05


@pytest.mark.parametrize("decode_steps", [0, 3, 7])
@pytest.mark.parametrize("name", FROM_NOISE)
def test_evaluations_are_known_beforehand(name, decode_steps):
    stepwise = name in ("ddim", "ddpm")
    diffusion = create_gaussian_diffusion(timestep_respacing="9" if stepwise else "")
    way, calls = FromNoise(name, 0 if stepwise else decode_steps), []
    way.images(lambda x, t: calls.append(1) or exact_eps(x, t), diffusion, OwnNoise(0, [0, 1], SHAPE))
    assert way.evaluations(diffusion) == len(calls) > 2


@pytest.mark.parametrize(("name", "eta"), [("ddpm", 0.0), ("ddim", 1.0)])
def test_random_samplers_draw_from_the_data(name, eta):
    """Mean and standard deviation of 4800 pixels on 250 steps; the noise that they began with is forgotten."""
    diffusion = create_gaussian_diffusion(timestep_respacing="250")
    numbers = range(100)
    found = FromNoise(name, clip_denoised=False, eta=eta).images(exact_eps, diffusion, OwnNoise(0, numbers, SHAPE))
    assert found.mean().item() == pytest.approx(MEAN, abs=4 * STD / 4800**0.5)
    assert found.std().item() == pytest.approx(STD, rel=0.06)
    start = OwnNoise(0, numbers, SHAPE)()
    assert abs(np.corrcoef(start.flatten(), found.flatten())[0, 1]) < 0.1


@pytest.mark.parametrize("name", FROM_NOISE)
def test_guidance_reaches_every_sampler(name):
    """Towards class 0 the first channel grows, towards class 1 the second; all but ddpm solve one guided ODE."""
    stepwise = name in ("ddpm", "ddim")
    diffusion = create_gaussian_diffusion(timestep_respacing="50" if stepwise else "")
    gradient = class_gradient(logits, torch.tensor([0, 1]), 5.0)
    way = FromNoise(name, 0 if stepwise else 20, clip_denoised=False)
    plain, guided = (way.images(exact_eps, diffusion, OwnNoise(2, [0, 1], SHAPE), g) for g in (None, gradient))
    moved = (guided - plain).mean(dim=(2, 3))
    assert moved[0, 0] > 0.04 and moved[1, 1] > 0.04
    torch.testing.assert_close(moved[:, :2], moved[:, :2].flip(1) * -1, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(moved[:, 2], torch.zeros(2), rtol=0, atol=1e-5)
    if name != "ddpm":
        assert [moved[0, 0].item(), moved[1, 1].item()] == pytest.approx([0.0611, 0.0989], rel=0.1)  # 500 steps of ddim


def test_clipping_reaches_the_fast_samplers():
    found = [FromNoise("unipc", 6, clip).images(lambda x, t: -x, create_gaussian_diffusion(), OwnNoise(0, [0], SHAPE))
             for clip in (True, False)]
    assert found[0].abs().max() <= 1 < found[1].abs().max()


def test_fast_samplers_refuse_a_thinned_schedule():
    diffusion = create_gaussian_diffusion(timestep_respacing="50")
    FromNoise("ddpm").check(diffusion)
    with pytest.raises(UserError, match="leave out --timestep_respacing"):
        FromNoise("unipc").check(diffusion)


@pytest.mark.parametrize(("options", "message"), [
    ({"name": "obelm"}, "--sampler is 'obelm', expected one of unipc"),
    ({"name": "ddim", "eta": 1.5}, "--eta is 1.5, expected 0 (deterministic) to 1"),
    ({"name": "ddpm", "eta": 0.5}, "--eta is 0.5 with --sampler ddpm, expected it with ddim only"),
    ({"name": "unipc", "eta": 0.5}, "--eta is 0.5 with --sampler unipc"),
    ({"name": "ddim", "decode_steps": 5}, "--decode_steps is 5 with --sampler ddim, which takes the steps of"),
    ({"name": "unipc", "decode_steps": 2}, "decode_steps is 2: expected 3 or more"),
])
def test_options_without_use_are_refused(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        FromNoise(**options)


def test_samplers_that_need_an_encoded_image_are_left_out():
    assert set(SAMPLERS) ^ set(FROM_NOISE) == {"obelm", "ddpm"}
