import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from add.baselines import lofgan
from add.baselines.lofgan import LoFGAN, LoFGANConfig
from add.baselines.lofgan_fusion import FusionPlan, fuse, make_plan, match, num_uniforms
from add.baselines.lofgan_networks import Discriminator, Generator
from add.errors import UserError

TINY = LoFGANConfig(generator_channels=8, discriminator_channels=8, max_channels=16)
LOCAL = dataclasses.replace(TINY, local_weight=20.0)  # heavy enough to win in a few steps


class Draw:
    """Uniform numbers of a seed, the part of the loop's draws that LoFGAN uses."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape):
        return torch.rand(*shape, generator=self.generator)


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def images(batch=4, k=3, size=32, seed=0):
    """Return smooth images [B, k, 3, S, S] in [-1, 1]: even rows bright, odd rows dark, and their classes."""
    coarse = random(batch * k, 3, 4, 4, seed=seed)
    made = F.interpolate(coarse, size=(size, size), mode="bilinear").unflatten(0, (batch, k))
    labels = torch.arange(batch) % 2
    return made - labels.float().view(-1, 1, 1, 1, 1), labels


def plan_of(batch=4, k=3, map_size=8, rate=0.5, seed=1):
    return make_plan(random(batch, num_uniforms(k, map_size), seed=seed), k, rate)


def tiny(config=TINY, seed=0, num_classes=2, size=32):
    torch.manual_seed(seed)
    return LoFGAN(config, size, num_classes)


# Select

@pytest.mark.parametrize(("rate", "count"), [(0.5, 32), (1.0, 64), (0.3, 19), (0.001, 1)])
def test_a_plan_picks_different_places(rate, count):
    plan = plan_of(batch=50, rate=rate)
    assert plan.places.shape == (50, count)
    assert all(len(set(row)) == count for row in plan.places.tolist())
    assert plan.places.min() >= 0 and plan.places.max() < 64


def test_weights_are_uniform_numbers_over_their_sum():
    """Of two such weights the first, u / (u + v), is below a <= 1/2 with the chance a / (2 - 2a)."""
    plan = plan_of(batch=20000, k=2, map_size=2)
    torch.testing.assert_close(plan.weights.sum(dim=1), torch.ones(20000))
    assert plan.weights.min() >= 0
    for a in (0.1, 0.25, 0.5):
        assert (plan.weights[:, 0] < a).float().mean().item() == pytest.approx(a / (2 - 2 * a), abs=0.012)
    three = plan_of(batch=20000, map_size=2).weights
    torch.testing.assert_close(three.mean(dim=0), torch.full((3,), 1 / 3), atol=0.01, rtol=0)


def test_base_and_places_are_drawn_evenly():
    plan = plan_of(batch=20000, map_size=2)
    torch.testing.assert_close(plan.base.bincount() / 20000, torch.full((3,), 1 / 3), atol=0.02, rtol=0)
    torch.testing.assert_close(plan.places.flatten().bincount() / 40000, torch.full((4,), 1 / 4), atol=0.02, rtol=0)


@pytest.mark.parametrize("number", [0.0, 1 - 2**-24])
def test_the_ends_of_the_random_numbers_give_a_plan(number):
    plan = make_plan(torch.full((1, num_uniforms(5, 4)), number), 5, 0.5)
    assert 0 <= plan.base.item() < 5
    torch.testing.assert_close(plan.weights, torch.full((1, 5), 0.2))


def test_a_row_of_a_plan_depends_on_its_own_numbers():
    uniforms = random(6, num_uniforms(3, 8))
    whole, part = make_plan(uniforms, 3, 0.5), make_plan(uniforms[2:4], 3, 0.5)
    for name in ("base", "places", "weights"):
        assert torch.equal(getattr(whole, name)[2:4], getattr(part, name))


# Match

def test_matching_finds_a_shuffled_copy_at_any_brightness():
    """The reference holds the base's representations elsewhere, each times a positive number: cosines of 1."""
    plan = plan_of(k=2)
    base = torch.randn(4, 6, 64, generator=torch.Generator().manual_seed(0))
    order = random(4, 64, seed=3).argsort(dim=1)  # place p of the reference holds what stands at order[p]
    factors = 0.1 + 10 * random(4, 1, 64, seed=4)
    reference = base.gather(2, order[:, None].expand_as(base)) * factors
    rows = torch.arange(4)
    maps = torch.empty(4, 2, 6, 64)
    maps[rows, plan.base], maps[rows, 1 - plan.base] = base, reference
    matches = match(maps.unflatten(3, (8, 8)), plan)
    assert torch.equal(order.gather(1, matches[rows, 1 - plan.base]), plan.places)
    assert torch.equal(matches[rows, plan.base], plan.places)


