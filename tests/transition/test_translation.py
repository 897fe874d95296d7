import functools
import gc
from dataclasses import fields

import pytest
import torch

from add.diffusion import create_gaussian_diffusion
from add.errors import UserError
from add.networks import create_model
from add.transition import RULES, choose_depths, decode, encode, measure_feature, training_depths
from add.transition import translate as translate_along
from add.transition.two_way_samplers import SAMPLERS, make_sampler
from tests import golden, tiny

translate = functools.partial(translate_along, path="depth")

LOOPS = golden.load_json("add/partial_loops")
STANDIN = {"p": 0.7, "q": 0.2, "a": 0.8, "b": -0.006, "c": 0.4}
RULED = [("ddim", rule) for rule in RULES] + [("unipc", rule) for rule in RULES] + [
    ("dpm++2m", "even"), ("deis", "uniform"), ("heun", "even"), ("obelm", "uniform")]


def ramp(width=24):
    """Return the mean image [width] of the source domain, dark on the left and bright on the right."""
    return torch.linspace(-0.7, 0.7, width, dtype=torch.float64)


def images(count, height=24, width=24, dtype=torch.float64):
    """Return images [count, 3, height, width] of differing contrast, 1 to 1.3 times their mean image's."""
    noise = torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    contrast = torch.linspace(1, 1.3, count, dtype=torch.float64)[:, None, None, None]
    return (contrast * ramp(width) + 0.05 * noise).to(dtype)


@functools.cache
def steps(number):
    """Return the diffusion of T = 1000 that DDIM walks in so many steps."""
    return create_gaussian_diffusion(timestep_respacing=str(number))


def walk_of(sampler):
    """Return a diffusion that a sampler walks in few evaluations, and the sampler."""
    if sampler == "ddim":
        return steps(40), sampler
    return whole(), make_sampler(sampler, encode_steps=30 if sampler == "obelm" else 12)


@functools.cache
def whole():
    """Return the diffusion of T = 100 that the others walk; it tells models the timesteps of one of T = 1000."""
    return create_gaussian_diffusion(steps=100, rescale_timesteps=True)


@pytest.fixture
def source(make_gaussian):
    """Where F falls as the noise comes, at a pace that depends on the image's contrast."""
    return make_gaussian(ramp(), 0.5)


@pytest.fixture
def target(make_standin):
    return make_standin(STANDIN)


def assert_same(a, b, tolerance=0.0):
    """Compare two Translations; depths, labels and plans exactly."""
    assert torch.equal(a.depths, b.depths)
    assert torch.equal(a.labels, b.labels)
    assert a.plans == b.plans
    for name in ("latents", "targets"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=tolerance)


# Golden


def golden_case(name, make_standin):
    """Return source and target stand-ins, the diffusion and the depths of a case of the ADD code."""
    case = LOOPS["cases"][name]
    learn_sigma = case["args"]["learn_sigma"]
    models = [make_standin(LOOPS["standin"][case[key]], learn_sigma) if key in case else None
              for key in ("source_standin", "target_standin")]
    return *models, create_gaussian_diffusion(**case["args"]), case.get("depths")


@pytest.mark.parametrize("name", ["full1000", "respaced100", "fourier_chain_amount4", "fourier_chain_amount5"])
def test_partial_loops_agree_with_the_published_code(name, make_standin):
    """Golden: chained partial loops of the ADD code, float32; decoding off by one step would err by 7e-4."""
    source, target, diffusion, depths = golden_case(name, make_standin)
    arrays = golden.load_npz("add/partial_loops")
    x = arrays[f"{name}_source"]
    depths = torch.tensor(depths).expand(len(x), -1)
    latents = encode(source, diffusion, x, depths)
    targets = decode(target, diffusion, latents, depths)
    torch.testing.assert_close(latents.transpose(0, 1), arrays[f"{name}_latents"], rtol=0, atol=1e-4)
    torch.testing.assert_close(targets.transpose(0, 1), arrays[f"{name}_targets"], rtol=0, atol=1e-4)


