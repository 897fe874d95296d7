import functools

import numpy as np
import pytest
import torch

from add.diffusion import GaussianDiffusion, LossType, ModelMeanType, ModelVarType, create_gaussian_diffusion
from add.diffusion.noise_levels import NoiseLevels
from add.diffusion.schedules import linear_betas
from add.errors import UserError
from add.transition import decode, encode
from add.transition import translate as translate_along
from add.transition.two_way_samplers import DDIM, PRESETS, SAMPLERS, make_sampler

translate = functools.partial(translate_along, path="depth")

FAST = [name for name in SAMPLERS if name not in ("ddim", "obelm")]
SOURCE, TARGET = (-0.3, 0.2), (0.4, 0.5)  # mean and standard deviation of the two domains
PREDICTIONS = ("epsilon", "x_start", "v")


@functools.cache
def diffusion_of(**options):
    return create_gaussian_diffusion(**options)


def images(dtype=torch.float64):
    """Return images of the source domain, up to three standard deviations from its mean."""
    return torch.linspace(-0.9, 0.3, 96, dtype=dtype).reshape(2, 3, 4, 4)


def carried(x, here, there):
    """Return the same number of standard deviations from the mean in another domain, which is where the ODE leads."""
    return there[0] + there[1] * (x - here[0]) / here[1]


# Exact cases


# 0.07 is DDIM's error in 200 steps; in their own numbers of them 0.011 UniPC's, 0.05 DPM-Solver++'s, 0.09 Heun's.
TOLERANCES = {"ddim": 0.1, "unipc": 0.02, "dpm++2m": 0.06, "deis": 0.01, "heun": 0.1, "obelm": 0.01, "draft": 0.15}


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_gaussian_domains_translate_exactly(name, prediction, make_gaussian):
    """At full depth -0.9 to 0.3 becomes -1.1 to 1.9; the series on the way is a progressive one."""
    respacing = "200" if name == "ddim" else ""
    diffusion = diffusion_of(prediction=prediction, timestep_respacing=respacing)
    x = images()
    result = translate(make_gaussian(*SOURCE, prediction), make_gaussian(*TARGET, prediction), x, 4, diffusion,
                       sampler=name)
    torch.testing.assert_close(result.targets[:, -1], carried(x, SOURCE, TARGET), rtol=0, atol=TOLERANCES[name])
    distance = (result.targets - x[:, None]).abs().mean(dim=(0, 2, 3, 4))
    assert (distance.diff() > 0).all()


@pytest.mark.parametrize("name", [*FAST, "obelm"])
def test_latents_stand_at_the_level_of_their_depth(name, make_gaussian):
    """A depth d is the timestep d; an image, which stands at 0, keeps its deviations from the mean."""
    levels = NoiseLevels(diffusion_of().alphas_cumprod)
    depths = torch.tensor([[7, 90, 333, 999]] * 2)
    latents = encode(make_gaussian(*SOURCE), diffusion_of(), images(), depths, make_sampler(name, encode_steps=100))
    for place, depth in enumerate(depths[0].tolist()):
        at = [(signal * SOURCE[0], (signal**2 * SOURCE[1] ** 2 + spread**2) ** 0.5)
              for signal, spread in (levels.factors(0), levels.factors(depth))]
        torch.testing.assert_close(latents[:, place, :3], carried(images(), *at), rtol=0,
                                   atol=0.04 if name == "obelm" else 2e-3)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", FAST)