def test_matching_takes_the_largest_cosine():
    maps = torch.zeros(1, 2, 2, 1, 4)
    maps[0, 0, :, 0, 2] = torch.tensor([1.0, 0.0])
    maps[0, 1, :, 0] = torch.tensor([[9.0, 0.1, -5.0, 0.0], [9.0, 0.01, 0.0, 1.0]])  # the second is nearest in angle
    plan = FusionPlan(torch.tensor([0]), torch.tensor([[2]]), torch.tensor([[0.5, 0.5]]))
    assert match(maps, plan).tolist() == [[[2], [1]]]


def test_the_base_is_matched_with_its_own_places_even_where_others_are_as_similar():
    plan = plan_of()
    maps = torch.ones(4, 3, 6, 8, 8) * torch.arange(1, 65).view(8, 8)  # one direction everywhere
    assert torch.equal(match(maps, plan)[torch.arange(4), plan.base], plan.places)


# Replace

def test_equal_maps_fuse_to_the_base_to_the_last_bit():
    plan = plan_of()
    maps = torch.randn(4, 1, 6, 8, 8, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1, -1)
    assert torch.equal(fuse(maps, plan, match(maps, plan)), maps[:, 0])


def test_all_weight_on_the_base_keeps_it_to_the_last_bit():
    plan = plan_of()
    plan = FusionPlan(plan.base, plan.places, F.one_hot(plan.base, 3).float())
    maps = torch.randn(4, 3, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fuse(maps, plan, match(maps, plan)), maps[torch.arange(4), plan.base])


