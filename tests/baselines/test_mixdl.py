"""MixDL: the mixed latents, the distance loss, R1, and what each loss trains."""
import copy
import math

import pytest
import torch
from torch.nn import functional as F

from add.baselines.mixdl import (
    Discriminator,
    MixDL,
    MixDLConfig,
    distance_loss,
    draw_coefficients,
    grouped,
    mix,
    path_lengths,
    r1_penalty,
)
from add.baselines.step_draws import Draw
from add.errors import UserError

TINY = {"channels": 8, "max_channels": 16, "latent_dim": 12, "mapping_layers": 2}


def draws(seed=0):
    return Draw(seed, step=0, index=0)


def make_rival(image_size=8, step=2, **options):
    """Return a tiny MixDL with noise switched on, at a step with distances and without penalties."""
    torch.manual_seed(0)
    rival = MixDL(MixDLConfig(**TINY | options), image_size)
    for layer in rival.generator.layers:
        torch.nn.init.constant_(layer.noise_strength, 0.1)
    rival.begin_step(0.0, step)
    return rival


def images(count=8, size=8, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def features_with(similarities):
    """Return anchors [A, 2] and points [A, N, 2] with these cosines, of other lengths than 1."""
    points = torch.stack([similarities, (1 - similarities.square()).sqrt()], dim=-1)
    return torch.tensor([[3.0, 0.0]]).expand(len(similarities), -1), 2 * points


def test_coefficients_are_flat_dirichlet():
    """Rows sum to 1; one of N coefficients has mean 1 / N and variance (N - 1) / (N^2 (N + 1))."""
    c = draw_coefficients(draws(), 20000, 4)
    torch.testing.assert_close(c.sum(1), torch.ones(20000))
    assert c.min() >= 0
    torch.testing.assert_close(c.mean(0), torch.full((4,), 1 / 4), atol=0.01, rtol=0)
    torch.testing.assert_close(c.var(0), torch.full((4,), 3 / 80), atol=0.002, rtol=0)


def test_coefficients_bear_the_ends_of_the_uniform_draws():
    class Ends:
        def uniform(self, *shape):
            return torch.tensor([[0.0, 0.0, 0.0], [0.0, 1 - 2**-24, 0.0]])

    torch.testing.assert_close(draw_coefficients(Ends(), 2, 3), torch.tensor([[1 / 3] * 3, [0.0, 1.0, 0.0]]))


def test_anchor_at_a_vertex_is_the_point_and_amid_them_the_mean():
    latents = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    c = torch.tensor([[0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    anchors = mix(latents, c)  # the seventh latent belongs to no group
    torch.testing.assert_close(anchors[0], latents[1], rtol=0, atol=0)
    torch.testing.assert_close(anchors[1], latents[3:6].mean(0))


@pytest.mark.parametrize("shift", [0.0, -0.4])
def test_distance_loss_is_zero_where_cosines_are_the_coefficients_plus_a_number(shift):
    c = draw_coefficients(draws(), 6, 4)
    anchors, points = features_with(c + shift)
    assert distance_loss(anchors, points, c).item() == pytest.approx(0, abs=1e-6)
    assert distance_loss(anchors, points, c.flip(0)).item() > 1e-3


def test_distance_loss_is_the_divergence_written_out():
    """KL(q || p), q from the cosines and p from the coefficients: this way round, a mean over anchors and points."""
    similarities = torch.tensor([[0.9, -0.9], [0.2, 0.1]])
    c = torch.tensor([[0.3, 0.7], [1.0, 0.0]])
    expected = 0
    for s, row in zip(similarities.tolist(), c.tolist(), strict=True):
        q = [math.exp(v) / sum(map(math.exp, s)) for v in s]
        p = [math.exp(v) / sum(map(math.exp, row)) for v in row]
        expected += sum(a * math.log(a / b) for a, b in zip(q, p, strict=True)) / 4
    assert distance_loss(*features_with(similarities), c).item() == pytest.approx(expected, rel=1e-5)


def test_distance_loss_sees_directions_only_and_takes_images_of_features():
    random = torch.Generator().manual_seed(0)
    anchors, points = torch.randn(2, 3, 4, 4, generator=random), torch.randn(2, 5, 3, 4, 4, generator=random)
    c = draw_coefficients(draws(), 2, 5)
    loss = distance_loss(anchors, points, c)
    torch.testing.assert_close(loss, distance_loss(7 * anchors, 0.1 * points, c))
    torch.testing.assert_close(loss, distance_loss(anchors.flatten(1), points.flatten(2), c))


def test_distance_loss_falls_on_free_features():
    random = torch.Generator().manual_seed(0)
    c = draw_coefficients(draws(1), 3, 4)
    anchors = torch.randn(3, 6, generator=random).requires_grad_()
    points = torch.randn(3, 4, 6, generator=random).requires_grad_()
    losses = []
    for _ in range(200):
        loss = distance_loss(anchors, points, c)
        for features, gradient in zip((anchors, points), torch.autograd.grad(loss, (anchors, points)), strict=True):
            features.data -= 20 * gradient
        losses.append(loss.item())
    assert all(after < before for before, after in zip(losses[:20], losses[1:20], strict=False))
    assert losses[-1] < 1e-3 * losses[0]
    similarities = F.cosine_similarity(anchors[:, None], points, dim=2)
    torch.testing.assert_close(similarities.softmax(1), c.softmax(1), atol=0.01, rtol=0)


def test_r1_of_a_linear_critic_is_its_squared_norm():
    """score = <a, x> + b has the gradient a everywhere; <x, x> has 2 x."""
    x = images(5).requires_grad_()
    a = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(r1_penalty((x * a).sum((1, 2, 3)) + 3, x), a.square().sum())
    torch.testing.assert_close(r1_penalty(x.square().sum((1, 2, 3)), x), (4 * x.square()).sum() / 5)


def test_r1_comes_every_so_many_steps_with_their_weight():
    """gamma / 2 times the interval times the penalty is all that it adds."""
    rival, plain = make_rival(r1_gamma=3.0, r1_interval=4), make_rival(r1_gamma=0.0, r1_interval=4)
    for step in range(6):
        rival.begin_step(0.0, step)
        plain.begin_step(0.0, step)
        loss, terms = rival.discriminator_loss(images(), None, draws(step))
        without, _ = plain.discriminator_loss(images(), None, draws(step))
        assert ("r1" in terms) == (step % 4 == 0)
        torch.testing.assert_close(loss, without + 3 / 2 * 4 * terms.get("r1", 0))
        assert terms.get("r1", torch.ones(())) > 0


def test_both_sides_learn_at_the_rate_that_is_asked_for():
    for optimizer in make_rival().optimizers(0.002):
        assert optimizer.param_groups[0]["lr"] == 0.002
        assert optimizer.param_groups[0]["betas"] == (0.0, 0.99)


def test_path_lengths_of_a_linear_and_of_an_uneven_generator():
    """Images A w have the gradient A^T y; a layer that is not used counts as 0 in the mean of squares."""
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(5, 2, 7, generator=random).requires_grad_()
    a, y = torch.randn(3 * 4 * 4, 7, generator=random), torch.randn(5, 3, 4, 4, generator=random)
    made = (latents[:, 0] @ a.T).unflatten(1, (3, 4, 4))
    expected = (y.flatten(1) @ a / 4).norm(dim=1)
    torch.testing.assert_close(path_lengths(made, latents, y), expected / math.sqrt(2))
    torch.testing.assert_close(path_lengths(made + (latents[:, 1] @ a.T).unflatten(1, (3, 4, 4)), latents, y), expected)


def test_path_length_penalty_comes_every_so_many_steps_with_their_weight():
    """It is the squared distance from a mean that moves a hundredth of the way, and is saved with the generator."""
    rival, plain = (make_rival(path_weight=weight, path_interval=3, style_mixing=0.0) for weight in (3.0, 0.0))
    generator, mean = rival.generator, None
    for step in range(7):
        rival.begin_step(0.0, step)
        plain.begin_step(0.0, step)
        loss, terms = rival.generator_loss(images(), None, draws(step))
        without, _ = plain.generator_loss(images(), None, draws(step))
        assert ("path_length" in terms) == (step % 3 == 0)
        if step % 3:
            assert loss == without
            continue
        draw = draws(step)
        draw.normal(8, 12)
        draw.uniform(2, 4) if step % 2 == 0 else draw.uniform(1)
        draw.normal(10 if step % 2 == 0 else 8, generator.noise_dim)
        w = generator.map(draw.normal(4, 12))[:, None].repeat(1, generator.num_styles, 1)
        made, _ = generator.synthesise(w, draw.normal(4, generator.noise_dim))
        lengths = path_lengths(made, w, draw.normal(*made.shape))
        mean = lengths.mean() if mean is None else mean + 0.01 * (lengths.mean() - mean)
        torch.testing.assert_close(terms["path_length"], lengths.mean())
        torch.testing.assert_close(generator.mean_path_length, mean.detach())
        torch.testing.assert_close(loss - without, 3 * 3 * (lengths - mean).square().mean(), rtol=1e-3, atol=1e-6)
    assert "mean_path_length" in generator.state_dict()


def test_distances_come_every_so_many_steps():
    rival = make_rival(mix_interval=3)
    for step in range(7):
        rival.begin_step(0.0, step)
        _, of_discriminator = rival.discriminator_loss(images(), None, draws(step))
        _, of_generator = rival.generator_loss(images(), None, draws(step))
        assert ("d_distance" in of_discriminator) == ("g_distance" in of_generator) == (step % 3 == 0)


def test_steps_without_distances_mix_two_latents_at_a_layer():
    """The first layers have the first latent, from the first on or later the second comes; in 9 of 10 batches."""
    rival = make_rival()
    w = rival.generator.map(draws().normal(3, 12))
    starts = []
    for seed in range(200):
        draw = draws(seed)
        mixed = rival._mix_styles(w, draw)
        assert mixed.shape == (3, rival.generator.num_styles, 12)
        kept = (mixed == w[:, None]).all(2)
        assert torch.equal(kept, kept[:1].expand(3, -1)) and kept[0, 0]
        starts.append(int(kept[0].sum()))
        assert kept[0, :starts[-1]].all()
        assert (mixed[:, starts[-1]:] == mixed[:, -1:]).all()
    assert set(starts) == set(range(1, rival.generator.num_styles + 1))
    assert starts.count(rival.generator.num_styles) == pytest.approx(20, abs=12)


def test_losses_are_the_non_saturating_logistic_ones():
    """Without distances: softplus(-D(G)) and softplus(D(G)) + softplus(-D(x)), from the same draws."""
    rival = make_rival(lambda_g=0.0, lambda_d=0.0, style_mixing=0.0)
    draw = draws(3)
    z, _, noise = draw.normal(8, 12), draw.uniform(1), draw.normal(8, rival.generator.noise_dim)
    fake = rival.discriminator(rival.generator(z, noise))
    real = rival.discriminator(images())
    loss, terms = rival.generator_loss(images(), None, draws(3))
    torch.testing.assert_close(loss, F.softplus(-fake).mean())
    loss, terms = rival.discriminator_loss(images(), None, draws(3))
    torch.testing.assert_close(loss, F.softplus(fake).mean() + F.softplus(-real).mean())
    torch.testing.assert_close(terms["fake_score"], fake.mean().detach())
    torch.testing.assert_close(terms["real_score"], real.mean().detach())


@pytest.mark.parametrize("options", [{}, {"mix_space": "z"}, {"diffaugment": "color,translation,cutout"}])
def test_distances_add_to_the_losses_with_their_weights(options):
    """Losses of two weights differ by the distances and nothing else."""
    rival, heavier = (make_rival(lambda_g=weight, lambda_d=weight, **options) for weight in (10.0, 30.0))
    for name, column in (("generator_loss", "g_distance"), ("discriminator_loss", "d_distance")):
        loss, terms = getattr(rival, name)(images(), None, draws(2))
        more, same = getattr(heavier, name)(images(), None, draws(2))
        assert terms[column] > 0
        torch.testing.assert_close(terms[column], same[column])
        torch.testing.assert_close(more - loss, 20 * terms[column], rtol=1e-3, atol=1e-5)


def test_columns_name_every_term():
    rival = make_rival(step=0)
    _, of_discriminator = rival.discriminator_loss(images(), None, draws())
    _, of_generator = rival.generator_loss(images(), None, draws())
    assert set(of_discriminator) | set(of_generator) == set(rival.columns)
    assert all(term.dim() == 0 and not term.requires_grad for term in (of_discriminator | of_generator).values())


def test_generators_distance_is_a_mean_over_its_inner_layers():
    rival = make_rival(image_size=16)
    draw = draws(4)
    z, c = draw.normal(8, 12), draw_coefficients(draw, 2, 4)
    w = rival.generator.map(z)
    w = torch.cat([w, torch.stack([c[0] @ w[:4], c[1] @ w[4:]])])
    _, features = rival.generator.synthesise(w, draw.normal(10, rival.generator.noise_dim))
    expected = torch.stack([distance_loss(layer[8:], layer[:8].unflatten(0, (2, 4)), c)
                            for layer in features[1:-1]]).mean()
    _, terms = rival.generator_loss(images(), None, draws(4))
    torch.testing.assert_close(terms["g_distance"], expected.detach())


def test_points_score_as_if_no_anchor_were_there():
    torch.manual_seed(0)
    discriminator, c = Discriminator(8, 8, 16), draw_coefficients(draws(), 2, 4)
    fake = images(11)
    scores, distance = discriminator.compare(torch.cat([fake, images(2, seed=1)]), c)
    torch.testing.assert_close(scores, discriminator(fake))
    _, other = discriminator.compare(torch.cat([fake, images(2, seed=2)]), c)
    assert (distance - other).abs() > 1e-6


def test_discriminator_sees_an_anchor_that_equals_a_point_as_that_point():
    torch.manual_seed(0)
    discriminator, fake, c = Discriminator(8, 8, 16), images(8), torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    x = torch.cat([fake, fake[1:2]])
    _, distance = discriminator.compare(x, c)
    hidden = discriminator.projection(discriminator.head(discriminator.trunk(fake), torch.cat([
        spread.expand(4, 1, 1, 1) for spread in _spreads(discriminator, fake)])))
    torch.testing.assert_close(distance, distance_loss(hidden[1:2], grouped(hidden, c), c))


def _spreads(discriminator, x):
    trunk = discriminator.trunk(x)
    return [(part.var(0, unbiased=False) + 1e-8).sqrt().mean() for part in trunk.split(4)]


@pytest.mark.parametrize("options", [{}, {"mix_space": "z"}, {"diffaugment": "color,translation,cutout"}])
def test_every_parameter_gets_a_gradient(options):
    rival = make_rival(step=0, **options)
    for side, network, other in (("discriminator", rival.discriminator, rival.generator),
                                 ("generator", rival.generator, rival.discriminator)):
        network.requires_grad_(True)
        other.requires_grad_(False)  # as the adversarial loop has it
        getattr(rival, f"{side}_loss")(images(), None, draws(1))[0].backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


def test_the_discriminators_loss_leaves_the_generator_alone():
    rival = make_rival(step=0)
    rival.discriminator_loss(images(), None, draws())[0].backward()
    assert all(parameter.grad is None for parameter in rival.generator.parameters())


def test_distance_loss_moves_the_generator_towards_the_coefficients():
    """Trained on the distance alone, measured on fresh draws."""
    rival = make_rival(lambda_g=4e6, path_weight=0.0)
    optimizer = rival.optimizers(0.005)[0]

    def measure():
        return sum(rival.generator_loss(images(16), None, draws(1000 + i))[1]["g_distance"] for i in range(5)) / 5

    before = measure()
    for step in range(40):
        loss, _ = rival.generator_loss(images(16), None, draws(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert measure() < 0.85 * before


def test_training_moves_generated_images_towards_the_real_ones():
    """Real images are all of one colour: the generator finds it, and the samples show it."""
    rival = make_rival(lambda_g=10.0, r1_gamma=1.0)
    of_generator, of_discriminator = rival.optimizers(0.004)
    colour = torch.tensor([0.7, -0.2, -0.7])
    real = images(8) * 0.05 + colour[:, None, None]

    def distance():
        return (rival.sample(rival.generator, range(16), seed=0).mean((0, 2, 3)) - colour).norm().item()

    before = distance()
    for step in range(100):
        rival.begin_step(step / 100, step)
        for name, optimizer in (("discriminator_loss", of_discriminator), ("generator_loss", of_generator)):
            loss, _ = getattr(rival, name)(real, None, draws(2 * step))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert distance() < 0.5 * before


def test_same_draws_give_the_same_losses():
    rival = make_rival(step=0, path_weight=0.0, diffaugment="color,translation,cutout")
    for name in ("discriminator_loss", "generator_loss"):
        first, again, other = (getattr(rival, name)(images(), None, draws(seed))[0] for seed in (5, 5, 6))
        assert first == again
        assert first != other


def test_samples_do_not_depend_on_their_batch():
    rival = make_rival(image_size=16)
    whole = rival.sample(rival.generator, range(6), seed=3)
    assert whole.shape == (6, 3, 16, 16)
    apart = torch.cat([rival.sample(rival.generator, numbers, seed=3) for numbers in ([5], [2, 0], torch.tensor([4]))])
    torch.testing.assert_close(apart, whole[[5, 2, 0, 4]], atol=1e-5, rtol=1e-5)
    assert (whole[0] - whole[1]).abs().max() > 0.01
    assert (rival.sample(rival.generator, [0], seed=4) - whole[:1]).abs().max() > 0.01


def test_samples_come_from_the_generator_that_is_given_and_with_its_own_noise():
    rival = make_rival()
    ema = copy.deepcopy(rival.generator)
    torch.nn.init.constant_(ema.to_rgb[-1].bias, 5.0)
    torch.testing.assert_close(rival.sample(ema, [1], 0), rival.sample(rival.generator, [1], 0) + 5)
    for layer in ema.layers:
        torch.nn.init.zeros_(layer.noise_strength)
    assert (rival.sample(ema, [1], 0) - rival.sample(rival.generator, [1], 0) - 5).abs().max() > 0.01


@pytest.mark.parametrize(("image_size", "widest"), [(32, 192), (64, 192), (128, 256), (256, 512)])
def test_all_sizes_build(image_size, widest):
    """Wider for larger images, up to the paper's limit."""
    with torch.device("meta"):
        rival = MixDL(MixDLConfig(), image_size)
    assert rival.generator.constant.shape == (1, widest, 4, 4)
    assert rival.discriminator.features == widest
    assert len(rival.generator.layers) == 2 * (int(math.log2(image_size)) - 1) - 1


@pytest.mark.parametrize("count", [2, 3, 6, 9])
def test_any_batch_of_two_or_more_will_do(count):
    rival = make_rival(step=0)
    for name in ("discriminator_loss", "generator_loss"):
        assert getattr(rival, name)(images(count), None, draws())[0].isfinite()


def test_a_batch_of_one_has_nothing_to_mix():
    with pytest.raises(UserError, match="batch_size of 2 or more"):
        make_rival().generator_loss(images(1), None, draws())
    loss, terms = make_rival(lambda_g=0.0).generator_loss(images(1), None, draws())
    assert loss.isfinite()
    assert "g_distance" not in terms


@pytest.mark.parametrize("image_size", [4, 48, 512])
def test_sizes_that_do_not_fit_are_refused(image_size):
    with pytest.raises(UserError, match="power of two from 8 to 256"):
        MixDL(MixDLConfig(), image_size)


@pytest.mark.parametrize(("options", "message"), [
    ({"max_channels": -1}, "max_channels is -1, expected 0 or more"),
    ({"mix_points": 1}, "mix_points is 1, expected 2 or more: change --mix_points"),
    ({"mix_space": "x"}, "expected one of w, z"),
    ({"lambda_g": -1.0}, "lambda_g is -1.0, expected 0 or more"), ({"r1_gamma": math.inf}, "r1_gamma is inf"),
    ({"r1_interval": 0}, "expected 1 or more"), ({"mapping_lr": 0.0}, "expected a number above 0"),
    ({"style_mixing": 1.1}, "expected 1 or less"), ({"path_weight": -1.0}, "path_weight is -1.0"),
    ({"mix_interval": 0}, "mix_interval is 0"), ({"diffaugment": "colour"}, "color, translation, cutout")])
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        MixDLConfig(**options)
