"""StyleGAN2's networks: modulation, demodulation, equalised learning rate, filters and the minibatch's spread."""
import math

import pytest
import torch
from torch.nn import functional as F

from add.baselines.stylegan2 import (
    Blur,
    Discriminator,
    EqualConv,
    EqualLinear,
    Generator,
    ModulatedConv,
    ResidualBlock,
    activate,
    enlarge,
    minibatch_std,
    widths,
)


def make_generator(image_size=16):
    torch.manual_seed(0)
    return Generator(image_size, channels=8, max_channels=16, latent_dim=12, mapping_layers=2, mapping_lr=0.01)


def latents(generator, count=4, seed=1):
    random = torch.Generator().manual_seed(seed)
    return (torch.randn(count, generator.latent_dim, generator=random),
            torch.randn(count, generator.noise_dim, generator=random))


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulated_convolution_is_a_plain_one_with_each_images_weights(up, demodulate):
    """Eqs. 1 and 3, with the weights written out image by image."""
    torch.manual_seed(0)
    conv = ModulatedConv(5, 7, 3, latent_dim=6, demodulate=demodulate, up=up).double()
    x, w = torch.randn(3, 5, 8, 8, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    out = conv(x, w)
    for i in range(3):
        weight = conv.weight / math.sqrt(5 * 9) * conv.style(w)[i][None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            plain = conv.blur(F.conv_transpose2d(x[i:i + 1], weight.transpose(0, 1), stride=2))
        else:
            plain = F.conv2d(x[i:i + 1], weight, padding=1)
        torch.testing.assert_close(out[i:i + 1], plain)


def test_upsampling_convolution_filters_the_convolution_of_the_enlarged_image():
    """Away from the border the two orders, filter then convolve and convolve then filter, are the same."""
    torch.manual_seed(0)
    conv = ModulatedConv(4, 4, 3, latent_dim=6, demodulate=False, up=True).double()
    x, w = torch.randn(2, 4, 8, 8, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)
    scaled = enlarge(x * conv.style(w)[:, :, None, None])
    expected = F.conv2d(scaled, (conv.weight * conv.scale).flip(2, 3), padding=1)
    torch.testing.assert_close(conv(x, w)[..., 3:-3, 3:-3], expected[..., 3:-3, 3:-3])


@pytest.mark.parametrize("size", [0.01, 30.0])
def test_demodulation_gives_unit_variance_whatever_the_style(size):
    """Eq. 2's assumption: inputs that are independent and of unit variance."""
    torch.manual_seed(0)
    conv = ModulatedConv(32, 24, 3, latent_dim=8)
    x, w = torch.randn(6, 32, 48, 48), torch.randn(6, 8) * size
    power = conv(x, w)[..., 1:-1, 1:-1].var((2, 3))
    torch.testing.assert_close(power, torch.ones_like(power), atol=0.2, rtol=0)
    assert abs(power.mean() - 1) < 0.01


def test_without_demodulation_the_style_scales_the_output():
    torch.manual_seed(0)
    conv = ModulatedConv(4, 3, 1, latent_dim=2, demodulate=False)
    torch.nn.init.zeros_(conv.style.weight)
    x, w = torch.randn(1, 4, 5, 5), torch.zeros(1, 2)
    before = conv(x, w)
    torch.nn.init.constant_(conv.style.bias, 3.0)
    torch.testing.assert_close(conv(x, w), 3 * before)


@pytest.mark.parametrize(("layer", "arguments", "shape"), [
    (EqualLinear, (7, 400), (64, 7)), (EqualLinear, (300, 400), (64, 300)),
    (EqualLinear, (300, 400, 0.0, 0.01), (64, 300)), (EqualConv, (3, 64, 1), (8, 3, 16, 16)),
    (EqualConv, (64, 64, 3), (8, 64, 16, 16))])
def test_equalised_layers_keep_variance_and_store_unit_weights(layer, arguments, shape):
    torch.manual_seed(0)
    layer = layer(*arguments)
    out = layer(torch.randn(shape)).detach()
    out = out[..., 1:-1, 1:-1] if out.dim() == 4 else out
    assert 0.85 < out.var() < 1.15
    unit = 1 / getattr(layer, "lr_factor", 1.0)
    assert layer.weight.std().item() == pytest.approx(unit, rel=0.06)


def test_equalised_learning_rate_moves_every_layer_alike():
    """A step of Adam changes what a layer does by the same share, however many inputs it has; lr_factor times less."""
    shares = []
    for width, lr_factor in ((16, 1.0), (1024, 1.0), (256, 0.01)):
        torch.manual_seed(0)
        layer = EqualLinear(width, 32, lr_factor=lr_factor)
        before = layer.weight.detach() * layer.scale
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
        layer(torch.randn(8, width)).square().sum().backward()
        optimizer.step()
        moved = layer.weight.detach() * layer.scale - before
        shares.append((moved.norm() / before.norm()).item())
    assert shares == pytest.approx([0.01, 0.01, 0.0001], rel=0.05)


def test_activation_keeps_the_mean_square_but_for_the_slope():
    """sqrt(2) makes up for the half that is nearly lost: E = 2 (1 + 0.04) / 2."""
    x = torch.randn(200000, generator=torch.Generator().manual_seed(0))
    assert activate(x).square().mean().item() == pytest.approx(1.04, rel=0.01)


def test_filters_keep_constants_and_stand_in_the_middle():
    flat = torch.ones(1, 2, 8, 8)
    torch.testing.assert_close(Blur((2, 1))(flat)[..., 2:-2, 2:-2], flat[..., 2:-2, 2:-2])
    torch.testing.assert_close(enlarge(flat), torch.ones(1, 2, 16, 16))
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    expected = (torch.arange(16.0) + 0.5) / 2 - 0.5  # bilinear, pixels as areas
    torch.testing.assert_close(enlarge(ramp)[0, 0, 8], expected.clamp(0, 7))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_halving_convolution_stands_in_the_middle(kernel_size):
    """Of a ramp, kernels that sum to 1 give the means of pixel pairs."""
    conv = EqualConv(1, 1, kernel_size, down=True)
    torch.nn.init.constant_(conv.weight, 1 / (conv.scale * kernel_size**2))
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    out = conv(ramp)
    assert out.shape == (1, 1, 8, 8)
    torch.testing.assert_close(out[0, 0, 4, 2:-2], (2 * torch.arange(8.0) + 0.5)[2:-2])


def test_residual_block_is_the_mean_of_both_ways_in_variance():
    torch.manual_seed(0)
    block, x = ResidualBlock(3, 5), torch.randn(2, 3, 8, 8)
    main = activate(block.conv2(activate(block.conv1(x))))
    torch.testing.assert_close(block(x), (main + block.skip(x)) / math.sqrt(2))


def test_minibatch_std_is_that_of_each_group():
    """Two groups of four images: one of equal images, one that spreads by 3 in every place."""
    same = torch.full((4, 2, 3, 3), 5.0)
    spread = torch.tensor([-3.0, 3.0, -3.0, 3.0]).reshape(4, 1, 1, 1).expand(4, 2, 3, 3)
    std = minibatch_std(torch.cat([same, spread]))
    assert std.shape == (8, 1, 1, 1)
    torch.testing.assert_close(std.flatten(), torch.tensor([0.0] * 4 + [3.0] * 4), atol=2e-4, rtol=0)


@pytest.mark.parametrize(("count", "groups"), [(1, [1]), (3, [3]), (6, [6]), (9, [5, 4])])
def test_minibatch_std_takes_any_number_of_images(count, groups):
    x = torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([part.std(0, unbiased=False).mean().expand(len(part)) for part in x.split(groups)])
    torch.testing.assert_close(minibatch_std(x).flatten(), expected, atol=2e-4, rtol=1e-4)


def test_gradient_of_the_spread_of_equal_images_is_finite():
    x = torch.ones(4, 2, 4, 4, requires_grad=True)
    minibatch_std(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("image_size", [32, 64, 128, 256])
def test_networks_of_every_size_build(image_size):
    with torch.device("meta"):
        generator = Generator(image_size, 32, 192, 128, 8, 0.01)
        discriminator = Discriminator(image_size, 32, 192)
        images = generator(torch.empty(2, 128), torch.empty(2, generator.noise_dim))
        scores = discriminator(images)
    assert images.shape == (2, 3, image_size, image_size)
    assert scores.shape == (2,)


def test_networks_fit_a_cpu_at_32_pixels():
    with torch.device("meta"):
        networks = Generator(32, 32, 192, 128, 8, 0.01), Discriminator(32, 32, 192)
    for network in networks:
        assert 1e6 < sum(p.numel() for p in network.parameters()) < 2e6


def test_widths_double_up_to_the_limit():
    assert widths(64, 32, 192) == {4: 192, 8: 192, 16: 128, 32: 64, 64: 32}
    paper = widths(1024, 32, 512)
    assert [paper[size] for size in (1024, 512, 256, 128, 64, 4)] == [32, 64, 128, 256, 512, 512]


def test_generator_maps_directions():
    """The mapping network sees where z points, not how long it is."""
    generator = make_generator()
    z, _ = latents(generator)
    torch.testing.assert_close(generator.map(z), generator.map(5 * z), rtol=1e-4, atol=1e-6)
    assert (generator.map(z) - generator.map(-z)).abs().max() > 0.1


def test_generator_gives_the_activations_of_every_layer():
    generator = make_generator(16)
    z, noise = latents(generator)
    images, features = generator.synthesise(generator.map(z), noise)
    assert generator.noise_sizes == [4, 8, 8, 16, 16]
    assert [layer.shape[-1] for layer in features] == generator.noise_sizes
    torch.testing.assert_close(images, generator(z, noise))


def test_noise_counts_as_strongly_as_each_layer_has_learned():
    generator = make_generator(8)
    z, noise = latents(generator)
    before = generator(z, noise)
    torch.testing.assert_close(before, generator(z, 0 * noise))  # strengths start at 0
    torch.nn.init.constant_(generator.layers[-1].noise_strength, 0.5)
    first = 4**2 + 8**2
    other = noise.clone()
    other[:, :first] = 0  # only the last layer's noise counts now
    torch.testing.assert_close(generator(z, noise), generator(z, other))
    assert (generator(z, noise) - before).abs().max() > 0.01


def test_image_is_the_sum_of_every_resolutions_rgb():
    """Skip generator, Fig. 7b."""
    generator = make_generator(8)
    z, noise = latents(generator)
    w = generator.map(z)
    images, features = generator.synthesise(w, noise)
    rgb4, rgb8 = generator.to_rgb[0](features[0], w), generator.to_rgb[1](features[2], w)
    torch.testing.assert_close(images, enlarge(rgb4) + rgb8)