def test_fusion_is_the_weighted_sum_of_matched_features():
    """Each number by itself, against the definition; within the least and the greatest that it is made of."""
    plan = plan_of(rate=0.3)
    maps = torch.randn(4, 3, 6, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matches = match(maps, plan)
    fused, flat = fuse(maps, plan, matches).flatten(2), maps.flatten(3)
    for i in range(4):
        expected = flat[i, plan.base[i]].clone()
        for n, place in enumerate(plan.places[i]):
            matched = torch.stack([flat[i, j, :, matches[i, j, n]] for j in range(3)])  # [k, C]
            expected[:, place] = (plan.weights[i, :, None].double() * matched).sum(dim=0)
            assert (fused[i, :, place] >= matched.amin(dim=0) - 1e-6).all()
            assert (fused[i, :, place] <= matched.amax(dim=0) + 1e-6).all()
        torch.testing.assert_close(fused[i], expected, atol=1e-6, rtol=0)  # weights are float32
        elsewhere = [p for p in range(64) if p not in plan.places[i]]
        assert torch.equal(fused[i][:, elsewhere], flat[i, plan.base[i]][:, elsewhere])


def test_fusion_passes_gradients_to_base_and_matches():
    plan = plan_of(batch=1, k=2, map_size=2, rate=0.5)
    maps = torch.randn(1, 2, 3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    matches = match(maps, plan)
    fuse(maps, plan, matches).sum().backward()
    base = plan.base.item()
    expected = torch.zeros(2, 4)
    expected[base] = 1
    for place, other in zip(plan.places[0], matches[0, 1 - base], strict=True):
        expected[base, place] = plan.weights[0, base]
        expected[1 - base, other] += plan.weights[0, 1 - base]
    torch.testing.assert_close(maps.grad[0].flatten(2), expected[:, None].expand(-1, 3, -1))


# Networks

@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_every_size_fuses_8x8_places(size):
    with torch.device("meta"):
        rival = LoFGAN(LoFGANConfig(), size, 2)
        assert rival.generator.encoder(torch.empty(1, 3, size, size)).shape == (1, 128, 8, 8)
        assert rival.generator.decoder(torch.empty(1, 128, 8, 8)).shape == (1, 3, size, size)
        assert rival.discriminator.blocks(torch.empty(1, 48, size, size)).shape[2:] == (4, 4)
        assert [out.shape for out in rival.discriminator(torch.empty(5, 3, size, size))] == [(5,), (5, 2)]
    blocks = {32: 3, 64: 4, 128: 5, 256: 6}  # five in the paper, at 128
    assert len(rival.generator.encoder) == max(5, blocks[size]) and len(rival.discriminator.blocks) == blocks[size]


def test_the_networks_hold_about_a_million_parameters_at_32_pixels():
    with torch.device("meta"):
        rival = LoFGAN(LoFGANConfig(), 32, 2)
    for network in (rival.generator, rival.discriminator):
        assert 0.7e6 < sum(p.numel() for p in network.parameters()) < 1.5e6


@pytest.mark.parametrize("map_size", [4, 8, 16])
def test_a_place_looks_at_the_pixels_around_the_one_that_it_is_compared_by(map_size):
    torch.manual_seed(0)
    encoder = Generator(128, map_size, 8).encoder
    for block in encoder:  # the norm sees all of the image
        block[-2] = nn.Identity()
        block[-3].padding_mode = "zeros"  # which no pixel of the image looks out of
    image = torch.randn(1, 3, 128, 128).requires_grad_()
    row, column = map_size // 2, map_size // 2 - 1
    encoder(image)[0, :, row, column].sum().backward()
    seen = image.grad[0].abs().sum(dim=0)
    patch = 128 // map_size
    for axis, place in ((1, row), (0, column)):
        pixels = seen.sum(dim=axis).nonzero().flatten()
        first, last = pixels[0].item(), pixels[-1].item()
        if first > 0 and last < 127:
            assert first + last == 2 * place * patch
        assert first <= place * patch - patch // 2 and last >= place * patch + patch // 2


def test_a_score_depends_on_its_image_alone():
    """As the gradient penalty takes it to; while training, spectral normalisation moves from call to call."""
    torch.manual_seed(0)
    discriminator = Discriminator(32, 8, 16, 2).eval()
    x = random(3, 3, 32, 32)
    scores, logits = discriminator(x)
    for i in range(3):
        alone = discriminator(x[i:i + 1])
        torch.testing.assert_close(alone[0], scores[i:i + 1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone[1], logits[i:i + 1], atol=1e-5, rtol=1e-5)


def test_without_fusion_the_generator_decodes_the_base():
    generator, (real, _), plan = tiny().generator, images(), plan_of()
    plan = FusionPlan(plan.base, plan.places, F.one_hot(plan.base, 3).float())
    with torch.no_grad():
        made, _ = generator(real, plan)
        expected = generator.decoder(generator.encoder(real[torch.arange(4), plan.base])).tanh()
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)


# Losses

def test_hinge_loss_by_hand():
    loss = lofgan.hinge_loss(torch.tensor([2.0, 0.0, -1.0]), torch.tensor([-2.0, 0.5]))
    assert loss.item() == pytest.approx((0 + 1 + 2) / 3 + (0 + 1.5) / 2)


def test_class_penalty_of_a_linear_and_of_a_quadratic_classifier():
    """Six images in two rows: the mean logit has a sixth of each image's own gradient."""
    x = random(6, 3, 4, 4).double().requires_grad_()
    w = random(2, 3, 4, 4, seed=1).double().requires_grad_()
    classes = torch.tensor([0, 0, 0, 1, 1, 1])
    penalty = lofgan.class_penalty(torch.einsum("nchw,jchw->nj", x, w) + 7, classes, x, rows=2)
    torch.testing.assert_close(penalty, 3 * w.square().sum() / 36 / 2)
    gradient, = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(gradient, w / 12)  # a loss that weights can follow
    squares = x.square().sum(dim=(1, 2, 3)) / 2
    torch.testing.assert_close(lofgan.class_penalty(torch.stack([squares, 9 * squares], 1), 0 * classes, x, rows=2),
                               x.square().sum() / 36 / 2)


def test_local_reconstruction_loss_compares_a_pixel_for_each_place():
    plan = FusionPlan(torch.tensor([1]), torch.tensor([[0, 6]]), torch.tensor([[0.75, 0.25]]))
    pair = torch.stack([torch.ones(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)], dim=1)
    matches = torch.tensor([[[3, 5], [0, 6]]])
    ideal = random(1, 3, 16, 16)
    ideal[..., ::4, ::4] = 0  # the base
    ideal[..., 0, 0] = ideal[..., 4, 8] = 0.75  # places 0 and 6 of a 4x4 map
    assert lofgan.local_reconstruction_loss(ideal, pair, plan, matches, 4) == 0
    torch.testing.assert_close(lofgan.local_reconstruction_loss(ideal + 0.25, pair, plan, matches, 4),
                               torch.tensor(0.25))
    ideal[..., 4, 8] += 1.6
    torch.testing.assert_close(lofgan.local_reconstruction_loss(ideal, pair, plan, matches, 4), torch.tensor(0.1))


def test_local_reconstruction_takes_pixels_from_where_they_were_matched():
    """Against a copy of the base with its pixels shuffled, fusing changes nothing: all matches are the same pixel."""
    plan = plan_of(k=2)
    base = random(4, 3, 64, seed=6)
    order = random(4, 1, 64, seed=5).argsort(dim=2).expand_as(base)
    pair = torch.empty(4, 2, 3, 64)
    rows = torch.arange(4)
    pair[rows, plan.base], pair[rows, 1 - plan.base] = base, base.gather(2, order)
    maps = pair.unflatten(3, (8, 8))
    pictures = maps.repeat_interleave(4, 3).repeat_interleave(4, 4)
    matches = match(maps, plan)
    assert lofgan.local_reconstruction_loss(pictures[rows, plan.base], pictures, plan, matches, 8) < 1e-6
    assert lofgan.local_reconstruction_loss(pictures[rows, 1 - plan.base], pictures, plan, matches, 8) > 0.1


def test_discriminator_loss_is_the_weighted_sum_of_its_terms():
    real, labels = images()
    config = dataclasses.replace(TINY, classification_weight=3.0, penalty_weight=2.0)
    rival = tiny(config)
    rival.discriminator.eval()
    loss, terms = rival.discriminator_loss(real, labels, Draw(0))
    with torch.no_grad():
        fake, _ = rival.generator(real, make_plan(Draw(0).uniform(4, num_uniforms(3, 8)), 3, 0.5))
        scores, logits = rival.discriminator(real.flatten(0, 1))
        hinge = lofgan.hinge_loss(scores, rival.discriminator(fake)[0])
        class_loss = F.cross_entropy(logits, torch.tensor([0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]))
    torch.testing.assert_close(terms["d_class_loss"], class_loss)
    assert terms["gradient_penalty"] > 0
    torch.testing.assert_close(loss.detach(), hinge + 3 * class_loss + 2 * terms["gradient_penalty"])
    torch.testing.assert_close(loss.detach(), terms["d_loss"])


def test_generator_loss_is_the_weighted_sum_of_its_terms():
    real, labels = images()
    config = dataclasses.replace(TINY, classification_weight=3.0, local_weight=5.0)
    rival = tiny(config)
    rival.discriminator.eval()
    loss, terms = rival.generator_loss(real, labels, Draw(0))
    with torch.no_grad():
        fake, _ = rival.generator(real, make_plan(Draw(0).uniform(4, num_uniforms(3, 8)), 3, 0.5))
        scores, logits = rival.discriminator(fake)
    torch.testing.assert_close(terms["g_class_loss"], F.cross_entropy(logits, labels))
    torch.testing.assert_close(loss.detach(), -scores.mean() + 3 * terms["g_class_loss"] + 5 * terms["local_loss"])
    torch.testing.assert_close(loss.detach(), terms["g_loss"])


def test_a_penalty_of_weight_0_is_left_out():
    real, labels = images()
    rival = tiny(dataclasses.replace(TINY, penalty_weight=0.0))
    loss, terms = rival.discriminator_loss(real, labels, Draw(0))
    assert terms["gradient_penalty"] == 0
    loss.backward()


def test_terms_are_the_columns():
    real, labels = images()
    rival = tiny()
    terms = rival.discriminator_loss(real, labels, Draw(0))[1] | rival.generator_loss(real, labels, Draw(0))[1]
    assert set(terms) == set(LoFGAN.columns)
    assert all(term.ndim == 0 and not term.requires_grad for term in terms.values())


def test_every_parameter_gets_a_gradient():
    real, labels = images()
    rival = tiny()
    with torch.no_grad():
        rival.discriminator.score.bias += 5  # while all scores are within the margins, the bias has a gradient of 0
    rival.discriminator_loss(real, labels, Draw(0))[0].backward()
    assert all(p.grad is None for p in rival.generator.parameters())
    assert not [name for name, p in rival.discriminator.named_parameters() if p.grad is None or not p.grad.any()]
    rival.generator_loss(real, labels, Draw(0))[0].backward()
    assert not [name for name, p in rival.generator.named_parameters() if p.grad is None or not p.grad.any()]


def test_losses_fall_when_their_network_alone_learns():
    """Against a fixed generator the classes are told apart; then, against a fixed discriminator, images improve."""
    real, labels = images()
    rival = tiny(LOCAL)
    generators, discriminators = rival.optimizers(2e-3)
    history = {}
    for optimizer, loss_of in ((discriminators, rival.discriminator_loss), (generators, rival.generator_loss)):
        for _ in range(25):
            optimizer.zero_grad()
            loss, terms = loss_of(real, labels, Draw(0))
            loss.backward()
            optimizer.step()
            for name, term in terms.items():
                history.setdefault(name, []).append(term.item())
    assert history["d_loss"][-1] < history["d_loss"][0] - 0.5
    assert history["d_class_loss"][-1] < 0.5 * history["d_class_loss"][0]
    assert history["g_loss"][-1] < history["g_loss"][0] - 0.1
    assert history["local_loss"][-1] < 0.8 * history["local_loss"][0]


def test_the_learning_rate_stays_for_half_of_the_training_and_falls_to_0():
    rival = tiny()
    factors = []
    for progress in (0.0, 0.3, 0.5, 0.75, 0.9, 1.0):
        rival.begin_step(progress, 0)
        factors.append(rival.lr_factor)
    assert factors == pytest.approx([1, 1, 1, 0.5, 0.2, 0])


def test_spectral_normalisation_bounds_every_convolution_of_the_discriminator():
    """A step of training long, the largest singular value of each is 1 but for power iteration's error."""
    discriminator = tiny().discriminator
    for _ in range(30):
        discriminator(random(1, 3, 32, 32))
    convs = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d)]
    normed = [conv for conv in convs if hasattr(conv, "parametrizations")]
    assert len(normed) == 7 and len(convs) == 10
    for conv in normed:
        assert torch.linalg.svdvals(conv.weight.flatten(1))[0].item() == pytest.approx(1, abs=0.03)