def test_fourier_chain_agrees_with_the_published_code(make_standin):
    """Golden: F along the encode of a real image, last step first, and the depths taken from it."""
    source, _, diffusion, _ = golden_case("fourier_chain", make_standin)
    x = golden.load_npz("add/fourier_images")["ihc_32"].float() / 127.5 - 1
    depths = torch.arange(1, diffusion.num_timesteps + 1)[None]
    curve = measure_feature(encode(source, diffusion, x.permute(2, 0, 1)[None], depths)[0]).tolist()
    expected = golden.load_npz("add/partial_loops")["fourier_chain_list"].double()
    torch.testing.assert_close(torch.tensor(curve[::-1], dtype=torch.float64), expected, rtol=1e-4, atol=0)
    for amount, positions in LOOPS["cases"]["fourier_chain"]["positions"].items():
        plan = choose_depths(curve, int(amount), "reference")
        assert (list(plan.depths), plan.rule) == (positions, "reference")


def test_translate_is_the_published_job(make_standin):
    """Golden: image to latents, depths, targets and labels in one call."""
    source, target, diffusion, depths = golden_case("fourier_chain_amount4", make_standin)
    arrays = golden.load_npz("add/partial_loops")
    result = translate(source, target, arrays["fourier_chain_amount4_source"], 4, diffusion, sampler="ddim",
                       rule="reference")
    assert result.depths.tolist() == [depths]
    torch.testing.assert_close(result.latents[0], arrays["fourier_chain_amount4_latents"][:, 0], rtol=0, atol=1e-4)
    torch.testing.assert_close(result.targets[0], arrays["fourier_chain_amount4_targets"][:, 0], rtol=0, atol=1e-4)
    assert result.labels.tolist() == [[0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0, 1]]
    assert result.nfe == 1000 + sum(depths)


# Exact cases


@pytest.mark.parametrize("number, tolerance", [(100, 0.2), (1000, 0.02)])
def test_gaussian_domains_translate_exactly(number, tolerance, make_gaussian):
    """From N(m1, s1^2) to N(m2, s2^2) the ODE maps x to m2 + s2 (x - m1) / s1 at full depth.

    Here that is -1.1 to 1.9, with errors of 0.13 in 100 and 0.017 in 1000 steps, which fall as 1 / steps.
    """
    diffusion = steps(number)
    source, target = make_gaussian(-0.3, 0.2), make_gaussian(0.4, 0.5)
    x = torch.linspace(-0.9, 0.3, 48, dtype=torch.float64).reshape(1, 3, 4, 4)
    result = translate(source, target, x, 4, diffusion, sampler="ddim")
    expected = 0.4 + 0.5 * (x + 0.3) / 0.2
    torch.testing.assert_close(result.targets[:, -1], expected, rtol=0, atol=tolerance)
    # The less of the way, the nearer to the source: the series is a progressive one.
    distance = (result.targets - x[:, None]).abs().mean(dim=(0, 2, 3, 4))
    assert (distance.diff() > 0).all()


def test_cycle_error_falls_as_one_over_steps(make_gaussian):
    """One model there and back returns the image, but for the steps' own error."""
    x = torch.linspace(-0.9, 0.3, 48, dtype=torch.float64).reshape(1, 3, 4, 4)

    model = make_gaussian(-0.3, 0.2)

    def error(number):
        return (translate(model, model, x, 4, steps(number), sampler="ddim").targets - x[:, None]).abs().max().item()

    coarse, fine = error(50), error(200)
    assert 0 < fine < 0.05
    assert 2.5 < coarse / fine < 6


# Invariants


