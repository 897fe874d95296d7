import numpy as np
import pytest
import torch

from add.diffusion import create_gaussian_diffusion
from add.errors import UserError

SHAPE = (2, 3, 4, 4)


@pytest.fixture
def images():
    return torch.linspace(-1, 1, 96).reshape(SHAPE)


def bent(x, t):
    return 0.9 * x + 0.2 * torch.sin(2 * x + 0.01 * t.reshape(-1, 1, 1, 1))


@pytest.mark.parametrize(
    "name", ["full1000", "respaced100", "fourier_chain_amount4", "fourier_chain_amount5"])
def test_partial_loops_golden(golden_json, golden_npz, make_standin, name):
    """Encode from depth to depth with the source, decode from each with the target (the published chain)."""
    facts, arrays = golden_json("add/partial_loops.json"), golden_npz("add/partial_loops.npz")
    case = facts["cases"][name]
    diffusion = create_gaussian_diffusion(**case["args"])
    assert diffusion.num_timesteps == case["num_timesteps"]
    source, target = (make_standin(facts["standin"][case[f"{side}_standin"]], case["args"]["learn_sigma"])
                      for side in ("source", "target"))
    latent, start = torch.from_numpy(arrays[f"{name}_source"]), 0
    for i, depth in enumerate(case["depths"]):
        latent = diffusion.ddim_reverse_sample_loop(
            source, latent, clip_denoised=False, start_depth=start, depth=depth)
        image = diffusion.ddim_sample_loop(
            target, latent.shape, noise=latent, clip_denoised=False, start_depth=depth)
        np.testing.assert_allclose(latent, arrays[f"{name}_latents"][i], atol=1e-4, err_msg=f"latent {depth}")
        np.testing.assert_allclose(image, arrays[f"{name}_targets"][i], atol=1e-4, err_msg=f"target {depth}")
        start = depth


def test_encode_then_decode_error_falls_with_steps(images):
    """With the exact eps of Gaussian data of variance 0.25; the steps' own error falls as 1/steps."""
    levels = create_gaussian_diffusion().alphas_cumprod

    def model(x, t):
        alpha_bar = levels[t[0]]
        return (1 - alpha_bar) ** 0.5 * x / (0.25 * alpha_bar + 1 - alpha_bar)

    def error(steps):
        diffusion = create_gaussian_diffusion(timestep_respacing=str(steps))
        depth = steps // 2
        latent = diffusion.ddim_reverse_sample_loop(model, images, clip_denoised=False, depth=depth)
        decoded = diffusion.ddim_sample_loop(
            model, SHAPE, noise=latent, clip_denoised=False, start_depth=depth)
        return (decoded - images).abs().max().item()

    coarse, fine = error(50), error(200)
    assert 3 < coarse / fine < 5.5