def test_both_learn_together_and_samples_change():
    real, labels = images()
    rival = tiny(LOCAL)
    before = rival.sample(rival.generator, [0, 1], 0, real[:2])
    generators, discriminators = rival.optimizers(2e-3)
    assert all(o.param_groups[0]["betas"] == (0.9, 0.999) and o.param_groups[0]["weight_decay"] == 1e-4
               for o in (generators, discriminators))
    local = []
    for step in range(30):
        rival.begin_step(step / 30, step)
        for optimizer, loss_of, seed in ((discriminators, rival.discriminator_loss, 2 * step),
                                         (generators, rival.generator_loss, 2 * step + 1)):
            optimizer.zero_grad()
            loss, terms = loss_of(real, labels, Draw(seed))
            loss.backward()
            optimizer.step()
        local.append(terms["local_loss"].item())
    assert sum(local[-5:]) < 0.85 * sum(local[:5])
    assert (rival.sample(rival.generator, [0, 1], 0, real[:2]) - before).abs().mean() > 0.05


# Samples

def test_a_sample_depends_on_its_number_and_references_alone():
    rival, (real, _) = tiny(), images(batch=5)
    whole = rival.sample(rival.generator, [3, 9, 4, 0, 7], 11, real)
    assert whole.shape == (5, 3, 32, 32) and whole.abs().max() <= 1 and not whole.requires_grad
    part = rival.sample(copy.deepcopy(rival.generator), [7, 9], 11, real[[4, 1]])
    torch.testing.assert_close(part, whole[[4, 1]], atol=1e-5, rtol=1e-5)


