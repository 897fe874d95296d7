"""Paths along weights: what they lead from and to, their law on Gaussian domains, and what they cost."""
import functools

import numpy as np
import pytest
import torch

from add.diffusion import GaussianDiffusion, ModelMeanType, create_gaussian_diffusion
from add.diffusion.blend import Blend
from add.diffusion.noise_levels import NoiseLevels
from add.errors import UserError
from add.transition import Mosaic, decode, encode, make_sampler, translate, translate_chain
from add.transition.weighted_decode import stages_of, weighted_evaluations

LAWS = ((-0.3, 0.2), (0.4, 0.6), (0.1, 0.3))  # mean and standard deviation of domains
SAMPLER_NAMES = ("ddim", "unipc", "obelm")


@functools.cache
def diffusion_of(**options):
    return create_gaussian_diffusion(**options)


def images(count=2):
    return torch.linspace(-0.9, 0.3, count * 48, dtype=torch.float64).reshape(count, 3, 4, 4)


@pytest.fixture
def models(make_gaussian):
    return [make_gaussian(*law, "v") for law in LAWS]


def along(models, x, amount=10, sampler="unipc", respacing="", domains=(0, 1), **options):
    diffusion = diffusion_of(prediction="v", timestep_respacing=respacing)
    return translate_chain([models[k] for k in domains], x, amount, [diffusion] * len(domains), domains, 3, sampler,
                           **{"path": "blend"} | options)


def respacing_of(sampler):
    return "100" if sampler == "ddim" else ""


def exact_blend(x, w, law=LAWS[0], other=LAWS[1], steps=4000):
    """Return where x ends by the ODE of the first Gaussian to noise, and from there by that of their barycentre.

    At each level the barycentre's score is the weighted mean of both; the ODE is affine, so a fine Runge-Kutta walk of
    two numbers for it is exact enough.
    """
    levels = NoiseLevels(diffusion_of(prediction="v").alphas_cumprod)
    start, end = (np.arctan(np.exp(-levels.log_snr(t))) for t in (levels.first, levels.last))

    def velocity(y, phi, weights):
        signal, spread = np.cos(phi), np.sin(phi)
        eps = sum(share * spread * (y - signal * mean) / (signal**2 * std**2 + spread**2)
                  for share, (mean, std) in zip(weights, (law, other), strict=True))
        return signal * eps - spread * (y - spread * eps) / signal

    def walked(y, begin, stop, weights):
        step = (stop - begin) / steps
        for i in range(steps):
            phi = begin + i * step
            k1 = velocity(y, phi, weights)
            k2 = velocity(y + step / 2 * k1, phi + step / 2, weights)
            k3 = velocity(y + step / 2 * k2, phi + step / 2, weights)
            y = y + step / 6 * (k1 + 2 * k2 + 2 * k3 + velocity(y + step * k3, phi + step, weights))
        return y

    return walked(walked(x, start, end, (1, 0)), end, start, (1 - w, w))


def test_the_blend_of_two_gaussians_is_the_flow_of_their_barycentre(models):
    result = along(models, images(), sampler=make_sampler("unipc", 72, 40))
    for place in (0, 4, 8):
        expected = torch.from_numpy(exact_blend(images().numpy(), (place + 1) / 10))
        torch.testing.assert_close(result.targets[:, place], expected, rtol=0, atol=6e-3)