@pytest.mark.parametrize("sampler, rule", RULED)
def test_each_image_has_its_own_depths_whatever_the_batch(sampler, rule, source, target):
    x, (diffusion, sampler) = images(4), walk_of(sampler)
    together = translate(source, target, x, 5, diffusion, sampler=sampler, rule=rule)
    alone = [translate(source, target, x[i:i + 1], 5, diffusion, sampler=sampler, rule=rule) for i in (0, 3)]
    for i, single in zip((0, 3), alone, strict=True):
        assert together.depths[i].tolist() == single.depths[0].tolist() == list(together.plans[i].depths)
        assert torch.equal(together.latents[i], single.latents[0])
        assert torch.equal(together.targets[i], single.targets[0])
        if rule != "uniform":
            torch.testing.assert_close(together.curves[i], single.curves[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize("sampler", ["ddim", "unipc"])
def test_some_depths_differ_between_images(sampler, source, target):
    """Else the test above would compare one row of depths with itself."""
    diffusion, sampler = walk_of(sampler)
    result = translate(source, target, images(4), 5, diffusion, sampler=sampler, rule="even")
    assert {plan.rule for plan in result.plans} == {"even"}
    assert len({plan.depths for plan in result.plans}) > 1


@pytest.mark.parametrize("batch_size", [1, 3, 7, 40])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 0), (torch.float32, 1e-5)])
@pytest.mark.parametrize("sampler, rule", [("ddim", "even"), ("unipc", "even"), ("obelm", "uniform")])
def test_decoding_groups_do_not_matter(sampler, rule, batch_size, dtype, tolerance, source, target):
    x, (diffusion, sampler) = images(3, 16, dtype=dtype), walk_of(sampler)
    grouped, default = (translate(source, target, x, 6, diffusion, sampler=sampler, rule=rule, **options)
                        for options in ({"batch_size": batch_size}, {}))
    assert grouped.targets.dtype is grouped.latents.dtype is dtype
    assert_same(grouped, default, tolerance)


@pytest.fixture(scope="module")
def networks():
    """Two untrained networks, of which no layer is zero."""
    pair = []
    for seed in (0, 1):
        network = create_model(**tiny.MODEL).eval()
        generator = torch.Generator().manual_seed(seed)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.05, generator=generator)
        pair.append(network)
    return pair


def of_v(**options):
    """Return a diffusion of v, whose images stay near 1 even if a network says nothing of use."""
    return create_gaussian_diffusion(steps=100, rescale_timesteps=True, prediction="v", **options)


@pytest.mark.parametrize("sampler, tolerance", [("ddim", 1e-5), ("unipc", 1e-5), ("deis", 1e-5), ("obelm", 2e-3)])
def test_batches_of_a_network_do_not_matter(sampler, tolerance, networks):
    """In float32: with one batch size exactly, whatever the company; with another, but for the network's rounding.

    So few and long steps of O-BELM multiply that rounding by thousands.
    """
    x = images(3, 16, 16, torch.float32)
    options = {"rule": "uniform" if sampler == "obelm" else "even", "source_diffusion": of_v(
        timestep_respacing="8" if sampler == "ddim" else ""), "sampler": make_sampler(
        sampler, encode_steps={"ddim": 0, "obelm": 16}.get(sampler, 6))}
    together = translate(*networks, x, 3, **options, batch_size=2)
    alone = translate(*networks, x[2:], 3, **options, batch_size=2)
    for name in ("depths", "latents", "targets"):
        assert torch.equal(getattr(together, name)[2:], getattr(alone, name))
    for batch_size in (1, 3):
        assert_same(together, translate(*networks, x, 3, **options, batch_size=batch_size), tolerance)
    assert together.targets.std() > 0.05


def test_order_of_images_is_kept(source, target):
    x, order = images(4), torch.tensor([2, 0, 3, 1])
    result = translate(source, target, x, 5, steps(25), sampler="ddim", rule="even")
    permuted = translate(source, target, x[order], 5, steps(25), sampler="ddim", rule="even")
    for name in ("depths", "latents", "targets"):
        assert torch.equal(getattr(permuted, name), getattr(result, name)[order])


