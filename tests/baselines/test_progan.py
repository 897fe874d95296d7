"""ProGAN: the paper's invariants of growth, scaling, normalisation and losses."""
import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from add.baselines.progan import ProGAN, ProGANConfig, gradient_penalty, growth, real_at
from add.baselines.progan_networks import (
    Discriminator,
    EqualisedConv,
    EqualisedLinear,
    FirstFeatures,
    Generator,
    enlarge,
    minibatch_std,
    pixel_norm,
    shrink,
    widths,
)
from add.baselines.step_draws import Draw
from add.errors import UserError

SMALL = ProGANConfig(channels=16, max_channels=16, growth_share=0.6)


def draws(step=0):
    """Return the random numbers of one loss of one step."""
    return Draw(seed=0, step=step, index=0)


def make(config=SMALL, image_size=16, progress=1.0, seed=0):
    """Return a ProGAN with biases that are not 0, as far grown as after `progress`."""
    torch.manual_seed(seed)
    rival = ProGAN(config, image_size)
    for network in (rival.generator, rival.discriminator):
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
    rival.begin_step(progress, 0)
    return rival


def noise(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def num_parameters(network):
    return sum(p.numel() for p in network.parameters())


# The equalised learning rate, Sec. 4.1

@pytest.mark.parametrize(("width", "stacks"), [(8, 512), (32, 128), (128, 32)])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_activations_keep_their_scale_at_any_width(width, stacks, kernel_size):
    """Four layers of convolution and leaky ReLU keep a mean square of 1, on average over weights."""
    torch.manual_seed(0)
    mean_squares = []
    for _ in range(stacks):
        h = torch.randn(2, width, 4, 4)
        for _ in range(4):
            conv = EqualisedConv(width, width, kernel_size)
            assert conv.weight.std().item() == pytest.approx(1, abs=0.4)
            h = F.leaky_relu(conv(F.pad(h, [kernel_size // 2] * 4, mode="circular")), 0.2)
        mean_squares.append(h.square().mean().item())
    assert np.mean(mean_squares) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("layer", "shape", "scale"), [
    (EqualisedConv(8, 4, 3), (1, 8, 3, 3), math.sqrt(2 / 1.04 / 72)),
    (EqualisedConv(8, 3, 1, gain=1.0), (1, 8, 1, 1), math.sqrt(1 / 8)),
    (EqualisedLinear(8, 5), (1, 8), math.sqrt(1 / 8)),
    (FirstFeatures(8, 4), (1, 8), math.sqrt(2 / 1.04 / 8))])
def test_weights_are_scaled_by_hes_constant_when_used(layer, shape, scale):
    """With weights of 1 and inputs of 1, each output is the scale times the number of inputs, plus the bias."""
    torch.nn.init.ones_(layer.weight)
    assert not layer.bias.any()
    torch.nn.init.constant_(layer.bias, 0.5)
    inputs = math.prod(shape)
    out = layer(torch.ones(shape))
    torch.testing.assert_close(out, torch.full_like(out, scale * inputs + 0.5))


def test_adam_moves_layers_of_all_widths_at_one_pace():
    """One step changes every layer's weights by the same share of their size, though fan-ins differ by 64."""
    shares = []
    for layer, shape in ((EqualisedConv(4, 64, 1), (8, 4, 4, 4)), (EqualisedConv(256, 64, 1), (8, 256, 4, 4))):
        before = layer.weight.detach() * layer.scale
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01, betas=(0.0, 0.99))
        layer(noise(*shape)).square().sum().backward()
        optimizer.step()
        shares.append(((layer.weight * layer.scale - before).norm() / before.norm()).item())
    assert shares == pytest.approx([0.01, 0.01], rel=0.1)


# Normalisation, Sec. 3 and 4.2

def test_pixel_norm_gives_every_pixel_a_mean_square_of_1():
    x = noise(2, 24, 3, 5) * torch.logspace(-2, 3, 5)
    y = pixel_norm(x)
    torch.testing.assert_close(y.square().mean(dim=1), torch.ones(2, 3, 5), atol=1e-3, rtol=0)
    torch.testing.assert_close(F.cosine_similarity(x, y, dim=1), torch.ones(2, 3, 5))
    assert not pixel_norm(torch.zeros(1, 4, 1, 1)).any()


def test_every_convolution_of_the_generator_but_the_last_is_normalised():
    rival, seen = make(), []
    for conv in [conv for block in rival.generator.blocks.values() for conv in block] + [
            *rival.generator.to_rgb.values()]:
        conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].square().mean(dim=1)))
    rival.generator(noise(3, 16), 16)
    assert len(seen) == 1 + 2 + 2 + 1
    for mean_square in seen:
        torch.testing.assert_close(mean_square, torch.ones_like(mean_square), atol=1e-4, rtol=0)