def test_domains_of_one_spread_are_mixed_on_a_straight_line(make_gaussian):
    """In closed form: N(m0, s^2) and N(m1, s^2) with weight w have the barycentre N(m0 + w (m1 - m0), s^2)."""
    pair = [make_gaussian(mean, 0.3, "v") for mean in (-0.2, 0.5)]
    result = along(pair, images(), 4)
    line = torch.arange(1, 5, dtype=torch.float64) / 4
    expected = images()[:, None] + 0.7 * line[None, :, None, None, None]
    torch.testing.assert_close(result.targets, expected, rtol=0, atol=0.02)  # the last timestep is not quite noise


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_weight_one_is_the_full_translation_and_weight_zero_the_source(models, sampler):
    """Bit for bit; and up to the error of a cycle, which O-BELM has none of."""
    options = {"sampler": make_sampler(sampler), "respacing": respacing_of(sampler)}
    full = along(models, images(), 1, path="depth", rule="uniform", **options)
    for path in ("blend", "mosaic"):
        for points in (None, torch.tensor([[1, 0], [0, 1]], dtype=torch.float64)):
            result = along(models, images(), 6, path=path, points=points, **options)
            assert torch.equal(result.targets[:, -1], full.targets[:, 0])
    cycle = along([models[0], models[0]], images(), 1, path="depth", rule="uniform", **options)
    assert torch.equal(result.targets[:, 0], cycle.targets[:, 0])
    if sampler == "obelm":
        torch.testing.assert_close(result.targets[:, 0], images(), rtol=0, atol=1e-3)


def test_sharing_weights_while_noise_is_high_changes_next_to_nothing(models, monkeypatch):
    shared = along(models, images())
    monkeypatch.setattr("add.transition.weighted_decode.SHARED", ())
    alone = along(models, images())
    assert shared.nfe < 0.7 * alone.nfe
    torch.testing.assert_close(shared.targets, alone.targets, rtol=0, atol=2e-3)


def test_stages_leave_out_what_a_short_series_does_not_need():
    assert stages_of(15, 10) == [(3, 2), (5, 8), (None, 15)]
    assert stages_of(15, 5) == [(3, 2), (None, 15)]
    assert stages_of(15, 2) == [(None, 15)]


@pytest.mark.parametrize("sampler, domains, options", [
    ("unipc", (0, 1), {}), ("unipc", (0, 1, 2), {"weight_rule": "progress"}), ("unipc", (0, 1), {"path": "mosaic"}),
    ("ddim", (0, 1), {}), ("obelm", (0, 2), {"weight_rule": "progress"}),
    ("unipc", (0, 1, 2), {"points": torch.tensor([[0.2, 0.3, 0.5], [0, 0, 1]], dtype=torch.float64)})])
def test_evaluations_are_foretold(models, counting, seen, sampler, domains, options):
    named = [counting(name, model) for name, model in zip(("source", "target", "target"), models, strict=True)]
    respacing = "20" if sampler == "ddim" else ""
    result = along(named, images(), 7, sampler, respacing, domains, batch_size=1, **options)
    diffusion = diffusion_of(prediction="v", timestep_respacing=respacing)
    expected = weighted_evaluations(make_sampler(sampler, path="blend"), [diffusion] * len(domains), 7,
                                    options.get("weight_rule", "even"), options.get("points"),
                                    options.get("path") == "mosaic")
    assert result.nfe == sum(map(sum, expected)) == sum(seen.values()) / 2
    assert seen["source"] / 2 == sum(expected[0])


@pytest.mark.parametrize("path", ["blend", "mosaic"])
@pytest.mark.parametrize("rule", ["even", "progress"])
def test_an_image_does_not_depend_on_its_company(models, path, rule):
    options = {"path": path, "weight_rule": rule}
    together = along(models, images(5), **options)
    alone = along(models, images(5)[3:4], **options)
    in_parts = along(models, images(5), max_memory=0, **options)
    assert torch.equal(together.targets[3:4], alone.targets) and torch.equal(together.targets, in_parts.targets)
    assert torch.equal(together.weights[3:4], alone.weights)


def test_a_chain_passes_through_its_domains_and_a_mixture_has_its_weights_as_label(models):
    chain = along(models, images(), 4, domains=(0, 1, 2))
    there = along(models, images(), 1, domains=(0, 1))
    assert torch.equal(chain.targets[:, 3], there.targets[:, -1])
    assert torch.equal(chain.weights[0], chain.labels)
    mixed = along(models, images(), domains=(2, 0), points=torch.tensor([[0.25, 0.75]]))
    assert mixed.labels.tolist() == [[0.75, 0, 0.25]] and mixed.targets.shape == (2, 1, 3, 4, 4)
    assert mixed.plans[0].rule == "given"