@pytest.mark.parametrize("prediction", ["v", "x_start"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("learn_sigma", [False, True])
def test_zero_terminal_snr_stays_finite(images, prediction, schedule, learn_sigma):
    diffusion = create_gaussian_diffusion(
        steps=30, noise_schedule=schedule, zero_terminal_snr=True, prediction=prediction,
        learn_sigma=learn_sigma)
    assert diffusion.alphas_cumprod[-1] == 0

    def model(x, t):
        return torch.cat([bent(x, t), x], dim=1) if learn_sigma else bent(x, t)

    latent = diffusion.ddim_reverse_sample_loop(model, images, clip_denoised=False)
    results = {
        "latent": latent,
        "decoded": diffusion.ddim_sample_loop(model, SHAPE, noise=latent, clip_denoised=False),
        "random": diffusion.ddim_sample_loop(model, SHAPE, noise=latent, eta=1.0),
        "ancestral": diffusion.p_sample_loop(model, SHAPE, noise=latent),
        "guided": diffusion.ddim_sample_loop(model, SHAPE, noise=latent, cond_fn=lambda x, t: -x),
        "guided mean": diffusion.p_sample_loop(model, SHAPE, noise=latent, cond_fn=lambda x, t: -x),
        **diffusion.calc_bpd_loop(model, images),
        **diffusion.training_losses(model, images, torch.tensor([0, 29])),
    }
    assert [name for name, value in results.items() if not value.isfinite().all()] == []


def test_zero_terminal_snr_first_step_follows_the_prediction(images):
    """From pure noise, a model that knows the image leads to it with that noise, one level cleaner."""
    diffusion = create_gaussian_diffusion(steps=30, zero_terminal_snr=True, prediction="x_start")
    noise = images.flip(-1)
    t = torch.full((2,), 29)
    step = diffusion.ddim_sample(lambda x, t: images, noise, t, clip_denoised=False)["sample"]
    torch.testing.assert_close(step, diffusion.q_sample(images, t - 1, noise))


@pytest.mark.parametrize("respacing", ["1", "2"])
@pytest.mark.parametrize("learn_sigma, sigma_small", [(True, False), (False, True), (False, False)])
def test_respacing_to_very_few_steps(images, respacing, learn_sigma, sigma_small):
    diffusion = create_gaussian_diffusion(
        timestep_respacing=respacing, learn_sigma=learn_sigma, sigma_small=sigma_small)
    assert diffusion.num_timesteps == int(respacing)

    def model(x, t):
        return torch.cat([x, x], dim=1) if learn_sigma else x

    assert diffusion.p_sample_loop(model, SHAPE, noise=images).isfinite().all()
    assert diffusion.calc_bpd_loop(model, images)["total_bpd"].isfinite().all()


def test_one_step_decodes_to_the_predicted_image(images):
    diffusion = create_gaussian_diffusion(timestep_respacing="1")
    x_t = diffusion.q_sample(images, torch.zeros(2, dtype=torch.int64), noise=images.flip(-1))
    decoded = diffusion.ddim_sample_loop(lambda x, t: images.flip(-1), SHAPE, noise=x_t, clip_denoised=False)
    torch.testing.assert_close(decoded, images, rtol=1e-5, atol=1e-5)


def test_clipping_moves_eps_with_x_start(images):
    """After clipping, x is still the mix of the clipped image and the noise that explains it."""
    diffusion = create_gaussian_diffusion(steps=100)
    t = torch.tensor([50, 80])
    out = diffusion.ddim_sample(lambda x, t: -2 * x, images, t, clip_denoised=True)
    eps = diffusion.eps_from_x_start(images, t, out["pred_xstart"])
    assert out["pred_xstart"].abs().max() == 1
    torch.testing.assert_close(out["sample"], diffusion.q_sample(out["pred_xstart"], t - 1, eps))


@pytest.mark.parametrize("loop", ["p_sample_loop", "ddim_sample_loop"])
def test_a_generator_fixes_the_draws_and_spares_the_global_one(loop):
    diffusion = create_gaussian_diffusion(steps=5)
    options = {"eta": 1.0} if loop.startswith("ddim") else {}
    state = torch.get_rng_state()
    first, again, other = (
        getattr(diffusion, loop)(bent, SHAPE, generator=torch.Generator().manual_seed(seed), **options)
        for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_batch_size_does_not_matter(images):
    diffusion = create_gaussian_diffusion(steps=10)
    whole = diffusion.ddim_reverse_sample_loop(bent, images)
    parts = [diffusion.ddim_reverse_sample_loop(bent, image[None]) for image in images]
    torch.testing.assert_close(whole, torch.cat(parts))


def test_float64_images_stay_float64(images):
    diffusion = create_gaussian_diffusion(steps=10)
    assert diffusion.ddim_reverse_sample_loop(bent, images.double()).dtype == torch.float64


def test_callbacks_and_progress_see_every_step(images):
    diffusion = create_gaussian_diffusion(steps=10)
    steps, wrapped = [], []

    def progress(timesteps):
        wrapped.extend(timesteps)
        return timesteps

    last = diffusion.ddim_sample_loop(bent, SHAPE, noise=images, start_depth=4, progress=progress,
                                      on_step=lambda i, t, x: steps.append((i, t, x)))
    assert wrapped == [3, 2, 1, 0]
    assert [step[:2] for step in steps] == [(0, 3), (1, 2), (2, 1), (3, 0)]
    assert steps[-1][2] is last
    outs = list(diffusion.ddim_sample_loop_progressive(
        bent, SHAPE, noise=images, start_depth=4, progress=True))
    assert torch.equal(outs[-1]["sample"], last)


def test_the_callers_gradients_survive_a_progressive_loop(images):
    diffusion = create_gaussian_diffusion(steps=3)
    for _ in diffusion.p_sample_loop_progressive(bent, SHAPE, noise=images):
        assert torch.is_grad_enabled()


def test_model_kwargs_reach_model_and_guidance(images):
    diffusion = create_gaussian_diffusion(steps=3)
    seen = []

    def model(x, t, y):
        seen.append(("model", y))
        return x

    def cond_fn(x, t, y):
        seen.append(("guide", y))
        return torch.zeros_like(x)

    diffusion.p_sample_loop(model, SHAPE, noise=images, cond_fn=cond_fn, model_kwargs={"y": 3})
    assert seen == [("model", 3), ("guide", 3)] * 3


def test_denoised_fn_comes_before_clipping(images):
    out = create_gaussian_diffusion(steps=10).p_mean_variance(
        bent, images, torch.tensor([3, 4]), denoised_fn=lambda x: torch.full_like(x, 5.0))
    assert (out["pred_xstart"] == 1).all()


class Mixer(torch.nn.Conv2d):
    def forward(self, x, t):
        return super().forward(x)


def test_sampling_starts_on_the_models_device_and_keeps_no_gradients():
    model = Mixer(3, 3, 1, device="meta")
    sample = create_gaussian_diffusion(steps=2).p_sample_loop(model, SHAPE, device=None, noise=None)
    assert sample.device.type == "meta" and sample.shape == SHAPE
    assert not sample.requires_grad


@pytest.mark.parametrize("call, message", [
    (lambda d, x: d.ddim_sample_loop(bent, SHAPE, noise=x, start_depth=0), "expected 1 <= start_depth <= 10"),
    (lambda d, x: d.ddim_sample_loop(bent, SHAPE, noise=x, start_depth=11), "start_depth <= 10"),
    (lambda d, x: d.ddim_sample_loop(bent, (1, 3, 4, 4), noise=x), "noise has shape"),
    (lambda d, x: d.ddim_reverse_sample_loop(bent, x, depth=11), "0 <= start_depth <= depth <= 10"),
    (lambda d, x: d.ddim_reverse_sample_loop(bent, x, depth=2, start_depth=3), "from depth 3 to 2"),
    (lambda d, x: d.ddim_reverse_sample_loop(bent, x, eta=0.5), "expected eta 0"),
    (lambda d, x: d.p_sample_loop(lambda x, t: torch.cat([x, x], 1), SHAPE, noise=x), "on learn_sigma"),
])
def test_refusals(images, call, message):
    with pytest.raises(UserError, match=message):
        call(create_gaussian_diffusion(steps=10), images)


def test_encoding_to_where_one_stands_changes_nothing(images):
    diffusion = create_gaussian_diffusion(steps=10)
    assert torch.equal(diffusion.ddim_reverse_sample_loop(bent, images, start_depth=4, depth=4), images)