def test_minibatch_std_is_0_for_identical_images_and_rises_with_variety():
    image = noise(1, 6, 4, 4)
    same = minibatch_std(image.expand(5, -1, -1, -1))
    assert same.shape == (5, 7, 4, 4)
    torch.testing.assert_close(same[:, :6], image.expand(5, -1, -1, -1))
    assert same[:, 6].max() < 2e-4  # sqrt(EPS) = 1e-4
    levels = [minibatch_std(image + spread * noise(5, 6, 4, 4, seed=2))[:, 6] for spread in (0.1, 1, 3)]
    assert all(level.std() == 0 for level in levels)
    assert same[0, 6, 0, 0] < levels[0].mean() < levels[1].mean() < levels[2].mean()


def test_minibatch_std_of_two_images():
    """Two images that differ by 2 a have the standard deviation a; places and channels are averaged."""
    half = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 2, 2, 1)
    torch.testing.assert_close(minibatch_std(torch.cat([half, -half]))[:, 2], torch.full((2, 2, 1), 3.0))


def test_the_discriminator_sees_the_variety_of_the_batch():
    rival, images = make(), noise(4, 3, 16, 16)
    alone = rival.discriminator(images[:1].expand(4, -1, -1, -1))
    torch.testing.assert_close(alone, alone[:1].expand(4))
    assert (rival.discriminator(images)[0] - alone[0]).abs() > 1e-3


def test_the_penalty_is_finite_where_all_images_are_the_same():
    rival = make()
    image = noise(1, 3, 16, 16).expand(4, -1, -1, -1)
    gradient_penalty(rival.discriminator, image, image, torch.rand(4, 1, 1, 1)).backward()
    assert all(p.grad.isfinite().all() for p in rival.discriminator.parameters() if p.grad is not None)


# Growth, Sec. 2