@pytest.mark.parametrize("sampler, rule", [case for case in RULED if case[1] != "uniform"])
def test_little_memory_gives_the_same_images(sampler, rule, source, target):
    """Where the states of all steps would not fit, a second encode gives those wanted, at its cost."""
    x, (diffusion, sampler) = images(3), walk_of(sampler)
    evaluated = []

    def watched(x, t):
        evaluated.append(len(x))
        return source(x, t)

    rich = translate(source, target, x, 5, diffusion, sampler=sampler, rule=rule)
    poor = translate(watched, target, x, 5, diffusion, sampler=sampler, rule=rule, max_memory=0, batch_size=3)
    again = translate(source, target, x, 5, diffusion, sampler=sampler, rule=rule, max_memory=0).nfe
    assert_same(rich, poor)
    torch.testing.assert_close(rich.curves, poor.curves, rtol=0, atol=0)
    assert poor.nfe == again > rich.nfe
    once = 40 if sampler == "ddim" else 25 if sampler.encode_solver.twice else 13
    assert once < sum(evaluated) / 3 <= 2 * once
    assert poor.nfe == pytest.approx(rich.nfe + sum(evaluated) / 3 - once)


def test_the_states_of_ddim_fit_into_their_bytes(source, target):
    x = images(3)
    bytes_of_all = 25 * x.numel() * 8
    rich, poor = (translate(source, target, x, 5, steps(25), sampler="ddim", rule="even", max_memory=memory)
                  for memory in (bytes_of_all, bytes_of_all - 1))
    assert poor.nfe == pytest.approx(rich.nfe + int(rich.depths.max()))


@pytest.mark.parametrize("sampler", ["ddim", "unipc"])
def test_little_memory_never_holds_all_states(sampler, source, target):
    """The number of states that live while the model is called for the 12th time, with memory for all and for none."""
    diffusion, sampler = walk_of(sampler)

    def alive(max_memory):
        calls, counts = 0, []

        def watched(x, t):
            nonlocal calls
            calls += 1
            if calls == 12:
                counts.append(len({tensor.untyped_storage().data_ptr() for tensor in gc.get_objects()
                                   if type(tensor) is torch.Tensor and tensor.shape == x.shape}))
            return source(x, t)

        translate(watched, target, images(1), 5, diffusion, sampler=sampler, rule="even", max_memory=max_memory,
                  batch_size=1)
        return counts[0]

    assert alive(2**30) - alive(0) >= 6


@pytest.mark.parametrize("max_memory", [0, 6 * 3 * 24 * 24 * 8 * 4])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sweeps_that_would_not_fit_are_parted(sampler, max_memory, source, target):
    """One sweep for each latent, or for each four, gives the same images."""
    x, (diffusion, sampler) = images(2), walk_of(sampler)
    depths = torch.tensor([[3, 38, 38, 11], [40, 1, 7, 20]]) * (1 if sampler == "ddim" else 2)
    latents = encode(source, diffusion, x, depths, sampler)
    one_sweep = decode(target, diffusion, latents, depths, sampler)
    assert torch.equal(decode(target, diffusion, latents, depths, sampler, max_memory), one_sweep)


@pytest.mark.parametrize("rule", RULES)
def test_network_evaluations_are_counted(rule, source, target, seen, counting):
    """What is reported is what the networks saw, in images; the sweep spares nobody else's steps."""
    result = translate(counting("source", source), counting("target", target), images(3), 4, steps(20), sampler="ddim",
                       rule=rule, batch_size=1)
    assert seen == {"source": 3 * 20, "target": int(result.depths.sum()) + round(3 * result.pilot_nfe)}
    assert seen["source"] + seen["target"] == round(3 * result.nfe)
    told = []  # in batches, without the padding
    padded = translate(source, target, images(3), 4, steps(20), sampler="ddim", rule=rule, batch_size=5,
                       on_step=told.append)
    assert sum(told) == round(3 * padded.nfe) == round(3 * result.nfe)
    assert max(told) <= 5
    assert (result.curves is None) == (rule == "uniform")


@pytest.mark.parametrize("rule", RULES)
def test_arguments_are_not_changed(rule, source, target):
    x = images(2)
    before = x.clone()
    result = translate(source, target, x, 20, steps(20), sampler="ddim", rule=rule)
    assert torch.equal(x, before)
    latents, depths = result.latents.clone(), result.depths.clone()
    targets = decode(target, steps(20), result.latents, result.depths)
    assert torch.equal(result.latents, latents)
    assert torch.equal(result.depths, depths)
    assert torch.equal(targets, result.targets)