def test_samples_of_one_class_differ_by_number_and_by_seed():
    rival, (real, _) = tiny(), images(batch=1)
    made = rival.sample(rival.generator, range(6), 0, real.expand(6, -1, -1, -1, -1))
    other = rival.sample(rival.generator, range(6), 1, real.expand(6, -1, -1, -1, -1))
    every = torch.cat([made, other]).flatten(1)
    distances = torch.cdist(every, every) + torch.eye(12)
    assert distances.min() > 1e-3


def test_a_sample_follows_its_references():
    rival, (real, _) = tiny(), images(batch=2)
    made = rival.sample(rival.generator, [0, 0], 0, real)
    assert (made[0] - made[1]).abs().mean() > 1e-3


@pytest.mark.parametrize("k", [1, 2, 5])
def test_samples_are_made_of_any_number_of_references(k):
    rival, (real, _) = tiny(), images(batch=2, k=k)
    assert rival.sample(rival.generator, [0, 1], 0, real).isfinite().all()


# Refusals

@pytest.mark.parametrize(("options", "message"), [
    ({"shots": 1}, "shots is 1, expected 2 or more: change --shots"),
    ({"fusion_rate": 0.0}, "fusion_rate is 0.0, expected a number above 0"),
    ({"fusion_rate": float("nan")}, "fusion_rate is nan"),
    ({"map_size": 5}, "map_size is 5, expected one of 4, 8, 16"),
    ({"generator_channels": 12}, "generator_channels is 12, expected a multiple of 8"),
    ({"discriminator_channels": 0}, "discriminator_channels is 0"),
    ({"max_channels": 20}, r"max_channels is 20, expected no less than discriminator_channels \(48\)"),
    ({"local_weight": -1.0}, "local_weight is -1.0, expected 0 or more"),
    ({"penalty_weight": float("inf")}, "penalty_weight is inf"),
])
def test_config_refuses(options, message):
    with pytest.raises(UserError, match=message):
        LoFGANConfig(**options)


def test_refuses_other_sizes_and_images_without_classes():
    with pytest.raises(UserError, match="image_size is 48: LoFGAN makes images of 32, 64, 128, 256 pixels"):
        LoFGAN(TINY, 48, 2)
    with pytest.raises(UserError, match="have no classes"):
        LoFGAN(TINY, 32)


def test_the_loop_is_told_how_many_images_make_a_row():
    rival = tiny(dataclasses.replace(TINY, shots=4))
    assert rival.needs_classes and rival.group == 4


def test_one_class_is_enough():
    real, _ = images()
    rival = tiny(num_classes=1)
    loss, terms = rival.discriminator_loss(real, torch.zeros(4, dtype=torch.long), Draw(0))
    assert terms["d_class_loss"] == 0 and loss.isfinite()