@pytest.mark.parametrize("first_size", [4, 8])
@pytest.mark.parametrize("size", [16, 32])
def test_the_generators_fade_in_is_continuous_at_both_ends(first_size, size):
    rival = make(ProGANConfig(channels=16, max_channels=16, first_size=first_size), 32)
    generator, z = rival.generator, noise(3, 16)
    low, high = generator(z, size // 2), generator(z, size)
    assert torch.equal(generator(z, size, 0.0), enlarge(low))
    assert torch.equal(generator(z, size, 1.0), high)
    torch.testing.assert_close(generator(z, size, 0.25), 0.75 * enlarge(low) + 0.25 * high)
    torch.testing.assert_close(generator(z, size, 1 - 1e-6), high, atol=1e-4, rtol=0)
    assert (high - enlarge(low)).abs().mean() > 0.1


@pytest.mark.parametrize("first_size", [4, 8])
@pytest.mark.parametrize("size", [16, 32])
def test_the_discriminators_fade_in_is_continuous_at_both_ends(first_size, size):
    rival = make(ProGANConfig(channels=16, max_channels=16, first_size=first_size), 32)
    discriminator, images = rival.discriminator, noise(3, 3, size, size)
    low, high = discriminator(shrink(images)), discriminator(images)
    assert torch.equal(discriminator(images, 0.0), low)
    assert torch.equal(discriminator(images, 1.0), high)
    torch.testing.assert_close(discriminator(images, 1 - 1e-6), high, atol=1e-4, rtol=0)
    between = discriminator(images, 0.5)
    assert (between - low).abs().max() > 1e-3 and (between - high).abs().max() > 1e-3


def test_the_discriminator_fades_its_features_in_linearly():
    discriminator, images, seen = make().discriminator, noise(3, 3, 16, 16), []
    discriminator.blocks["8x8"][0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for alpha in (0.0, 0.25, 1.0):
        discriminator(images, alpha)
    torch.testing.assert_close(seen[1], 0.75 * seen[0] + 0.25 * seen[2])
    assert (seen[2] - seen[0]).abs().mean() > 0.1


def test_there_is_no_fade_in_at_the_first_size():
    rival = make(ProGANConfig(channels=16, max_channels=16, first_size=8), 16)
    with pytest.raises(AssertionError, match="no fade-in at 8 pixels"):
        rival.generator(noise(1, 16), 8, 0.5)
    with pytest.raises(AssertionError, match="no fade-in at 8 pixels"):
        rival.discriminator(noise(1, 3, 8, 8), 0.5)


def test_real_images_fade_in_as_generated_ones_do():
    images = noise(2, 3, 32, 32)
    at_8 = images.reshape(2, 3, 8, 4, 8, 4).mean(dim=(3, 5))
    at_16 = images.reshape(2, 3, 16, 2, 16, 2).mean(dim=(3, 5))
    torch.testing.assert_close(real_at(images, 8, 1.0), at_8)
    assert torch.equal(real_at(images, 32, 1.0), images)
    blocks = at_8.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(real_at(images, 16, 0.0), blocks)
    torch.testing.assert_close(real_at(images, 16, 0.25), 0.75 * blocks + 0.25 * at_16)


@pytest.mark.parametrize(("progress", "expected"), [
    (0, (4, 1)), (0.09, (4, 1)), (0.1, (8, 0)), (0.15, (8, 0.5)), (0.2, (8, 1)), (0.29, (8, 1)), (0.375, (16, 0.75)),
    (0.4, (16, 1)), (0.51, (32, 0.1)), (0.6, (32, 1)), (0.8, (32, 1)), (1, (32, 1))])
def test_phases_of_a_run(progress, expected):
    """Six phases of a tenth each bring 4 pixels to 32, with growth_share 0.6."""
    assert growth(progress, [4, 8, 16, 32], 0.6) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("growth_share", [0.3, 0.6, 6 / 7, 0.99])
@pytest.mark.parametrize("sizes", [[4, 8], [4, 8, 16, 32], [8, 16, 32, 64, 128, 256]])
def test_growth_has_no_leaps(sizes, growth_share):
    grown = [growth(progress, sizes, growth_share) for progress in np.linspace(0, 1, 5001)]
    height = np.array([math.log2(size) - 1 + alpha for size, alpha in grown])
    steps = np.diff(height)
    assert steps.min() > -1e-9 and steps.max() < 1.01 * (2 * len(sizes) - 2) / (5000 * growth_share)
    assert height[0] == math.log2(sizes[0]) and grown[-1] == (sizes[-1], 1.0)


def test_growth_can_be_left_out():
    assert growth(0.0, [4, 8, 16], 0.0) == (16, 1.0)
    assert growth(0.0, [8], 0.6) == (8, 1.0)


def test_the_stage_follows_from_the_progress_alone():
    rival, again = make(progress=0.0), make(progress=0.42)
    for progress in (0.1, 0.9, 0.3, 0.42):
        rival.begin_step(progress, 0)
    assert rival.size == again.size and rival.alpha == again.alpha
    assert torch.equal(rival.sample(rival.generator, [3], 0), again.sample(again.generator, [3], 0))


# Losses, Appendix A.1

class LinearCritic(torch.nn.Module):
    """critic(x) = <w, x> + b."""

    def __init__(self, shape, bias=0.0):
        super().__init__()
        self.w, self.bias = noise(*shape, seed=5), bias

    def forward(self, x, alpha=1.0):
        return (x * self.w).sum(dim=(1, 2, 3)) + self.bias


def test_the_penalty_of_a_linear_critic():
    """Its gradient is w wherever it is taken."""
    critic = LinearCritic((3, 4, 4))
    for scale in (0.1, 1.0):
        critic.w *= scale
        penalty = gradient_penalty(critic, noise(5, 3, 4, 4), noise(5, 3, 4, 4, seed=2), torch.rand(5, 1, 1, 1))
        torch.testing.assert_close(penalty, (critic.w.norm() - 1) ** 2)
    critic.w /= critic.w.norm()
    zero = gradient_penalty(critic, noise(5, 3, 4, 4), noise(5, 3, 4, 4, seed=2), torch.rand(5, 1, 1, 1))
    assert zero < 1e-10


def test_the_penalty_is_taken_between_real_and_fake():
    """The critic |x|^2 / 2 has x as its gradient."""
    real, fake, shares = noise(5, 3, 4, 4), noise(5, 3, 4, 4, seed=2), torch.tensor([0, 0.25, 0.5, 0.9, 1.0])
    between = torch.stack([share * r + (1 - share) * f for share, r, f in zip(shares, real, fake, strict=True)])
    penalty = gradient_penalty(lambda x: x.square().sum(dim=(1, 2, 3)) / 2, real, fake, shares.reshape(5, 1, 1, 1))
    torch.testing.assert_close(penalty, ((between.flatten(1).norm(dim=1) - 1) ** 2).mean())


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("config", [
    SMALL, ProGANConfig(channels=16, max_channels=16, penalty_weight=3.0, drift_weight=0.5)])
def test_the_discriminators_loss_by_hand(config, progress):
    rival = make(config, progress=progress)
    rival.discriminator = critic = LinearCritic((3, rival.size, rival.size), bias=2.0)
    real = noise(6, 3, 16, 16).clamp(-1, 1)
    loss, terms = rival.discriminator_loss(real, None, draws(3))
    fake = rival.generator(pixel_norm(draws(3).normal(6, 16)), rival.size, rival.alpha)
    on_real, on_fake = critic(real_at(real, rival.size, rival.alpha)), critic(fake)
    penalty, drift = (critic.w.norm() - 1) ** 2, on_real.square().mean()
    expected = on_fake.mean() - on_real.mean() + config.penalty_weight * penalty + config.drift_weight * drift
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(terms["drift"], drift)
    torch.testing.assert_close(terms["gradient_penalty"], penalty)
    torch.testing.assert_close(terms["wasserstein"], (on_real.mean() - on_fake.mean()).detach())
    assert (terms["size"].item(), terms["alpha"].item()) == pytest.approx((rival.size, rival.alpha))


def test_the_defaults_are_the_papers():
    assert (ProGANConfig().penalty_weight, ProGANConfig().drift_weight) == (10, 0.001)
    for optimizer in make().optimizers(0.001):
        group, = optimizer.param_groups
        assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (0.001, (0, 0.99), 1e-8, 0)


def test_losses_tell_all_columns_and_keep_to_their_network():
    rival = make(progress=0.4)
    d_loss, d_terms = rival.discriminator_loss(noise(4, 3, 16, 16), None, draws())
    d_loss.backward()
    assert all(p.grad is None for p in rival.generator.parameters())
    g_loss, g_terms = rival.generator_loss(noise(4, 3, 16, 16), None, draws())
    torch.testing.assert_close(g_loss, -rival.discriminator(
        rival.generator(pixel_norm(draws().normal(4, 16)), rival.size, rival.alpha), rival.alpha).mean())
    assert sorted(d_terms | g_terms) == sorted(rival.columns)
    assert all(term.ndim == 0 and not term.requires_grad for term in (d_terms | g_terms).values())


@pytest.mark.parametrize(("progress", "sizes_of_rgb"),
                         [(0.0, {4}), (0.2, {4, 8}), (0.4, {8}), (0.5, {8, 16}), (1.0, {16})])
def test_gradients_reach_exactly_the_layers_in_use(progress, sizes_of_rgb):
    rival = make(progress=progress)
    rival.discriminator_loss(noise(4, 3, 16, 16), None, draws())[0].backward()
    rival.generator.zero_grad()
    rival.generator_loss(noise(4, 3, 16, 16), None, draws())[0].backward()
    for network in (rival.generator, rival.discriminator):
        for name, parameter in network.named_parameters():
            part, size = name.split(".")[:2]
            if part.endswith("rgb"):
                used = int(size.split("x")[0]) in sizes_of_rgb
            else:
                used = part != "blocks" or int(size.split("x")[0]) <= max(sizes_of_rgb)
            assert (parameter.grad is not None and parameter.grad.any().item()) == used, name


def test_the_discriminator_learns_to_tell_real_from_fake():
    rival, real = make(image_size=8), noise(8, 3, 8, 8, seed=7).clamp(-1, 1)
    _, optimizer = rival.optimizers(0.001)
    losses, gaps = [], []
    for step in range(30):
        rival.begin_step(1.0, step)
        loss, terms = rival.discriminator_loss(real, None, draws(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        gaps.append(terms["wasserstein"].item())
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5
    assert np.mean(gaps[-5:]) > np.mean(gaps[:5]) + 0.5


def test_the_generator_learns_to_raise_its_score():
    rival = make(image_size=8)
    optimizer, _ = rival.optimizers(0.005)
    losses = []
    for step in range(30):
        loss, _ = rival.generator_loss(noise(8, 3, 8, 8), None, draws(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


def test_a_growing_run_learns_the_colour_of_its_images():
    """Red images with a little noise: 100 steps through both sizes bring the samples' mean colour to theirs."""
    rival, colour = make(image_size=8), torch.tensor([0.8, -0.6, -0.6])
    g_optimizer, d_optimizer = rival.optimizers(0.004)

    def distance():
        rival.begin_step(1.0, 100)
        return (rival.sample(rival.generator, range(32), 0).mean(dim=(0, 2, 3)) - colour).norm()

    before = distance()
    for step in range(100):
        rival.begin_step(step / 100, step)
        real = colour[:, None, None] + 0.1 * noise(8, 3, 8, 8, seed=step)
        for loss_of, optimizer, seed in ((rival.discriminator_loss, d_optimizer, 2 * step),
                                         (rival.generator_loss, g_optimizer, 2 * step + 1)):
            optimizer.zero_grad()
            loss_of(real, None, draws(seed))[0].backward()
            optimizer.step()
    assert distance() < 0.4 < 0.8 < before


# Samples and sizes

def test_samples_depend_on_seed_and_number_alone():
    rival = make()
    generator = copy.deepcopy(rival.generator)
    images = rival.sample(generator, [0, 1, 2, 3], seed=1)
    assert not images.requires_grad
    torch.testing.assert_close(rival.sample(generator, [3, 7, 1], seed=1)[[2, 0]], images[[1, 3]])
    assert len({image.sum().item() for image in images}) == 4
    assert (rival.sample(generator, [0], seed=2) - images[:1]).abs().max() > 0.1


def test_samples_are_those_of_the_generator_that_is_given():
    rival, other = make(), make(seed=4)
    torch.testing.assert_close(rival.sample(other.generator, [5], 0), other.sample(other.generator, [5], 0))


@pytest.mark.parametrize(("progress", "size"), [(0.0, 4), (0.2, 8), (0.4, 8), (1.0, 16)])
def test_samples_of_a_young_run_are_enlarged(progress, size):
    rival = make(progress=progress)
    images = rival.sample(rival.generator, [0, 1], 0)
    assert images.shape == (2, 3, 16, 16)
    pixels = 16 // size
    small = images[..., ::pixels, ::pixels]
    assert torch.equal(images, small.repeat_interleave(pixels, 2).repeat_interleave(pixels, 3))
    z = np.stack([np.random.default_rng([0, i]).standard_normal(16, np.float32) for i in (0, 1)])
    plain = rival.generator(pixel_norm(torch.from_numpy(z)), rival.size, rival.alpha)
    torch.testing.assert_close(small, plain)


def test_a_stage_is_needed_before_samples():
    rival = ProGAN(SMALL, 16)
    with pytest.raises(AssertionError, match="begin_step comes before"):
        rival.sample(rival.generator, [0], 0)


@pytest.mark.parametrize("image_size", [32, 64, 128, 256])
@pytest.mark.parametrize("first_size", [4, 8])
def test_all_sizes_build_and_run(image_size, first_size):
    with torch.device("meta"):
        rival = ProGAN(ProGANConfig(first_size=first_size), image_size)
        for progress in (0.0, 0.3, 0.55, 1.0):
            rival.begin_step(progress, 0)
            images = rival.generator(torch.empty(2, rival.generator.latent_dim), rival.size, rival.alpha)
            assert images.shape == (2, 3, rival.size, rival.size)
            assert rival.discriminator(images, rival.alpha).shape == (2,)
    assert rival.size == image_size
    for network in (rival.generator, rival.discriminator):
        assert image_size > 64 or 1e6 < num_parameters(network) < 2.2e6


def test_the_papers_networks_have_the_papers_size():
    """Table 2: 23.1 million parameters each at 1024 pixels, with 16 channels there."""
    assert widths(1024, 16, 512) == {
        4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
    with torch.device("meta"):
        for network, rgb in ((Generator(1024, 4, 16, 512), "to_rgb"), (Discriminator(1024, 4, 16, 512), "from_rgb")):
            younger = list(getattr(network, rgb).values())[:-1]  # Table 2 counts the last one only
            count = num_parameters(network) - sum(map(num_parameters, younger))
            assert round(count / 1e6, 1) == 23.1


@pytest.mark.parametrize(("options", "message"), [
    ({"channels": 0}, "channels is 0, expected 1 or more"),
    ({"channels": 64, "max_channels": 32}, r"max_channels is 32, expected channels \(64\) or more, or 0"),
    ({"first_size": 16}, "first_size is 16, expected one of 4, 8"),
    ({"growth_share": 1.0}, "growth_share is 1.0, expected a number below 1"),
    ({"growth_share": math.nan}, "growth_share is nan"),
    ({"penalty_weight": -1.0}, "penalty_weight is -1.0, expected 0 or more"),
    ({"drift_weight": math.inf}, "drift_weight is inf")])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ProGANConfig(**options)


@pytest.mark.parametrize("image_size", [2, 24, 48, 512])
def test_wrong_sizes_are_refused(image_size):
    with pytest.raises(UserError, match=f"image_size is {image_size}: ProGAN makes images of 4, 8, 16, "):
        ProGAN(SMALL, image_size)