def test_the_depth_t_is_pure_noise(name, prediction, make_gaussian):
    """The noise found at the last timestep; decoding takes it as standing there."""
    diffusion, sampler = diffusion_of(prediction=prediction), make_sampler(name, encode_steps=60)
    signal, spread = NoiseLevels(diffusion.alphas_cumprod).factors(999)
    model = make_gaussian(*SOURCE, prediction)
    noise, latent = encode(model, diffusion, images(), torch.tensor([[1000, 999]] * 2), sampler).unbind(1)
    eps = make_gaussian(*SOURCE)(latent, torch.full((2,), 999.0))
    torch.testing.assert_close(noise, eps, rtol=0, atol=1e-3)
    # The noise in N(m, s^2) at a level is its deviations from the mean, times the noise's share of them.
    deviations = (images() - SOURCE[0]) / SOURCE[1]
    torch.testing.assert_close(noise, deviations * spread / (signal**2 * SOURCE[1] ** 2 + spread**2) ** 0.5,
                               rtol=0, atol=0.01)
    same = torch.randn(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    decoded = [decode(model, diffusion, same, torch.full((2, 1), depth), sampler) for depth in (999, 1000)]
    assert torch.equal(*decoded)


@pytest.mark.parametrize("name", [*FAST, "obelm"])
def test_zero_terminal_snr_leads_through_the_last_informed_timestep(name, make_gaussian):
    """Depths beyond it are pure noise: the last two give the same images."""
    diffusion = diffusion_of(zero_terminal_snr=True, prediction="v")
    source, target = (make_gaussian(*domain, "v", diffusion) for domain in (SOURCE, TARGET))
    depths = torch.tensor([[500, 999, 1000]] * 2)
    sampler = make_sampler(name, encode_steps=100, decode_steps=0 if name == "obelm" else 100)
    latents = encode(source, diffusion, images(), depths, sampler)
    targets = decode(target, diffusion, latents, depths, sampler)
    assert torch.equal(latents[:, 1], latents[:, 2])
    torch.testing.assert_close(targets[:, 2], carried(images(), SOURCE, TARGET), rtol=0, atol=5e-3)
    assert targets.isfinite().all()


@pytest.mark.parametrize("name", [*FAST, "obelm"])
def test_predictions_of_either_side_may_differ(name, make_gaussian):
    """Each model is read through its own diffusion."""
    x, eps_side = images(), diffusion_of()
    expected = translate(make_gaussian(*SOURCE), make_gaussian(*TARGET), x, 3, eps_side, sampler=name)
    for prediction in ("x_start", "v"):
        mixed = translate(make_gaussian(*SOURCE), make_gaussian(*TARGET, prediction), x, 3, eps_side,
                          diffusion_of(prediction=prediction), sampler=name)
        torch.testing.assert_close(mixed.targets, expected.targets, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", FAST)
def test_more_steps_come_nearer(name, make_gaussian):
    def error(**steps):
        depths = torch.full((2, 1), 500)
        sampler = make_sampler(name, **steps)
        latents = encode(make_gaussian(*SOURCE), diffusion_of(), images(), depths, sampler)
        return (decode(make_gaussian(*SOURCE), diffusion_of(), latents, depths, sampler)[:, 0]
                - exact_end).abs().max().item()

    # Decoding ends in the image predicted at the level of timestep 0.
    exact_end = make_gaussian(*SOURCE, "x_start")(images(), torch.zeros(2))
    assert error(encode_steps=48, decode_steps=48) < 0.3 * error(encode_steps=12, decode_steps=12)


# O-BELM


@pytest.mark.parametrize("amount", [1, 4, 7])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_obelm_there_and_back_returns_the_images(dtype, tolerance, amount, make_gaussian, make_standin):
    bent = make_standin({"p": 0.7, "q": 0.2, "a": 0.8, "b": -0.006, "c": 0.4})
    for model in (make_gaussian(*SOURCE), bent):
        result = translate(model, model, images(dtype), amount, diffusion_of(), sampler="obelm")
        expected = images(dtype)[:, None].expand_as(result.targets)
        torch.testing.assert_close(result.targets, expected, rtol=0, atol=tolerance)
        assert result.latents.shape == result.targets.shape


def test_obelm_walks_through_its_depths(make_gaussian):
    """Each depth is a timestep that the source's model sees, and one evaluation serves each step."""
    seen = []

    def watched(x, t):
        seen.append(t[0].item())
        return make_gaussian(*SOURCE)(x, t)

    result = translate(watched, make_gaussian(*TARGET), images(), 7, diffusion_of(), sampler="obelm", batch_size=2)
    assert len(seen) == 100
    assert set(result.depths[0, :-1].tolist()) <= set(seen)  # the last needs no evaluation, nor does the last but T
    assert seen == sorted(seen)
    assert result.depths[0, -1] == 1000


def test_obelm_refuses_rules_that_choose_their_depths_later():
    def untouched(x, t):
        raise AssertionError("a network was evaluated")

    for max_memory in (0, 2**31):
        with pytest.raises(UserError, match="must know the depths beforehand"):
            translate(untouched, untouched, images(), 3, diffusion_of(), sampler="obelm", rule="even",
                      max_memory=max_memory)


@pytest.mark.parametrize("amount, steps", [(50, 20), (1000, 0)])
def test_obelm_refuses_depths_it_could_not_tell_apart(amount, steps):
    with pytest.raises(UserError, match="steps are too few to tell depths .* apart: raise --encode_steps"):
        translate(None, None, images(), amount, diffusion_of(), sampler=make_sampler("obelm", steps))


# Clipping and guidance in decoding


def towards(mean, std, strength):
    """Return a gradient of log p that pulls images to a mean: that of N(mean, std^2), times `strength`."""
    def gradient(x, t):
        return -strength * (x - mean) / std**2

    return gradient


@pytest.mark.parametrize("name", SAMPLERS)
def test_encoding_is_clipped_as_decoding_unless_told_otherwise(name, make_gaussian):
    """N(-1.2, 0.3^2) predicts clean images below -1."""
    diffusion = diffusion_of(timestep_respacing="20" if name == "ddim" else "")
    wide, depths = make_gaussian(-1.2, 0.3), torch.tensor([[diffusion.num_timesteps // 2]] * 2)

    def latents(**options):
        return encode(wide, diffusion, images(), depths, make_sampler(name, **options))

    free, clipped = latents(), latents(clip_denoised=True)
    assert (free - clipped).abs().max() > 0.01
    assert torch.equal(latents(clip_denoised=True, clip_encoded=False), free)
    assert torch.equal(latents(clip_encoded=True), clipped)
    sampler = {one: make_sampler(name, clip_denoised=one, clip_encoded=False) for one in (False, True)}
    lowest = {one: decode(make_gaussian(-2.0, 0.3), diffusion, free, depths, sampler[one]).min() for one in sampler}
    assert lowest[False] < -1.5
    assert lowest[True] > (-1.3 if name == "obelm" else -1.001)  # whose last step is no predicted image


def test_ddim_is_guided_as_guided_diffusion_is(make_gaussian):
    """The same numbers as its loops, which encode unclipped and decode with clipping and cond_fn."""
    diffusion, gradient = diffusion_of(timestep_respacing="25"), towards(0.6, 1.0, 0.5)
    source, target = make_gaussian(*SOURCE), make_gaussian(*TARGET)
    noise = diffusion.ddim_reverse_sample_loop(source, images(), clip_denoised=False)
    expected = diffusion.ddim_sample_loop(target, noise.shape, noise=noise, clip_denoised=True, cond_fn=gradient)
    result = translate(source, target, images(), 1, diffusion, sampler=DDIM(True, gradient, clip_encoded=False))
    assert torch.equal(result.latents[:, 0], noise) and torch.equal(result.targets[:, 0], expected)
    unguided = translate(source, target, images(), 1, diffusion, sampler=DDIM(True, clip_encoded=False))
    assert (unguided.targets[:, 0] - expected).abs().max() > 0.05


@functools.cache
def guided_by_ddim(make_gaussian):
    """What DDIM's many steps, guided as below, come to."""
    return translate(make_gaussian(*SOURCE), make_gaussian(*TARGET), images(), 1, diffusion_of(),
                     sampler=make_sampler("ddim", cond_fn=towards(0.6, 1.0, 0.3)))


@pytest.mark.parametrize(("name", "prediction"), [(name, "v") for name in SAMPLERS if name != "draft"] + [
    (name, prediction) for name in ("ddim", "unipc") for prediction in PREDICTIONS if prediction != "v"])
def test_every_sampler_follows_the_same_guided_ode(name, prediction, make_gaussian):
    """Against DDIM's many steps; encoding knows nothing of the guidance."""
    gradient, reference = towards(0.6, 1.0, 0.3), guided_by_ddim(make_gaussian)
    diffusion = diffusion_of(prediction=prediction, timestep_respacing="500" if name == "ddim" else "")
    models = [make_gaussian(*domain, prediction) for domain in (SOURCE, TARGET)]
    steps = {"decode_steps": 30} if name == "heun" else {}
    guided = translate(*models, images(), 1, diffusion, sampler=make_sampler(name, cond_fn=gradient, **steps))
    plain = translate(*models, images(), 1, diffusion, sampler=make_sampler(name, **steps))
    assert torch.equal(guided.latents, plain.latents)
    assert (guided.targets - plain.targets).abs().max() > 0.2
    torch.testing.assert_close(guided.targets, reference.targets, rtol=0, atol=0.1)


@pytest.mark.parametrize("name", ["ddim", "unipc"])
def test_a_pilot_is_guided_as_its_run_is(name, make_gaussian):
    """What `progress` measures is what the run will decode."""
    diffusion = diffusion_of(timestep_respacing="100" if name == "ddim" else "")
    models = [make_gaussian(*domain) for domain in (SOURCE, TARGET)]
    curves = [translate(*models, images(), 4, diffusion, sampler=make_sampler(name, cond_fn=gradient)).curves[:, -1]
              for gradient in (None, towards(3.0, 1.0, 1.0))]
    assert (curves[1] > curves[0] + 0.05).all()


# Steps


def test_evaluations_of_unipc_are_those_it_promises(make_gaussian, seen, counting):
    """encode_steps + 1 for the encode; for each depth its share of decode_steps, in the grid's coordinate."""
    sampler = PRESETS["unipc"]
    for amount in (1, 4, 10):
        seen.update(source=0, target=0)
        result = translate(counting("source", make_gaussian(*SOURCE)), counting("target", make_gaussian(*TARGET)),
                           images(), amount, diffusion_of(), rule="uniform", batch_size=1)
        levels = NoiseLevels(diffusion_of().alphas_cumprod)
        decodes = sampler.decode_evaluations(levels, np.minimum(result.depths[0].numpy(), 999))
        assert (np.diff(decodes) >= 0).all()
        assert decodes[-1] == 20
        assert seen == {"source": 2 * 37, "target": 2 * decodes.sum()}
        assert result.nfe == 37 + decodes.sum()


@pytest.mark.parametrize("name, encode_steps, decode_steps, encodes, decodes", [
    ("unipc", 0, 0, 37, 20), ("unipc", 10, 0, 11, 20), ("unipc", 0, 5, 37, 5), ("unipc", 3, 3, 4, 3),
    ("dpm++2m", 0, 0, 41, 24), ("deis", 12, 9, 13, 9), ("heun", 0, 0, 41, 23), ("heun", 8, 4, 17, 7),
    ("obelm", 0, 0, 100, 99), ("obelm", 30, 0, 30, 29)])
def test_steps_are_those_asked_for(name, encode_steps, decode_steps, encodes, decodes, make_gaussian):
    """Evaluations of one image to pure noise and back; Heun's method makes two a step, but one at the end."""
    sampler = make_sampler(name, encode_steps, decode_steps)
    assert sampler.name == name
    counts = []
    for model in (SOURCE, TARGET):
        exact, count = make_gaussian(*model), [0]
        counts.append((count, lambda x, t, exact=exact, count=count: count.__setitem__(0, count[0] + len(x))
                       or exact(x, t)))
    result = translate(counts[0][1], counts[1][1], images()[:1], 1, diffusion_of(), sampler=sampler, batch_size=1)
    assert [count[0] for count, _ in counts] == [encodes, decodes]
    assert sampler.evaluations(diffusion_of()) == (encodes, decodes)
    assert result.nfe == encodes + decodes


def test_short_decodes_have_a_least_number_of_evaluations():
    levels = NoiseLevels(diffusion_of().alphas_cumprod)
    counts = PRESETS["unipc"].decode_evaluations(levels, np.array([1, 100, 500, 999]))
    assert counts[0] == 3
    assert counts[-1] == 20
    assert (np.diff(counts) > 0).all()


@pytest.mark.parametrize("options, message", [
    ({"name": "dpm"}, "unknown sampler 'dpm': expected one of ddim, unipc, dpm\\+\\+2m, deis, heun, obelm"),
    ({"name": "ddim", "encode_steps": 10}, "sampler ddim takes the steps of --timestep_respacing"),
    ({"name": "ddim", "decode_steps": 10}, "sampler ddim takes the steps of --timestep_respacing"),
    ({"name": "unipc", "encode_steps": 2}, "encode_steps is 2: expected 3 or more"),
    ({"name": "unipc", "decode_steps": -1}, "decode_steps is -1: expected 3 or more"),
    ({"name": "obelm", "encode_steps": 1}, "encode_steps is 1: expected 3 or more"),
    ({"name": "obelm", "decode_steps": 10}, "decodes on the steps it encoded on"),
])
def test_steps_that_a_sampler_does_not_take_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_sampler(**options)


@pytest.mark.parametrize("name", SAMPLERS)
def test_clipping_is_passed_on(name):
    assert make_sampler(name).clip_denoised is False
    assert make_sampler(name, clip_denoised=True).clip_denoised is True
    assert isinstance(make_sampler("ddim"), DDIM)


@pytest.mark.parametrize("name", SAMPLERS)
def test_clipping_keeps_predicted_images_in_their_range(name, make_gaussian):
    """Targets of a Gaussian go to 1.9; where the last thing is a prediction, they end at 1."""
    result = [translate(make_gaussian(*SOURCE), make_gaussian(*TARGET), images(), 2,
                        diffusion_of(timestep_respacing="50") if name == "ddim" else diffusion_of(),
                        sampler=make_sampler(name, clip_denoised=clip)).targets for clip in (False, True)]
    assert result[0].max() > 1.5
    assert result[1].abs().max() < 1.05


def previous_x():
    return GaussianDiffusion(betas=linear_betas(20), model_mean_type=ModelMeanType.PREVIOUS_X,
                             model_var_type=ModelVarType.FIXED_SMALL, loss_type=LossType.MSE)


@pytest.mark.parametrize("diffusion, message", [
    (create_gaussian_diffusion(timestep_respacing="50"), "respaced to 50 of 1000 steps, which only --sampler ddim"),
    (previous_x(), "previous x")])
@pytest.mark.parametrize("name", [*FAST, "obelm"])
def test_diffusions_that_can_not_be_walked_are_refused(name, diffusion, message):
    depths = torch.full((2, 1), 10)
    for call in (lambda: translate(None, None, images(), 2, diffusion, sampler=name),
                 lambda: encode(None, diffusion, images(), depths, name),
                 lambda: decode(None, diffusion, images()[:, None], depths, name)):
        with pytest.raises(UserError, match=message):
            call()
    make_sampler("ddim").check(diffusion)