def test_progress_spaces_weights_by_how_far_images_come(models):
    """Domains of very different spread: brightness falls behind even weights, and keeps up with the rule's."""
    def unevenness(rule):
        result = along(models, images(), 8, weight_rule=rule, classifier=lambda x: x.mean(dim=(1, 2, 3)))
        brightness = torch.cat([images()[:, None], result.targets], dim=1).mean(dim=(2, 3, 4))
        progress = (brightness - brightness[:, :1]) / (brightness[:, -1:] - brightness[:, :1])
        return result, float((progress - torch.linspace(0, 1, 9)).abs().max())

    even, far = unevenness("even")
    spaced, near = unevenness("progress")
    assert far > 0.1 and near < 0.4 * far
    assert spaced.pilot_nfe == 20 and spaced.curves.shape == (2, 1000) and even.curves is None
    assert (spaced.weights[..., 1].diff(dim=1) > 0).all() and torch.equal(spaced.labels, even.labels)
    assert {plan.rule for plan in spaced.plans} == {"progress"}


@pytest.mark.parametrize("weight", [0.1, 0.5, 1.0])
def test_a_blended_image_leads_back_to_its_source(models, weight):
    """There and back: encoding with the same weights gives the latent again, from which the source's model decodes."""
    diffusions, sampler = [diffusion_of(prediction="v")] * 2, make_sampler("unipc", 72, 40)
    weights = torch.tensor([[1 - weight, weight]] * 2, dtype=torch.float64)
    image = along(models, images(), sampler=sampler, points=weights[:1]).targets[:, 0]
    depths = torch.full((2, 1), 1000)
    latents = encode(Blend(models[:2], diffusions, weights), diffusions[0], image, depths, sampler)
    back = decode(models[0], diffusions[0], latents, depths, sampler)[:, 0]
    torch.testing.assert_close(back, images(), rtol=0, atol=4e-3)
    assert float((image - images()).abs().max()) > 0.05


def test_guidance_is_weighted_like_its_model(models):
    """A gradient of one: the image of weight w moves by w times as much as the full translation, to first order."""
    def shift(points):
        plain, moved = (along(models[:1] * 2, images(), points=points, sampler=make_sampler(
            "unipc", 24, 14, cond_fn=gradient)) for gradient in (None, lambda x, t: torch.full_like(x, 0.1)))
        return (moved.targets - plain.targets).mean(dim=(0, 2, 3, 4))

    none, half, full = shift(torch.tensor([[1, 0], [0.5, 0.5], [0, 1]], dtype=torch.float64))
    assert none == 0 and float(half / full) == pytest.approx(0.5, abs=1e-6) and full > 0.001


def test_mosaics_keep_source_and_target_side_by_side(make_gaussian):
    """Pixel by pixel independent domains: each pixel is the source's or the full translation's, by its field."""
    pair = [make_gaussian(mean, 0.3, "v") for mean in (-0.2, 0.5)]
    x = torch.linspace(-0.5, 0.1, 3 * 64, dtype=torch.float64).reshape(1, 3, 8, 8)
    result = along(pair, x, 4, path="mosaic", mosaic=Mosaic(edge=0))
    moved = (result.targets[0, 1] - x[0]).mean(dim=0)
    assert ((moved < 0.02) | (moved > 0.68)).sum() >= 63
    assert float(moved.mean()) == pytest.approx(0.35, abs=0.02)


@pytest.mark.parametrize("options, words", [({"path": "line"}, "unknown path 'line'"),
                                            ({"weight_rule": "odd"}, "unknown weight rule 'odd'"),
                                            ({"path": "mosaic", "mosaic": Mosaic(scale=2)}, "mosaic_scale is 2")])
def test_unknown_paths_are_refused(models, options, words):
    with pytest.raises(UserError, match=words):
        along(models, images(), **options)


def test_models_of_the_previous_x_are_refused(models):
    known = diffusion_of()
    diffusion = GaussianDiffusion(betas=known.betas, model_mean_type=ModelMeanType.PREVIOUS_X,
                                  model_var_type=known.model_var_type, loss_type=known.loss_type)
    with pytest.raises(UserError, match="previous x"):
        translate(*models[:2], images(), 2, diffusion, sampler="ddim", path="blend")