def test_decode_keeps_depths_in_the_order_given(source, target):
    """Depths of encode and decode need not ascend, and may repeat."""
    x, depths = images(2), torch.tensor([[3, 20, 3, 11], [20, 1, 7, 7]])
    latents = encode(source, steps(20), x, depths)
    targets = decode(target, steps(20), latents, depths)
    for i in range(2):
        for j in range(4):
            single = depths[i:i + 1, j:j + 1]
            latent = encode(source, steps(20), x[i:i + 1], single)
            assert torch.equal(latents[i, j], latent[0, 0])
            assert torch.equal(targets[i, j], decode(target, steps(20), latent, single)[0, 0])


def test_encode_and_decode_are_the_diffusion_loops(source, target):
    """A depth is a number of reverse DDIM steps, and as many DDIM steps lead back."""
    x, diffusion = images(2), steps(20)
    latent = diffusion.ddim_reverse_sample_loop(source, x, clip_denoised=True, depth=13)
    image = diffusion.ddim_sample_loop(target, x.shape, noise=latent, clip_denoised=True, start_depth=13)
    depths = torch.full((2, 1), 13)
    clipping = make_sampler("ddim", clip_denoised=True)
    assert torch.equal(encode(source, diffusion, x, depths, clipping)[:, 0], latent)
    assert torch.equal(decode(target, diffusion, latent[:, None], depths, clipping)[:, 0], image)
    unclipped = encode(source, diffusion, 3 * x, depths)
    assert not torch.equal(unclipped, encode(source, diffusion, 3 * x, depths, clipping))


@pytest.mark.parametrize("rule, feature", [("uniform", "reference"), ("even", "radial")])
def test_image_sides_may_differ(rule, feature, make_gaussian, target):
    source, x = make_gaussian(0, 0.5), images(2, height=16, width=28)
    result = translate(source, target, x, 3, steps(20), sampler="ddim", rule=rule, feature=feature)
    assert result.targets.shape == result.latents.shape == (2, 3, 3, 16, 28)
    wide = translate(source, target, x.transpose(2, 3), 3, steps(20), sampler="ddim", rule=rule, feature=feature)
    assert torch.equal(wide.depths, result.depths)
    assert torch.equal(wide.targets.transpose(3, 4), result.targets)


def test_even_starts_from_the_clean_image(source, target):
    """F(0) is measured on x itself, before the first step."""
    x = images(2)
    result = translate(source, target, x, 3, steps(8), sampler="ddim", rule="even")
    for curve, start, plan in zip(result.curves, measure_feature(x), result.plans, strict=True):
        assert plan == choose_depths(curve.numpy(), 3, "even", start=start.item())
    without = [choose_depths(curve.numpy(), 3, "even") for curve in result.curves]
    assert without != result.plans


def test_a_rule_that_fails_for_one_image_says_so_for_that_one(make_gaussian, target):
    x = images(2)
    x[1] = 0.5  # a plain image stays plain under one mean for all pixels: F is 0 all the way
    plans = translate(make_gaussian(0, 0.5), target, x, 4, steps(40), sampler="ddim", rule="even").plans
    assert [plan.rule for plan in plans] == ["even", "uniform"]
    assert "flat" in plans[1].reason


def test_source_encodes_and_target_decodes(make_gaussian):
    """Each model is read through its own diffusion: one predicts eps, the other x_start."""
    eps_side, x_side = steps(50), create_gaussian_diffusion(timestep_respacing="50", predict_xstart=True)
    source, target = make_gaussian(-0.3, 0.2), make_gaussian(0.4, 0.5)

    def target_x_start(x, t):
        index = torch.tensor([x_side.timestep_map.index(i) for i in t.tolist()])
        return x_side.x_start_from_eps(x, index, target(x, t))

    x = torch.linspace(-0.9, 0.3, 48, dtype=torch.float64).reshape(1, 3, 4, 4)
    options = {"sampler": "ddim", "rule": "uniform"}
    mixed = translate(source, target_x_start, x, 3, eps_side, x_side, **options)
    assert_same(mixed, translate(source, target, x, 3, eps_side, **options), 1e-9)


def test_labels_have_a_column_per_domain(source, target):
    labels = translate(source, target, images(1), 4, steps(20), sampler="ddim", domains=(2, 0), num_domains=3).labels
    assert labels.tolist() == [[0.25, 0, 0.75], [0.5, 0, 0.5], [0.75, 0, 0.25], [1, 0, 0]]


@pytest.mark.parametrize("number, expected", [
    (1000, [1, 500, 1000]),
    (100, [10, 505, 1000]),
    (5, [250, 749, 1000]),
])
def test_depths_in_training_timesteps(number, expected):
    """The first, middle and last depth; all steps lead to pure noise, T."""
    depths = torch.tensor([[1, (number + 1) // 2, number]])
    assert training_depths(steps(number), depths).tolist()[0] == pytest.approx(expected, abs=1)
    assert training_depths(steps(number), torch.tensor(number)) == 1000
    assert (training_depths(steps(number), torch.arange(number + 1)).diff() > 0).all()


def test_results_carry_no_gradients(source, target):
    weight = torch.ones((), requires_grad=True)
    result = translate(lambda x, t: weight * source(x, t), target, images(1), 2, steps(20), sampler="ddim", rule="even")
    assert not any(value.requires_grad for value in (getattr(result, field.name) for field in fields(result))
                   if isinstance(value, torch.Tensor))


# Refusals


@pytest.mark.parametrize("change, message", [
    ({"amount": 0}, "amount 0: expected 1 to 20"),
    ({"amount": 21}, "amount 21: expected 1 to 20"),
    ({"amount": 0, "rule": "even"}, "amount 0: expected 1 to 20"),
    ({"amount": 21, "rule": "reference"}, "amount 21: expected 1 to 20"),
    ({"rule": "evn"}, "unknown depth rule 'evn'"),
    ({"rule": "even", "feature": "high"}, "unknown feature 'high'"),
    ({"rule": "even", "x": torch.zeros(1, 1, 24, 24)}, r"expected \[B, 3, H, W\]"),
    ({"target_diffusion": create_gaussian_diffusion(timestep_respacing="25")}, "different noise schedules"),
    ({"target_diffusion": create_gaussian_diffusion(timestep_respacing="20", noise_schedule="cosine")},
     "different noise schedules"),
    ({"domains": (1, 1)}, "expected two different numbers"),
    ({"domains": (0, 2)}, "expected two different numbers"),
    ({"x": torch.zeros(0, 3, 24, 24)}, "expected floating-point"),
    ({"x": torch.zeros(3, 24, 24)}, "expected floating-point"),
    ({"x": torch.zeros(1, 3, 24, 24, dtype=torch.uint8)}, "expected floating-point"),
    ({"sampler": "dpm"}, "unknown sampler 'dpm'"),
    ({"sampler": "unipc"}, "respaced to 20 of 1000 steps"),
    ({"sampler": "obelm", "source_diffusion": steps(1000), "rule": "even"}, "depths beforehand"),
    ({"batch_size": 0}, "batch size 0: expected at least 1"),
])
def test_bad_input_is_refused_before_any_evaluation(change, message):
    def untouched(x, t):
        raise AssertionError("a network was evaluated")

    given = {"x": images(1), "amount": 4, "source_diffusion": steps(20), "sampler": "ddim", **change}
    with pytest.raises(UserError, match=message):
        translate(untouched, untouched, **given)


@pytest.mark.parametrize("depths", [[[0, 5]], [[5, 21]], [[]]])
def test_depths_outside_the_schedule_are_refused(depths, source):
    depths = torch.tensor(depths, dtype=torch.int64)
    latents = torch.zeros(1, depths.shape[1], 3, 4, 4)
    with pytest.raises(UserError, match="each from 1 to 20"):
        encode(source, steps(20), latents.new_zeros(1, 3, 4, 4), depths)
    with pytest.raises(UserError, match="each from 1 to 20"):
        decode(source, steps(20), latents, depths)
